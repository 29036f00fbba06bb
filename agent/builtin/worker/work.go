// Package worker is the user's half of the built-in SSH server: processes that are this program again, started as the
// account that is served. What a guest names (files, sockets, addresses) is touched by them alone, so that the
// kernel holds it against the account's rights and never against those of an agent that is root. They end when the agent
// does, however it ends.
package worker

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"scrier/agent/builtin/sftp"
	"scrier/wire"
)

// Command is the hidden command of `scrier agent` that is a worker. Its first argument says what it does.
const Command = "builtin-worker"

// Files serves SFTP on standard input and output; the rights that follow it say what it may do.
const Files = "files"

// Work does what args say, and returns the process's exit status.
func Work(args []string) int {
	// Other processes of the account shall not change what this one does, nor take its files.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "make undumpable:", err)
		return 1
	}
	var err error
	switch {
	case len(args) > 0 && args[0] == Files:
		err = files(args[1:])
	case len(args) == 1 && args[0] == Sockets:
		err = serveSockets()
	case len(args) == 1 && args[0] == Guard:
		err = serveGuard()
	default:
		err = fmt.Errorf("no work is called %q", args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// files serves the account's files, from its home. Where that cannot be entered, names are relative to the root folder, as
// with sshd.
func files(rights []string) error {
	c := sftp.Config{
		Upload: slices.Contains(rights, string(wire.MayUpload)), Download: slices.Contains(rights, string(wire.MayDownload)),
		Login: os.Getenv("USER"), Home: os.Getenv("HOME"),
	}
	if err := os.Chdir(c.Home); err != nil {
		fmt.Fprintf(os.Stderr, "could not enter the home %s; starting in /\n", c.Home)
	}
	return sftp.Serve(os.Stdin, os.Stdout, c)
}
