package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// laneBuffer is how much a lane takes before it has been written: twice that is held, as one half is written while the other
// one fills.
const laneBuffer = 64 << 10

// laneHeader is the length of what is before each piece: how many bytes it has, big endian. A piece of none is the end: crypto/tls
// takes a connection that was cut between two records for one that ended. In place of a length may stand that the sender lives.
const (
	laneHeader = 4
	laneLives  = math.MaxUint32
)

const (
	laneBeat    = 10 * time.Second // within twice of that something is said
	laneSilence = 45 * time.Second // as a link's
	laneLinger  = 30 * time.Second // for the peer's end, when all is over
)

// laneConn is a TLS connection (RFC 8446) as one stream. What is written goes out in a goroutine of its own: a deadline
// that passes would otherwise cut a record, and with it the connection.
//
// It has no codes: who breaks it off and wants to say why does so elsewhere.
//
// Who has written nothing for a while says that it lives (laneLives), so that nobody on the way takes the connection for one that is
// not used, and who reads notices a network that has died. Nothing may be made of a peer that takes nothing: its person has stopped
// the pager.
type laneConn struct {
	*tls.Conn
	silence time.Duration // laneSilence
	every   time.Duration // between two beats
	began   time.Time
	awaited atomic.Int64 // since when Read waits for the network: nanoseconds since began; 0: it does not

	// Read's.
	header [laneHeader]byte
	had    int    // bytes of the header
	rest   uint32 // of the piece, behind its header
	over   bool

	draining sync.Mutex

	mu      sync.Mutex
	filling []byte
	pulse   *time.Timer
	said    bool          // something was written since the last beat
	lives   bool          // that is to be said
	ended   bool          // CloseWrite was called
	err     error         // why nothing is written any more
	late    *time.Timer   // the write deadline
	passed  bool          // the write deadline has passed
	changed chan struct{} // closed and made anew when anything of this changes
	done    chan struct{} // closed when nothing is written any more
}

func newLaneConn(conn *tls.Conn) *laneConn { return beatingLaneConn(conn, laneBeat, laneSilence) }

func beatingLaneConn(conn *tls.Conn, every, silence time.Duration) *laneConn {
	c := &laneConn{Conn: conn, silence: silence, every: every, began: time.Now(), changed: make(chan struct{}), done: make(chan struct{})}
	c.mu.Lock() // of beat
	c.pulse = time.AfterFunc(every, c.beat)
	c.mu.Unlock()
	go c.run()
	return c
}

var errLaneSilent = errors.New("nothing was heard on the connection")

// beat has run say that this side lives when it has said nothing else, and ends the connection when the peer is silent.
func (c *laneConn) beat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if since := c.awaited.Load(); since != 0 && time.Since(c.began)-time.Duration(since) >= c.silence {
		c.err = errLaneSilent
		c.changeLocked()
		_ = c.Conn.NetConn().Close() // wakes Read, and run
		return
	}
	if !c.said && !c.ended {
		c.lives = true
		c.changeLocked()
	}
	c.said = false
	c.pulse.Reset(c.every)
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
		for len(c.filling) == 0 && !c.ended && c.err == nil && !c.lives {
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
		lives := len(writing) == 0 && !c.ended
		ended := len(writing) == 0 && c.ended
		if lives || ended {
			writing = append(writing, 0, 0, 0, 0)
		}
		c.lives, c.said = false, true
		c.changeLocked()
		c.mu.Unlock()
		length := uint32(len(writing) - laneHeader)
		if lives {
			length = laneLives
		}
		binary.BigEndian.PutUint32(writing, length)
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
		c.pulse.Stop()
		c.changeLocked()
	}
}

func (c *laneConn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.ended:
			return n, io.ErrClosedPipe
		case c.err != nil:
			return n, c.err
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
		n, err := c.await(c.header[c.had:])
		if c.had += n; c.had == laneHeader {
			c.had = 0
			if length := binary.BigEndian.Uint32(c.header[:]); length != laneLives {
				c.rest, c.over = length, length == 0
			}
			continue
		}
		if err != nil {
			return 0, noEnd(err)
		}
	}
	if c.over {
		return 0, io.EOF
	}
	n, err := c.await(p[:min(len(p), int(min(c.rest, laneBuffer)))])
	c.rest -= uint32(n)
	if n > 0 {
		err = nil // it comes again
	}
	return n, noEnd(err)
}

// await reads what the network brings.
func (c *laneConn) await(p []byte) (int, error) {
	c.awaited.Store(int64(time.Since(c.began)) | 1) // never 0
	defer c.awaited.Store(0)
	return c.Conn.Read(p)
}

// noEnd makes an end that was not said an error.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// drain reads and forgets what comes, to the end. Nobody calls Read any more.
func (c *laneConn) drain() {
	c.draining.Lock()
	defer c.draining.Unlock()
	for b, err := make([]byte, 4<<10), error(nil); err == nil; {
		_, err = c.Read(b)
	}
}

// finish closes the connection when what was taken has been written and the peer has said its end, or at the end of ctx. A kernel
// that closes a connection on which something has come that nobody has read forgets what the peer has not got yet.
func (c *laneConn) finish(ctx context.Context) {
	defer context.AfterFunc(ctx, c.reset)()
	<-c.done
	defer time.AfterFunc(laneLinger, c.reset).Stop()
	c.drain()
	c.reset() // the peer has all it needs
}

// reset breaks the connection at once.
func (c *laneConn) reset() {
	c.fail(net.ErrClosed)
	_ = c.Conn.NetConn().Close()
}

// timedOut says that an error is a read deadline's.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
