//go:build !agentonly

package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"scrier/wire"
)

// unlikeSSH are the flags of ssh that `scrier ssh` does not have, each with what to do instead. docs/operators.md has them
// too.
func unlikeSSH(flag string) string {
	const way = "the way to the machine is the relay's and the agent's: leave it out"
	return map[string]string{
		"a": "no agent is forwarded without -A: leave it out", "x": "X11 is not forwarded: leave it out", "X": "X11 is not forwarded", "Y": "X11 is not forwarded",
		"b": way, "B": way, "4": way, "6": way, "C": way, "c": way, "m": way, "J": way, "p": way, "P": way,
		"E": "standard error has the messages", "q": "leave it out", "v": "leave it out", "y": "leave it out", "V": "see `scrier version`",
		"e": "the escape is ~, and needs no flag", "F": "of ~/.ssh/config the keys count, and nothing else", "o": "of ssh's options those of keys count, in ~/.ssh/config",
		"f": "put & behind the command", "M": "sessions are shared without it", "O": "see `scrier sessions`", "S": "sessions are shared without it",
		"G": "see `ssh -G`", "Q": "see `ssh -Q`", "g": "write *: in front of the port",
		"I": "name the key with --ssh-key-file", "i": "name the key with --ssh-key-file", "K": "logins are by SSH keys", "k": "logins are by SSH keys",
		"s": "copy files with `scrier cp`", "w": "there are no tunnels of this kind",
	}[flag]
}

// asUsedToSSH explains flags that people know of ssh.
func asUsedToSSH(usual func(*cobra.Command, error) error) func(*cobra.Command, error) error {
	return func(c *cobra.Command, err error) error {
		if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
			if instead := unlikeSSH(e.GetSpecifiedName()); instead != "" {
				return wire.Errorf(wire.Usage, "`%s` has no -%s, unlike ssh", c.CommandPath(), e.GetSpecifiedName()).Advise("%s", instead)
			}
		}
		return usual(c, err)
	}
}
