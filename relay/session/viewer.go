package session

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"scrier/wire"
)

const (
	// viewerStall is how long a viewer's transport may refuse to take a frame before the viewer
	// counts as lost.
	viewerStall = time.Minute

	// ackDelay lets the acknowledgement of a keystroke travel with its echo.
	ackDelay = 30 * time.Millisecond

	checkEvery = time.Minute
)

// viewer is one attached viewer. Its fields are guarded by the terminal's mutex.
type viewer struct {
	Viewer
	terminal *terminal
	stream   wire.Stream
	client   [16]byte
	wake     chan struct{}

	next     uint64 // of the output: the next byte to send
	seen     uint64 // up to here it is on the screen
	acked    uint64 // of the input: what the viewer was told
	pong     *wire.Pong
	names    bool       // the watchers' names are news to it
	end      *wire.Exit // its own end, before the session's
	lost     error      // its transport's end
	left     bool
	leaving  bool      // it said that the session is to end
	checked  time.Time // by listen alone
	sizeSeen wire.Size
}

func (v *viewer) wakeLocked() { wake(v.wake) }

// endLocked ends this viewer alone.
func (v *viewer) endLocked(exit *wire.Exit) {
	if v.end != nil {
		return
	}
	v.end = exit
	v.wakeLocked()
	time.AfterFunc(exitWait, func() { // its transport may be stuck with what it has to take before
		v.terminal.mu.Lock()
		left := v.left
		v.terminal.mu.Unlock()
		if !left {
			v.stream.Reset(exit.Code)
		}
	})
}

// Serve serves a viewer until it leaves or the session ends. An error has not been told to the
// viewer; otherwise its last frame was sent, or its stream is reset. Who does not watch becomes
// the session's owner, and takes it over from another viewer.
func (s *Session) Serve(ctx context.Context, f *wire.Framed, who Viewer, a *wire.Attach) error {
	t := s.terminal.Load()
	if t == nil {
		return wire.Errorf(wire.NotFound, "the session is not open yet")
	}
	if who.Check != nil { // they may have signed out since they got the ticket
		if err := who.Check(false); err != nil {
			return err
		}
	}
	v := &viewer{Viewer: who, terminal: t, stream: f, wake: make(chan struct{}, 1)}
	copy(v.client[:], a.Client)
	if who.Watch {
		if err := s.watched(ctx, "session.watch", who); err != nil {
			return err
		}
	}
	attached, err := t.join(v, a)
	if err != nil {
		return err
	}
	defer t.gone.Done()
	defer s.table.changed(s.row.ID)
	s.table.changed(s.row.ID)
	if err := f.Send(attached); err != nil {
		t.leave(v, &wire.Error{Code: wire.ViewerLost, Err: err})
		f.Reset(wire.ViewerLost)
		return nil
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		v.listen(f)
	}()
	err = v.serve(f)
	t.leave(v, err)
	// What the viewer still sends is discarded later (wire.Finish): a stream that is read to its
	// end is one whose last frame has arrived.
	if err != nil || f.SetReadDeadline(time.Now()) != nil {
		f.Reset(wire.CodeOf(err))
	}
	<-read
	if err == nil && f.SetReadDeadline(time.Time{}) != nil {
		f.Reset(wire.None)
	}
	return nil
}

// join makes v a viewer of the terminal.
func (t *terminal) join(v *viewer, a *wire.Attach) (*wire.Attached, error) {
	s := t.session
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.final != nil || s.ctx.Err() != nil {
		return nil, wire.Errorf(wire.NotFound, "the session has ended")
	}
	start, head := t.out.start(), t.out.head
	v.next = start
	if a.From != nil {
		if *a.From > head {
			return nil, wire.Errorf(wire.BadRequest, "the session has produced %d bytes, not %d", head, *a.From)
		}
		v.next = max(start, *a.From)
	}
	v.seen = v.next
	var typed uint64
	if v.Watch {
		if len(t.watchers) >= maxWatchers {
			return nil, wire.Errorf(wire.Busy, "%d people watch this session already", len(t.watchers))
		}
		t.watchers = append(t.watchers, v)
	} else {
		if old := t.owner; old != nil {
			old.endLocked(&wire.Exit{Code: wire.TakenOver})
		}
		t.owner, t.seen = v, v.seen
		t.becomeLocked(v.client)
		typed, v.acked = t.clients[0].taken, t.clients[0].given
		if a.Size != (wire.Size{}) {
			t.resizeLocked(a.Size)
		}
		v.names = len(t.watchers) > 0
		if t.grace != nil {
			t.grace.Stop()
			t.grace = nil
		}
		wake(t.room)
	}
	t.gone.Add(1)
	t.watchersChangedLocked(v)
	login := ""
	if l := s.login.Load(); l != nil {
		login = *l
	}
	v.sizeSeen = t.size
	return &wire.Attached{
		Session: s.row.ID, Envoy: s.row.EnvoyName, EnvoyID: s.row.Envoy, Kind: wire.Kind(s.row.Kind), Login: login,
		Offset: v.next, Head: head, Typed: typed, Window: wire.ViewerWindow, Watching: v.Watch, Size: t.size,
	}, nil
}

func (t *terminal) watchersChangedLocked(v *viewer) {
	if v.Watch && t.owner != nil {
		t.owner.names = true
		t.owner.wakeLocked()
	}
}

// leave takes v out; err tells how it went.
func (t *terminal) leave(v *viewer, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v.left = true
	t.watchers = slices.DeleteFunc(t.watchers, func(w *viewer) bool { return w == v })
	t.watchersChangedLocked(v)
	if v.lost == nil {
		v.lost = errors.Join(err, io.EOF)
	}
	if t.owner != v {
		return
	}
	t.owner, t.seen = nil, v.seen
	if v.leaving {
		t.session.End(&wire.Error{Code: wire.Left})
	}
	if t.final == nil {
		t.detachedLocked()
	}
	wake(t.room)
	wake(t.idle)
}

// serve sends the viewer what there is for it, at the pace of its acknowledgements, until its end.
func (v *viewer) serve(f *wire.Framed) error {
	buf := make([]byte, wire.DataHeader+wire.MaxData)
	delay := time.NewTimer(ackDelay)
	defer delay.Stop()
	late := false // the input's acknowledgement has waited long enough
	for {
		n, messages, last, err := v.due(buf[wire.DataHeader:], late)
		if err != nil {
			return err
		}
		late = false
		if n > 0 || len(messages) > 0 {
			var frame []byte
			if n > 0 {
				frame = wire.DataFrame(buf, n)
			}
			if err := f.WriteBy(time.Now().Add(viewerStall), messages, frame); err != nil {
				return &wire.Error{Code: wire.ViewerLost, Err: err}
			}
		}
		if last {
			return nil
		}
		if n > 0 || len(messages) > 0 {
			continue
		}
		if v.owesAck() {
			delay.Reset(ackDelay)
			select {
			case <-v.wake:
			case <-delay.C:
				late = true
			}
			continue
		}
		<-v.wake
	}
}

// due is what is to be sent now: messages, then n bytes in p. last says that nothing follows.
func (v *viewer) due(p []byte, late bool) (n int, messages []wire.Message, last bool, err error) {
	t := v.terminal
	t.mu.Lock()
	defer t.mu.Unlock()
	if v.lost != nil {
		return 0, nil, false, v.lost
	}
	if v.end != nil {
		return 0, []wire.Message{v.end}, true, nil
	}
	if start := t.out.start(); v.next < start { // a watcher only: the owner holds the shell back
		v.next, v.seen = start, max(v.seen, start)
		messages = append(messages, &wire.Notice{Code: wire.Busy, Text: "you fell behind: some output is not shown"})
	}
	if v.pong != nil {
		messages = append(messages, v.pong)
		v.pong = nil
	}
	if v.names {
		messages = append(messages, &wire.Watchers{Names: t.namesLocked()})
		v.names = false
	}
	if v.Watch && v.sizeSeen != t.size {
		v.sizeSeen = t.size
		messages = append(messages, &wire.Resize{Size: t.size})
	}
	limit := v.seen + wire.ViewerWindow
	n = t.out.read(p[:min(uint64(len(p)), limit-v.next)], v.next)
	v.next += uint64(n)
	if given := v.givenLocked(); given != v.acked && (n > 0 || late || given-v.acked >= wire.ViewerWindow/4) {
		v.acked = given
		messages = append(messages, &wire.Ack{Offset: given})
	}
	if t.over && v.next == t.out.head {
		wake(t.idle)
	}
	if t.final != nil && n == 0 && (t.final.Code != wire.None || v.next == t.out.head) {
		return 0, append(messages, t.final), true, nil
	}
	return n, messages, false, nil
}

func (v *viewer) givenLocked() uint64 {
	t := v.terminal
	if v.Watch || t.owner != v || len(t.clients) == 0 {
		return v.acked
	}
	return t.clients[0].given
}

func (v *viewer) owesAck() bool {
	v.terminal.mu.Lock()
	defer v.terminal.mu.Unlock()
	return v.givenLocked() != v.acked
}

// listen takes what the viewer sends, until its end.
func (v *viewer) listen(f *wire.Framed) {
	t := v.terminal
	for {
		m, err := f.Receive()
		if err == nil {
			err = v.take(m)
		}
		if err != nil {
			t.mu.Lock()
			if v.lost == nil {
				v.lost = err
				if wire.CodeOf(err) == wire.Internal { // no word of the transport's own
					v.leaving = errors.Is(err, io.EOF) && !v.Watch && v.end == nil
					v.lost = &wire.Error{Code: wire.ViewerLost, Err: err}
				}
			}
			v.wakeLocked()
			t.mu.Unlock()
			return
		}
	}
}

// check says whether the viewer may still do what m is for. It reads the store: not under the mutex.
func (v *viewer) check(m wire.Message) error {
	_, typed := m.(*wire.Data)
	if v.Check == nil || !typed && !v.Watch || time.Since(v.checked) < checkEvery {
		return nil
	}
	v.checked = time.Now()
	return v.Check(typed && !v.Watch)
}

// take obeys one message.
func (v *viewer) take(m wire.Message) error {
	refused := v.check(m)
	t := v.terminal
	t.mu.Lock()
	defer t.mu.Unlock()
	if refused != nil {
		v.checked = time.Time{} // nor is what comes behind it taken
		v.endLocked(&wire.Exit{Code: wire.CodeOf(refused), Detail: wire.DetailOf(refused)})
		return nil
	}
	switch m := m.(type) {
	case *wire.Ack:
		if m.Offset > v.next {
			return wire.Errorf(wire.Protocol, "%d bytes are acknowledged, and %d were sent", m.Offset, v.next)
		}
		v.seen = max(v.seen, m.Offset) // a watcher's may be of before it fell behind
		v.wakeLocked()
		if t.owner == v {
			t.seen = v.seen
			wake(t.room)
		}
		return nil
	case *wire.Ping:
		v.pong = &wire.Pong{N: m.N}
		v.wakeLocked()
		return nil
	}
	if v.Watch {
		return wire.Errorf(wire.Forbidden, "a watcher does not type")
	}
	if t.owner != v {
		return nil // it has just been taken over; its end is on its way
	}
	switch m := m.(type) {
	case *wire.Data:
		if len(t.typed)+len(m.Bytes) > wire.ViewerWindow {
			return wire.Errorf(wire.Protocol, "input is more than %d bytes ahead", wire.ViewerWindow)
		}
		t.typed = append(t.typed, m.Bytes...)
		t.clients[0].taken += uint64(len(m.Bytes))
		wake(t.fed)
	case *wire.Resize:
		t.resizeLocked(m.Size)
	case *wire.EOF:
		t.eof = true
		wake(t.fed)
	default:
		return wire.Errorf(wire.Protocol, "unexpected %T from a viewer", m)
	}
	return nil
}

func (t *terminal) resizeLocked(size wire.Size) {
	if size = size.Clamp(); size == t.size {
		return
	}
	t.size, t.resize = size, true
	wake(t.fed)
	for _, w := range t.watchers {
		w.wakeLocked()
	}
}
