package keys

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"scrier/wire"
)

// loginable refuses accounts that sshd, login or PAM would not let in, before anything is
// installed. lockedRefused: sshd itself looks at the lock (UsePAM no).
func (k *Keys) loginable(ctx context.Context, a account, lockedRefused bool) error {
	if !realShell(a.shell) {
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %q", a.login, wire.Printable(a.shell))
	}
	if !k.root {
		return nil
	}
	out, err := k.database(ctx, "shadow", a.login)
	if err != nil {
		return fmt.Errorf("read shadow entry: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 8 || f[0] != a.login {
			continue
		}
		if lockedRefused && strings.HasPrefix(f[1], "!") {
			return wire.Errorf(wire.AccountNotLoginable, "%s is locked", a.login)
		}
		today := k.cfg.Now().Unix() / int64(24*time.Hour/time.Second)
		if last, ok := day(f[7]); ok && today > last {
			return wire.Errorf(wire.AccountNotLoginable, "%s has expired", a.login)
		}
		changed, ok1 := day(f[2])
		most, ok2 := day(f[4])
		inactive, ok3 := day(f[6])
		if ok1 && ok2 && ok3 && today > changed+most+inactive {
			return wire.Errorf(wire.AccountNotLoginable, "the password of %s has expired", a.login)
		}
	}
	return nil
}

// day reads a number of days in a shadow entry; empty or negative means no limit.
func day(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return n, err == nil && n >= 0
}

// realShell: listed in /etc/shells and not one that only says no. Without the file, what every
// system has.
func realShell(shell string) bool {
	switch path.Base(shell) {
	case "nologin", "false", "true", "sync", "halt", "shutdown":
		return false
	}
	if shell == "" {
		shell = "/bin/sh" // as sshd does
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
