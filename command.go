package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"scrier/wire"
)

// exact is cobra.ExactArgs with a way out in the message.
func exact(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n && !slices.Contains(args, "") {
			return nil
		}
		return wire.Errorf(wire.Usage, "`%s` takes %s; see `%s --help`", c.CommandPath(), what, c.CommandPath())
	}
}

// group makes a command that only holds others: without one of them it is a usage error.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2 // as cobra has it for the commands of the root
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return wire.Errorf(wire.Usage, "`%s` has no command %q%s; see `%s --help`", c.CommandPath(), args[0], didYouMean(args[0], c.SuggestionsFor(args[0])), c.CommandPath())
		}
		return wire.Errorf(wire.Usage, "`%s` needs a command; see `%s --help`", c.CommandPath(), c.CommandPath())
	}
	return c
}

// help shows a command's help.
func help(c *cobra.Command, args []string) error {
	about, rest, err := c.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return unknown(wire.Errorf(wire.Usage, "there is no command %q; see `%s --help`", strings.Join(args, " "), c.Root().CommandPath()))
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

// usage gives cobra's own complaints about a command line, which carry no type, their code.
func usage(c *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	text, near, _ := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "required flag", "accepts ", "requires at least", "invalid argument", "if any flags in the group"} {
		if !strings.HasPrefix(text, p) {
			continue
		}
		if parts := strings.Split(text, `"`); len(parts) > 1 {
			text += didYouMean(parts[1], strings.Fields(near))
		}
		if p == "required flag" {
			text = absent(text)
		}
		told := wire.Errorf(wire.Usage, "%s; see `%s --help`", text, c.CommandPath())
		if p == "unknown command" {
			return unknown(told)
		}
		return told
	}
	return err
}

// didYouMean names the commands that are like a word. A word of one or two letters is like all of the short ones, so of them it
// names only what begins with it.
func didYouMean(word string, names []string) string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return len(word) < 3 && !strings.HasPrefix(name, word) })
	if len(names) == 0 {
		return ""
	}
	return " (did you mean " + strings.Join(names, " or ") + "?)"
}

// absent says in plain words which flags a command needs, in place of cobra's own: required flag(s) "role", "username" not set.
func absent(told string) string {
	parts := strings.Split(told, `"`)
	var flags []string
	for i := 1; i < len(parts); i += 2 {
		flags = append(flags, "--"+parts[i])
	}
	if len(flags) == 1 {
		return flags[0] + " is missing"
	}
	return strings.Join(flags, " and ") + " are missing"
}

// unknown says where a command is that this build does not have.
func unknown(told *wire.Error) *wire.Error {
	if agentOnly {
		return told.Advise("this is the agent's build of scrier, which has `agent` and `version` alone; what operators and relays need is in the whole program")
	}
	return told
}

// badValue says what a flag takes, in place of how Go reads it.
func badValue(e *pflag.InvalidValueError) error {
	takes := map[string]string{
		"duration": "a duration like 15m or 24h", "bool": "true or false", "int": "a whole number", "uint16": "a whole number from 0 to 65535",
	}[e.GetFlag().Value.Type()]
	if takes == "" {
		return e
	}
	return fmt.Errorf("--%s: %q is not %s", e.GetFlag().Name, e.GetValue(), takes)
}

// named refuses a flag that was given without a value.
func named(flag, value string) error {
	if value == "" {
		return wire.Errorf(wire.Usage, "--%s is empty", flag)
	}
	return nil
}

// typed gives errors of this machine's files, which say all, a code.
func typed(err error) error {
	if _, ok := errors.AsType[*wire.Error](err); ok || err == nil {
		return err
	}
	e, ok := errors.AsType[*fs.PathError](err)
	if !ok {
		return err
	}
	if e.Path == os.Stdout.Name() {
		return wire.Errorf(wire.BadRequest, "standard output cannot be written: %w", e.Err)
	}
	told := wire.Errorf(wire.BadConfig, "%w", err)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return told.Advise("run this as the user to whom it belongs")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return told.Advise("make room there")
	case errors.Is(err, syscall.EROFS):
		return told.Advise("its file system is read-only: name another place")
	}
	return told
}

// printableLines is [wire.Printable] for each line.
func printableLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = wire.Printable(l)
	}
	return strings.Join(lines, "\n")
}

// interrupted is what a person did who pressed Ctrl-C, instead of the error that it led to.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return &wire.Error{Code: wire.Cancelled, Detail: "ended by a signal", Err: err}
}

// printJSON prints the API's answer as it is, indented.
func printJSON(w io.Writer, data json.RawMessage) error {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return &wire.Error{Code: wire.Protocol, Detail: "the relay's answer: " + err.Error(), Err: err}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(wire.PrintableJSON(b.Bytes()))
	return err
}

// printValue is [printJSON] of a value of ours.
func printValue(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return printJSON(w, data)
}

// stateDir is the default state directory of a daemon: /var/lib for root (or what systemd gives),
// the user's own state directory (XDG_STATE_HOME) otherwise.
func stateDir(name string) string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if os.Getuid() == 0 {
		return filepath.Join("/var/lib", name)
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "."
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, name)
}

// newLog is a daemon's log, on standard error; systemd adds the time by itself.
func newLog(w io.Writer, verbose bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		o.Level = slog.LevelDebug
	}
	if os.Getenv("JOURNAL_STREAM") != "" {
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// exitHelp is the part of a help text that lists exit statuses: ok, and the codes that are
// likely there. docs/errors.md has them all.
func exitHelp(own string, likely ...wire.Code) string {
	var b strings.Builder
	b.WriteString("\nEXIT STATUS\n")
	for line := range strings.Lines(own) {
		b.WriteString("  " + strings.TrimSpace(line) + "\n")
	}
	for _, c := range append([]wire.Code{wire.Usage}, likely...) {
		fmt.Fprintf(&b, "  %-4d %-22s %s\n", c.ExitStatus(), c, c.Meaning())
	}
	return b.String()
}
