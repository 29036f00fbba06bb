package builtin

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"scrier/agent/account"
	"scrier/wire"
)

// lookupTime bounds all questions about the account; a directory service may be slow.
const lookupTime = 10 * time.Second

// findAccount looks name up in db, and refuses what may not be served. An empty name means the
// account that the process runs as.
func findAccount(ctx context.Context, db account.Database, name string) (account.Account, error) {
	own := uint32(os.Geteuid())
	if name == "" {
		return ownAccount(ctx, db, own)
	}
	if n, err := strconv.ParseUint(name, 10, 64); err == nil {
		return account.Account{}, wire.Errorf(wire.AccountNotLoginable, "%d is a number", n).Advise("set ssh.run_as in agent.yaml to the name of an ordinary user")
	}
	a, ok, err := db.Login(ctx, name)
	switch {
	case err != nil:
		return account.Account{}, err
	case !ok:
		return account.Account{}, wire.Errorf(wire.AccountNotLoginable, "there is no login %q", wire.Printable(name)).Advise("set ssh.run_as in agent.yaml to the name of an ordinary user")
	case a.UID == 0: // several names may have it
		return account.Account{}, errRoot(name + " is uid 0")
	case own != 0 && a.UID != own:
		return account.Account{}, wire.Errorf(wire.AccountNotLoginable, "the agent runs as uid %d and can serve no login but its own, so not %s", own, name).
			Advise("leave ssh.run_as out of agent.yaml, or run the agent as %s", name)
	}
	if own != 0 {
		return a, nil
	}
	one := []account.Account{a}
	if err := db.AddGroups(ctx, one); err != nil {
		return account.Account{}, err
	}
	return one[0], nil
}

// ownAccount is the account that the process runs as, which has the uid own.
func ownAccount(ctx context.Context, db account.Database, own uint32) (account.Account, error) {
	if own == 0 {
		return account.Account{}, errRoot("no login is set")
	}
	a, ok, err := db.UID(ctx, own)
	if err == nil && !ok {
		err = wire.Errorf(wire.AccountNotLoginable, "uid %d has no login", own)
	}
	return a, err
}

func errRoot(what string) error {
	return wire.Errorf(wire.AccountNotLoginable, "%s: the built-in SSH server never serves root", what).
		Advise("set ssh.run_as in agent.yaml to an ordinary user")
}

// checkShell says whether somebody can log in to the account.
func checkShell(a account.Account) error {
	switch filepath.Base(a.Shell) {
	case "nologin", "false":
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %s", a.Login, wire.Printable(a.Shell))
	}
	info, err := os.Stat(a.Shell)
	if err != nil || !filepath.IsAbs(a.Shell) || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %s, which is not a program", a.Login, wire.Printable(a.Shell))
	}
	return nil
}

// ttyGroup is the group that terminals belong to; 0 where there is none.
func ttyGroup(ctx context.Context, db account.Database) uint32 {
	gid, ok, err := db.Group(ctx, "tty")
	if err != nil || !ok {
		return 0
	}
	return gid
}
