package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// gateEvery is how many bytes there are between two gates. It is more than what is said before both sides know that there are any.
const gateEvery = 128 << 10

// What a gate, one byte, says. Who is lossy asks the side that can dial for a lane: only the sender of packets knows which are lost.
const (
	gateOn    = 0 // the bytes go on here
	gateMoved = 1 // they go on over the lane; here follows, if that breaks, at which of its bytes they go on here
	gateLossy = 2 // as gateOn; many of the sender's packets are lost
)

// laneRecord is the length of what says that a direction has come back: how many of the lane's bytes are before what follows,
// big endian.
const laneRecord = 8

// Where a direction's next byte is.
type lanePlace int

const (
	onStream lanePlace = iota // up to the next gate
	onLane
	backOnStream // for good
	atEnd        // of in only
)

var errNoLane = errors.New("the lane is no more")

// gated is a stream that goes over a lane for as long as that holds. In each direction of the stream below, where nothing is ever
// lost or in another order, there are gates at places that both sides know:
//
//	128 KiB, gateOn, 128 KiB, gateOn, 128 KiB, gateMoved, ─────────── [the byte of the lane, that one, and all that follow]
//	                          the lane:                 └─ byte 0 … (breaks)
//
// A gate says all that the reader has to know, so it does not matter when the lane breaks, and which side sees that first. Who
// writes to the lane keeps what the peer has not acknowledged. When the lane breaks it goes on below with what it keeps; the peer throws
// away what it has already. So the two directions and sides wait for each other nowhere.
type gated struct {
	l      *Laned // hears of bytes and ends
	stream Stream
	memory *LaneMemory
	line   *Line

	reading sync.Mutex // held by read
	inLeft  int64      // bytes before the next gate
	writing sync.Mutex // held by write and closeWrite
	outLeft int64
	below   sync.Mutex // of those who write below while the direction is on the lane

	mu       sync.Mutex
	inMoves  sync.Cond // read is to look again
	outMoves sync.Cond // write is
	lane     *keptLane // nil: there was none yet
	gone     bool      // Reset was called
	finished bool

	in             lanePlace
	inErr          error // why no more is read
	inBy           time.Time
	inLate         *time.Timer
	stopped, ended bool // CloseRead was called; in was read to its end
	fell           bool // the peer has said where it goes on below
	cut            bool // the stream below has ended, where it could have said that
	skip           int64

	out      lanePlace
	outErr   error // why no more is written
	outBy    time.Time
	outLate  *time.Timer
	shut     bool // CloseWrite was called
	away     bool // all that was to be written, and the end, is with the peer or on the stream below
	crossing bool // a gate is being written
}

func newGated(l *Laned, got, put int64, m *LaneMemory, line *Line) *gated {
	g := &gated{l: l, stream: l.stream, memory: m, line: line, inLeft: gateEvery - got, outLeft: gateEvery - put}
	g.inMoves.L, g.outMoves.L = &g.mu, &g.mu
	return g
}

// move has the stream go on over a lane behind its next gate.
func (g *gated) move(ctx context.Context, conn *tls.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lane != nil || g.gone || g.finished || g.fell || g.cut {
		_ = conn.NetConn().Close()
		return
	}
	if !g.memory.take(2*laneLeast, false) {
		g.memory.turnedAway.Add(1)
		_ = conn.NetConn().Close()
		return
	}
	g.lane = startKeptLane(ctx, g, conn)
	g.memory.began()
}

func (g *gated) read(p []byte) (n int, err error) {
	g.reading.Lock()
	defer g.reading.Unlock()
	for {
		g.mu.Lock()
		if g.in == onLane {
			n, err := g.readLaneLocked(p)
			g.mu.Unlock()
			if errors.Is(err, errNoLane) {
				continue
			}
			if errors.Is(err, io.EOF) {
				g.l.over(0)
			}
			return n, err
		}
		in, skip := g.in, g.skip
		g.mu.Unlock()
		switch {
		case in == atEnd:
			return 0, io.EOF
		case in == onStream && g.inLeft == 0:
			err = g.readGate()
			if err != nil {
				return 0, err
			}
			continue
		case in == onStream:
			n, err = g.stream.Read(p[:min(int64(len(p)), g.inLeft)])
			g.inLeft -= int64(n)
		case skip > 0:
			n, err = g.stream.Read(make([]byte, min(skip, 32<<10)))
			g.mu.Lock()
			g.skip -= int64(n)
			skip = g.skip
			g.mu.Unlock()
			if errors.Is(err, io.EOF) && skip > 0 {
				return 0, g.violated("a stream that came back from its lane ends before it goes on")
			}
			if err == nil || skip == 0 && n > 0 {
				continue
			}
			n = 0
		default:
			n, err = g.stream.Read(p)
		}
		if errors.Is(err, io.EOF) {
			g.readAll()
		}
		return n, err
	}
}

// readAll notes that in was read to its end.
func (g *gated) readAll() {
	g.l.over(0)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.in, g.ended = atEnd, true
	g.settleLocked()
}

// readGate reads what a gate says. Where one is expected the stream may also end.
func (g *gated) readGate() error {
	var b [1]byte
	n, err := g.stream.Read(b[:])
	if n == 0 {
		if errors.Is(err, io.EOF) {
			g.readAll()
		}
		return err
	}
	switch b[0] {
	case gateLossy, gateOn:
		g.inLeft = gateEvery
		if b[0] == gateLossy {
			g.l.Want()
		}
		return nil
	case gateMoved:
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.stopped {
			return g.inErr
		}
		g.in = onLane
		_ = g.stream.SetReadDeadline(time.Time{}) // fails only on a stream that has ended
		g.armLocked(&g.inLate, g.inBy, &g.inMoves)
		go g.watch()
		return nil
	}
	return g.violated("a gate says nothing that is known")
}

// readLaneLocked waits for what comes over the lane; errNoLane: the rest comes below.
func (g *gated) readLaneLocked(p []byte) (int, error) {
	for {
		c := g.lane
		switch {
		case g.inErr != nil:
			return 0, g.inErr
		case c != nil && c.queue.read < c.queue.got:
			n := c.queue.take(p)
			c.consumedLocked()
			c.endLocked()
			return n, nil
		case c != nil && c.ended:
			g.in, g.ended = atEnd, true
			c.consumedLocked()
			g.settleLocked()
			return 0, io.EOF
		case g.fell:
			g.in = backOnStream
			_ = g.stream.SetReadDeadline(g.inBy) // fails only on a stream that has ended
			return 0, errNoLane
		case g.cut && (c == nil || c.broke):
			g.inErr = ErrLane
			continue
		case passed(g.inBy):
			return 0, os.ErrDeadlineExceeded
		}
		if c != nil && c.queue.got > 0 && !c.broke {
			c.starvedLocked()
		}
		g.inMoves.Wait()
	}
}

// watch reads what comes on the stream below while in is on the lane.
func (g *gated) watch() {
	var b [laneRecord]byte
	_, err := io.ReadFull(g.stream, b[:])
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.stopped:
	case err == nil:
		g.fellLocked(b)
		if g.ended { // what follows has come over the lane already
			go g.stream.CloseRead(None)
		}
	case errors.Is(err, io.EOF): // there is nothing more that the lane does not bring
		g.cut = true
	case errors.Is(err, io.ErrUnexpectedEOF):
		g.violatedLocked("a stream ends where it says where it goes on")
	default: // it was reset, in both directions
		g.failLocked(err)
	}
	g.inMoves.Broadcast()
}

func (g *gated) violated(detail string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.violatedLocked(detail)
}

// fellLocked takes the peer's word on where in goes on.
func (g *gated) fellLocked(record [laneRecord]byte) {
	var got int64
	if g.lane != nil {
		g.lane.breakLocked() // it may not have noticed
		got = g.lane.queue.got
	}
	from := binary.BigEndian.Uint64(record[:])
	if from > uint64(got) {
		_ = g.violatedLocked("a stream comes back from its lane behind bytes that were never there")
		return
	}
	g.fell, g.skip = true, got-int64(from)
}

// violatedLocked ends a stream whose peer says what cannot be.
func (g *gated) violatedLocked(detail string) error {
	err := Errorf(Protocol, "%s", detail)
	g.stream.Reset(Protocol) // first: what ends the lane has another code
	g.failLocked(err)
	return err
}

// failLocked ends both directions.
func (g *gated) failLocked(err error) {
	if g.inErr == nil && !g.ended {
		g.inErr = err
	}
	if g.outErr == nil {
		g.outErr = err
	}
	if g.lane != nil {
		g.lane.breakLocked()
	}
	g.inMoves.Broadcast()
	g.outMoves.Broadcast()
	g.settleLocked()
}

func (g *gated) write(p []byte) (n int, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	for {
		g.mu.Lock()
		out, shut, oerr := g.out, g.shut, g.outErr
		g.mu.Unlock()
		switch {
		case oerr != nil:
			return n, oerr
		case out == onLane:
			k, err := g.writeLane(p, shut)
			n, p = n+k, p[k:]
			if errors.Is(err, errNoLane) {
				continue
			}
			return n, err
		case out == onStream && g.outLeft == 0 && len(p) > 0:
			if err := g.writeGate(); err != nil {
				return n, err
			}
			continue
		}
		some := p
		if out == onStream {
			some = p[:min(int64(len(p)), g.outLeft)]
		}
		k, err := g.stream.Write(some)
		g.outLeft -= int64(k)
		n, p = n+k, p[k:]
		if err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// writeGate says at a gate what comes next.
func (g *gated) writeGate() error {
	g.mu.Lock()
	moves := g.lane != nil && !g.lane.broke
	g.crossing = moves
	g.mu.Unlock()
	says := byte(gateOn)
	switch {
	case moves:
		says = gateMoved
	case g.line.Lossy():
		says = gateLossy
		g.l.Want()
	}
	n, err := g.stream.Write([]byte{says})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.crossing = false
	switch {
	case n == 0:
	case moves:
		g.out, err = onLane, nil
		_ = g.stream.SetWriteDeadline(time.Time{}) // fails only on a stream that has ended
		g.armLocked(&g.outLate, g.outBy, &g.outMoves)
	default:
		g.outLeft, err = gateEvery, nil
	}
	if g.lane != nil {
		g.lane.work.Broadcast()
	}
	return err
}

// stopsReading says whether the peer reads no more.
func (g *gated) stopsReading() error {
	if !g.below.TryLock() { // who writes there sees it
		return nil
	}
	defer g.below.Unlock()
	_, err := g.stream.Write(nil)
	if err == nil || timedOut(err) {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.outErr == nil {
		g.outErr = err
	}
	g.settleLocked()
	return err
}

// writeLane gives p to the lane, or to what keeps it until it is written below; errNoLane: the rest is to be written below.
func (g *gated) writeLane(p []byte, shut bool) (n int, err error) {
	if shut {
		return 0, io.ErrClosedPipe
	}
	if err := g.stopsReading(); err != nil {
		return 0, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.lane
	for {
		switch {
		case g.outErr != nil:
			return n, g.outErr
		case g.out != onLane:
			return n, errNoLane
		case passed(g.outBy):
			return n, os.ErrDeadlineExceeded
		}
		k := c.ring.take(p)
		n, p = n+k, p[k:]
		if k > 0 {
			c.briskLocked()
			c.work.Broadcast()
		}
		if len(p) == 0 {
			return n, nil
		}
		if c.growRingLocked() {
			continue
		}
		g.outMoves.Wait()
		if c.ring.end-c.ring.acked < c.ring.room {
			g.mu.Unlock()
			err := g.stopsReading()
			g.mu.Lock()
			if err != nil {
				return n, err
			}
		}
	}
}

func (g *gated) closeWrite() error {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	if g.shut {
		g.mu.Unlock()
		return nil
	}
	g.shut = true
	err := g.outErr
	lane := g.out == onLane
	if lane {
		g.lane.briskLocked()
		g.lane.work.Broadcast()
	}
	g.mu.Unlock()
	if !lane {
		if cerr := g.stream.CloseWrite(); err == nil {
			err = cerr
		}
	}
	g.l.over(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.away = g.away || !lane
	g.settleLocked()
	return err
}

func (g *gated) closeRead(code Code) {
	g.mu.Lock()
	first := !g.stopped && !g.ended
	if first { // before watch sees that the stream below is read no more
		g.stopped = true
		if g.inErr == nil {
			g.inErr = &Error{Code: code}
		}
	}
	g.mu.Unlock()
	g.stream.CloseRead(code)
	if !first {
		return
	}
	g.mu.Lock()
	if g.lane != nil {
		g.lane.consumedLocked()
	}
	g.inMoves.Broadcast()
	g.settleLocked()
	g.mu.Unlock()
	g.l.over(0)
}

func (g *gated) reset(code Code) {
	g.mu.Lock()
	if g.lane != nil && (g.gone || g.finished) {
		g.mu.Unlock()
		return
	}
	g.gone = true
	if g.lane != nil && g.shut && g.ended && g.outErr == nil { // what was written arrives, if the peer takes it
		time.AfterFunc(laneLinger, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if !g.finished {
				g.stream.Reset(code)
				g.failLocked(&Error{Code: code})
			}
		})
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	g.stream.Reset(code)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failLocked(&Error{Code: code})
}

// settleLocked has the lane end, and the stream below it, when nobody needs them any more.
func (g *gated) settleLocked() {
	in, out := g.ended || g.inErr != nil, g.away || g.outErr != nil
	if g.finished || !in || !out {
		return
	}
	g.finished = true
	if c := g.lane; c != nil {
		c.work.Broadcast()
		c.endLocked()
		time.AfterFunc(laneLinger, func() { // a peer that reads nothing may hold up who writes
			g.mu.Lock()
			defer g.mu.Unlock()
			c.breakLocked()
		})
	}
}

// armLocked has a cond looked at when a deadline passes.
func (g *gated) armLocked(late **time.Timer, by time.Time, moves *sync.Cond) {
	if *late != nil {
		(*late).Stop()
		*late = nil
	}
	if !by.IsZero() {
		*late = time.AfterFunc(time.Until(by), func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			moves.Broadcast()
		})
	}
	moves.Broadcast()
}

func (g *gated) setReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inBy = t
	if g.in == onLane {
		g.armLocked(&g.inLate, t, &g.inMoves)
		return nil
	}
	return g.stream.SetReadDeadline(t)
}

func (g *gated) setWriteDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.outBy = t
	if g.out == onLane {
		g.armLocked(&g.outLate, t, &g.outMoves)
		return nil
	}
	return g.stream.SetWriteDeadline(t)
}

// passed says that a deadline has.
func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
