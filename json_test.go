//go:build !agentonly

package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A command that prints a result prints it as JSON with --json.
func TestJSON(t *testing.T) {
	none := map[string]string{
		"scrier ssh": "shows a terminal", "scrier proxy": "is an SSH server for ssh", "scrier ssh-config": "prints a configuration of ssh's", "scrier rdp": "shows a desktop", "scrier vnc": "shows a desktop",
		"scrier relay": "is a daemon", "scrier agent run": "is a daemon", "scrier audit export": "prints an export", "scrier metrics": "prints what Prometheus reads",
		"scrier help": "prints help", "scrier version": "has a test of its own",
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		path := c.CommandPath()
		if c.HasSubCommands() || none[path] != "" || strings.HasPrefix(path, "scrier completion ") {
			return
		}
		if f := c.Flags().Lookup("json"); f == nil || f.Value.Type() != "bool" {
			t.Errorf("`%s` has no --json", path)
		}
	}
	walk(newRoot())
}
