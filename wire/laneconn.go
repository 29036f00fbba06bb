package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// laneBuffer is how much a lane takes before it has been written: twice that is held, as one half is written while the other
// one fills.
const laneBuffer = 64 << 10

// laneHeader is the length of what is before each piece: how many bytes it has, big endian. A piece of none is the end: crypto/tls
// takes a connection that was cut between two records for one that ended.
const laneHeader = 4

// laneConn is a TLS connection (RFC 8446) as one stream. What is written goes out in a goroutine of its own: a deadline
// that passes would otherwise cut a record, and with it the connection.
//
// It has no codes: who breaks it off and wants to say why does so elsewhere.
type laneConn struct {
	*tls.Conn

	// Read's.
	header [laneHeader]byte
	had    int    // bytes of the header
	rest   uint32 // of the piece, behind its header
	over   bool

	mu      sync.Mutex
	filling []byte
	ended   bool          // CloseWrite was called
	err     error         // why nothing is written any more
	late    *time.Timer   // the write deadline
	passed  bool          // the write deadline has passed
	changed chan struct{} // closed and made anew when anything of this changes
	done    chan struct{} // closed when nothing is written any more
}

func newLaneConn(conn *tls.Conn) *laneConn {
	c := &laneConn{Conn: conn, changed: make(chan struct{}), done: make(chan struct{})}
	go c.run()
	return c
}

func (c *laneConn) changeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// run writes what was taken, until the end.
func (c *laneConn) run() {
	defer close(c.done)
	var writing []byte
	for {
		c.mu.Lock()
		for len(c.filling) == 0 && !c.ended && c.err == nil {
			changed := c.changed
			c.mu.Unlock()
			<-changed
			c.mu.Lock()
		}
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		writing, c.filling = c.filling, writing[:0]
		ended := len(writing) == 0
		if ended {
			writing = append(writing, 0, 0, 0, 0)
		}
		c.changeLocked()
		c.mu.Unlock()
		binary.BigEndian.PutUint32(writing, uint32(len(writing)-laneHeader))
		_, err := c.Conn.Write(writing)
		if ended || err != nil {
			c.fail(err)
			return
		}
	}
}

// fail has nothing more be written; nil: because all has been.
func (c *laneConn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && err != nil {
		c.err = err
		c.changeLocked()
	}
}

func (c *laneConn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.err != nil:
			return n, c.err
		case c.ended:
			return n, io.ErrClosedPipe
		case c.passed:
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		}
		if room := laneBuffer - len(c.filling); room > 0 {
			if c.filling == nil {
				c.filling = make([]byte, 0, laneBuffer)
			}
			if len(c.filling) == 0 {
				c.filling = append(c.filling, make([]byte, laneHeader)...)
				room -= laneHeader
			}
			some := min(room, len(p))
			c.filling = append(c.filling, p[:some]...)
			p, n = p[some:], n+some
			c.changeLocked()
			continue
		}
		changed := c.changed
		c.mu.Unlock()
		<-changed
		c.mu.Lock()
	}
}

// CloseWrite says that no more comes behind what was taken. It does not wait.
func (c *laneConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.ended = true
		c.changeLocked()
	}
	return c.err
}

func (c *laneConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late != nil {
		c.late.Stop()
		c.late = nil
	}
	c.passed = !t.IsZero() && !time.Now().Before(t)
	if !t.IsZero() && !c.passed {
		var late *time.Timer
		late = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.late == late {
				c.passed = true
				c.changeLocked()
			}
		})
		c.late = late
	}
	c.changeLocked()
	return nil
}

// Read reads to the end that the peer has said. It is not to be called at the same time as itself.
func (c *laneConn) Read(p []byte) (int, error) {
	for c.rest == 0 && !c.over {
		n, err := c.Conn.Read(c.header[c.had:])
		if c.had += n; c.had == laneHeader {
			c.had, c.rest = 0, binary.BigEndian.Uint32(c.header[:])
			c.over = c.rest == 0
			continue
		}
		if err != nil {
			return 0, noEnd(err)
		}
	}
	if c.over {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p[:min(len(p), int(min(c.rest, laneBuffer)))])
	c.rest -= uint32(n)
	if n > 0 {
		err = nil // it comes again
	}
	return n, noEnd(err)
}

// noEnd makes an end that was not said an error.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// drain reads and forgets what comes, to the end.
func (c *laneConn) drain() { _, _ = io.Copy(io.Discard, c.Conn) }

// finish closes the connection when what was taken has been written, or at the end of ctx.
func (c *laneConn) finish(ctx context.Context) {
	select {
	case <-c.done:
		_ = c.Conn.NetConn().Close() // the peer has all it needs
	case <-ctx.Done():
		c.reset()
	}
}

// reset breaks the connection at once.
func (c *laneConn) reset() {
	c.fail(net.ErrClosed)
	_ = c.Conn.NetConn().Close()
}

// timedOut says that an error is a read deadline's.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
