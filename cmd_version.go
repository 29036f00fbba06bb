package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"scrier/wire"
)

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version [--json]",
		Long: `Print the version, the commit that the program was built from with its date, and the versions of the
protocol that it speaks. "the agent alone" is the build for machines. "modified" means that the source was changed since that commit.
` + exitHelp("0    printed"),
		Short: "Print the version",
		Args:  exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			v := version{wire.ThisBuild(), runtime.Version(), runtime.GOOS, runtime.GOARCH, []string{wire.ALPNAgent, wire.ALPNClient}, agentOnly}
			if asJSON {
				data, err := json.Marshal(v)
				if err != nil {
					return err
				}
				return printJSON(c.OutOrStdout(), data)
			}
			_, err := fmt.Fprint(c.OutOrStdout(), v)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// version is what the command prints.
type version struct {
	wire.Build
	Go     string   `json:"go"`
	OS     string   `json:"os"`
	Arch   string   `json:"arch"`
	Speaks []string `json:"speaks"` // versions of the protocol

	AgentOnly bool `json:"agent_only,omitempty"`
}

func (v version) String() string {
	commit := "unknown"
	if v.Commit != "" {
		commit = v.Commit
		if v.Date != nil {
			commit += " of " + v.Date.Format(time.RFC3339)
		}
		if v.Modified {
			commit += ", modified"
		}
	}
	alone := ""
	if v.AgentOnly {
		alone = ", the agent alone"
	}
	s := fmt.Sprintf("scrier %s %s %s/%s%s\ncommit %s\nspeaks", v.Version, v.Go, v.OS, v.Arch, alone, commit)
	for _, p := range v.Speaks {
		s += " " + p
	}
	return s + "\n"
}
