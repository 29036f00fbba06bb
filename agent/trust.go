package agent

import (
	"context"
	"os"
	"time"

	"scrier/agent/account"
	"scrier/wire"
)

// lookupTimeout bounds the questions about one listener; a directory service may be slow.
const lookupTimeout = 3 * time.Second

// trusts returns an error if sessions may not reach the desktop servers of uid. They may reach those
// of root, of system accounts and of the users in desktop.listeners. If the agent runs as an
// ordinary user, they may reach that user's too.
func (c *Config) trusts(ctx context.Context, uid uint32) error {
	return c.trustsFor(ctx, account.System(), uid, uint32(os.Geteuid()))
}

func (c *Config) trustsFor(ctx context.Context, db account.Database, uid, own uint32) error {
	if uid == account.Nobody {
		return wire.Errorf(wire.ListenerUntrusted, "nobody (uid %d) listens there, or a user whom this machine does not know", uid)
	}
	if uid == own || uid < db.UIDMin() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	for _, name := range c.Desktop.Listeners {
		if a, ok, err := db.Login(ctx, name); err == nil && ok && a.UID == uid {
			return nil
		}
	}
	a, ok, err := db.UID(ctx, uid)
	if err != nil || !ok {
		return wire.Errorf(wire.ListenerUntrusted, "uid %d listens there, which is no user of this machine", uid)
	}
	return wire.Errorf(wire.ListenerUntrusted, "user %s listens there, who is neither root nor a system account; if that is right, add %[1]s to desktop.listeners in this machine's agent.yaml", a.Login)
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
