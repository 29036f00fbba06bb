package wire

import (
	"sync"
	"time"
)

// tcpMaxUnsent is how many bytes of frames a link keeps for a peer that takes none, beside the turns of tcpTurns: window
// updates, ends, resets. It is the end of who makes us say things, and does not listen.
const tcpMaxUnsent = 256 << 10

// tcpWriter is what goes out on a TCP link. It takes everything at once; its goroutine writes it. Small frames go before
// large ones, so a key does not wait for another stream's bulk; frames of one stream stay in their order.
type tcpWriter struct {
	link *tcpLink

	// Of yamux's sending goroutine.
	header tcpHeader
	body   bool // the header was given, and its body comes next

	mu      sync.Mutex
	more    chan struct{} // something is to be written
	first   []byte        // small frames
	turns   int           // of small writes in first
	later   []tcpPiece
	waiting map[uint32]int // of each stream, how many of its frames are in later
	held    int            // bytes in first and later, but those of large writes
	goodbye []byte         // what is written last
	closing bool
	stopped bool
	err     error // why the connection takes no more

	done chan struct{} // closed when nothing is written any more
}

// tcpPiece is one frame.
type tcpPiece struct {
	bytes        []byte
	stream       uint32
	large, small int           // turns
	whole        *tcpWholeSize // where bytes are, if it is a large one
}

type tcpWholeSize [len(tcpHeader{}) + tcpChunk]byte

// tcpPieces are shared by all links: a large piece lives for as long as the connection needs to take it.
var tcpPieces = sync.Pool{New: func() any { return new(tcpWholeSize) }}

func newTCPWriter(l *tcpLink) *tcpWriter {
	return &tcpWriter{link: l, more: make(chan struct{}, 1), waiting: map[uint32]int{}, done: make(chan struct{})}
}

// mux takes what yamux writes: a header, and in the next call its body.
func (w *tcpWriter) mux(p []byte) (int, error) {
	if w.body {
		w.body = false
		w.put(w.header, p)
		return len(p), nil
	}
	copy(w.header[:], p)
	switch {
	case w.header.kind() == tcpWindow:
		if s, _ := w.link.find(w.header.stream()); s != nil {
			s.grant(int64(w.header.value()))
		}
	case w.header.kind() == tcpData && w.header.value() > 0:
		w.body = true
		return len(p), nil
	}
	w.put(w.header, nil)
	return len(p), nil
}

// control writes a frame of ours. It does not wait.
func (w *tcpWriter) control(h tcpHeader) { w.put(h, nil) }

func (w *tcpWriter) put(h tcpHeader, body []byte) {
	n := len(h) + len(body)
	id := h.stream()
	w.mu.Lock()
	if w.closing || w.stopped {
		w.mu.Unlock()
		return
	}
	large, small := 0, 0
	switch {
	case len(body) > tcpSmall:
		large = 1
	case len(body) > 0:
		small = 1
	}
	if large == 0 {
		w.held += n
	}
	if large == 0 && w.waiting[id] == 0 {
		w.first = append(append(w.first, h[:]...), body...)
		w.turns += small
	} else {
		piece := tcpPiece{stream: id, large: large, small: small}
		if large > 0 {
			piece.whole = tcpPieces.Get().(*tcpWholeSize)
			piece.bytes = piece.whole[:0]
		}
		piece.bytes = append(append(piece.bytes, h[:]...), body...)
		w.later = append(w.later, piece)
		w.waiting[id]++
	}
	deaf := w.held > tcpMaxUnsent
	w.mu.Unlock()
	notify(w.more)
	if deaf {
		_ = w.link.violated("what the peer is told is not taken")
	}
}

// run writes until the link ends.
func (w *tcpWriter) run() {
	defer close(w.done)
	var spare []byte
	for {
		w.mu.Lock()
		first, turns := w.first, w.turns
		w.first, w.turns = spare[:0], 0
		w.held -= len(first)
		var piece tcpPiece
		if len(w.later) > 0 {
			piece = w.later[0]
			w.later[0] = tcpPiece{}
			if w.later = w.later[1:]; len(w.later) == 0 {
				w.later = nil
			}
			if piece.large == 0 {
				w.held -= len(piece.bytes)
			}
		}
		goodbye, closing, stopped := w.goodbye, w.closing, w.stopped
		if !closing {
			_ = w.link.conn.SetWriteDeadline(time.Now().Add(tcpSilence)) // the write says what is wrong
		}
		w.mu.Unlock()
		switch {
		case stopped:
			return
		case closing:
			if _, err := w.link.conn.Write(append(first, goodbye...)); err == nil {
				_ = w.link.conn.CloseWrite() // what comes after the last word is of no use
			}
			return
		}
		err := w.write(first)
		if err == nil {
			err = w.write(piece.bytes)
		}
		if err != nil {
			w.broke(err)
			return
		}
		if turns+piece.large+piece.small > 0 {
			w.link.turns.written(piece.large, turns+piece.small)
		}
		if piece.whole != nil {
			tcpPieces.Put(piece.whole)
		}
		if piece.bytes != nil {
			w.passed(piece.stream)
		}
		if spare = first; cap(spare) > 2*tcpChunk {
			spare = nil
		}
		if len(first) == 0 && piece.bytes == nil {
			<-w.more
		}
	}
}

func (w *tcpWriter) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := w.link.conn.Write(p)
	w.link.said.Store(int64(time.Since(w.link.began)))
	return err
}

// broke leaves the end of the link to its reader, for a moment: the peer's last word may lie there.
func (w *tcpWriter) broke(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	_ = w.link.conn.SetReadDeadline(time.Now().Add(tcpCloseTimeout)) // the read says what is wrong
}

// failure is why nothing more was written; nil: it was not tried, or went well.
func (w *tcpWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// passed says that a frame of later has been written. Before that a frame of the same stream must not go into first.
func (w *tcpWriter) passed(stream uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[stream]--; w.waiting[stream] == 0 {
		delete(w.waiting, stream)
	}
}

// last writes what is small and waits, and then goodbye, within a limit; nothing after it.
func (w *tcpWriter) last(goodbye []byte) {
	w.mu.Lock()
	w.goodbye, w.closing = goodbye, true
	if len(w.first) > tcpChunk {
		w.first = nil // the last word says more
	}
	w.later = nil
	_ = w.link.conn.SetDeadline(time.Now().Add(tcpCloseTimeout)) // the write says what is wrong
	w.mu.Unlock()
	notify(w.more)
}

// stop ends the writing. The connection is closed, so that nothing is being written.
func (w *tcpWriter) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	notify(w.more)
}
