//go:build linux && !agentonly

package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/spf13/cobra"

	"scrier/agent"
	"scrier/certs"
	"scrier/client"
	"scrier/relay/doctor"
	"scrier/wire"
)

func doctorCommand() *cobra.Command {
	var config, state, relay string
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor [--config server.yaml] [--state DIR] [--relay HOST:PORT] [--json]",
		Short: "Look for what is wrong with a relay",
		Long: `Look for what is wrong with the relay of this host, and say what to do: its configuration, state directory,
process, port (UDP and TCP), certificates, clock, and guacd, which draws desktops; and agent.yaml, if this
machine has an agent in its usual place. It changes nothing, and
works while the relay is down. A relay that runs says itself where it listens, also if that is by --listen. Run it as root or as the relay's user.

--relay looks at a relay elsewhere, as far as that can be done from here: its port, certificates and clock.
If you have been logged in there, its fingerprint is compared.

Each line begins with ok, warn (look at it), fail, or skip (it cannot be checked from here). Each check takes 3 seconds
at most, and most are made at once.
` + exitHelp("0    nothing failed\n1    something failed"),
		Example: `  scrier doctor --state /var/lib/scrier-relay
  scrier doctor --relay relay.example.com`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			s := doctor.Settings{Config: config, State: state, Now: time.Now}
			if _, err := os.Stat(stateDir("scrier-agent")); err == nil {
				s.Agent = stateDir("scrier-agent")
				s.AgentConfig = agentConfig(agent.State{Dir: s.Agent}.ConfigPath())
			}
			if relay != "" {
				var err error
				if s.Relay, err = wire.RelayAddress(relay); err != nil {
					return err
				}
				s.Pin = knownPin(s.Relay)
			}
			r := doctor.Run(c.Context(), s)
			if err := interrupted(c.Context(), c.Context().Err()); err != nil { // what was not finished would look like a fault
				return err
			}
			if asJSON {
				data, err := json.Marshal(r)
				if err != nil {
					return err
				}
				if err := printJSON(c.OutOrStdout(), data); err != nil {
					return err
				}
			} else if err := r.Print(c.OutOrStdout()); err != nil {
				return err
			}
			if r.Failed > 0 {
				return exitStatus(1)
			}
			return nil
		},
	}
	c.Flags().StringVar(&config, "config", "", "read `FILE` (default: server.yaml in the state directory, if it is there)")
	c.Flags().StringVar(&state, "state", stateDir("scrier-relay"), "look at the relay whose state is in `DIR`")
	c.Flags().StringVar(&relay, "relay", "", "look at the relay at `HOST:PORT`")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// knownPin is what this user knows of a relay; nil: nothing.
func knownPin(relay string) *certs.Pin {
	home, err := client.FindHome()
	if err != nil {
		return nil
	}
	login, err := home.Current(relay, time.Time{}) // an expired login's pin still holds
	if err != nil {
		return nil
	}
	pin, err := certs.ParsePin(login.Known.Pin)
	if err != nil {
		return nil
	}
	return &pin
}

// agentConfig reads an agent's configuration for the doctor.
func agentConfig(path string) func(context.Context) (string, []string, error) {
	return func(ctx context.Context) (string, []string, error) {
		conf, err := agent.LoadConfig(path, false)
		if err != nil {
			return path, nil, err
		}
		return path, conf.Doubts(ctx, path), nil
	}
}
