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
	if agentOnly {
		root.Short = "The agent of a machine that has no inbound port open"
		root.Long += "\n\nThis is the agent's build: it has neither the relay nor what operators use."
		root.Example = "  scrier agent enroll --relay relay.example.com:8443\n  scrier agent run"
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			err = badValue(e)
		}
		return wire.Errorf(wire.Usage, "%w; see `%s --help`", err, c.CommandPath())
	})
	addCommands(root)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" { // the library's own takes anything for an answer
			c.RunE = help
		}
	}
	// A group does nothing without one of its commands, and each line of usage names the flags by itself. This is not done
	// by a template, which would keep every method of every type in the program.
	show := root.UsageFunc()
	root.SetUsageFunc(func(c *cobra.Command) error {
		if c.HasAvailableSubCommands() {
			defer func(run func(*cobra.Command, []string) error) { c.RunE = run }(c.RunE)
			c.RunE = nil
		}
		return show(c)
	})
	plainUsage(root)
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

// exitStatus ends the program with a status and says nothing more: the remote shell's, or a
// verdict that was printed already.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// passes is the annotation of a command that ends with the exit status of a remote program, which may be any
// number. So there is one status for all errors of ours, [wire.NoStatus].
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
