//go:build !linux

package main

import (
	"runtime"

	"github.com/spf13/cobra"

	"scrier/wire"
)

// Agents and relays run on Linux. Elsewhere their commands are there to say so.

func agentCommand() *cobra.Command {
	return onLinux("agent", "Enrol this machine and serve sessions on it")
}
func relayCommand() *cobra.Command  { return onLinux("relay", "Run a relay") }
func doctorCommand() *cobra.Command { return onLinux("doctor", "Look for what is wrong with a relay") }

func onLinux(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short + " (on Linux)",
		Long:               "This command is in scrier for Linux alone.",
		DisableFlagParsing: true, // whatever was meant, it is not here
		RunE: func(c *cobra.Command, _ []string) error {
			return wire.Errorf(wire.Usage, "`%s` needs Linux, and this is scrier for %s/%s", c.CommandPath(), runtime.GOOS, runtime.GOARCH).
				Advise("this program is for operators: `scrier login`, `ssh`, `rdp`, `vnc`, `envoys`; run the command on the Linux machine")
		},
	}
}

func runWorker([]string) (status int, ok bool) { return 0, false }
