//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"scrier/agent"
	builtinworker "scrier/agent/builtin/worker"
	"scrier/agent/keys"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// keysWorker is a hidden command that an agent starts as another user, as [builtinworker.Command] is.
const keysWorker = "keys-worker"

// runWorker comes before everything else, so that a worker loads and reads nothing that it does not need.
func runWorker(args []string) (status int, ok bool) {
	switch {
	case len(args) == 2 && args[0] == "agent" && args[1] == keysWorker:
		return worker.Worker{}.Work(os.Stdin, os.Stdout), true
	case len(args) > 2 && args[0] == "agent" && args[1] == builtinworker.Command:
		return builtinworker.Work(args[2:]), true
	}
	return 0, false
}

func agentCommand() *cobra.Command {
	c := group(&cobra.Command{
		Use: "agent", Short: "Enrol this machine and serve sessions on it",
		Long: `The agent holds one outbound connection to a relay and serves the sessions that the relay opens
on it, as far as agent.yaml of this machine allows. It listens on no port.`,
	})
	c.AddCommand(agentEnrollCommand(), agentRunCommand(), agentSweepCommand())
	return c
}

func agentEnrollCommand() *cobra.Command {
	var relay, token, tokenFile, state, config string
	var labels []string
	var asJSON bool
	c := &cobra.Command{
		Use:     "enroll --relay HOST:PORT [--token-file FILE] [--state DIR] [--config agent.yaml] [--label k=v]… [--json]",
		Aliases: []string{"enrol"},
		Short:   "Enrol this machine with a token",
		Long: `Enrol this machine: make a key here, which never leaves, and spend the token for a certificate.
Only the relay whose fingerprint the token carries is trusted.

The token is asked for, or read from standard input if that is no terminal. Whoever sees it can enrol a
machine in this one's place, so it does not belong on a command line: others see those in the list of
processes, and the shell keeps them.
` + exitHelp("0    enrolled", wire.BadConfig, wire.TokenInvalid, wire.RelayUntrusted, wire.RelayUnreachable, wire.Conflict, wire.ClockSkew),
		Example: `  scrier agent enroll --relay relay.example.com:8443 --label env=prod
  scrier agent enroll --relay relay.example.com:8443 --token-file /run/secrets/scrier-token`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := named("state", state); err != nil {
				return err
			}
			parsed, err := parseLabels(labels)
			if err != nil {
				return err
			}
			if token == "" || token == "-" {
				if token, err = readToken(c, tokenFile); err != nil {
					return err
				}
			} else if tokenFile != "" {
				return wire.Errorf(wire.Usage, "either --token-file or --token")
			}
			at, err := wire.RelayAddress(relay)
			if err != nil {
				return err
			}
			s := agent.State{Dir: state}
			_, conf, err := loadAgentConfig(config, s)
			if err != nil {
				return err
			}
			id, err := agent.Enroll(c.Context(), agent.Enrolment{
				Relay: at, Token: token, State: s, Labels: parsed, Now: time.Now, Config: conf,
			})
			if err != nil {
				return interrupted(c.Context(), err)
			}
			if asJSON {
				return printValue(c.OutOrStdout(), map[string]string{"id": id.String(), "relay": at, "state": state})
			}
			fmt.Fprintf(c.OutOrStdout(), "enrolled as %s\n", id)
			fmt.Fprintf(c.ErrOrStderr(), "Now run `scrier agent run --state %s`, as a service if you like (see docs/agent.md).\n", state)
			return nil
		},
	}
	c.Flags().StringVar(&relay, "relay", "", "the relay's `HOST:PORT`")
	c.Flags().StringVar(&tokenFile, "token-file", "", "read the token, as scrier token create printed it, from `FILE`; - is standard input")
	c.Flags().StringVar(&token, "token", "", "the `TOKEN` itself, where nobody else sees command lines")
	c.Flags().StringVar(&state, "state", stateDir("scrier-agent"), "keep state in `DIR`")
	c.Flags().StringVar(&config, "config", "", "take the proxy from `FILE` (default: agent.yaml in the state directory, if it is there)")
	c.Flags().StringArrayVar(&labels, "label", nil, "give the envoy a label `k=v`; may be repeated")
	c.Flags().BoolVar(&asJSON, "json", false, `print {"id", "relay", "state"}`)
	must(c.MarkFlagRequired("relay"))
	return c
}

// maxToken is far more than a token has, in bytes.
const maxToken = 4 << 10

// readToken reads the token from a file, or asks for it.
func readToken(c *cobra.Command, path string) (string, error) {
	in := c.InOrStdin()
	if path != "" && path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", wire.Errorf(wire.Usage, "--token-file: %w", err)
		}
		defer f.Close()
		in = f
	} else if tty, ok := in.(*os.File); ok && term.IsTerminal(int(tty.Fd())) {
		text, err := askUnseen(c.Context(), tty, c.ErrOrStderr(), "The token (it is not shown): ")
		switch {
		case wire.CodeOf(err) == wire.Cancelled:
			return "", err
		case err != nil:
			return "", wire.Errorf(wire.Usage, "the token cannot be read: %w", err)
		}
		in = bytes.NewReader(text)
	}
	text, err := io.ReadAll(io.LimitReader(in, maxToken))
	if err != nil {
		return "", wire.Errorf(wire.Usage, "the token cannot be read: %w", err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "", wire.Errorf(wire.Usage, "there is no token: name its file with --token-file, or give it on standard input")
	}
	return string(text), nil
}

func parseLabels(in []string) (map[string]string, error) {
	out := map[string]string{}
	for _, l := range in {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return nil, wire.Errorf(wire.Usage, "--label %q is not of the form k=v", l)
		}
		if _, twice := out[k]; twice {
			return nil, wire.Errorf(wire.Usage, "--label %s is given twice", k)
		}
		out[k] = v
	}
	return out, nil
}

func agentRunCommand() *cobra.Command {
	var s agentFlags
	c := &cobra.Command{
		Use:   "run [--config agent.yaml] [--state DIR]",
		Short: "Run the agent",
		Long: `Keep this machine connected to its relay and serve sessions, until SIGTERM, SIGINT or SIGHUP. The agent
reconnects by itself for ever; only a revoked identity ends it.
` + exitHelp("0    ended by SIGTERM, SIGINT or SIGHUP", wire.Unauthenticated, wire.BadConfig, wire.StateInUse, wire.AccountNotLoginable, wire.Revoked),
		Example: `  scrier agent run --state /var/lib/scrier-agent`,
		Args:    exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := s.open(c)
			if err != nil {
				return err
			}
			return errors.Join(a.Run(c.Context()), a.Close())
		},
	}
	s.flags(c)
	return c
}

func agentSweepCommand() *cobra.Command {
	var s agentFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "sweep [--config agent.yaml] [--state DIR] [--json]",
		Short: "Remove session keys that a crash left in authorized_keys files",
		Long: `Remove what sessions of this agent left in authorized_keys files, for all users. "agent run" does
that too when it starts, where it has a note of it; this is for an agent that will not run again. What
sessions of other agents left goes too, and is counted, once it expired more than five minutes ago; or 26
hours, if the line does not say in which time zone. All other lines stay as they are.
A file that cannot be read is reported; it is an error only if this agent has written to it.
` + exitHelp("0    done", wire.Unauthenticated, wire.BadConfig, wire.StateInUse),
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := s.open(c)
			if err != nil {
				return err
			}
			swept, err := a.Sweep(c.Context())
			if err == nil {
				err = reportSweep(c, swept, asJSON)
			}
			return errors.Join(err, a.Close())
		},
	}
	s.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// reportSweep tells what a sweep has done. What it could not clean is an error; what it could not
// read, and never wrote to, is not: any user can make such a file.
func reportSweep(c *cobra.Command, swept keys.Swept, asJSON bool) error {
	if asJSON {
		if err := printValue(c.OutOrStdout(), sweptView(swept)); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.OutOrStdout(), "session keys: %d removed, %d made harmless\n", swept.Removed, swept.Neutralised)
	}
	for _, f := range swept.Unread {
		fmt.Fprintf(c.ErrOrStderr(), "%s: %s (%s); this agent has no note of having written there\n", wire.Printable(f.Login), wire.Printable(f.Detail), f.Code)
	}
	for _, f := range swept.Failed {
		fmt.Fprintf(c.ErrOrStderr(), "%s: %s (%s)\n", wire.Printable(f.Login), wire.Printable(f.Detail), f.Code)
	}
	if len(swept.Failed) > 0 {
		return wire.Errorf(swept.Failed[0].Code, "%d files were not swept; what is left there expires by itself", len(swept.Failed))
	}
	return nil
}

// sweptView is what a sweep has done, in JSON.
func sweptView(swept keys.Swept) any {
	type file struct {
		Login  string `json:"login"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	files := func(in []keys.Failure) []file {
		out := []file{}
		for _, f := range in {
			out = append(out, file{f.Login, f.Code.String(), f.Detail})
		}
		return out
	}
	return map[string]any{"removed": swept.Removed, "neutralised": swept.Neutralised, "failed": files(swept.Failed), "unread": files(swept.Unread)}
}

type agentFlags struct {
	config, state string
	verbose       bool
}

func (s *agentFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.config, "config", "", "read `FILE` (default: agent.yaml in the state directory, if it is there)")
	c.Flags().StringVar(&s.state, "state", stateDir("scrier-agent"), "keep state in `DIR`")
	c.Flags().BoolVarP(&s.verbose, "verbose", "v", false, "log more")
}

func (s *agentFlags) open(c *cobra.Command) (*agent.Agent, error) {
	if err := named("state", s.state); err != nil {
		return nil, err
	}
	state := agent.State{Dir: s.state}
	path, conf, err := loadAgentConfig(s.config, state)
	if err != nil {
		return nil, err
	}
	return agent.Open(agent.Settings{
		State: state, Config: conf, ConfigPath: path, Now: time.Now, Log: newLog(c.ErrOrStderr(), s.verbose),
		Worker: []string{"/proc/self/exe", "agent", keysWorker},
	})
}

// loadAgentConfig reads the agent.yaml that was named, or that in the state directory if it is there.
func loadAgentConfig(named string, state agent.State) (path string, conf agent.Config, err error) {
	if path = named; path == "" {
		path = state.ConfigPath()
	}
	conf, err = agent.LoadConfig(path, named != "")
	return path, conf, err
}
