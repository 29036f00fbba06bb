//go:build agentonly

package main

import "github.com/spf13/cobra"

// agentOnly says that this is the build for machines: go build -tags agentonly.
const agentOnly = true

// addCommands gives the program what a machine needs.
func addCommands(root *cobra.Command) {
	root.AddCommand(agentCommand(), versionCommand())
	root.CompletionOptions.DisableDefaultCmd = true
}
