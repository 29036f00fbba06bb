//go:build !agentonly

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"scrier/wire"
)

const agentOnly = false

// addCommands gives the program all that it does. commands_agent.go is the same of the agent's build.
func addCommands(root *cobra.Command) {
	root.AddGroup(
		&cobra.Group{ID: "operator", Title: "For operators:"},
		&cobra.Group{ID: "relay", Title: "For the relay's administrator:"},
		&cobra.Group{ID: "machine", Title: "For machines:"},
	)
	root.AddCommand(
		inGroup("operator", loginCommand()), inGroup("operator", logoutCommand()), inGroup("operator", relaysCommand()), inGroup("operator", statusCommand()), inGroup("operator", sshCommand()), inGroup("operator", proxyCommand()), inGroup("operator", sshConfigCommand()), inGroup("operator", cpCommand()),
		inGroup("operator", rdpCommand()), inGroup("operator", vncCommand()), inGroup("operator", envoysCommand()), inGroup("operator", sessionsCommand()),
		inGroup("relay", relayCommand()), inGroup("relay", tokenCommand()), inGroup("relay", operatorsCommand()), inGroup("relay", auditCommand()), inGroup("relay", metricsCommand()), inGroup("relay", doctorCommand()),
		inGroup("machine", agentCommand()),
		versionCommand(),
	)
	for _, c := range root.Commands() {
		if c.Name() == "ssh" {
			c.SetFlagErrorFunc(asUsedToSSH(root.FlagErrorFunc()))
		}
	}
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" { // the library's own takes anything for an answer
			group(c)
			completionScripts(c)
		}
	}
	completions(root)
}

func inGroup(id string, c *cobra.Command) *cobra.Command {
	c.GroupID = id
	return c
}

// passesStatus marks a command as one that ends with the exit status of a remote program.
func passesStatus(c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{passes: "true"}
	return c
}

// remoteExitHelp is exitHelp for commands that pass on a remote program's status: own says what it
// is, and errors differ by their names only.
func remoteExitHelp(own string, likely ...wire.Code) string {
	var b strings.Builder
	b.WriteString("\nEXIT STATUS\n")
	for line := range strings.Lines(own) {
		b.WriteString("  " + strings.TrimSpace(line) + "\n")
	}
	fmt.Fprintf(&b, "  %-4d an error of Scrier's: standard error says which, in a line that begins with \"scrier:\"\n", wire.NoStatus)
	b.WriteString("       and ends with its name:\n")
	for _, c := range append([]wire.Code{wire.Usage}, likely...) {
		fmt.Fprintf(&b, "         %-22s %s\n", c, c.Meaning())
	}
	return b.String()
}
