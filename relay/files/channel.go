package files

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/pkg/sftp"

	"scrier/relay/sftp"
	"scrier/wire"
)

// maxNames is how many names of a folder are read, some KiB each at most.
const maxNames = 20_000

// channel is the SFTP channel of one session.
type channel struct {
	id               wire.SessionID
	end              context.CancelCauseFunc // ends it at once
	slots, transfers chan struct{}           // of maxRunning and maxTransfers

	ready  chan struct{} // closed when client or err is there
	client *client.Client
	err    error
	rights sftp.Rights
	owner  string
	pipe   *end

	over chan struct{} // closed when it has ended; why says why
	why  error
	once sync.Once

	// Under Files.mu:
	users int
	idle  *time.Timer
	parts map[string]bool // being uploaded
}

// serve opens the channel and lets it run, until it has ended.
func (f *Files) serve(ctx context.Context, c *channel) error {
	defer c.end(nil)
	opening, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	ch, err := f.Opener.OpenSFTP(opening, c.id)
	if err != nil {
		return err
	}
	cancel()
	near, far := pipe()
	c.rights, c.owner, c.pipe = ch.Config.Rights, ch.Owner, near
	var wg sync.WaitGroup
	defer wg.Wait()
	defer near.Close()
	defer c.finish(&wire.Error{Code: wire.Internal}) // of a panic
	wg.Go(func() { f.watch(c) })
	wg.Go(func() {
		var cl *client.Client
		if f.Panics.Contain("files", func() (err error) {
			cl, err = client.NewClientPipe(near, near, client.UseConcurrentWrites(true), client.UseFstat(true))
			return err
		}) != nil {
			_ = near.Close() // Pass tells why
			return
		}
		c.once.Do(func() {
			c.client = cl
			close(c.ready)
		})
		<-c.over
		_ = cl.Close() // its stream has ended
	})
	ch.Config.Names = maxNames
	var sum sftp.Summary
	err = &wire.Error{Code: wire.Internal} // of a panic
	if ch.Ended != nil {
		defer func() { ch.Ended(sum, err) }()
	}
	sum, err = sftp.Pass(ctx, far, ch.Server, ch.Config)
	c.finish(err)
	return err
}

// finish says that it has ended, which may be before it was ready.
func (c *channel) finish(why error) {
	if why == nil {
		why = wire.Errorf(wire.TargetRefused, "the channel for files has ended")
	}
	c.once.Do(func() {
		c.err = why
		close(c.ready)
	})
	select {
	case <-c.over:
	default:
		c.why = why
		close(c.over)
	}
}

// ended says whether it has ended.
func (c *channel) ended() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// close ends it in order.
func (c *channel) close() {
	select {
	case <-c.ready:
		if c.pipe != nil {
			_ = c.pipe.CloseWrite() // into memory
		}
	default:
		c.end(&wire.Error{Code: wire.Cancelled})
	}
}

// watch ends a channel whose server does not answer.
func (f *Files) watch(c *channel) {
	look := time.NewTicker(f.Silence / 4)
	defer look.Stop()
	for {
		select {
		case <-c.over:
			return
		case now := <-look.C:
			if asked := c.pipe.asked.Load(); asked != 0 && now.Sub(time.Unix(0, asked)) > f.Silence {
				c.end(wire.Errorf(wire.TargetRefused, "the machine's SFTP server did not answer within %s", f.Silence))
			}
		}
	}
}

// broken is why a request failed whose channel has ended; nil: it has not.
func (c *channel) broken(err error) error {
	if !errors.Is(err, client.ErrSSHFxConnectionLost) && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil
	}
	select {
	case <-c.over:
		return c.why
	case <-time.After(lastWords):
		return wire.Errorf(wire.TargetRefused, "the machine's SFTP server broke off")
	}
}

// lastWords is how long it may take until it is known why a channel has ended.
const lastWords = 5 * time.Second

// end is one end of a pipe in memory, which is a client's connection. It implements [sftp.End].
type end struct {
	r *io.PipeReader
	w *io.PipeWriter
	// asked is since when nothing has come for what was sent, as Unix time in nanoseconds; 0: all has been answered, or
	// something of it.
	asked atomic.Int64
}

func pipe() (a, b *end) {
	ar, bw := io.Pipe()
	br, aw := io.Pipe()
	return &end{r: ar, w: aw}, &end{r: br, w: bw}
}

func (e *end) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	e.asked.Store(0)
	return n, err
}

func (e *end) Write(b []byte) (int, error) {
	e.asked.CompareAndSwap(0, time.Now().UnixNano())
	return e.w.Write(b)
}

func (e *end) CloseWrite() error { return e.w.Close() }

func (e *end) Close() error {
	_, _ = e.r.Close(), e.w.Close() // they give no error
	return nil
}
