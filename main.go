// Scrier opens interactive sessions on machines that have no inbound port open.
//
// This package is the table of contents of the program: each cmd_*.go is one subcommand.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"scrier/wire"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if status, ok := runWorker(args); ok {
		return status
	}
	if len(args) > 0 && args[0] != "relay" {
		// quic-go's advice about kernel buffers is for servers; on a terminal it is in the way.
		must(os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true"))
	}
	endings := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		endings = append(endings, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), endings...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	root := newRoot()
	root.SetArgs(args)
	c, err := root.ExecuteContextC(ctx)
	return statusOf(c, report(os.Stderr, typed(usage(c, err))), err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:     "scrier",
		Short:   "Shells and desktops on machines that have no inbound port open",
		Version: wire.Version(),
		Long: `Scrier opens interactive sessions on enrolled machines (envoys) through a relay.
The machines dial out; no inbound port is open on them.`,
		Example: `  scrier login relay.example.com --fingerprint SHA256:…
  scrier envoys list
  scrier ssh web1`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			err = badValue(e)
		}
		return wire.Errorf(wire.Usage, "%w; see `%s --help`", err, c.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: "operator", Title: "For operators:"},
		&cobra.Group{ID: "relay", Title: "For the relay's administrator:"},
		&cobra.Group{ID: "machine", Title: "For machines:"},
	)
	root.AddCommand(
		inGroup("operator", loginCommand()), inGroup("operator", logoutCommand()), inGroup("operator", relaysCommand()), inGroup("operator", statusCommand()), inGroup("operator", sshCommand()), inGroup("operator", proxyCommand()), inGroup("operator", sshConfigCommand()), inGroup("operator", cpCommand()),
		inGroup("operator", rdpCommand()), inGroup("operator", vncCommand()), inGroup("operator", envoysCommand()), inGroup("operator", sessionsCommand()),
		inGroup("relay", relayCommand()), inGroup("relay", tokenCommand()), inGroup("relay", operatorsCommand()), inGroup("relay", auditCommand()), inGroup("relay", doctorCommand()),
		inGroup("machine", agentCommand()),
		versionCommand(),
	)
	for _, c := range root.Commands() {
		if c.Name() == "ssh" {
			c.SetFlagErrorFunc(asUsedToSSH(root.FlagErrorFunc()))
		}
	}
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() { // the library's own take anything for an answer
		switch c.Name() {
		case "completion":
			group(c)
			completionScripts(c)
		case "help":
			c.RunE = help
		}
	}
	// A group does nothing without one of its commands, and each line of usage names the flags by itself.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	plainUsage(root)
	completions(root)
	return root
}

func plainUsage(c *cobra.Command) {
	c.DisableFlagsInUseLine = true
	for _, sub := range c.Commands() {
		plainUsage(sub)
	}
}

// must is for what only a programming error makes fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func inGroup(id string, c *cobra.Command) *cobra.Command {
	c.GroupID = id
	return c
}

// exitStatus ends the program with a status and says nothing more: the remote shell's, or a
// verdict that was printed already.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// passesStatus marks a command that ends with the exit status of a remote program, which may be any
// number. So there is one status for all errors of ours, [wire.NoStatus].
func passesStatus(c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{passes: "true"}
	return c
}

const passes = "passes the exit status of a remote program"

// statusOf is the status that the program ends with, if report gave status for err.
func statusOf(c *cobra.Command, status int, err error) int {
	_, told := errors.AsType[exitStatus](err)
	if err != nil && !told && c.Annotations[passes] != "" {
		return wire.NoStatus
	}
	return status
}

// report tells the person what went wrong and what to do about it, and gives the exit status.
// All of it may hold strings of the far side.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[exitStatus](err); ok {
		return int(e)
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		text := wire.Printable(e.Text())
		if e.Code == wire.BadConfig || e.Code == wire.Usage || e.Code == wire.BadRequest {
			text = printableLines(e.Text()) // a file's lines stay lines
		}
		fmt.Fprintf(w, "scrier: %s (%s)\n", text, e.Code)
		if hint := wire.HintOf(e); hint != "" && (e.Code != wire.Usage || e.Advice != "") { // the words of usage name the help already
			fmt.Fprintf(w, "hint: %s\n", wire.Printable(hint))
		}
		return e.Code.ExitStatus()
	}
	fmt.Fprintf(w, "scrier: %s (%s)\n", wire.Printable(err.Error()), wire.Internal) // such as a full disk behind standard output
	return wire.Internal.ExitStatus()
}
