package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// What stands in place of a piece's length on a lane that may break, beside laneLives and the end.
const (
	laneAck  = 0xfffffffe // 16 bytes follow: how many of the lane's bytes were read, the end being one more, and up to where more may be sent
	laneAsks = 0xfffffffd // the sender wants a laneAck now
)

// laneAckEvery is how many bytes go without an acknowledgement at most: where the way is short little is kept, and stays in the processor's
// caches.
const laneAckEvery = 256 << 10

// Nothing that is under way on a lane goes without an answer for long.
const (
	laneTick  = time.Second
	laneQuiet = 2 * time.Second // then it is asked for
	laneDead  = 7 * time.Second // and then the lane has broken
)

// keptLane is a lane whose bytes are kept until the peer has read them. Everything that comes is read at once, up to what was
// allowed: so acknowledgements lie behind nothing, and a reader that has paused is told from a network that has died.
//
// All of it but what says otherwise is held with the mutex of its stream.
type keptLane struct {
	g    *gated
	conn *tls.Conn // read by pump, written by run
	free func() bool

	work     sync.Cond // run has something to do
	broke    bool
	heard    time.Time // when something came
	pulse    *time.Timer
	brisk    bool      // the next beat is in laneTick
	under    time.Time // since when something is under way; zero: nothing is
	moved    int64     // what was acknowledged
	since    time.Time // when that was more than before, or somebody is there to see it
	lives    bool      // to be said
	asks     bool      // to be said
	ring     laneRing
	allowed  int64 // up to where the peer allows
	endSaid  bool
	queue    laneQueue
	window   int64 // how far we allow beyond what was read
	ended    bool  // the peer has said its end
	ackDue   bool
	acked    int64         // what was acknowledged
	limits   [8]laneLimit  // lately
	limit    int           // the next of them
	turn     time.Duration // the least from a limit to where the peer stops at it: the way there and back, and hardly more
	reserved int64         // of the program's memory
	left     bool          // run is through
	unlinked bool          // the link has ended, and with it the stream below
	over     bool          // nobody needs the stream below any more
}

// laneLimit is up to where the peer was allowed to send, and since when.
type laneLimit struct {
	to int64
	at time.Time
}

func startKeptLane(ctx context.Context, g *gated, conn *tls.Conn) *keptLane {
	c := &keptLane{g: g, conn: conn, heard: time.Now(), allowed: laneLeast, window: laneLeast, reserved: 2 * laneLeast, brisk: true}
	c.work.L = &g.mu
	c.ring.room = laneLeast
	c.turn = 10 * time.Second
	c.limits[len(c.limits)-1] = laneLimit{laneLeast, time.Now()}
	c.free = context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		c.breakLocked()
		if err := linkErr(ctx); err != nil {
			c.unlinked = true
			g.failLocked(err)
		}
	})
	c.pulse = time.AfterFunc(laneTick, c.beat)
	go c.pump()
	go c.run()
	return c
}

// breakLocked ends the lane. What has come is there.
func (c *keptLane) breakLocked() {
	if c.broke {
		return
	}
	c.broke = true
	c.pulse.Stop()
	_ = c.conn.NetConn().Close() // wakes pump and run
	c.work.Broadcast()
	c.g.inMoves.Broadcast()
	c.g.outMoves.Broadcast()
}

// underWayLocked says that the peer has to acknowledge something.
func (c *keptLane) underWayLocked() bool {
	return c.ring.acked < c.ring.sent || c.g.out == onLane && c.g.shut && !c.g.away && c.endSaid
}

// briskLocked has somebody look soon whether an answer comes.
func (c *keptLane) briskLocked() {
	if !c.brisk && !c.broke {
		c.brisk = true
		c.pulse.Reset(laneTick)
	}
}

// beat asks a peer from which nothing comes although something is under way, and takes it for gone after a while. When nothing is under
// way, this side says now and then that it lives, and waits longer.
func (c *keptLane) beat() {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if c.broke {
		return
	}
	now := time.Now()
	quiet := now.Sub(c.heard)
	next := laneTick
	switch {
	case c.underWayLocked():
		if c.under.IsZero() {
			c.under = now
		}
		if quiet = min(quiet, now.Sub(c.under)); quiet >= laneDead {
			c.breakLocked()
			return
		}
		// Nobody is left to notice that the peer takes nothing.
		if g := c.g; !g.shut || !g.ended && g.inErr == nil || c.moved != c.ring.acked {
			c.moved, c.since = c.ring.acked, now
		} else if now.Sub(c.since) >= laneLinger {
			g.stream.Reset(Internal)
			g.failLocked(ErrLane)
			return
		}
		c.asks = c.asks || quiet >= laneQuiet
	case quiet >= laneSilence:
		c.breakLocked()
		return
	default:
		c.under = time.Time{}
		if c.brisk = c.ring.acked < c.ring.end; !c.brisk {
			next, c.lives = laneBeat, true
		}
	}
	c.pulse.Reset(next)
	c.work.Broadcast()
}

// pump reads all that comes, until the lane breaks.
func (c *keptLane) pump() {
	err := c.receive()
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if e, ok := errors.AsType[*Error](err); ok && !c.broke {
		_ = c.g.violatedLocked(e.Detail)
	}
	c.breakLocked()
}

var errLaneSays = Errorf(Protocol, "a lane says what cannot be")

func (c *keptLane) receive() error {
	g := c.g
	for b := make([]byte, 16); ; {
		if _, err := io.ReadFull(c.conn, b[:laneHeader]); err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(b)
		var ack, allowed int64
		if length == laneAck {
			if _, err := io.ReadFull(c.conn, b); err != nil {
				return err
			}
			ack, allowed = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
		}
		g.mu.Lock()
		c.heard = time.Now()
		err := c.heardLocked(length, ack, allowed)
		g.mu.Unlock()
		if err != nil {
			return err
		}
		if length <= laneBuffer {
			if err := c.receiveBytes(int(length)); err != nil {
				return err
			}
		}
	}
}

// heardLocked takes what is no bytes, and checks that those which follow may come.
func (c *keptLane) heardLocked(length uint32, ack, allowed int64) error {
	switch {
	case c.broke:
		return errNoLane
	case length == laneLives:
	case length == laneAsks:
		c.ackDue = true
		c.work.Broadcast()
	case length == laneAck:
		return c.ackedLocked(ack, allowed)
	case length > laneBuffer || c.ended || c.queue.got+int64(length) > c.queue.read+c.window:
		return errLaneSays
	case length == 0:
		c.ended = true
		if c.g.stopped {
			c.consumedLocked()
		}
		c.g.inMoves.Broadcast()
	}
	return nil
}

func (c *keptLane) ackedLocked(ack, allowed int64) error {
	most := c.ring.sent
	if c.endSaid {
		most++
	}
	if ack < c.ring.acked || ack > most || allowed < c.allowed || allowed-ack > 1<<40 {
		return errLaneSays
	}
	c.ring.ack(ack)
	c.allowed = allowed
	if c.endSaid && ack == most {
		c.g.away = true
		c.g.settleLocked()
	}
	c.work.Broadcast()
	c.g.outMoves.Broadcast()
	return nil
}

// receiveBytes reads a piece.
func (c *keptLane) receiveBytes(length int) error {
	g := c.g
	for length > 0 {
		g.mu.Lock()
		b := c.queue.space()
		g.mu.Unlock()
		n, err := c.conn.Read(b[:min(length, len(b))])
		length -= n
		g.mu.Lock()
		if c.broke {
			n, err = 0, errNoLane
		}
		c.queue.fill(n)
		if n > 0 {
			c.heard = time.Now()
			if g.stopped {
				c.consumedLocked()
			}
			g.inMoves.Broadcast()
		}
		g.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// consumedLocked has the peer told what was read, now and then.
func (c *keptLane) consumedLocked() {
	if c.g.stopped {
		c.queue.drop()
	}
	read := c.queue.read
	if read-c.acked >= min(c.window/4, laneAckEvery) || c.ended && read == c.queue.got {
		c.ackDue = true
		c.work.Broadcast()
	}
}

// laneEnough is how many bytes a second a lane carries without being allowed more than laneUsual at a time: what is more only leaves the
// processor's caches.
const (
	laneEnough = 128 << 20
	laneUsual  = 1 << 20
)

// starvedLocked allows more when the reader has nothing to read, and the peer stopped where it had to. While the peer is held up by
// anything else, more would only lie about.
func (c *keptLane) starvedLocked() {
	i := slices.IndexFunc(c.limits[:], func(l laneLimit) bool { return l.to == c.queue.got })
	if i < 0 {
		return
	}
	c.turn = min(c.turn, time.Since(c.limits[i].at))
	if c.window >= laneMost || c.window >= laneUsual && c.turn*laneEnough/time.Duration(c.window) < time.Second || !c.g.memory.take(c.window, true) {
		return
	}
	c.reserved += c.window
	c.window *= 2
	c.ackDue = true
	c.work.Broadcast()
}

// growRingLocked lets more be kept, if the peer has room for more.
func (c *keptLane) growRingLocked() bool {
	r := &c.ring
	if r.room >= laneMost || c.allowed-r.acked <= r.room || c.broke || !c.g.memory.take(r.room, true) {
		return false
	}
	c.reserved += r.room
	r.room *= 2
	return true
}

// run writes what there is, until the lane breaks or nobody needs it; then the direction goes on below.
func (c *keptLane) run() {
	g := c.g
	var b []byte
	g.mu.Lock()
	for !c.broke && (!g.finished || g.inErr == nil && g.outErr == nil) {
		b = b[:0]
		if c.ackDue {
			b = c.ackLocked(b)
		}
		if c.asks {
			b = binary.BigEndian.AppendUint32(b, laneAsks)
		}
		if c.lives && len(b) == 0 {
			b = binary.BigEndian.AppendUint32(b, laneLives)
		}
		c.asks, c.lives = false, false
		chunk, from, to := c.ring.next(c.allowed)
		if chunk == nil && g.out == onLane && g.shut && !c.endSaid && c.ring.sent == c.ring.end {
			b = binary.BigEndian.AppendUint32(b, 0)
			c.endSaid = true
		}
		if chunk == nil && len(b) == 0 {
			if g.finished && !g.crossing {
				break
			}
			c.work.Wait()
			continue
		}
		g.mu.Unlock()
		var err error
		if len(b) > 0 {
			_, err = c.conn.Write(b)
		}
		if chunk != nil && err == nil {
			err = c.writePiece(chunk, from, to)
		}
		g.mu.Lock()
		if chunk != nil {
			c.ring.wrote()
		}
		if err != nil {
			c.breakLocked()
		}
	}
	for g.crossing {
		c.work.Wait()
	}
	c.breakLocked()
	falls := g.out == onLane && !g.away && g.outErr == nil
	needed := !g.finished && !c.unlinked && (!g.away && g.outErr == nil || !g.ended && !c.ended && g.inErr == nil)
	g.mu.Unlock()
	if falls {
		c.fall()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c.leftLocked(needed)
}

// writePiece writes bytes of a chunk. The header stands for the moment where the bytes before them are, which are kept: nobody else
// reads these meanwhile.
func (c *keptLane) writePiece(chunk *laneChunk, from, to int) error {
	piece := chunk.b[from : laneHeader+to]
	before := [laneHeader]byte(piece)
	binary.BigEndian.PutUint32(piece, uint32(to-from))
	_, err := c.conn.Write(piece)
	copy(piece, before[:])
	return err
}

// ackLocked appends an acknowledgement.
func (c *keptLane) ackLocked(b []byte) []byte {
	read := c.queue.read
	c.ackDue, c.acked = false, read
	allowed := read + c.window
	c.limits[c.limit] = laneLimit{allowed, time.Now()}
	c.limit = (c.limit + 1) % len(c.limits)
	if c.ended && read == c.queue.got && (c.g.ended || c.g.stopped) {
		read++
	}
	b = binary.BigEndian.AppendUint32(b, laneAck)
	b = binary.BigEndian.AppendUint64(b, uint64(read))
	return binary.BigEndian.AppendUint64(b, uint64(allowed))
}

// fall has our direction go on below, behind what the peer has acknowledged.
func (c *keptLane) fall() {
	g := c.g
	g.below.Lock()
	defer g.below.Unlock()
	g.mu.Lock()
	c.ring.sent = c.ring.acked
	b := binary.BigEndian.AppendUint64(nil, uint64(c.ring.acked))
	g.mu.Unlock()
	_, err := g.stream.Write(b)
	for err == nil {
		g.mu.Lock()
		chunk, from, to := c.ring.next(c.ring.end)
		if chunk == nil {
			shut := g.shut
			if !shut {
				g.out = backOnStream
				_ = g.stream.SetWriteDeadline(g.outBy) // fails only on a stream that has ended
				g.outMoves.Broadcast()
			}
			g.mu.Unlock()
			if shut {
				_ = g.stream.CloseWrite() // fails only on a stream that has ended
				g.mu.Lock()
				g.away = true
				g.settleLocked()
				g.mu.Unlock()
			}
			return
		}
		g.mu.Unlock()
		_, err = g.stream.Write(chunk.b[laneHeader+from : laneHeader+to])
		g.mu.Lock()
		c.ring.acked = c.ring.sent
		c.ring.wrote()
		g.outMoves.Broadcast()
		g.mu.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.outErr == nil {
		g.outErr = err
	}
	g.outMoves.Broadcast()
	g.settleLocked()
}

// leftLocked says that run is through; needed: while something of the stream was still to come or to go. When nobody needs the stream below any more, nothing of that is left either.
func (c *keptLane) leftLocked(needed bool) {
	c.left = true
	c.g.memory.left(needed)
	c.free()
	c.endLocked()
}

// endLocked gives back what nobody needs once the lane is broken: the memory, when nothing is kept any more, and the stream below when all is over.
func (c *keptLane) endLocked() {
	g := c.g
	away := g.out != onLane && c.queue.read == c.queue.got
	if !c.left || c.over || !g.finished && !away {
		return
	}
	g.memory.give(c.reserved)
	c.reserved = 0
	c.ring.ack(c.ring.end)
	c.queue.drop()
	if !g.finished {
		return
	}
	c.over = true
	if c.unlinked { // the peer is to hear why, and not that the stream is read no more
		return
	}
	go func() {
		_ = g.stream.CloseWrite() // fails only on a stream that has ended
		g.stream.CloseRead(None)
	}()
}
