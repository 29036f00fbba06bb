package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// laneMark is the length of what a lane begins with in each direction: how many bytes went over the stream, big endian,
	// and whether none follow.
	laneMark = 9

	// laneWhy is how long a stream whose lane broke waits for the code that says why.
	laneWhy, laneLook = 2 * time.Second, 10 * time.Millisecond
)

// ErrLane is how a stream fails whose lane broke, when the peer has not said why; also if the peer noticed first.
var ErrLane = &Error{Code: Internal, Detail: "the connection of its own that the stream had broke"}

// Laned is a stream that may go on over a lane: a TLS connection of its own, beside the link. Each direction moves by itself,
// between two of its writes: what was written before comes over the stream, what is written later over the lane, and the
// reader gets it in that order.
//
//	written: stream ──────────────┐
//	                   [Move]     └── mark ── lane ─────── end
//	read:    stream … as many bytes as the mark says … lane …
//
// The stream stays open below, for codes: a Reset, and a CloseRead, are said there. A lane that breaks, breaks its stream.
//
// Of two sides that both know of gates ([Laned.Gates]) this is not true: a lane that breaks, breaks nothing, see [gated].
type Laned struct {
	stream Stream
	bulk   func()
	after  int64
	gated  atomic.Pointer[gated] // nil: no gates

	counting sync.Mutex
	counted  int64     // bytes since
	since    time.Time // the beginning of the minute; zero: bulk was called

	reading sync.Mutex // held by Read
	writing sync.Mutex // held by Write and CloseWrite

	// Of reading and of writing.
	got, put int64
	shut     bool // CloseWrite was called

	mu              sync.Mutex
	readBy, writeBy time.Time
	lane            *laneConn
	link            context.Context
	ends            []func() // called when the stream is over
	marked          bool
	from            int64 // how many bytes the peer's mark says
	endsAt          bool  // that none follow
	noticed         bool  // Read knows of the change for which it was woken
	out             bool  // our direction has moved
	below           bool  // it was closed before it has
	stopped         bool  // CloseRead
	gone            bool  // Reset was called
	broke           bool  // the lane is no more
	finished        bool
	late            *time.Timer   // ends the wait for a mark when all else is over
	waits           chan struct{} // Read waits for the mark; closed when it is to look again
	closed          [2]bool       // the directions that are over: in, out
	why             error
	whyKnown        chan struct{}
	markKnown       chan struct{} // closed when marked is set, or the lane has broken before
}

// NewLaned makes a stream that can move. bulk, which may be nil, is called once, in a goroutine of its own, when more than
// after bytes have gone over the stream within a minute or so, in both directions together.
func NewLaned(s Stream, after int64, bulk func()) *Laned {
	return &Laned{
		stream: s, bulk: bulk, after: after, since: time.Now(), noticed: true,
		whyKnown: make(chan struct{}), markKnown: make(chan struct{}),
	}
}

// Gates has the stream go back from a lane that breaks, without a loss. Both sides call it, or none, before anything but what begins a
// session is written or read; nothing is written or read meanwhile. memory bounds the lanes of the program, and line is the link's.
// After how many bytes bulk is called is what the line says, if it says anything. It is too late for gates, and none are made, when
// there are some, or a lane, or much has been written or read.
func (l *Laned) Gates(memory *LaneMemory, line *Line) bool {
	l.reading.Lock()
	defer l.reading.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gated.Load() != nil || l.lane != nil || max(l.got, l.put) >= gateEvery {
		return false
	}
	g := newGated(l, l.got, l.put, memory, line)
	g.inBy, g.outBy = l.readBy, l.writeBy
	l.gated.Store(g)
	return true
}

// Full says whether there is no memory for a lane now. Who asks has one to take or to refuse: so it is counted, see [LaneMemory.Count].
func (l *Laned) Full() bool {
	g := l.gated.Load()
	if g == nil || !g.memory.full() {
		return false
	}
	g.memory.turnedAway.Add(1)
	return true
}

// OnEnd has f called, in a goroutine of its own, when the stream is over: both directions have ended, it was reset, or its lane
// broke. A stream that the peer has reset is over when this side resets it too.
func (l *Laned) OnEnd(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone || l.broke || l.closed[0] && l.closed[1] {
		go f()
		return
	}
	l.ends = append(l.ends, f)
}

func (l *Laned) endedLocked() {
	for _, f := range l.ends {
		go f()
	}
	l.ends = nil
}

// count notices that a stream is used for bulk.
func (l *Laned) count(n int) {
	if l.bulk == nil || n == 0 {
		return
	}
	l.counting.Lock()
	defer l.counting.Unlock()
	if l.since.IsZero() {
		return
	}
	l.counted += int64(n)
	if l.counted > l.after {
		if g := l.gated.Load(); g != nil && g.line != nil {
			if after := g.line.After(); l.counted <= after {
				l.after = min(after, l.counted+gateEvery) // then it may say something else
				return
			}
		}
		l.since = time.Time{}
		go l.bulk()
		return
	}
	if now := time.Now(); now.Sub(l.since) >= time.Minute {
		l.since, l.counted = now, 0
	}
}

// Want has bulk called now, unless it was.
func (l *Laned) Want() {
	if l.bulk == nil {
		return
	}
	l.counting.Lock()
	defer l.counting.Unlock()
	if !l.since.IsZero() {
		l.since = time.Time{}
		go l.bulk()
	}
}

// Move has the stream go on over a lane, which it owns from now on; the peer does the same at the other end. It may be called
// once, and does not wait. ctx is the link's: the lane ends with it.
func (l *Laned) Move(ctx context.Context, conn *tls.Conn) {
	l.mu.Lock()
	if g := l.gated.Load(); g != nil {
		l.mu.Unlock()
		g.move(ctx, conn)
		return
	}
	c := newLaneConn(conn)
	gone, over := l.gone, l.closed[0] && l.closed[1]
	if !gone && !over {
		l.lane, l.link = c, ctx
	}
	l.mu.Unlock()
	switch {
	case gone:
		c.reset()
		return
	case over: // the peer may not have read all that the stream brings
		go func() {
			l.moveOut(c)
			c.finish(ctx)
		}()
		return
	}
	stop := context.AfterFunc(ctx, func() { l.fail() })
	go func() {
		<-l.whyKnown
		stop()
	}()
	go l.readMark(c)
	go l.moveOut(c)
}

// readMark learns where the peer's direction moves.
func (l *Laned) readMark(c *laneConn) {
	var b [laneMark]byte
	_, err := io.ReadFull(c, b[:])
	n := binary.BigEndian.Uint64(b[:8])
	if err != nil || n > 1<<62 || b[8] > 1 {
		l.fail()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broke {
		return
	}
	l.from, l.endsAt, l.marked = int64(n), b[8] == 1, true
	if l.late != nil {
		l.late.Stop()
	}
	close(l.markKnown)
	defer l.finishLocked()
	if l.stopped {
		go c.drain()
		return
	}
	l.wakeLocked()
	_ = c.SetReadDeadline(l.readBy) // fails only on a lane that has ended
}

// wakeLocked has a Read that blocks look again.
func (l *Laned) wakeLocked() {
	l.noticed = false
	_ = l.stream.SetReadDeadline(time.Unix(1, 0)) // fails only on a stream that has ended
}

// moveOut moves our direction behind the Write that is under way.
func (l *Laned) moveOut(c *laneConn) {
	l.writing.Lock()
	defer l.writing.Unlock()
	b := binary.BigEndian.AppendUint64(nil, uint64(l.put))
	if l.shut {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	_, err := c.Write(b) // it has room
	l.mu.Lock()
	if err == nil {
		l.out = l.lane == c // else all is over
		err = c.SetWriteDeadline(l.writeBy)
	}
	l.mu.Unlock()
	if err == nil && l.shut {
		err = c.CloseWrite()
		l.over(1)
	}
	if err != nil {
		l.fail()
	}
}

// fail ends a stream whose lane has broken: the peer says why on the stream below, if it did that.
func (l *Laned) fail() {
	l.mu.Lock()
	if l.broke || l.overLocked() {
		l.mu.Unlock()
		return
	}
	l.broke = true
	l.endedLocked()
	if !l.marked {
		close(l.markKnown)
	}
	c, out := l.lane, l.out && !l.below
	l.wakeLocked()
	l.mu.Unlock()
	c.reset()
	go func() {
		l.reading.Lock() // Read has left
		defer l.reading.Unlock()
		end := time.Now().Add(laneWhy)
		_ = l.stream.SetReadDeadline(end) // fails only on a stream that has ended
		var err error
		for b := make([]byte, 4<<10); err == nil; {
			_, err = l.stream.Read(b)
		}
		for ; errors.Is(err, io.EOF) || timedOut(err); time.Sleep(laneLook) {
			if !out || time.Now().After(end) || linkErr(l.link) != nil {
				err = ErrLane
			} else if _, werr := l.stream.Write(nil); werr != nil { // it reads no more
				err = werr
			}
		}
		err = l.told(err)
		l.stream.Reset(CodeOf(err))
		l.end(err)
	}()
}

// failed is why the stream has failed, as its lane has with err.
func (l *Laned) failed(err error) error {
	l.fail()
	if !l.broken() { // all was over before
		return err
	}
	<-l.whyKnown
	return l.why
}

// told is what an error of the stream below means. Once there is a lane the stream's other end may have noticed first that the link has
// ended, or that the lane has broken; for that it can say no more than [Internal].
func (l *Laned) told(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || timedOut(err) {
		return err
	}
	l.mu.Lock()
	link, ours := l.link, l.gone || l.stopped
	l.mu.Unlock()
	if link == nil {
		return err
	}
	if ended := linkErr(link); ended != nil {
		return ended
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Code == Internal && !ours {
		return ErrLane
	}
	return err
}

// end notes how a stream that went over a lane has ended.
func (l *Laned) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(err)
}

func (l *Laned) endLocked(err error) {
	select {
	case <-l.whyKnown:
	default:
		l.why = err
		close(l.whyKnown)
	}
}

// over notes that a direction is over.
func (l *Laned) over(direction int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed[direction] = true
	if l.closed[0] && l.closed[1] {
		l.endedLocked()
	}
	l.finishLocked()
}

// overLocked says that both directions are over, and that the peer knows of the lane if there is one.
func (l *Laned) overLocked() bool {
	return l.closed[0] && l.closed[1] && (l.lane == nil || l.marked)
}

// finishLocked ends the lane and the stream below when all is over. Before the peer's mark it does not: the peer would take the end of
// the stream for the end of what comes. For that it does not wait for ever.
func (l *Laned) finishLocked() {
	if l.lane != nil && l.closed[0] && l.closed[1] && !l.marked && l.late == nil {
		l.late = time.AfterFunc(laneTimeout, l.fail)
	}
	if l.lane == nil || !l.overLocked() || l.broke || l.finished {
		return
	}
	l.finished = true
	l.endLocked(io.EOF)
	c, ctx := l.lane, l.link
	go func() {
		l.reading.Lock() // Read has left
		_ = c.SetReadDeadline(time.Time{})
		l.reading.Unlock()
		c.finish(ctx)
		// Last: so a peer has no more lanes than it may have streams, however slowly it reads.
		_ = l.stream.CloseWrite() // fails only on a stream that has ended
		l.stream.CloseRead(None)
	}()
}

// source is what is read next, and whether that is the lane.
func (l *Laned) source() (r io.Reader, lane bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.noticed {
		l.noticed = true
		_ = l.stream.SetReadDeadline(l.readBy) // fails only on a stream that has ended
	}
	switch {
	case l.closed[0] && !l.stopped:
		return nil, false, io.EOF
	case l.broke, l.stopped, !l.marked, l.got < l.from:
		return l.stream, false, nil
	case l.endsAt:
		return nil, false, io.EOF
	}
	return l.lane, true, nil
}

// Read implements [Stream].
func (l *Laned) Read(p []byte) (n int, err error) {
	if g := l.gated.Load(); g != nil {
		n, err = g.read(p)
		l.count(n)
		return n, err
	}
	for {
		n, again, err := l.read(p)
		if again {
			continue
		}
		l.count(n)
		return n, err
	}
}

func (l *Laned) read(p []byte) (n int, again bool, err error) {
	l.reading.Lock()
	locked := true
	unlock := func() {
		if locked {
			l.reading.Unlock()
			locked = false
		}
	}
	defer unlock()
	r, lane, err := l.source()
	if err != nil {
		l.over(0)
		return 0, false, err
	}
	if l.broken() {
		unlock()
		<-l.whyKnown
		return 0, false, l.why
	}
	n, err = r.Read(p)
	switch {
	case lane && errors.Is(err, io.EOF):
		l.over(0)
	case lane && err != nil && !timedOut(err):
		l.fail()
		return 0, true, nil
	case !lane:
		l.got += int64(n)
	}
	if timedOut(err) {
		l.mu.Lock()
		woken := l.readBy.IsZero() || time.Now().Before(l.readBy) || !l.noticed
		l.mu.Unlock()
		if woken {
			return n, n == 0, nil
		}
	}
	if !lane && errors.Is(err, io.EOF) {
		switch marked, moved := l.moved(); {
		case moved && marked: // fewer bytes came than the mark says, as source would not read here
			if l.got < l.marksAt() {
				l.fail()
			}
			return n, n == 0, nil
		case moved && n > 0:
			return n, false, nil
		case moved: // the mark says whether that was all
			unlock()
			err := l.waitMark()
			return 0, err == nil, err
		}
		l.over(0)
	}
	if !lane {
		err = l.told(err)
	}
	return n, false, err
}

// waitMark waits for the peer's mark, or until Read has another reason to look again.
func (l *Laned) waitMark() error {
	l.mu.Lock()
	by, changed := l.readBy, make(chan struct{})
	l.waits = changed
	stopped := l.stopped
	l.mu.Unlock()
	if stopped {
		return nil
	}
	var late <-chan time.Time
	if !by.IsZero() {
		t := time.NewTimer(time.Until(by))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-l.markKnown:
	case <-changed:
	case <-late:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// lookLocked has a Read that waits for the mark look again.
func (l *Laned) lookLocked() {
	if l.waits != nil {
		close(l.waits)
		l.waits = nil
	}
}

// moved says whether there is a lane, and whether the peer's mark has come on it.
func (l *Laned) moved() (marked, moved bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marked, l.lane != nil && !l.stopped
}

func (l *Laned) marksAt() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.from
}

func (l *Laned) broken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broke
}

// Write implements [Stream].
func (l *Laned) Write(p []byte) (n int, err error) {
	if g := l.gated.Load(); g != nil {
		n, err = g.write(p)
	} else {
		n, err = l.write(p)
	}
	l.count(n)
	return n, err
}

func (l *Laned) write(p []byte) (n int, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	c, out := l.lane, l.out
	l.mu.Unlock()
	if !out {
		n, err = l.stream.Write(p)
		l.put += int64(n)
		return n, l.told(err)
	}
	if _, err := l.stream.Write(nil); err != nil { // the peer reads no more, or the stream or the link has ended
		return 0, l.told(err)
	}
	n, err = c.Write(p)
	if err != nil && !timedOut(err) && !errors.Is(err, io.ErrClosedPipe) {
		err = l.failed(err)
	}
	return n, err
}

// CloseWrite implements [Stream].
func (l *Laned) CloseWrite() error {
	if g := l.gated.Load(); g != nil {
		return g.closeWrite()
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	c, out := l.lane, l.out
	l.mu.Unlock()
	if l.shut {
		return nil
	}
	l.shut = true
	if !out {
		l.mu.Lock()
		l.below = true
		l.mu.Unlock()
		err := l.stream.CloseWrite()
		l.over(1)
		return err
	}
	err := c.CloseWrite()
	if err != nil {
		return l.failed(err)
	}
	l.over(1)
	return nil
}

// CloseRead implements [Stream]. What still comes over the lane is thrown away until the peer knows.
func (l *Laned) CloseRead(code Code) {
	if g := l.gated.Load(); g != nil {
		g.closeRead(code)
		return
	}
	l.stream.CloseRead(code)
	l.mu.Lock()
	if l.stopped || l.broke || l.closed[0] {
		l.mu.Unlock()
		return
	}
	l.stopped = true
	l.lookLocked()
	c := l.lane
	if !l.marked {
		c = nil // it is drained when it is
	}
	l.mu.Unlock()
	if c != nil {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes a Read that blocks
		go func() {
			l.reading.Lock() // Read has left
			_ = c.SetReadDeadline(time.Time{})
			l.reading.Unlock()
			c.drain()
		}()
	}
	l.over(0)
}

// Reset implements [Stream].
func (l *Laned) Reset(code Code) {
	if g := l.gated.Load(); g != nil {
		g.reset(code)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.gone = true
		l.endedLocked()
		return
	}
	l.mu.Lock()
	c := l.lane
	if l.finished { // what was written arrives, if the peer takes it
		if !l.gone {
			l.gone = true
			time.AfterFunc(laneLinger, c.reset)
		}
		l.mu.Unlock()
		return
	}
	l.gone = true
	l.endedLocked()
	if c != nil && !l.broke {
		l.broke = true
		if !l.marked {
			close(l.markKnown)
		}
	}
	l.mu.Unlock()
	l.stream.Reset(code)
	if c != nil {
		l.end(&Error{Code: code})
		c.reset()
	}
}

// SetDeadline implements [Stream].
func (l *Laned) SetDeadline(t time.Time) error {
	return errors.Join(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}

// SetReadDeadline implements [Stream].
func (l *Laned) SetReadDeadline(t time.Time) error {
	if g := l.gated.Load(); g != nil {
		return g.setReadDeadline(t)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readBy = t
	l.lookLocked()
	if l.broke {
		return nil
	}
	if l.marked && !l.stopped && !l.finished {
		_ = l.lane.SetReadDeadline(t) // fails only on a lane that has ended
	}
	if !l.noticed {
		return nil // Read sets it
	}
	return l.stream.SetReadDeadline(t)
}

// SetWriteDeadline implements [Stream].
func (l *Laned) SetWriteDeadline(t time.Time) error {
	if g := l.gated.Load(); g != nil {
		return g.setWriteDeadline(t)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeBy = t
	if l.out {
		_ = l.lane.SetWriteDeadline(t) // it does not fail
	}
	return l.stream.SetWriteDeadline(t)
}
