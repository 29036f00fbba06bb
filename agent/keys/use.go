package keys

import (
	"path"
	"slices"

	"scrier/agent/keys/line"
	"scrier/wire"
)

// Use is what a session is for. Without needs and likes that is a shell in a terminal, or any command.
type Use struct {
	Needs []wire.Right  // all of them, or there is no session
	Likes []wire.Right  // those that the operator's key does not give are left out
	Open  []line.Permit // where forwards may go on this machine; empty: anywhere
}

// rights are all that the session may get.
func (u Use) rights() (needs, all []wire.Right) {
	if len(u.Needs) == 0 && len(u.Likes) == 0 {
		needs = []wire.Right{wire.MayShell, wire.MayExec}
		return needs, needs
	}
	return u.Needs, slices.Concat(u.Needs, u.Likes)
}

// grant is what of the use a line of authorized_keys gives, at an sshd that is set up so, to a login with that shell. why is
// what is in the way of the session, which needs more than that.
func (u Use) grant(given line.Grant, d daemon, shell string) (g line.Grant, why string) {
	needs, all := u.rights()
	sshd := given.Only(slices.DeleteFunc(wire.Rights(), func(r wire.Right) bool { return d.lacks(r) != "" }))
	g = sshd.Within(u.Open).Only(all)
	// Files alone are served by internal-sftp, which sshd runs without the login's shell. A line without a command leaves it to
	// that shell what may be run: git-shell serves no files, and in a ChrootDirectory there may be no shell. Then the Subsystem
	// counts, which may be for reading alone.
	past := given.Has(wire.MayExec) && !g.Has(wire.MayShell) && !g.Has(wire.MayExec) && !d.plainSFTP && (d.chroot || !runsAll(shell))
	if past {
		g = g.Only(slices.DeleteFunc(wire.Rights(), isFiles))
	}
	if len(needs) == 0 && len(g.Rights) == 0 {
		needs = all[:1]
	}
	for _, r := range needs {
		switch {
		case g.Has(r):
		case past && isFiles(r) && sshd.Has(r):
			return g, "the login's shell " + wire.Printable(shell) + " may serve fewer files than sshd would without it, and in a ChrootDirectory there may be none; with Subsystem sftp internal-sftp that does not matter"
		case sshd.Has(r):
			return g, "its permitopen= and scrier.forward of the machine's agent.yaml have no target in common, or too many"
		case given.Has(r):
			return g, d.lacks(r)
		default:
			return g, given.Lacks(r).String()
		}
	}
	return g, ""
}

func isFiles(r wire.Right) bool { return r == wire.MayUpload || r == wire.MayDownload }

// runsAll says whether a shell is known to run whatever it is told.
func runsAll(shell string) bool {
	switch path.Base(shell) {
	case "sh", "bash", "dash", "ash", "busybox", "ksh", "ksh93", "mksh", "zsh", "fish", "csh", "tcsh":
		return true
	}
	return false
}

// lacks says why sshd gives a right to nobody; empty: it does.
func (d daemon) lacks(r wire.Right) string {
	switch r {
	case wire.MayForward, wire.MayReverse:
		if r == wire.MayForward && !d.local || r == wire.MayReverse && !d.remote {
			return "sshd's configuration allows no such forwards (AllowTcpForwarding, AllowStreamLocalForwarding, DisableForwarding)"
		}
		if d.together {
			return "this machine's OpenSSH cannot tell forwards in one direction from the other; 7.8 can"
		}
	case wire.MayAgent:
		if !d.agent {
			return "sshd's configuration forwards no agent (AllowAgentForwarding, DisableForwarding)"
		}
	default:
		switch {
		case d.forced:
			return "sshd's configuration has a command of its own (ForceCommand)"
		case r == wire.MayShell && !d.terminal:
			return "sshd's configuration gives it no shell with a terminal (PermitTTY)"
		case (r == wire.MayUpload || r == wire.MayDownload) && !d.sftp:
			return "sshd's configuration has no Subsystem sftp"
		}
	}
	return ""
}
