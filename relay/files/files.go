// Package files works on a machine's files for pages: it lists folders, reads, archives, writes, renames and removes, over
// one SFTP channel a session. Everything passes through package sftp, with the session's rights and records.
//
// Contents are streamed, and never held as a whole; a folder's list is, up to [maxNames]. It opens no channel by itself:
// an [Opener] does.
package files

import (
	"context"
	"log/slog"
	"sync"
	"time"

	client "github.com/pkg/sftp"

	"scrier/relay/panics"
	"scrier/relay/sftp"
	"scrier/wire"
)

// Opener opens SFTP channels of sessions.
type Opener interface {
	// OpenSFTP asks the machine of an open session for its SFTP server. ctx is for opening alone.
	OpenSFTP(ctx context.Context, id wire.SessionID) (*Channel, error)
}

// Channel is an SFTP server of a machine, as nothing has been said yet.
type Channel struct {
	Server sftp.End                  // it ends with its session
	Config sftp.Config               // the session's rights, and who records; Names is ours
	Ended  func(sftp.Summary, error) // is told what the channel was; may be nil
	Owner  string                    // whose session it is: none has all that run
}

// Config is what [Files] works with.
type Config struct {
	Opener Opener
	Log    *slog.Logger
	Panics *panics.Boundary
	// Idle, if not 0, is in place of a minute.
	Idle time.Duration
	// Silence, if not 0, is in place of a minute.
	Silence time.Duration
}

// The bounds of what runs.
const (
	// maxRunning is how many requests of a session run at a time, as many as a browser has connections, and some; others
	// wait.
	maxRunning = 8
	// maxWaiting is how many of a session's requests are there, those that run among them.
	maxWaiting = 64
	// maxTransfers is how many of those that run may transfer contents, so that folders can be listed meanwhile.
	maxTransfers = 6
	// maxAll is how many transfers run at a time of all sessions: each takes up to 2 MiB.
	maxAll = 64
	// maxOfOne is how many of them one owner's sessions have: who reads slowly keeps others from nothing.
	maxOfOne = maxAll / 4
	// openWait is how long the machine may take to open the channel, as long as for a session.
	openWait = time.Minute
	// idleWait is how long a channel stays open that nobody uses.
	idleWait = time.Minute
	// silenceWait is how long the machine may take for an answer.
	silenceWait = time.Minute
)

// Files is the work on all machines. Its methods may be called at the same time.
type Files struct {
	Config
	slots chan struct{} // of maxAll transfers
	wait  sync.WaitGroup

	mu       sync.Mutex
	channels map[wire.SessionID]*channel
	shares   map[string]chan struct{} // of maxOfOne transfers, by owner
	closed   bool
}

// New makes Files, to be closed with [Files.Close].
func New(c Config) *Files {
	if c.Idle == 0 {
		c.Idle = idleWait
	}
	if c.Silence == 0 {
		c.Silence = silenceWait
	}
	if c.Panics == nil {
		c.Panics = &panics.Boundary{Log: c.Log}
	}
	return &Files{Config: c, slots: make(chan struct{}, maxAll), channels: map[wire.SessionID]*channel{}, shares: map[string]chan struct{}{}}
}

// Close ends all channels, and waits for them.
func (f *Files) Close() {
	f.mu.Lock()
	f.closed = true
	for _, c := range f.channels {
		c.end(&wire.Error{Code: wire.RelayShutdown})
	}
	f.mu.Unlock()
	f.wait.Wait()
}

// Do runs work on the files of a session's machine that is soon done. With too much under way it waits, and gives
// [wire.Busy] if too many wait.
func (f *Files) Do(ctx context.Context, id wire.SessionID, work func(*Machine) error) error {
	return f.do(ctx, id, false, work)
}

// Transfer is Do for work that transfers contents.
func (f *Files) Transfer(ctx context.Context, id wire.SessionID, work func(*Machine) error) error {
	return f.do(ctx, id, true, work)
}

func (f *Files) do(ctx context.Context, id wire.SessionID, transfer bool, work func(*Machine) error) error {
	c, err := f.use(id)
	if err != nil {
		return err
	}
	defer f.leave(c)
	select {
	case <-c.ready: // first: who waits for a machine takes nobody's place
	case <-ctx.Done():
		return wire.Cause(ctx, wire.Cancelled)
	}
	if c.err != nil {
		return c.err
	}
	turns := []chan struct{}{c.slots}
	if transfer {
		turns = []chan struct{}{c.transfers, c.slots, f.share(c.owner), f.slots}
	}
	for _, slots := range turns {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return wire.Cause(ctx, wire.Cancelled)
		}
	}
	return work(&Machine{Client: c.client, channel: c, files: f})
}

// share is an owner's, which stays: there are as many as operators.
func (f *Files) share(owner string) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shares[owner] == nil {
		f.shares[owner] = make(chan struct{}, maxOfOne)
	}
	return f.shares[owner]
}

// use finds the session's channel, or begins to open one.
func (f *Files) use(id wire.SessionID) (*channel, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, &wire.Error{Code: wire.RelayShutdown}
	}
	c := f.channels[id]
	if c == nil || c.ended() {
		ctx, end := context.WithCancelCause(context.Background())
		c = &channel{id: id, end: end, slots: make(chan struct{}, maxRunning), transfers: make(chan struct{}, maxTransfers), ready: make(chan struct{}), over: make(chan struct{}), parts: map[string]bool{}}
		f.channels[id] = c
		f.wait.Go(func() {
			defer f.forget(c)
			err := f.Panics.Contain("files", func() error { return f.serve(ctx, c) }, "session", id)
			c.finish(err)
			f.Log.Debug("a channel for files has ended", "session", id, "err", err)
		})
	}
	if c.users >= maxWaiting {
		return nil, wire.Errorf(wire.Busy, "%d requests for files of this session are under way", c.users)
	}
	if c.users++; c.idle != nil {
		c.idle.Stop()
		c.idle = nil
	}
	return c, nil
}

// leave ends a use. The last one's channel stays for a while.
func (f *Files) leave(c *channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.users--; c.users > 0 || f.channels[c.id] != c {
		return
	}
	var idle *time.Timer
	idle = time.AfterFunc(f.Idle, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if c.idle != idle {
			return // somebody came
		}
		delete(f.channels, c.id)
		c.close()
	})
	c.idle = idle
}

// forget is for a channel that has ended.
func (f *Files) forget(c *channel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.channels[c.id] == c {
		delete(f.channels, c.id)
	}
	if c.idle != nil {
		c.idle.Stop()
	}
}

// Machine is the files of a machine as one session's login sees them. Paths are the machine's bytes; those that are not
// absolute begin at the login's home.
type Machine struct {
	*client.Client
	channel *channel
	files   *Files
}
