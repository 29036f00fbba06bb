package agent

import (
	"context"
	"os"
	"slices"
	"time"

	"scrier/agent/account"
	"scrier/wire"
)

// lookupTimeout bounds the questions about one listener; a directory service may be slow.
const lookupTimeout = 3 * time.Second

// serviceAccounts are the accounts as which packages run desktop servers: xrdp's, and GNOME's "Remote
// Login". Other system accounts are not trusted: whoever breaks into a web server, for example, has one,
// and could wait for passwords at the port while the real server is down.
//
// It does not help to ask systemd whether a listener is of a service: the web server is of one too.
var serviceAccounts = [...]string{"xrdp", "gnome-remote-desktop"}

// trusts returns an error if sessions may not reach the desktop servers of uid. They may reach those
// of root, of [serviceAccounts] and of the users in desktop.listeners. If the agent runs as an
// ordinary user, they may reach that user's too.
func (c *Config) trusts(ctx context.Context, uid uint32) error {
	return c.trustsFor(ctx, account.System(), uid, uint32(os.Geteuid()))
}

func (c *Config) trustsFor(ctx context.Context, db account.Database, uid, own uint32) error {
	if uid == account.Nobody {
		return wire.Errorf(wire.ListenerUntrusted, "nobody (uid %d) listens there, or a user whom this machine does not know", uid)
	}
	if uid == 0 || uid == own {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	is := func(name string) bool {
		a, ok, err := db.Login(ctx, name)
		return err == nil && ok && a.UID == uid
	}
	if slices.ContainsFunc(c.Desktop.Listeners, is) {
		return nil
	}
	if uid < db.UIDMin() && slices.ContainsFunc(serviceAccounts[:], is) { // a person may have such a name
		return nil
	}
	a, ok, err := db.UID(ctx, uid)
	if err != nil || !ok {
		return wire.Errorf(wire.ListenerUntrusted, "uid %d listens there, which is no user of this machine", uid)
	}
	return wire.Errorf(wire.ListenerUntrusted, "user %s listens there, who is neither root nor the account of a known desktop server; if that is right, put desktop: {listeners: [%[1]s]} into this machine's agent.yaml", a.Login)
}

// only trusts one user and nobody else.
func only(uid uint32) func(context.Context, uint32) error {
	return func(_ context.Context, who uint32) error {
		if who != uid {
			return wire.Errorf(wire.ListenerUntrusted, "uid %d listens there, not uid %d", who, uid)
		}
		return nil
	}
}
