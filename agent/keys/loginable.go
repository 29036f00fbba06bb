package keys

import (
	"context"
	"os"
	"path"
	"strings"

	"scrier/agent/account"
	"scrier/wire"
)

// loginable refuses accounts that sshd, login or PAM would not let in, before anything is
// installed. lockedRefused says that sshd refuses locked accounts, which it does with UsePAM no.
func (k *Keys) loginable(ctx context.Context, a account.Account, lockedRefused bool) error {
	if !realShell(a.Shell) {
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %q", a.Login, wire.Printable(a.Shell))
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
	case lockedRefused && shadow.Locked:
		return wire.Errorf(wire.AccountNotLoginable, "%s is locked", a.Login)
	case shadow.Expired(now):
		return wire.Errorf(wire.AccountNotLoginable, "%s has expired", a.Login)
	case shadow.PasswordExpired(now):
		return wire.Errorf(wire.AccountNotLoginable, "the password of %s has expired", a.Login)
	}
	return nil
}

// realShell says whether a shell is in /etc/shells, and is not one of those that let nobody in.
// Without that file only the two count that every system has.
func realShell(shell string) bool {
	switch path.Base(shell) {
	case "nologin", "false", "true", "sync", "halt", "shutdown":
		return false
	}
	b, err := os.ReadFile("/etc/shells")
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
