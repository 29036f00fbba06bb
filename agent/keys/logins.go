package keys

import (
	"context"
	"slices"

	"scrier/agent/account"
	"scrier/wire"
)

// accounts returns the accounts that may be looked at: the named login, or all that are served.
// others are all other accounts; they count only because none of them may share a file with one
// that is looked at.
func (k *Keys) accounts(ctx context.Context, login string) (found, others []account.Account, err error) {
	switch {
	case !k.root:
		a, ok, err := k.database.UID(ctx, k.uid)
		if err != nil {
			return nil, nil, err
		}
		if ok && a.UID != 0 && (login == "" || a.Login == login) && k.allowed(a.Login) {
			return []account.Account{a}, nil, nil
		}
		return nil, nil, wire.Errorf(wire.LoginNotAllowed, "this agent runs as uid %d and serves only its own login", k.uid)
	case login != "":
		if !account.ValidLogin(login) {
			return nil, nil, wire.Errorf(wire.BadRequest, "%q is no login name", wire.Printable(login))
		}
		a, ok, err := k.database.Login(ctx, login)
		switch {
		case err != nil:
			return nil, nil, err
		case !ok:
			return nil, nil, wire.Errorf(wire.PubkeyNotAuthorized, "there is no login %s", login)
		case a.UID == 0:
			return nil, nil, wire.Errorf(wire.LoginNotAllowed, "%s is root, which is never served, whatever allowed_logins says", login)
		case !k.served(a, k.database.UIDMin()):
			return nil, nil, wire.Errorf(wire.LoginNotAllowed, "%s is not a login that this agent serves", login)
		}
		return []account.Account{a}, nil, nil
	}
	var all []account.Account
	for _, name := range k.cfg.AllowedLogins { // a directory may have more users than it lists
		a, ok, err := k.database.Login(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			all = append(all, a)
		}
	}
	listed, err := k.database.All(ctx)
	if err != nil {
		return nil, nil, err
	}
	all = append(all, listed...)
	least := k.database.UIDMin()
	seen := map[string]bool{}
	for _, a := range all {
		if seen[a.Login] {
			continue
		}
		seen[a.Login] = true
		if k.served(a, least) {
			found = append(found, a)
		} else {
			others = append(others, a)
		}
	}
	return found, others, nil
}

func (k *Keys) allowed(login string) bool {
	return len(k.cfg.AllowedLogins) == 0 || slices.Contains(k.cfg.AllowedLogins, login)
}

// served says whether this agent serves the account: never one with uid 0, whatever its name; others
// if they are in AllowedLogins, or, where there is no such list, if they are regular users.
func (k *Keys) served(a account.Account, least uint32) bool {
	if a.UID == 0 {
		return false
	}
	if len(k.cfg.AllowedLogins) > 0 {
		return slices.Contains(k.cfg.AllowedLogins, a.Login)
	}
	return account.Regular(a.UID, least) && a.Login != "nobody"
}

// supplementary fills in the groups of accounts, which a worker gets as a login of theirs would.
// Where they cannot be looked up, the primary group has to do.
func (k *Keys) supplementary(ctx context.Context, accounts []account.Account) {
	if !k.root {
		return
	}
	if err := k.database.AddGroups(ctx, accounts); err != nil {
		k.cfg.Log.Debug("supplementary groups are not known", "err", err)
	}
}
