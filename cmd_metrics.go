//go:build !agentonly

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"scrier/wire"
)

func metricsCommand() *cobra.Command {
	var t target
	c := &cobra.Command{
		Use:   "metrics [--state DIR] [--relay HOST:PORT]",
		Short: "Print the relay's figures, as Prometheus reads them",
		Long: `Print the relay's figures, as Prometheus reads them: envoys, links and their roads, sessions, what was refused, the audit
log, the process. No name and no address is in them. It needs no "metrics" in server.yaml: that is for Prometheus.
` + exitHelp("0    printed", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
		Example: `  scrier metrics --state /var/lib/scrier-relay | grep ^scrier_sessions`,
		Args:    exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := t.dial(c.Context())
			if err != nil {
				return err
			}
			return interrupted(c.Context(), errors.Join(r.Export(c.Context(), "/metrics", c.OutOrStdout()), r.Close()))
		},
	}
	t.flags(c)
	return c
}
