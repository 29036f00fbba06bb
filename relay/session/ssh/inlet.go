package ssh

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// piece is how much of a channel is carried at once, in bytes: a packet of SSH's (RFC 4253, 6.1). An inlet that waits
// has a small buffer, as there may be a thousand.
const (
	piece      = 32 << 10
	smallPiece = 4 << 10
)

var pieces = sync.Pool{New: func() any { return new([piece]byte) }}

// inlet is what comes on a channel. Package ssh's own reader has no deadline, is freed by nobody but the server, and
// wakes one of those who wait, not all. So there is one goroutine that waits in it, and others may come and go.
type inlet struct {
	client *Client

	mu      sync.Mutex
	changed *sync.Cond
	data    []byte // has come, and is to be read
	drop    bool   // what comes is thrown away
	ended   error  // what is read behind data, when all has come
	stopped error  // what is read now, as nobody wants more
	by      deadline
}

func newInlet(c *Client) *inlet {
	in := &inlet{client: c}
	in.changed = sync.NewCond(&in.mu)
	in.by.changed = in.changed
	return in
}

// pump takes in what comes from r. When that ends it calls over, which has to end the inlet and may take its time.
func (in *inlet) pump(r io.Reader, over func(error)) {
	defer context.AfterFunc(in.client.shuts, func() { in.stop(errClosed) })()
	small := make([]byte, smallPiece)
	buf, big := small, (*[piece]byte)(nil)
	for {
		n, err := r.Read(buf)
		if n < len(buf) { // the last of what there was
			in.client.transport.taken(n + overhead)
		} else {
			in.client.transport.taken(n)
		}
		in.take(buf[:n])
		if err != nil {
			if big != nil {
				pieces.Put(big)
			}
			over(err)
			return
		}
		switch {
		case n == len(buf) && big == nil:
			big = pieces.Get().(*[piece]byte)
			buf = big[:]
		case n < smallPiece && big != nil:
			pieces.Put(big)
			buf, big = small, nil
		}
	}
}

// take waits until p is read.
func (in *inlet) take(p []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.data = p
	in.changed.Broadcast()
	in.client.transport.pause()
	defer in.client.transport.goOn()
	for len(in.data) > 0 && !in.drop {
		in.changed.Wait()
	}
	in.data = nil
}

// end tells the reader that all has come; io.EOF is how it should end.
func (in *inlet) end(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = err
	in.changed.Broadcast()
}

// discard throws away what comes from now on, up to the end.
func (in *inlet) discard() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.drop = true
	in.changed.Broadcast()
}

// stop throws away what comes from now on, and ends every Read with err, unless the end has come already.
func (in *inlet) stop(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.drop = true
	if in.stopped == nil && in.ended == nil {
		in.stopped = err
	}
	in.changed.Broadcast()
}

func (in *inlet) Read(p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		switch {
		case in.stopped != nil:
			return 0, in.stopped
		case len(in.data) > 0 && !in.drop:
			n := copy(p, in.data)
			if in.data = in.data[n:]; len(in.data) == 0 {
				in.changed.Broadcast()
			}
			return n, nil
		case in.ended != nil:
			return 0, in.ended
		case len(p) == 0:
			return 0, nil
		case in.by.passed():
			return 0, os.ErrDeadlineExceeded
		}
		in.changed.Wait()
	}
}

func (in *inlet) setDeadline(t time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.by.set(t)
	return nil
}

// deadline wakes who waits for changed when it is over. What has one guards it.
type deadline struct {
	changed *sync.Cond
	at      time.Time
	timer   *time.Timer
}

// set is called with changed's lock.
func (d *deadline) set(at time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.at = at; !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), func() {
			d.changed.L.Lock()
			defer d.changed.L.Unlock()
			d.changed.Broadcast()
		})
	}
	d.changed.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// orderly says that the other side ended something as it should.
func orderly(err error) bool { return errors.Is(err, io.EOF) }
