//go:build linux && !agentonly

package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"scrier/relay"
	"scrier/wire"
)

func relayCommand() *cobra.Command {
	var config, state, listen string
	var verbose, acceptRollback bool
	c := &cobra.Command{
		Use:   "relay [--config server.yaml] [--state DIR] [--listen ADDR]",
		Short: "Run a relay",
		Long: `Run a relay: agents and operators connect to it, on one port number for UDP and TCP.

Its state (envoys, operators, sessions, the audit log, the certificate authority) is in --state;
the admin socket in there serves "scrier token", "operators", "envoys", "sessions", "audit" and "metrics"
with the same --state on this host. SIGTERM, SIGINT and SIGHUP end it properly:
open sessions are told, and get ten seconds.
` + exitHelp("0    ended by SIGTERM, SIGINT or SIGHUP", wire.BadConfig, wire.StateInUse, wire.AuditUnavailable),
		Example: `  scrier relay --state /var/lib/scrier-relay --listen :8443`,
		Args:    exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := named("state", state); err != nil {
				return err
			}
			path := cmp.Or(config, filepath.Join(state, "server.yaml"))
			conf, err := relay.LoadConfig(path, config != "")
			if err != nil {
				return err
			}
			if listen != "" {
				conf.Listen = listen
				if err := conf.Check(); err != nil { // the rest has passed already
					return wire.Errorf(wire.BadConfig, "--%w", err).Advise("give HOST:PORT, or :PORT for all addresses")
				}
			}
			log := newLog(c.ErrOrStderr(), verbose)
			// This process holds the CA's key and the sessions' keys: no core dump, no ptrace by its user.
			if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
				log.Warn("memory of this process may be dumped", "err", err)
			}
			r, err := relay.Open(c.Context(), relay.Settings{StateDir: state, Config: conf, AcceptRollback: acceptRollback, Now: time.Now, Log: log})
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "relay %s listens on %s (UDP and TCP)\nfingerprint %s\n", wire.Version(), r.Addr(), r.Fingerprint())
			return r.Run(c.Context())
		},
	}
	c.Flags().StringVar(&config, "config", "", "read `FILE` (default: server.yaml in the state directory, if it is there)")
	c.Flags().StringVar(&state, "state", stateDir("scrier-relay"), "keep state in `DIR`")
	c.Flags().StringVar(&listen, "listen", "", "listen on `ADDR` (host:port) instead of the configured one, :8443 by default")
	c.Flags().BoolVar(&acceptRollback, "accept-rollback", false, "start although the audit log is older than it was (a restored backup), has lost its .head, or is gone; this is recorded in it")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return c
}
