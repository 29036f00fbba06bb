package client

import (
	"bytes"
	"context"
	"sync"
	"time"

	"scrier/wire"
)

const (
	// maxTyped is how much may be typed ahead of what has arrived at the shell, in bytes: more than anybody pastes.
	maxTyped = 16 << 20

	// fullWait is how long the terminal is not read when so much waits. If nothing has arrived at the shell by
	// then, what is typed is dropped, as an escape may be behind it.
	fullWait = time.Second
)

// input is what was typed, numbered by bytes, until it has arrived at the shell: so it can be sent once more on
// another connection. One goroutine adds, and one sends; a third hears what has arrived.
//
// While history is shown, nothing is sent. Old output may hold questions to the terminal, which answers them
// once more; these answers must not reach the shell. When history has been shown they are dropped, and the rest
// is sent.
type input struct {
	news chan struct{} // wakes who sends
	room chan struct{} // wakes who adds

	mu      sync.Mutex
	bytes   []byte // from arrived on
	arrived uint64 // the shell has everything before this
	sent    uint64 // on the connection that is in use
	window  uint64 // how far sent may be ahead of arrived
	began   uint64 // what was typed from here on may be an answer to a question of history
	live    bool   // history has been shown, and a connection is in use
	eof     bool   // no more will be typed
	most    int
}

func newInput() *input {
	return &input{news: make(chan struct{}, 1), room: make(chan struct{}, 1), most: maxTyped}
}

func (in *input) endLocked() uint64 { return in.arrived + uint64(len(in.bytes)) }

// idle says that all that was typed has arrived at the shell.
func (in *input) idle() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.bytes) == 0
}

// add takes what was typed, and says how much there was no room for. It waits for room, unless nothing arrives at
// the shell for so long.
func (in *input) add(ctx context.Context, p []byte, wait time.Duration) (dropped int) {
	for {
		in.mu.Lock()
		n := min(len(p), in.most-len(in.bytes))
		in.bytes = append(in.bytes, p[:n]...)
		in.mu.Unlock()
		if p = p[n:]; n > 0 {
			poke(in.news)
		}
		if len(p) == 0 {
			return 0
		}
		select {
		case <-in.room:
		case <-time.After(wait):
			return len(p)
		case <-ctx.Done():
			return len(p)
		}
	}
}

// end says that no more will be typed.
func (in *input) end() {
	in.mu.Lock()
	in.eof = true
	in.mu.Unlock()
	poke(in.news)
}

// stuckLocked says that something waits which may not be sent, as the shell has not taken what was sent before.
func (in *input) stuckLocked() bool {
	return in.live && in.sent < in.endLocked() && in.sent >= in.arrived+in.window
}

// interrupt drops what waits for a shell that does not read: who types Ctrl-C means what was pasted as well.
func (in *input) interrupt() (dropped int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.stuckLocked() {
		return 0
	}
	keep := int(in.sent - in.arrived)
	dropped = len(in.bytes) - keep
	in.bytes = bytes.Clone(in.bytes[:keep])
	return dropped
}

// resume begins with a connection of which the relay says that it has taken so much: what is behind that is sent
// once more. lost says that nobody knows what of it has arrived.
func (in *input) resume(typed, window uint64) (lost bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if typed < in.arrived || typed > in.sent {
		lost = in.sent > in.arrived
		in.bytes = in.bytes[in.sent-in.arrived:]
		in.arrived = typed
	}
	in.shownLocked(typed - min(typed, window)) // the relay holds no more than that
	in.sent, in.window, in.began, in.live = typed, window, in.endLocked(), false
	return lost
}

// part says that there is no connection.
func (in *input) part() {
	in.mu.Lock()
	in.live = false
	in.mu.Unlock()
}

// goLive says that history has been shown.
func (in *input) goLive() {
	in.mu.Lock()
	held := in.bytes[in.began-in.arrived:]
	in.bytes = append(in.bytes[:in.began-in.arrived:in.began-in.arrived], withoutReplies(held)...)
	in.live = true
	in.mu.Unlock()
	poke(in.news)
}

// shown is told that the shell has everything before this number.
func (in *input) shown(arrived uint64) {
	in.mu.Lock()
	in.shownLocked(min(arrived, in.sent))
	in.mu.Unlock()
	poke(in.news)
	poke(in.room)
}

func (in *input) shownLocked(arrived uint64) {
	if arrived <= in.arrived {
		return
	}
	if in.bytes = in.bytes[arrived-in.arrived:]; len(in.bytes) == 0 {
		in.bytes = nil // what comes next has a buffer of its own
	}
	in.arrived = arrived
}

// next waits for what is to be sent now; eof says that it was all. It counts as sent then.
func (in *input) next(ctx context.Context) (p []byte, eof bool, err error) {
	for {
		in.mu.Lock()
		if in.live {
			rest := in.bytes[in.sent-in.arrived:]
			n := min(uint64(len(rest)), in.arrived+in.window-min(in.sent, in.arrived+in.window), wire.MaxData)
			if n > 0 {
				p = append(make([]byte, wire.DataHeader, wire.DataHeader+n), rest[:n]...)
				in.sent += n
			}
			eof = in.eof && len(rest) == 0
		}
		in.mu.Unlock()
		if len(p) > 0 || eof {
			return p, eof, nil
		}
		select {
		case <-in.news:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

// flush waits until everything that may be sent has been, or a moment.
func (in *input) flush() {
	for end := time.Now().Add(fullWait); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		in.mu.Lock()
		done := !in.live || in.sent == in.endLocked() || in.stuckLocked()
		in.mu.Unlock()
		if done {
			return
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
