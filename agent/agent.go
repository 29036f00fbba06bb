// Package agent is the far end: the program on a managed machine. It dials out to one relay,
// keeps one mutually authenticated link, and serves the sessions that the relay opens on it, as
// far as this machine's own policy allows. It listens nowhere.
//
// It never trusts a relay with more than a session: the target is always this machine's loopback,
// the login is one whose authorized_keys holds the operator's key, and nobody becomes root. A
// desktop server asks for a password by itself; before the agent connects there, it looks whose
// server that is (listener.go). Before a screen is shared, the person who sits at it is asked
// (agent/console).
package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"scrier/agent/builtin"
	"scrier/agent/console"
	"scrier/agent/keys"
	"scrier/roads"
	"scrier/wire"
)

// Settings is what an agent is started with.
type Settings struct {
	State  State
	Config Config
	// ConfigPath is the file that Config is of; it need not be there.
	ConfigPath string
	Now        func() time.Time
	Log        *slog.Logger
	// Worker is the argv of the process that edits authorized_keys as a user; empty: this program.
	Worker []string
}

// Agent is a running agent.
type Agent struct {
	Settings
	enrolment enrolment
	proxy     wire.Proxy
	keys      *keys.Keys
	builtin   *builtin.Server // nil in mode sshd
	console   *console.Console
	lock      *os.File
	boot      string
	sessions  sessions
	lanes     wire.LaneMemory
	startups  startups
	renewNext bool                                                  // the relay says that the certificate is over; used by meet only
	probe     time.Duration                                         // before a better road is tried for the first time
	look      time.Duration                                         // between two looks whether anything comes
	spread    atomic.Int64                                          // nanoseconds: what the relay has said last ([wire.Spread])
	dials     func(context.Context, wire.Dialer) (wire.Link, error) // of tests
	networks  chan struct{}                                         // the same: when there is another one

	renewals
}

// Open loads the state and prepares the SSH side. Close it.
func Open(s Settings) (*Agent, error) {
	if err := s.State.check(); err != nil {
		return nil, err
	}
	e, err := s.State.load()
	if err != nil {
		return nil, err
	}
	lock, err := s.State.lock()
	if err != nil {
		return nil, err
	}
	proxy, err := s.Config.proxy()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	a := &Agent{Settings: s, enrolment: e, proxy: proxy, lock: lock, boot: bootID(), console: console.New(s.Config.Console, s.Log), probe: roads.FirstProbe(), look: listenEvery}
	if err := a.openSSH(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return a, nil
}

func (a *Agent) openSSH() error {
	kc := keys.Config{
		Agent: a.enrolment.Envoy, StateDir: a.State.Dir, Mode: a.Config.Keys,
		Addr: a.Config.SSH.Addr, SSHDConfig: a.Config.SSH.SSHDConfig, AllowedLogins: a.Config.AllowedLogins,
		Worker: a.Worker, Now: a.Now, Log: a.Log,
	}
	if a.Config.SSH.Mode == Builtin {
		hostKey, err := builtin.LoadOrMakeHostKey(a.State.hostKeyPath())
		if err != nil {
			return err
		}
		a.builtin, err = builtin.New(builtin.Config{User: a.Config.SSH.RunAs, HostKey: hostKey, Log: a.Log})
		if err != nil {
			return err
		}
		if err := a.Config.allowLogin(a.builtin.Login()); err != nil {
			return err
		}
		kc.AuthorizedKeysFile = []string{a.Config.SSH.AuthorizedKeys}
		kc.Mode = keys.Home
	}
	var err error
	a.keys, err = keys.New(kc)
	return err
}

// Close releases the state directory. Run must have returned.
func (a *Agent) Close() error {
	var err error
	if a.builtin != nil {
		err = a.builtin.Close()
	}
	return errors.Join(err, a.keys.Close(), a.lock.Close())
}

// Sweep removes what sessions of this agent left in authorized_keys files, looking through those
// of all logins.
func (a *Agent) Sweep(ctx context.Context) (keys.Swept, error) { return a.keys.SweepAll(ctx) }

// tellSwept logs what a crash had left. Nearly always that is nothing, and then it is no news.
func (a *Agent) tellSwept(ctx context.Context, s keys.Swept) {
	level := slog.LevelInfo
	if s.Removed+s.Neutralised+len(s.Failed)+len(s.Unread) == 0 {
		level = slog.LevelDebug
	}
	a.Log.Log(ctx, level, "old session keys were swept", "removed", s.Removed, "made_harmless", s.Neutralised, "failed", s.Failed, "unread", s.Unread)
}

// Run keeps the agent connected until ctx ends, which is no error. It returns an error when the
// identity was revoked, as waiting does not help then.
func (a *Agent) Run(ctx context.Context) error {
	for _, d := range a.Config.Doubts(ctx, a.ConfigPath) {
		a.Log.Warn("agent.yaml makes little sense", "what", d)
	}
	if name := a.proxy.Name(a.enrolment.Relay); name != "" {
		a.Log.Info("the relay is reached through a proxy", "proxy", name)
	}
	if swept, err := a.keys.Sweep(ctx); err != nil {
		a.Log.Warn("sweep of old keys is incomplete", "err", err)
	} else {
		a.tellSwept(ctx, swept)
	}
	if _, err := a.State.certificate(); wire.CodeOf(err) == wire.BadConfig { // it will not come right by itself
		return a.State.damaged(a.State.pairPath(), errors.New(wire.DetailOf(err)))
	}
	var b backoff
	for {
		start := time.Now()
		up, err := a.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errRenewed) {
			continue
		}
		if wire.CodeOf(err) == wire.Revoked {
			return err
		}
		e := ending{busy: wire.CodeOf(err) == wire.Busy, spread: time.Duration(a.spread.Load())}
		if up {
			e.alive = time.Since(start)
			e.gone = wire.Forgotten(err) || wire.CodeOf(err) == wire.RelayShutdown || errors.Is(err, errNobody)
		}
		wait := b.next(e)
		a.Log.Warn("no link to the relay", "relay", a.enrolment.Relay, "err", err, "retry_in", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}
