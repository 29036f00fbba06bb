package wire

import (
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// tcpChunk is how much of one stream goes out at once. With its header it is the largest record of TLS.
	tcpChunk = 16<<10 - len(tcpHeader{})
	// tcpSmall is a write that need not wait behind large ones, as of a key.
	tcpSmall = 1 << 10

	// How many writes of each size may wait for the connection at once. This bounds what lies before a key, and what a link holds.
	tcpLargeTurns = 8
	tcpSmallTurns = 64
)

// tcpTurns is who may write to a TCP link: a stream that has a window, if the link has room, in the order of asking.
// Everything that blocks a Write is here, so that a reset, a deadline and the end of the link free it.
type tcpTurns struct {
	mu           sync.Mutex
	room         int64 // bytes of data that the peer takes
	large, small tcpQueue
}

type tcpQueue struct {
	free    int
	waiting []*tcpTurn
}

// tcpTurn is the right to write n bytes.
type tcpTurn struct {
	stream *tcpStream
	queue  *tcpQueue
	n      int
	ready  chan struct{} // closed when it has come
}

func newTCPTurns() *tcpTurns {
	return &tcpTurns{room: tcpFirstRoom, large: tcpQueue{free: tcpLargeTurns}, small: tcpQueue{free: tcpSmallTurns}}
}

// grant is more room that the peer gives. It is false if that cannot be.
func (t *tcpTurns) grant(n int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.room += n
	t.proceed()
	return t.room <= tcpMaxWindow
}

// widen is a larger window that the peer gives a stream. It is false if that cannot be.
func (t *tcpTurns) widen(s *tcpStream, n int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.window += n
	notify(s.widened)
	return s.window <= tcpMaxWindow
}

// written gives turns back whose bytes are on their way.
func (t *tcpTurns) written(large, small int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.large.free += large
	t.small.free += small
	t.proceed()
}

// proceed gives turns to who waits. The caller holds mu.
func (t *tcpTurns) proceed() {
	for _, q := range []*tcpQueue{&t.small, &t.large} {
		for len(q.waiting) > 0 && q.free > 0 && t.room > 0 {
			turn := q.waiting[0]
			q.waiting[0] = nil
			q.waiting = q.waiting[1:]
			t.take(turn)
			close(turn.ready)
		}
	}
}

// take spends what a turn costs. The caller holds mu, and there is some of everything.
func (t *tcpTurns) take(turn *tcpTurn) {
	turn.n = int(min(int64(turn.n), turn.stream.window, t.room))
	if turn.n <= tcpSmall {
		turn.queue = &t.small // what is left of a window or room may be less than was asked for; [tcpWriter.put] sees the size alone
	}
	turn.queue.free--
	turn.stream.window -= int64(turn.n)
	t.room -= int64(turn.n)
}

// leave gives back a turn that is not used, or takes it out of its queue. The caller does not hold mu.
func (t *tcpTurns) leave(turn *tcpTurn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(turn.queue.waiting, turn); i >= 0 {
		turn.queue.waiting = slices.Delete(turn.queue.waiting, i, i+1)
		return
	}
	turn.queue.free++
	turn.stream.window += int64(turn.n)
	t.room += int64(turn.n)
	t.proceed()
}

// next waits for a turn of s to write at most n bytes. deadline is when it gives up.
func (t *tcpTurns) next(s *tcpStream, n int) (*tcpTurn, error) {
	turn := &tcpTurn{stream: s, n: min(n, tcpChunk), queue: &t.large}
	if turn.n <= tcpSmall {
		turn.queue = &t.small
	}
	for {
		t.mu.Lock()
		if s.window > 0 {
			break
		}
		t.mu.Unlock()
		select {
		case <-s.widened:
		case <-s.stopped:
			return nil, s.writable()
		case <-s.link.Context().Done():
			return nil, s.writable()
		case <-s.writeBy.passed():
			return nil, os.ErrDeadlineExceeded
		}
	}
	if len(turn.queue.waiting) == 0 && turn.queue.free > 0 && t.room > 0 {
		t.take(turn)
		t.mu.Unlock()
		return turn, nil
	}
	turn.ready = make(chan struct{})
	turn.queue.waiting = append(turn.queue.waiting, turn)
	t.mu.Unlock()
	select {
	case <-turn.ready:
		return turn, nil
	case <-s.stopped:
		t.leave(turn)
		return nil, s.writable()
	case <-s.link.Context().Done():
		t.leave(turn)
		return nil, s.writable()
	case <-s.writeBy.passed():
		t.leave(turn)
		return nil, os.ErrDeadlineExceeded
	}
}

// tcpDeadline is a time at which a channel is closed.
type tcpDeadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{} // closed when the time has passed
}

// passed is closed when the deadline passes, or has passed. Who waits for it sees a deadline that is moved, too.
func (d *tcpDeadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over == nil {
		d.over = make(chan struct{})
	}
	return d.over
}

func (d *tcpDeadline) set(at time.Time) {
	d.passed()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // the timer closes it just now
	}
	d.timer = nil
	closed := false
	select {
	case <-d.over:
		closed = true
	default:
	}
	wait := time.Until(at)
	if (at.IsZero() || wait > 0) && closed {
		d.over, closed = make(chan struct{}), false
	}
	over := d.over
	switch {
	case at.IsZero():
	case wait > 0:
		d.timer = time.AfterFunc(wait, func() { close(over) })
	case !closed:
		close(over)
	}
}
