package keys

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"scrier/agent/account"
	"scrier/agent/keys/worker"
	"scrier/agent/program"
)

// askLook has a worker look at a login's files. Where a group may write one of them, and sshd accepts that of
// this group, the worker is asked again, and knows it then.
func (k *Keys) askLook(ctx context.Context, c *candidate, q worker.Request) (worker.Reply, error) {
	for {
		r, _, err := k.ask(ctx, c.Account, q, nil)
		if err != nil || len(q.Private) == worker.MaxPrivate {
			return r, err
		}
		at := slices.IndexFunc(r.Files, func(f worker.Result) bool { return f.Group != 0 && !slices.Contains(q.Private, f.Group) })
		if at < 0 || !k.groupMayWrite(ctx, c.Account, r.Files[at].Group) {
			return r, nil
		}
		q.Private = append(q.Private, r.Files[at].Group)
		c.private = q.Private
	}
}

// groupMayWrite says whether sshd accepts with StrictModes that a group may write what is a user's. OpenSSH's own never
// does. Debian's, and what is made of it, does so for a group that nobody but the user is in.
func (k *Keys) groupMayWrite(ctx context.Context, a account.Account, gid uint32) bool {
	if !k.debianSSHD(ctx) {
		return false
	}
	all, err := k.listed(ctx)
	private := false
	if err == nil {
		private, err = k.database.Private(ctx, gid, a, all)
	}
	if err != nil {
		k.cfg.Log.Debug("members of a group are not known", "gid", gid, "err", err)
	}
	return private && err == nil
}

// listCache keeps the list of all accounts for a moment: a scan may need it for each of them.
type listCache struct {
	mu    sync.Mutex
	all   []account.Account
	err   error
	until time.Time
}

const listKeepTime = 10 * time.Second

func (k *Keys) listed(ctx context.Context) ([]account.Account, error) {
	k.list.mu.Lock()
	defer k.list.mu.Unlock()
	if now := time.Now(); now.After(k.list.until) {
		all, err := k.database.All(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx) // that says nothing of the list
		}
		k.list.all, k.list.err, k.list.until = all, err, now.Add(listKeepTime)
	}
	return k.list.all, k.list.err
}

// debianSSHD says whether sshd has Debian's changes. Its keyword DebianBanner is one of them.
func (k *Keys) debianSSHD(ctx context.Context) bool {
	sshd := k.sshd()
	if sshd == "" {
		return false
	}
	state := fileState(sshd)
	k.daemon.mu.Lock()
	debian, known := k.daemon.debian, k.daemon.debianOf == state
	k.daemon.mu.Unlock()
	if known {
		return debian
	}
	answer, err := program.Ask(ctx, maxDaemonOutput, sshd, "-T", "-o", "DebianBanner=yes")
	if err != nil {
		return false
	}
	debian = !bytes.Contains(answer.Stderr, []byte("DebianBanner")) // else the message is about it
	k.daemon.mu.Lock()
	defer k.daemon.mu.Unlock()
	k.daemon.debian, k.daemon.debianOf = debian, state
	return debian
}
