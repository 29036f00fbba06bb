package wire

import "time"

// tcpReader is what arrives on a TCP link: it checks each frame, does what ours say, and passes on yamux's. Its methods
// are called by yamux's receiving goroutine alone, if nothing else is said.
type tcpReader struct {
	link *tcpLink

	header tcpHeader
	left   int    // bytes of the frame's body that were not passed on yet
	passed func() // what is to do when yamux has dealt with the frame

	// Guarded by link.mu.
	room   int64 // bytes of data that the peer may still send
	window int64 // how far room reaches at most
	freed  int64 // bytes that were read, of which the peer was not told yet

	done chan struct{} // closed when nothing more arrives
}

// read gives yamux one frame's header or a part of its body. It never gives the end of one frame and the beginning of the
// next: so when it is called again, yamux has dealt with the frame before.
func (r *tcpReader) read(p []byte) (int, error) {
	if r.left > 0 {
		n, err := r.receive(p[:min(len(p), r.left)])
		r.left -= n
		return n, err
	}
	if then := r.passed; then != nil {
		r.passed = nil
		then()
	}
	for {
		if err := r.receiveAll(r.header[:]); err != nil {
			return 0, err
		}
		pass, err := r.arrived()
		if err != nil {
			return 0, r.drain(err)
		}
		if pass {
			return copy(p, r.header[:]), nil // p is yamux's buffer of 4 KiB
		}
	}
}

// receive reads from the connection.
func (r *tcpReader) receive(p []byte) (int, error) {
	n, err := r.link.conn.Read(p)
	if n > 0 {
		r.link.heard.Store(int64(time.Since(r.link.began)))
	}
	if r.link.Err() != nil {
		return 0, r.drain(r.link.Err())
	}
	if err != nil {
		if wrote := r.link.out.failure(); wrote != nil {
			err = wrote
		}
		return n, r.drain(r.link.failed(err))
	}
	return n, nil
}

func (r *tcpReader) receiveAll(p []byte) error {
	for len(p) > 0 {
		n, err := r.receive(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// drain throws away what still arrives on a link that has ended, until the connection ends too.
func (r *tcpReader) drain(err error) error {
	select {
	case <-r.done:
		return err
	default:
	}
	defer close(r.done)
	scrap := make([]byte, 4<<10)
	for {
		if _, end := r.link.conn.Read(scrap); end != nil {
			return err
		}
	}
}

// arrived deals with a frame of which the header has been read, and says whether yamux is to get it.
func (r *tcpReader) arrived() (pass bool, err error) {
	h, l := &r.header, r.link
	if h.version() != 0 {
		return false, l.violated("a frame of version %d", h.version())
	}
	switch h.kind() {
	case tcpData, tcpWindow:
		return true, r.forMux()
	case tcpReset:
		return false, r.reset()
	case tcpStreams:
		return false, r.mayOpen()
	case tcpRoom:
		if !l.turns.grant(int64(h.value())) {
			return false, l.violated("more room than there can be")
		}
		return false, nil
	case tcpAlive:
		return false, nil
	case tcpClose:
		return false, r.closed()
	}
	return false, l.violated("a frame of kind 0x%x", h.kind())
}

// closed reads the peer's last word.
func (r *tcpReader) closed() error {
	n := r.header.body()
	if n > 512 {
		return r.link.violated("a reason of %d bytes", n)
	}
	detail := make([]byte, n)
	if err := r.receiveAll(detail); err != nil {
		return err
	}
	r.link.end(&Error{Code: numbered(uint64(r.header.value())), Detail: cutString(string(detail), 512)}, nil)
	return r.link.Err()
}

// mayOpen takes the peer's credit for streams.
func (r *tcpReader) mayOpen() error {
	n, l := int64(r.header.value()), r.link
	l.mu.Lock()
	l.granted += n
	// Granted can be no more than what was used and what there may be.
	excess := l.granted-int64((l.next-1)/2) > tcpMaxCredit
	l.mu.Unlock()
	if excess {
		return l.violated("more streams than there can be")
	}
	if n > 0 {
		l.credit.Release(n)
	}
	return nil
}

// ours says whether a number is of a stream that is opened on this side.
func (l *tcpLink) ours(id uint32) bool { return id%2 == l.next%2 }

// find is a stream; nil: it is over. known is false for one that there never was.
func (l *tcpLink) find(id uint32) (s *tcpStream, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ours(id) {
		return l.streams[id], id > 0 && id < l.next
	}
	return l.streams[id], id > 0 && id <= l.last
}

func (r *tcpReader) reset() error {
	h, l := &r.header, r.link
	s, known := l.find(h.stream())
	if !known {
		return l.violated("a reset of stream %d, which there is not", h.stream())
	}
	if s != nil {
		s.resetByPeer(h.flags(), &Error{Code: numbered(uint64(h.value()))})
	}
	return nil
}

// forMux checks a frame of yamux's.
func (r *tcpReader) forMux() error {
	h, l := &r.header, r.link
	flags, data := h.flags(), h.kind() == tcpData
	if flags&^(tcpSYN|tcpACK|tcpFIN) != 0 {
		return l.violated("a frame with flags 0x%x", flags)
	}
	if flags&tcpSYN != 0 {
		if data || flags != tcpSYN {
			return l.violated("a stream begins with flags 0x%x", flags)
		}
		return r.begins()
	}
	s, known := l.find(h.stream())
	if !known {
		return l.violated("a frame of stream %d, which there is not", h.stream())
	}
	if data {
		n := h.body()
		l.mu.Lock()
		r.room -= int64(n)
		over := r.room < 0
		l.mu.Unlock()
		if over {
			return l.violated("more bytes than the link has room for")
		}
		r.left = n
	}
	if s == nil { // yamux throws it away too
		r.consumed(r.left)
		return nil
	}
	if err := s.frame(h); err != nil {
		return l.violated("stream %d: %s", h.stream(), err)
	}
	if !data {
		n := h.value()
		r.passed = func() { s.allowed(n, flags) }
	}
	return nil
}

// begins makes the stream that the peer opens.
func (r *tcpReader) begins() error {
	h, l := &r.header, r.link
	id := h.stream()
	l.mu.Lock()
	next := l.last + 2
	if l.last == 0 {
		next = 1 + l.next%2 // the dialling side's are odd
	}
	switch {
	case id != next:
		l.mu.Unlock()
		return l.violated("stream %d begins, not %d", id, next)
	case l.mayOpen == 0:
		l.mu.Unlock()
		return l.violated("more streams than are allowed")
	}
	s := newTCPStream(l, id, false)
	s.window += int64(h.value())
	l.streams[id] = s
	l.last = id
	l.mayOpen--
	l.mu.Unlock()
	if h.value() > tcpMaxWindow {
		return l.violated("a window of %d bytes", h.value())
	}
	r.passed = func() {
		mux, err := l.mux.AcceptStream() // it is there, and so this does not wait
		if err != nil {
			return // the link has ended
		}
		s.bind(mux)
		l.mu.Lock()
		l.incoming = append(l.incoming, s)
		l.mu.Unlock()
		notify(l.arrived)
	}
	return nil
}

// grant makes the room for all streams' data larger. It may be called by anybody.
func (r *tcpReader) grant(n int64) {
	r.link.mu.Lock()
	r.window += n
	r.room += n
	r.link.mu.Unlock()
	r.link.out.control(newTCPHeader(tcpRoom, 0, 0, uint32(n)))
}

// consumed says that n bytes were read, or thrown away. It may be called by anybody.
func (r *tcpReader) consumed(n int) {
	if n <= 0 {
		return
	}
	l := r.link
	l.mu.Lock()
	r.freed += int64(n)
	free := r.freed
	if free < r.window/4 {
		l.mu.Unlock()
		return
	}
	r.freed = 0
	r.room += free
	l.mu.Unlock()
	l.out.control(newTCPHeader(tcpRoom, 0, 0, uint32(free)))
}
