// Package transfer is a stage: an SFTP connection that one client has for itself, a CLI over its stream or the relay's own
// files API. What passes is looked at by package sftp, and each file and change is written down.
package transfer

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/audience"
	"scrier/relay/sftp"
	"scrier/wire"
)

// Server is the machine's SFTP server. Its methods may be called at the same time; Close ends all of them.
type Server interface {
	io.ReadWriter
	Stderr() io.Reader // must be read, as it has one window with the rest
	CloseWrite() error
	Close()
}

// Transfer gives the connection to the first client that comes. It implements [session.Stage] and [session.Audience].
type Transfer struct {
	session *session.Channel
	server  Server
	rights  sftp.Rights
	taken   atomic.Bool   // somebody has it, or nobody may come any more
	over    chan struct{} // closed when that client has gone
	err     error         // why, before over
}

// New makes a channel's stage of an SFTP server, which it owns from now on.
func New(s *session.Channel, server Server, rights sftp.Rights) *Transfer {
	return &Transfer{session: s, server: server, rights: rights, over: make(chan struct{})}
}

// Audience implements [session.Stage].
func (t *Transfer) Audience() session.Audience { return t }

// Admit implements [session.Stage].
func (t *Transfer) Admit(who session.Viewer) error {
	if who.Watch {
		return wire.Errorf(wire.Conflict, "a copy of files cannot be watched")
	}
	return nil
}

// Run implements [session.Stage].
func (t *Transfer) Run(ctx context.Context) *wire.Exit {
	defer t.server.Close()
	go t.session.Guard(func() { _, _ = io.Copy(io.Discard, t.server.Stderr()) })
	nobody := time.NewTimer(t.session.Grace())
	defer nobody.Stop()
	select {
	case <-ctx.Done():
		if t.taken.CompareAndSwap(false, true) {
			close(t.over)
		}
	case <-nobody.C:
		if t.taken.CompareAndSwap(false, true) {
			t.err = &wire.Error{Code: wire.ViewerLost}
			close(t.over)
		}
	case <-t.over:
	}
	<-t.over
	if ctx.Err() != nil {
		return audience.Ended(ctx)
	}
	return wire.ExitOf(t.err)
}

var errTaken = wire.Errorf(wire.Conflict, "the channel is somebody's already")

// Serve implements [session.Stage]: the client's stream is raw behind Attached.
func (t *Transfer) Serve(ctx context.Context, f *wire.Framed, _ session.Viewer, _ *wire.Attach) error {
	if !t.taken.CompareAndSwap(false, true) {
		return errTaken
	}
	defer close(t.over)
	t.err = &wire.Error{Code: wire.Internal} // of a panic
	err := f.StopAhead()                     // from here on nobody else reads it
	if err == nil {
		attached := t.session.Attached()
		attached.Size = wire.Size{}.Clamp()
		err = f.Send(attached)
	}
	if err != nil {
		t.err = &wire.Error{Code: wire.ViewerLost, Err: err}
		f.Reset(wire.ViewerLost)
		return nil
	}
	t.session.Changed()
	if t.err = t.pass(ctx, stream{f}); t.err != nil {
		f.Reset(wire.CodeOf(t.err))
	}
	return nil
}

// Take gives the server to the relay's own client, which passes on what package sftp lets through, and calls over when it
// has ended. The server ends with the channel.
func (t *Transfer) Take() (_ sftp.End, _ sftp.Config, over func(error), _ error) {
	if !t.taken.CompareAndSwap(false, true) {
		return nil, sftp.Config{}, nil, errTaken
	}
	stop := context.AfterFunc(t.session.Context(), t.server.Close) // the client sees its end
	var once sync.Once
	return server{t.server}, t.config(t.session.Context()), func(err error) {
		once.Do(func() {
			stop()
			t.err = err
			close(t.over)
		})
	}, nil
}

// recordTime is how long a record may take.
const recordTime = 15 * time.Second

// pass joins a client and the server, until either ends.
func (t *Transfer) pass(ctx context.Context, client sftp.End) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(t.session.Context(), func() { end(context.Cause(t.session.Context())) })()
	_, err := sftp.Pass(ctx, client, server{t.server}, t.config(ctx))
	return err
}

// config is what may pass, and where it is written down.
func (t *Transfer) config(ctx context.Context) sftp.Config {
	record := func(what string, fields map[string]string) func() error {
		t.session.Pace()
		// What has happened is written down also if the client has gone.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
		written := t.session.RecordSoon(ctx, what, fields)
		return func() error {
			defer cancel()
			return written()
		}
	}
	return sftp.Config{
		Rights: t.rights, Count: t.session.Count,
		File:   func(f sftp.File) func() error { return record(session.FileType, f.Fields()) },
		Change: func(c sftp.Change) func() error { return record(session.ChangeType, c.Fields()) },
	}
}

// stream is a CLI's stream as an [sftp.End].
type stream struct{ *wire.Framed }

// Close implements [sftp.End].
func (s stream) Close() error {
	s.Reset(wire.Cancelled)
	return nil
}

// server is the server as one.
type server struct{ Server }

// Close implements [sftp.End].
func (s server) Close() error {
	s.Server.Close()
	return nil
}

// End implements [session.Audience]: the channel ends with its only client.
func (t *Transfer) End(match func(session.Viewer) bool, why error) {
	if match(session.Viewer{OperatorID: t.session.OperatorID(), Operator: t.session.Operator()}) {
		t.session.End(why)
	}
}

// Present implements [session.Audience].
func (t *Transfer) Present() (attached bool, watchers []string) { return true, []string{} }

// Ends implements [session.Audience]: its client is its life.
func (t *Transfer) Ends() time.Time { return time.Time{} }

// Dismiss implements [session.Audience]. The client has gone when Run returns.
func (t *Transfer) Dismiss(*wire.Exit) {}
