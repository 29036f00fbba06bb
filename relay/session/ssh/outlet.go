package ssh

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// lostWait is how long a [Conn] takes what the other end does not want any more. Who has closed a connection may have
// sent the answer that tells why just before, and a Write that fails at once would have it thrown away on the way.
const lostWait = 10 * time.Second

// outlet is what goes to a channel, one piece ahead of what the server takes. Package ssh's own writer has no deadline
// and is freed by nobody but the server. So a goroutine waits in it, while there is something to send.
type outlet struct {
	client *Client
	dst    ssh.Channel
	over   func() error // called behind the end of what is sent, see [Conn]; nil: nothing is to be done

	mu      sync.Mutex
	changed *sync.Cond
	data    []byte    // to be sent
	sending bool      // somebody does
	eof     bool      // nothing comes behind data
	told    bool      // the server knows that, or is not there any more
	closed  time.Time // when the server had closed the channel before that
	err     error     // data cannot be sent
	end     error     // of the end, when told
	stopped error     // nobody wants to send any more
	by      deadline
}

func newOutlet(c *Client, dst ssh.Channel) *outlet {
	out := &outlet{client: c, dst: dst}
	out.changed = sync.NewCond(&out.mu)
	out.by.changed = out.changed
	return out
}

func (out *outlet) Write(p []byte) (n int, err error) {
	out.mu.Lock()
	defer out.mu.Unlock()
	for {
		switch {
		case out.stopped != nil:
			return n, out.stopped
		case out.eof:
			return n, io.ErrClosedPipe
		case out.err != nil:
			if out.lostLocked() {
				return n + len(p), nil
			}
			return n, out.err
		case len(p) == 0:
			return n, nil
		case out.data == nil:
			k := min(len(p), piece)
			out.data = append(pieces.Get().(*[piece]byte)[:0], p[:k]...)
			p, n = p[k:], n+k
			out.startLocked()
			continue
		case out.by.passed():
			return n, os.ErrDeadlineExceeded
		}
		out.changed.Wait()
	}
}

// lostLocked says that what is sent is lost, and nobody is told.
func (out *outlet) lostLocked() bool {
	return out.over != nil && !out.closed.IsZero() && time.Since(out.closed) < lostWait
}

// CloseWrite tells the server that nothing comes behind what was written, which it waits for.
func (out *outlet) CloseWrite() error {
	out.mu.Lock()
	defer out.mu.Unlock()
	if !out.eof {
		out.eof = true
		out.startLocked()
	}
	for {
		switch {
		case out.stopped != nil:
			return out.stopped
		case out.told:
			return out.end
		case out.by.passed():
			return os.ErrDeadlineExceeded
		}
		out.changed.Wait()
	}
}

func (out *outlet) stop(err error) {
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.stopped == nil && !out.told {
		out.stopped = err
	}
	out.changed.Broadcast()
}

func (out *outlet) setDeadline(t time.Time) error {
	out.mu.Lock()
	defer out.mu.Unlock()
	out.by.set(t)
	return nil
}

func (out *outlet) startLocked() {
	if out.sending {
		return
	}
	if out.sending = out.client.run(out.send); !out.sending { // it is closed
		out.err = out.client.Err()
		out.end, out.told = out.err, out.eof
	}
}

// errTakesNoMore is the end of one who has closed the channel. SSH has no codes.
var errTakesNoMore = wire.Errorf(wire.None, "the other end takes no more")

// send sends what there is.
func (out *outlet) send() {
	out.mu.Lock()
	defer out.mu.Unlock()
	defer func() { out.sending = false }()
	for out.stopped == nil {
		switch {
		case out.data != nil:
			out.sendLocked()
		case out.eof && !out.told:
			out.endLocked()
		default:
			return
		}
		out.changed.Broadcast()
	}
}

func (out *outlet) sendLocked() {
	data, err := out.data, out.err
	if err == nil {
		out.mu.Unlock()
		_, err = out.dst.Write(data)
		lost := err != nil && out.client.transport.sound()
		out.mu.Lock()
		switch {
		case lost:
			out.closed, out.err = time.Now(), errTakesNoMore
		case err != nil:
			out.err = out.client.Err()
		}
	}
	pieces.Put((*[piece]byte)(data[:piece]))
	out.data = nil
}

func (out *outlet) endLocked() {
	err := out.err
	out.mu.Unlock()
	if err == nil && out.dst.CloseWrite() != nil && !out.client.transport.sound() {
		err = out.client.Err()
	}
	if errors.Is(err, errTakesNoMore) { // it has the end
		err = nil
	}
	if out.over != nil {
		err = errors.Join(err, out.over())
	}
	out.mu.Lock()
	out.end, out.told = err, true
}
