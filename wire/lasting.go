package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// How many bytes each direction of a [Lasting] may be ahead of its reader: from its beginning, and when it carries much and there is
// memory for it.
const (
	LastingLeast = 64 << 10
	LastingMost  = 2 << 20
)

const (
	// lastingAck lets what a reader has read travel with bytes of the other direction.
	lastingAck = 30 * time.Millisecond

	// lastingEnd is how long the peer of a stream that is over may take to end its connection.
	lastingEnd = 15 * time.Second
)

// Lasting is one end of a stream that goes on when the connection breaks that carries it: on the next one, at the byte where it was. It is
// a [Stream] above, and frames on a connection below, which are the same in both directions:
//
//	Data    bytes, numbered from the beginning of the stream
//	EOF     no more follow
//	Ack     how many were read, the end being one more, and how far the peer may be ahead from now on
//	Closed  no more are read: what still comes is thrown away; EOF answers it
//
// Each side keeps what the other one has not read. Who begins a connection says how many bytes, and ends, have come before
// ([Lasting.Begin]); the other side goes on behind them. A connection that is reset with [Internal] was lost ([Lost]), and a next one may come.
// Any other code is that of the stream itself, as for every Stream. When all was read in both directions both sides end the connection in order.
//
// Its methods may be called at the same time, as those of a Stream.
type Lasting struct {
	grow func(n int) bool

	sending sync.Mutex // held by who writes to the connection

	mu      sync.Mutex
	wake    chan struct{} // wakes send of the present connection
	moves   sync.Cond     // Read or Write is to look again
	err     error         // why nothing goes on
	turn    int           // counts connections
	f       *Framed       // the present one; nil: there is none that may be written
	unsent  error         // why the present one cannot be written
	untold  bool          // Reset was called when there was no connection to say it on
	late    bool          // an Ack is due, however little it says
	ackOn   bool          // ackBy runs
	ackBy   *time.Timer
	readBy  time.Time
	writeBy time.Time
	rouse   [2]*time.Timer // for readBy, writeBy

	out      Ring
	allowed  int    // how far out may be ahead
	next     uint64 // byte of out to send on this connection
	most     uint64 // that was sent on any
	shut     bool   // CloseWrite was called
	unread   bool   // the peer reads no more
	endSaid  bool   // on this connection
	endTold  bool   // on any
	endKnown bool   // the peer has read the end

	in      Ring
	ended   bool   // all of in has come
	stopped error  // CloseRead was called
	stopSet bool   // the peer was told that, on this connection
	told    uint64 // what the peer knows to be read
	window  int    // what the peer knows to be allowed; 0: it is to hear of both
}

// NewLasting makes an end. grow says whether it may use n bytes more of memory than twice LastingLeast; nil: it may. They are its own
// until it is over.
func NewLasting(grow func(n int) bool) *Lasting {
	l := &Lasting{grow: grow, allowed: LastingLeast}
	l.moves.L = &l.mu
	l.out.Most, l.in.Most = LastingLeast, LastingLeast
	return l
}

// Begin is called before a connection is carried: from now on the one before is none. came and window are what the peer is to be told,
// and turn is for [Lasting.Carry].
func (l *Lasting) Begin() (turn int, came uint64, window int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn++
	if l.f != nil {
		l.f.Reset(Internal)
		l.f = nil
	}
	came = l.in.Head()
	if l.ended {
		came++
	}
	return l.turn, came, l.in.Most
}

// Err is why the stream goes on no more; nil: it does, or has ended in order.
func (l *Lasting) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Over says that both directions have ended in order, as far as this side knows.
func (l *Lasting) Over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil && l.doneLocked()
}

// Untold says that Reset was called, and that the peer has not heard of it: it would with one more connection.
func (l *Lasting) Untold() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.untold
}

// Unread says that the peer reads no more.
func (l *Lasting) Unread() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unread
}

// Lost says of an error of [Lasting.Carry] that the connection alone was lost. It also is when the relay has ended the link because
// nobody seemed to be there any more ([ViewerLost]): a program that has changed its socket looks so for a moment.
func Lost(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && (CodeOf(err) == Internal || CodeOf(err) == ViewerLost)
}

// Carry carries the stream over a connection until that ends, and ends it. came is what the peer has said of what has come there. The error is nil when
// the stream has ended in order, in both directions, and both sides know it; else it is why the connection has ended. Unless that is
// [Lost], it is the end of the stream as well.
func (l *Lasting) Carry(turn int, f *Framed, came uint64) error {
	wake, err := l.resume(turn, f, came)
	if err != nil {
		f.Reset(lastingCode(err))
		return err
	}
	over := make(chan struct{})
	sent := make(chan string, 1)
	go func() {
		defer func() {
			fault := ""
			if p := recover(); p != nil {
				fault = fmt.Sprintf("%v, in a goroutine of Carry:\n%s", p, debug.Stack())
				f.Reset(Internal)
			}
			sent <- fault
		}()
		l.send(f, wake, over)
	}()
	err = l.receive(f)
	close(over)
	l.mu.Lock()
	if l.turn == turn {
		l.f = nil
		if l.unsent != nil && Lost(err) { // a reset may be heard of in one direction first
			err = l.unsent
		}
	}
	if err != nil && !Lost(err) && l.turn == turn {
		l.failLocked(err)
	}
	l.mu.Unlock()
	if err != nil {
		f.Reset(lastingCode(err))
	}
	if fault := <-sent; fault != "" { // of the caller, who may outlive it
		panic(fault)
	}
	if err == nil {
		_ = f.CloseWrite() // it may have been said before
	}
	return err
}

// lastingCode is with what a connection is reset that has ended with an error.
func lastingCode(err error) Code {
	if errors.Is(err, io.EOF) {
		return None
	}
	return CodeOf(err)
}

// resume begins with a connection, and gives what wakes who writes to it.
func (l *Lasting) resume(turn int, f *Framed, came uint64) (wake <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn != turn {
		return nil, &Error{Code: Internal, Detail: "another connection carries the stream"}
	}
	if l.err != nil {
		l.untold = false
		return nil, l.err
	}
	most := l.most
	if l.endTold {
		most++
	}
	if !l.unread && (came < l.out.Base() || came > most) {
		err := Errorf(Protocol, "a stream is to go on at byte %d, and those from %d to %d are kept", came, l.out.Base(), most)
		l.failLocked(err)
		return nil, err
	}
	l.f, l.unsent, l.wake = f, nil, make(chan struct{}, 1)
	l.next = min(max(came, l.out.Base()), l.out.Head())
	l.endSaid, l.stopSet = came > l.out.Head() && !l.unread, false
	if l.window = 0; turn == 1 { // that is known
		l.window = l.in.Most
	}
	return l.wake, nil
}

// send writes what there is, until the connection is over.
func (l *Lasting) send(f *Framed, wake, over <-chan struct{}) {
	for {
		l.sending.Lock()
		l.flush(f)
		l.sending.Unlock()
		select {
		case <-wake:
		case <-over:
			return
		}
	}
}

// lastingFrames are buffers for one frame each.
var lastingFrames = sync.Pool{New: func() any { return new([DataHeader + MaxData]byte) }}

// flush writes all that is due. The caller has sending.
func (l *Lasting) flush(f *Framed) {
	buf := lastingFrames.Get().(*[DataHeader + MaxData]byte)
	defer lastingFrames.Put(buf)
	for {
		messages, frame, over := l.due(f, buf[:])
		switch {
		case over:
			if f.CloseWrite() != nil || f.SetReadDeadline(time.Now().Add(lastingEnd)) != nil {
				f.Reset(Internal)
			}
			return
		case len(messages) == 0 && len(frame) == 0:
			return
		}
		// A peer reads all that it has allowed, whatever becomes of it: how long that takes is up to the link.
		if err := f.WriteBy(time.Time{}, messages, frame); err != nil {
			l.mu.Lock()
			if l.f == f && l.unsent == nil && !Lost(err) {
				l.unsent = err
			}
			l.mu.Unlock()
			f.Reset(lastingCode(err)) // receive sees that
			return
		}
	}
}

// due is what is to be written now. over says that nothing more will be.
func (l *Lasting) due(f *Framed, buf []byte) (messages []Message, frame []byte, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != f {
		return nil, nil, false
	}
	n := l.out.Copy(buf[DataHeader:], l.next)
	if n > 0 {
		l.next += uint64(n)
		l.most = max(l.most, l.next)
		frame = DataFrame(buf, n)
	}
	read := l.readLocked()
	if l.window != l.in.Most || read != l.told && (n > 0 || l.late || l.ended || read-l.told >= uint64(l.in.Most/4)) {
		l.told, l.window, l.late = read, l.in.Most, false
		messages = append(messages, &Ack{Offset: read, Window: uint32(l.in.Most)})
	}
	if l.stopped != nil && !l.stopSet && !l.ended {
		l.stopSet = true
		messages = append(messages, &Closed{})
	}
	if (l.shut || l.unread) && !l.endSaid && n == 0 && l.next == l.out.Head() { // behind all bytes
		l.endSaid, l.endTold = true, true
		messages = append(messages, &EOF{})
	}
	if len(messages) == 0 && n == 0 && l.overLocked() {
		l.f = nil
		return nil, nil, true
	}
	return messages, frame, false
}

// readLocked is how much was read, the end being one more.
func (l *Lasting) readLocked() uint64 {
	read := l.in.Base()
	if l.ended && l.in.Len() == 0 {
		read++
	}
	return read
}

// overLocked says that both directions have ended, and both sides will know it from what was sent.
func (l *Lasting) overLocked() bool { return l.doneLocked() && l.told == l.readLocked() }

// doneLocked says the same of this side alone.
func (l *Lasting) doneLocked() bool {
	return l.ended && l.in.Len() == 0 && (l.endKnown || l.unread && l.endSaid)
}

// receive takes what comes until the end of the connection.
func (l *Lasting) receive(f *Framed) error {
	for {
		m, err := f.Receive()
		if err == nil {
			err = l.take(f, m)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			l.mu.Lock()
			done := l.doneLocked() // a peer that ends it knows all that it has to
			l.mu.Unlock()
			if done && f.SetWriteDeadline(time.Now().Add(lastingEnd)) == nil {
				return nil
			}
			return err
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &Error{Code: Internal, Detail: "the peer does not end the connection of a stream that is over", Err: err}
		}
		return err
	}
}

func (l *Lasting) take(f *Framed, m Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, isAck := m.(*Ack); l.f != f && !(isAck && l.f == nil) {
		return &Error{Code: Internal, Detail: "another connection carries the stream"}
	}
	switch m := m.(type) {
	case *Data:
		switch {
		case l.ended:
			return Errorf(Protocol, "bytes come behind the end of a stream")
		case len(m.Bytes) > l.in.Room():
			return Errorf(Protocol, "a stream is more than %d bytes ahead", l.in.Most)
		}
		l.in.Add(m.Bytes)
		if l.stopped != nil {
			l.in.Release(l.in.Head())
			l.readSomeLocked()
		}
		if l.in.Room() < l.in.Most/2 && l.in.Most < LastingMost && l.growLocked(l.in.Most) {
			l.in.Most *= 2
			l.kick()
		}
	case *EOF:
		l.ended = true
		l.kick()
	case *Ack:
		if err := l.ackedLocked(m); err != nil {
			return err
		}
	case *Closed:
		l.unread = true
		l.out.Release(l.out.Head())
		l.next = l.out.Head()
		l.kick()
	default:
		return Errorf(Protocol, "unexpected %T on a stream that outlives its connections", m)
	}
	l.moves.Broadcast()
	return nil
}

func (l *Lasting) ackedLocked(m *Ack) error {
	if l.unread {
		return nil
	}
	sent := l.next
	if l.endSaid {
		sent++
	}
	if m.Offset > sent {
		return Errorf(Protocol, "%d bytes are acknowledged, and %d were sent", m.Offset, sent)
	}
	l.out.Release(m.Offset)
	l.allowed = max(l.allowed, int(min(m.Window, LastingMost)))
	if l.endSaid && m.Offset == sent {
		l.endKnown = true
		l.kick()
	}
	return nil
}

func (l *Lasting) growLocked(n int) bool { return n > 0 && (l.grow == nil || l.grow(n)) }

// kick is called with the mutex.
func (l *Lasting) kick() {
	select { // without a connection there is no channel
	case l.wake <- struct{}{}:
	default:
	}
}

// readSomeLocked has the peer learn what was read, now or soon.
func (l *Lasting) readSomeLocked() {
	read := l.readLocked()
	switch {
	case read == l.told:
	case l.ended || read-l.told >= uint64(l.in.Most/4):
		l.kick()
	case !l.ackOn:
		l.ackOn = true
		l.ackBy = time.AfterFunc(lastingAck, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.ackOn = false
			if l.readLocked() != l.told {
				l.late = true
				l.kick()
			}
		})
	}
}

// Fail ends the stream with an error, on this side alone: the connection is the caller's to end.
func (l *Lasting) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failLocked(err)
}

func (l *Lasting) failLocked(err error) {
	if l.err == nil {
		l.err = err
		if l.ackBy != nil {
			l.ackBy.Stop()
		}
	}
	l.moves.Broadcast()
}

// Read implements [Stream].
func (l *Lasting) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.stopped != nil:
			return 0, l.stopped
		case l.in.Len() > 0 && len(p) > 0:
			n := l.in.Copy(p, l.in.Base())
			l.in.Release(l.in.Base() + uint64(n))
			l.readSomeLocked()
			return n, nil
		case l.ended:
			return 0, io.EOF
		case l.err != nil:
			return 0, lastingErr(l.err)
		case passed(l.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		l.moves.Wait()
	}
}

// lastingErr is how a call fails because of the stream's end.
func lastingErr(err error) error {
	if errors.Is(err, io.EOF) { // who ends a connection in the middle has ended the stream
		return &Error{Code: None, Err: io.ErrUnexpectedEOF}
	}
	return err
}

// Write implements [Stream].
func (l *Lasting) Write(p []byte) (n int, err error) {
	for {
		l.mu.Lock()
		k, err := l.keepLocked(p)
		n, p = n+k, p[k:]
		f := l.f
		if !l.writeBy.IsZero() {
			f = nil // a deadline is to end this call, and not a frame in the middle
		}
		l.mu.Unlock()
		switch {
		case k == 0 || err != nil:
		case f != nil && l.sending.TryLock():
			l.flush(f)
			l.sending.Unlock()
			l.again()
		default:
			l.again()
		}
		if err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// again has what somebody else wanted to write meanwhile written.
func (l *Lasting) again() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next < l.out.Head() || l.late {
		l.kick()
	}
}

// keepLocked waits until it can keep some of p, all of it if there is room.
func (l *Lasting) keepLocked(p []byte) (int, error) {
	for {
		switch {
		case l.err != nil:
			return 0, lastingErr(l.err)
		case l.shut:
			return 0, io.ErrClosedPipe
		case l.unread:
			return 0, &Error{Code: None}
		case len(p) == 0:
			return 0, nil
		case passed(l.writeBy):
			return 0, os.ErrDeadlineExceeded
		}
		if more := min(2*l.out.Most, l.allowed) - l.out.Most; l.out.Room() < len(p) && l.growLocked(more) {
			l.out.Most += more
		}
		if n := l.out.Add(p); n > 0 {
			return n, nil
		}
		l.moves.Wait()
	}
}

// CloseWrite implements [Stream].
func (l *Lasting) CloseWrite() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return lastingErr(l.err)
	}
	l.shut = true
	l.moves.Broadcast()
	l.kick()
	return nil
}

// CloseRead implements [Stream]. The peer is told no code.
func (l *Lasting) CloseRead(code Code) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped != nil || l.ended && l.in.Len() == 0 {
		return
	}
	l.stopped = &Error{Code: code}
	l.in.Release(l.in.Head())
	l.late = true
	l.moves.Broadcast()
	l.kick()
}

// Reset implements [Stream]. A peer that has no connection at the time learns it when it comes back to nobody.
func (l *Lasting) Reset(code Code) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.overLocked() {
		return
	}
	l.failLocked(&Error{Code: code})
	l.in.Release(l.in.Head())
	if l.untold = l.f == nil; !l.untold {
		l.f.Reset(code)
	}
}

// SetDeadline implements [Stream].
func (l *Lasting) SetDeadline(t time.Time) error {
	return errors.Join(l.SetReadDeadline(t), l.SetWriteDeadline(t))
}

// SetReadDeadline implements [Stream].
func (l *Lasting) SetReadDeadline(t time.Time) error { return l.deadline(0, &l.readBy, t) }

// SetWriteDeadline implements [Stream].
func (l *Lasting) SetWriteDeadline(t time.Time) error { return l.deadline(1, &l.writeBy, t) }

func (l *Lasting) deadline(which int, by *time.Time, t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	*by = t
	if old := l.rouse[which]; old != nil {
		old.Stop()
		l.rouse[which] = nil
	}
	if !t.IsZero() {
		l.rouse[which] = time.AfterFunc(time.Until(t), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.moves.Broadcast()
		})
	}
	l.moves.Broadcast()
	return nil
}
