package keys

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"strings"

	"scrier/agent/account"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// loginable refuses accounts that sshd, login or PAM would not let in, before anything is
// installed. shell is what the worker says of the account's shell.
func (k *Keys) loginable(ctx context.Context, d daemon, a account.Account, shell worker.Shell) error {
	name := wire.Printable(a.Shell)
	switch {
	case noShell(a.Shell):
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %q", a.Login, name)
	case d.chroot: // it is looked for below another root
	case shell == worker.NoSuchShell:
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %q, which is not there", a.Login, name)
	case shell == worker.NotExecutable:
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %q, which is no program", a.Login, name)
	}
	if d.pam && !k.listedShell(a.Shell) && k.pamHas(d.pamService, "pam_shells") {
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %q, which is not in /etc/shells, and sshd's PAM configuration has pam_shells", a.Login, name)
	}
	if err := k.admit(ctx, d, a, k.usual); err != nil {
		return err
	}
	if !k.root {
		return nil
	}
	shadow, ok, err := k.database.Shadow(ctx, a.Login)
	if err != nil {
		return err
	}
	switch now := k.cfg.Now(); {
	case !ok:
		return nil
	case !d.pam && shadow.Locked: // without PAM sshd looks at that itself
		return wire.Errorf(wire.AccountNotLoginable, "%s is locked", a.Login)
	case shadow.Expired(now):
		return wire.Errorf(wire.AccountNotLoginable, "%s has expired", a.Login)
	case shadow.PasswordExpired(now):
		return wire.Errorf(wire.AccountNotLoginable, "the password of %s has expired", a.Login)
	}
	return nil
}

// noShell says whether a shell is one of those that let nobody in.
func noShell(shell string) bool {
	switch path.Base(shell) {
	case "nologin", "false", "true", "sync", "halt", "shutdown":
		return true
	}
	return false
}

// listedShell says whether a shell is in /etc/shells. Without that file only the two count that every
// system has.
func (k *Keys) listedShell(shell string) bool {
	b, err := os.ReadFile(filepath.Join(k.etc, "shells"))
	if err != nil {
		return shell == "/bin/sh" || shell == "/bin/bash"
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == shell {
			return true
		}
	}
	return false
}
