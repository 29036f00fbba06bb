package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"scrier/wire"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Print the version, and which versions of the protocol it speaks.\n" + exitHelp("0    printed"),
		Args:  exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintf(c.OutOrStdout(), "scrier %s %s %s/%s\nspeaks %s %s\n", wire.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, wire.ALPNAgent, wire.ALPNClient)
			return nil
		},
	}
}
