package program

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"scrier/relay/audit"
	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// errCut is how a stream ends whose link broke.
var errCut = errors.New("timeout: no recent network activity")

// showNumbered is a numbered program without a viewer.
func showNumbered(t *testing.T, m *session.Memory) (*shown, *Numbered) {
	t.Helper()
	return showFor(t, m, time.Minute)
}

// showFor is showNumbered with a grace.
func showFor(t *testing.T, m *session.Memory, grace time.Duration) (*shown, *Numbered) {
	t.Helper()
	s := &shown{T: t, process: newProcess(), served: make(chan error, 100)}
	s.table, s.journal = sessiontest.Table(t)
	s.table.Grace = grace
	s.Channel = sessiontest.Reserve(t, s.table)
	n := NewNumbered(s.Channel, s.process, mine, m)
	if n == nil {
		t.Fatal("there is no memory")
	}
	if err := s.Show(t.Context(), session.Shown{Login: "ann", Stage: n}); err != nil {
		t.Fatal(err)
	}
	return s, n
}

// breaking is a stream whose link can break.
type breaking struct {
	wire.Stream
	mu     sync.Mutex
	broken bool
}

func (b *breaking) Read(p []byte) (int, error) {
	n, err := b.Stream.Read(p)
	return n, b.or(err)
}

func (b *breaking) Write(p []byte) (int, error) {
	n, err := b.Stream.Write(p)
	return n, b.or(err)
}

func (b *breaking) or(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && b.broken {
		return errCut
	}
	return err
}

func (b *breaking) cut() {
	b.mu.Lock()
	b.broken = true
	b.mu.Unlock()
	b.Reset(wire.None)
}

// owner is the operator of the test's sessions.
func (s *shown) owner() session.Viewer { return session.Viewer{OperatorID: s.OperatorID()} }

// come has the viewer come, for the first time if from is nil.
func (s *shown) come(from, errs *uint64) (f *wire.Framed, far *breaking, a *wire.Attached) {
	s.Helper()
	near, other := wiretest.Streams()
	far = &breaking{Stream: other}
	f = wire.NewFramed(near)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		g := wire.NewFramed(far)
		err := s.Serve(context.WithoutCancel(s.T.Context()), g, s.owner(), &wire.Attach{Client: mine, From: from, Errors: errs, Back: from != nil})
		s.served <- err
		if err != nil {
			_ = g.Send(wire.Refuse(err))
		}
		wire.Finish(g, patience)
	}()
	s.Cleanup(func() {
		f.Reset(wire.None)
		<-finished
	})
	if err := near.SetDeadline(time.Now().Add(patience)); err != nil {
		s.Fatal(err)
	}
	a, err := wire.Expect[wire.Attached](f)
	if err != nil || !a.Numbered {
		s.Fatalf("attached as %+v, %v", a, err)
	}
	return f, far, a
}

// terminal is the near end as a CLI plays it.
type terminal struct {
	out, errs []byte
	in        []byte
	sent      uint64 // of in
	acked     uint64
	window    uint64
}

// run carries bytes until something says to stop, and gives Exit when it comes. Each piece of input and each acknowledgement is sent
// when there is something to receive, so that both directions wait for each other.
func (v *terminal) run(f *wire.Framed, a *wire.Attached, over func() bool) (*wire.Exit, error) {
	v.sent, v.window = a.Typed, uint64(a.Window)
	if a.Offset != uint64(len(v.out)) || a.Errors != uint64(len(v.errs)) {
		return nil, errors.New("attached elsewhere")
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	news, done := make(chan struct{}, 1), make(chan struct{})
	defer close(done)
	wg.Go(func() {
		buf := make([]byte, wire.DataHeader+wire.MaxData)
		eof := false
		for {
			mu.Lock()
			c := copy(buf[wire.DataHeader:], v.in[v.sent:min(uint64(len(v.in)), v.acked+v.window)])
			c = min(c, 1+rand.IntN(wire.MaxData))
			v.sent += uint64(c)
			ack := &wire.Ack{Offset: uint64(len(v.out)), Errors: uint64(len(v.errs))}
			all := v.sent == uint64(len(v.in))
			mu.Unlock()
			if f.Send(ack) != nil {
				return
			}
			if c > 0 {
				if f.WriteData(wire.DataFrame(buf, c)) != nil {
					return
				}
				continue
			}
			if all && !eof {
				eof = true
				if f.Send(&wire.EOF{}) != nil {
					return
				}
			}
			select {
			case <-news:
			case <-done:
				return
			}
		}
	})
	for {
		m, err := f.Receive()
		if err != nil {
			return nil, err
		}
		mu.Lock()
		switch m := m.(type) {
		case *wire.Data:
			v.out = append(v.out, m.Bytes...)
		case *wire.Errors:
			v.errs = append(v.errs, m.Bytes...)
		case *wire.Ack:
			v.acked, v.window = max(v.acked, m.Offset), max(v.window, uint64(m.Window))
		case *wire.Exit:
			mu.Unlock()
			f.Reset(wire.None)
			return m, nil
		}
		mu.Unlock()
		wake(news)
		if over() {
			return nil, nil
		}
	}
}

// Links break again and again, and the bytes of all three are whole, and the exit status comes.
func TestNumberedBytes(t *testing.T) {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		return b
	}
	memory := session.NewMemory(session.UsualMemory)
	in, out, errs := noise(5<<20), noise(6<<20), noise(1<<20)
	s, _ := showNumbered(t, memory)
	var wg sync.WaitGroup
	wg.Go(func() {
		var outputs sync.WaitGroup
		outputs.Go(func() {
			got, err := io.ReadAll(s.in)
			if err != nil || !bytes.Equal(got, in) {
				t.Errorf("%d bytes of %d were read, %v", len(got), len(in), err)
			}
		})
		outputs.Go(func() { _ = chunks(out, func(b []byte) error { _, err := s.out.Write(b); return err }) })
		outputs.Go(func() { _ = chunks(errs, func(b []byte) error { _, err := s.err.Write(b); return err }) })
		outputs.Wait()
		s.ends(&wire.Exit{Status: 42})
	})
	v := &terminal{in: in}
	f, far, a := s.come(nil, nil)
	var exit *wire.Exit
	breaks := 0
	for exit == nil {
		left := 1 + rand.IntN(60)
		var err error
		exit, err = v.run(f, a, func() bool {
			if left--; left == 0 {
				far.cut()
			}
			return false
		})
		if exit != nil {
			break
		}
		if err == nil {
			t.Fatal("it stopped")
		}
		breaks++
		from, errsFrom := uint64(len(v.out)), uint64(len(v.errs))
		f, far, a = s.come(&from, &errsFrom)
	}
	wg.Wait()
	if !bytes.Equal(v.out, out) || !bytes.Equal(v.errs, errs) || exit.Status != 42 || exit.Code != wire.None || breaks < 3 {
		t.Errorf("got %d of %d and %d of %d bytes over %d links, %+v", len(v.out), len(out), len(v.errs), len(errs), breaks+1, exit)
	}
	if row := s.row(); row.Reason != "exit" || row.Sent != uint64(len(in)) || row.Received != uint64(len(out)+len(errs)) {
		t.Errorf("%+v", row)
	}
	if taken, _ := memory.Taken(); taken != 0 {
		t.Error("not all of the memory is given back")
	}
}

// The exit status comes also if the link breaks while that, or the last output, is on its way.
func TestNumberedExitOnce(t *testing.T) {
	for name, receive := range map[string]bool{"before it came": false, "when it had come": true} {
		t.Run(name, func(t *testing.T) {
			s, _ := showNumbered(t, session.NewMemory(session.UsualMemory))
			f, far, _ := s.come(nil, nil)
			if _, err := s.out.Write([]byte("last")); err != nil {
				t.Fatal(err)
			}
			s.ends(&wire.Exit{Status: 7})
			waitRow(t, s)
			if receive {
				for {
					if m, err := f.Receive(); err != nil {
						t.Fatal(err)
					} else if _, ok := m.(*wire.Exit); ok {
						break
					}
				}
			}
			far.cut()
			zero := uint64(0)
			f, _, a := s.come(&zero, &zero)
			v := &terminal{}
			exit, err := v.run(f, a, func() bool { return false })
			if err != nil || exit.Status != 7 || string(v.out) != "last" {
				t.Errorf("%+v, %v, %q", exit, err, v.out)
			}
			s.row()
		})
	}
}

// waitRow waits until the session's row is closed, which is before its viewer has gone.
func waitRow(t *testing.T, s *shown) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		row, err := s.table.Get(t.Context(), s.ID())
		if err == nil && row.Reason != "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the row stays %+v, %v", row, err)
		}
	}
}

// Who goes by itself has the program hung up at once; whose link breaks, when the grace is over.
func TestNumberedViewerGoes(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(*wire.Framed, *breaking)
		grace bool
	}{
		"resets":            {func(f *wire.Framed, _ *breaking) { f.Reset(wire.Cancelled) }, false},
		"says no more":      {func(f *wire.Framed, _ *breaking) { _ = f.CloseWrite() }, false},
		"leaves the stream": {func(f *wire.Framed, _ *breaking) { f.Reset(wire.Internal) }, true},
		"its link breaks":   {func(_ *wire.Framed, far *breaking) { far.cut() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, n := showNumbered(t, session.NewMemory(session.UsualMemory))
			f, far, _ := s.come(nil, nil)
			c.leave(f, far)
			if c.grace {
				for end := time.Now().Add(patience); n.Ends().IsZero(); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("no end is set")
					}
				}
				if here, _ := n.Present(); here {
					t.Error("it is still there")
				}
				select {
				case <-s.hungUp:
					t.Error("it is hung up at once")
				default:
				}
				zero := uint64(0)
				s.come(&zero, &zero)
				if !n.Ends().IsZero() {
					t.Error("it has come back, and the end stays set")
				}
				s.End(&wire.Error{Code: wire.ViewerLost})
			}
			<-s.hungUp
			if row := s.row(); row.Reason != "viewer_lost" {
				t.Errorf("ended as %q", row.Reason)
			}
		})
	}
}

// Nobody but the command that started it gets in: not another one of the same operator's, nor another operator, nor who has seen
// more than there was.
func TestNumberedIsItsViewersAlone(t *testing.T) {
	s, _ := showNumbered(t, session.NewMemory(session.UsualMemory))
	s.come(nil, nil)
	zero, more := uint64(0), uint64(1)
	for name, c := range map[string]struct {
		who  session.Viewer
		a    wire.Attach
		code wire.Code
	}{
		"another command":  {s.owner(), wire.Attach{Client: []byte("another one, say"), From: &zero, Errors: &zero}, wire.Conflict},
		"none":             {s.owner(), wire.Attach{From: &zero, Errors: &zero}, wire.Conflict},
		"another operator": {session.Viewer{OperatorID: "other"}, wire.Attach{Client: mine, From: &zero, Errors: &zero}, wire.Conflict},
		"a watcher":        {session.Viewer{OperatorID: s.OperatorID(), Watch: true}, wire.Attach{Client: mine, From: &zero, Errors: &zero}, wire.Conflict},
		"a second begin":   {s.owner(), wire.Attach{Client: mine}, wire.Conflict},
		"too much":         {s.owner(), wire.Attach{Client: mine, From: &more, Errors: &zero}, wire.BadRequest},
		"too many errors":  {s.owner(), wire.Attach{Client: mine, From: &zero, Errors: &more}, wire.BadRequest},
	} {
		near, far := wiretest.Streams()
		if err := s.Serve(t.Context(), wire.NewFramed(far), c.who, &c.a); wire.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
		near.Reset(wire.None)
	}
	select {
	case <-s.hungUp:
		t.Error("that has ended the program")
	default:
	}
	s.End(&wire.Error{Code: wire.Killed})
	s.row()
}

// What breaks the protocol ends the program: more input than may be ahead, input behind its end, acknowledgements of what was not sent.
func TestNumberedProtocol(t *testing.T) {
	data := func(f *wire.Framed, n int) {
		for ; n > 0; n -= wire.MaxData {
			_ = f.WriteData(wire.DataFrame(make([]byte, wire.DataHeader+wire.MaxData), min(n, wire.MaxData)))
		}
	}
	for name, say := range map[string]func(*wire.Framed){
		"too much":      func(f *wire.Framed) { data(f, wire.ProgramWindow+2*wire.MaxData) },
		"behind EOF":    func(f *wire.Framed) { _ = f.Send(&wire.EOF{}); data(f, 1) },
		"acknowledges":  func(f *wire.Framed) { _ = f.Send(&wire.Ack{Offset: 1}) },
		"acknowledges2": func(f *wire.Framed) { _ = f.Send(&wire.Ack{Errors: 1}) },
		"resizes":       func(f *wire.Framed) { _ = f.Send(&wire.Resize{}) },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := showNumbered(t, session.NewMemory(session.UsualMemory))
			f, _, _ := s.come(nil, nil)
			say(f)
			<-s.hungUp
			if row := s.row(); row.Reason != "protocol_error" {
				t.Errorf("ended as %q", row.Reason)
			}
		})
	}
}

// A program that takes no input and whose viewer takes no output is told all the same that nobody takes it, and gets no further than its windows.
func TestNumberedWindows(t *testing.T) {
	memory := session.NewMemory(2 * firstMemory)
	s, n := showNumbered(t, memory)
	if NewNumbered(s.Channel, s.process, mine, memory) != nil {
		t.Error("there is memory for two")
	}
	f, _, a := s.come(nil, nil)
	if a.Window != firstWindow {
		t.Errorf("a window of %d", a.Window)
	}
	written := make(chan int, 1)
	go func() {
		total := 0
		for {
			c, err := s.out.Write(make([]byte, 10_000))
			if total += c; err != nil {
				written <- total
				return
			}
		}
	}()
	for range firstWindow / wire.MaxData {
		if err := f.WriteData(wire.DataFrame(make([]byte, wire.DataHeader+wire.MaxData), wire.MaxData)); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for got < firstWindow {
		m, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := m.(*wire.Data); ok {
			got += len(d.Bytes)
		}
	}
	if err := f.Send(&wire.Closed{}); err != nil {
		t.Fatal(err)
	}
	<-s.closed
	n.mu.Lock()
	if n.out[output].Len() > firstWindow || n.in.Len() > firstWindow {
		t.Errorf("%d and %d bytes are kept", n.out[output].Len(), n.in.Len())
	}
	n.mu.Unlock()
	f.Reset(wire.Cancelled)
	<-s.hungUp
	s.row()
	if total := <-written; total > firstWindow+10_000+wire.MaxData {
		t.Errorf("%d bytes were read of a program whose viewer takes %d", total, firstWindow)
	}
}

// H90: a panic ends the session.
func TestNumberedPanic(t *testing.T) {
	table, _ := sessiontest.Table(t)
	c := sessiontest.Reserve(t, table)
	p := newProcess()
	if err := c.Show(t.Context(), session.Shown{Login: "ann", Stage: NewNumbered(c, faulty{p}, mine, session.NewMemory(session.UsualMemory))}); err != nil {
		t.Fatal(err)
	}
	<-p.hungUp
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		t.Fatal("the session does not end")
	}
	if row, err := table.Get(ctx, c.ID()); err != nil || row.Reason != "internal" {
		t.Errorf("closed as %+v, %v", row, err)
	}
}

// A relay that ends waits for no viewer that has lost its link.
func TestNumberedLeaving(t *testing.T) {
	s, _ := showNumbered(t, session.NewMemory(session.UsualMemory))
	_, far, _ := s.come(nil, nil)
	s.ends(&wire.Exit{Status: 7})
	waitRow(t, s)
	far.cut()
	s.table.EndAll(&wire.Error{Code: wire.RelayShutdown})
	s.row()
}

// Somebody ends a session whose program has ended by itself and whose viewer does not take leave, nor stays away.
func TestNumberedKilledBehindItsEnd(t *testing.T) {
	for name, comes := range map[string]bool{"nobody is attached": false, "somebody stays": true} {
		t.Run(name, func(t *testing.T) {
			s, n := showNumbered(t, session.NewMemory(session.UsualMemory))
			_, far, _ := s.come(nil, nil)
			s.ends(&wire.Exit{Status: 7})
			waitRow(t, s)
			far.cut()
			for end := time.Now().Add(patience); !comes; time.Sleep(time.Millisecond) {
				if attached, _ := n.Present(); !attached {
					break
				} else if time.Now().After(end) {
					t.Fatal("a viewer whose link broke stays")
				}
			}
			if comes {
				zero := uint64(0)
				s.come(&zero, &zero)
			}
			if err := s.table.Kill(t.Context(), audit.Event{Operator: "root"}, s.ID()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // less than the grace
			defer cancel()
			if err := s.table.Wait(ctx); err != nil {
				t.Error("it is held for the grace all the same")
			}
		})
	}
}

// A viewer that comes again and again holds a session that has ended no longer than the grace.
func TestNumberedComesForEver(t *testing.T) {
	s, _ := showFor(t, session.NewMemory(session.UsualMemory), time.Second)
	_, far, _ := s.come(nil, nil)
	s.ends(&wire.Exit{Status: 7})
	waitRow(t, s)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			far.cut()
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			near, other := wiretest.Streams()
			v := &breaking{Stream: other}
			far = v
			zero := uint64(0)
			go wire.NewFramed(near).Receive()
			wg.Go(func() {
				_ = s.Serve(context.WithoutCancel(t.Context()), wire.NewFramed(v), s.owner(), &wire.Attach{Client: mine, From: &zero, Errors: &zero, Back: true})
				v.Reset(wire.None)
			})
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.table.Wait(ctx); err != nil {
		t.Error("the session is held for ever")
	}
	close(stop)
	wg.Wait()
}

// A server that does not say how the program ended has all the same said what that wrote.
func TestNumberedUntold(t *testing.T) {
	s, _ := showNumbered(t, session.NewMemory(session.UsualMemory))
	last := bytes.Repeat([]byte("0123456789"), 20<<10)
	wrote := make(chan error, 1)
	go func() {
		_, err := s.out.Write(last)
		wrote <- err
		s.ends(nil)
	}()
	f, _, a := s.come(nil, nil)
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	v := &terminal{}
	exit, err := v.run(f, a, func() bool { return false })
	if err != nil || exit.Code != wire.TargetRefused || !bytes.Equal(v.out, last) {
		t.Errorf("%+v, %v, and %d bytes of %d before it", exit, err, len(v.out), len(last))
	}
	s.row()
}

// A program that has ended before its viewer came, without a word, is told to have ended.
func TestNumberedEndsBeforeItsViewerComes(t *testing.T) {
	s, n := showNumbered(t, session.NewMemory(session.UsualMemory))
	s.ends(&wire.Exit{Status: 3})
	for known := false; !known; time.Sleep(time.Millisecond) {
		n.mu.Lock()
		known = n.exit != nil
		n.mu.Unlock()
	}
	time.Sleep(20 * time.Millisecond) // it is not looked for any more
	f, _, _ := s.come(nil, nil)
	if err := f.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	m, err := f.Receive()
	if _, ok := m.(*wire.Ack); ok {
		m, err = f.Receive()
	}
	if exit, ok := m.(*wire.Exit); !ok || exit.Status != 3 {
		t.Fatalf("%+v, %v", m, err)
	}
	f.Reset(wire.None)
	s.row()
}
