package terminal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/screen"
	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
	"scrier/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is no measure of speed: the machine may be busy.
const patience = 60 * time.Second

// program is a channel whose far end the test plays.
type program struct {
	out   *io.PipeReader
	print *io.PipeWriter
	all   bytes.Buffer // everything that it printed; by the test alone
	typed chan []byte
	once  sync.Once
}

func newProgram() *program {
	p := &program{typed: make(chan []byte, 100)}
	p.out, p.print = io.Pipe()
	return p
}

func (p *program) Read(b []byte) (int, error) { return p.out.Read(b) }
func (p *program) Write(b []byte) (int, error) {
	p.typed <- bytes.Clone(b)
	return len(b), nil
}
func (p *program) CloseWrite() error               { return nil }
func (p *program) Resize(wire.Size) error          { return nil }
func (p *program) Wait(context.Context) *wire.Exit { return &wire.Exit{} }
func (p *program) Close()                          { p.once.Do(func() { p.out.Close() }) }

// says prints, and waits until that was read.
func (p *program) says(t *testing.T, text string) {
	t.Helper()
	p.all.WriteString(text)
	if _, err := io.WriteString(p.print, text); err != nil {
		t.Fatal(err)
	}
}

// viewer is one of a session's, with a terminal of its own.
type viewer struct {
	*wire.Framed
	t        *testing.T
	screen   *screen.Screen
	attached *wire.Attached
	offset   uint64
	skips    int
	seen     bytes.Buffer // Data alone
	got      bytes.Buffer // all that its terminal was given
}

var size = wire.Size{Cols: 80, Rows: 24}

// attach makes an owner of a terminal, watch a watcher.
func attach(t *testing.T, term *Terminal, a wire.Attach) *viewer {
	t.Helper()
	return serve(t, term, a, session.Viewer{OperatorID: "1", Operator: "ann"})
}

func watch(t *testing.T, term *Terminal, a wire.Attach) *viewer {
	t.Helper()
	return serve(t, term, a, session.Viewer{OperatorID: "2", Operator: "bob", Watch: true})
}

func serve(t *testing.T, term *Terminal, a wire.Attach, who session.Viewer) *viewer {
	t.Helper()
	near, far := wiretest.Streams()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := term.Serve(context.Background(), wire.NewFramed(far), who, &a); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { near.Reset(wire.None); <-done })
	v := &viewer{Framed: wire.NewFramed(near), t: t, screen: screen.New(size)}
	if err := v.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	attached, err := wire.Expect[wire.Attached](v.Framed)
	if err != nil {
		t.Fatal(err)
	}
	v.attached, v.offset = attached, attached.Offset
	return v
}

// until shows what comes until the session's output has been followed to there.
func (v *viewer) until(head uint64) {
	v.t.Helper()
	for v.offset < head {
		v.step()
	}
}

// step shows what comes next.
func (v *viewer) step() {
	v.t.Helper()
	m, err := v.Receive()
	if err != nil {
		v.t.Fatalf("%v at %d", err, v.offset)
	}
	switch m := m.(type) {
	case *wire.Data:
		v.screen.Write(m.Bytes)
		v.seen.Write(m.Bytes)
		v.got.Write(m.Bytes)
		v.offset += uint64(len(m.Bytes))
	case *wire.Skip:
		v.screen.Write(m.Screen)
		v.got.Write(m.Screen)
		if m.More {
			return
		}
		v.skips++
		v.offset = m.To
	case *wire.Ack, *wire.Notice, *wire.Watchers, *wire.Resize:
		return
	default:
		v.t.Fatalf("unexpected %T", m)
	}
	if err := v.Send(&wire.Ack{Offset: v.offset}); err != nil {
		v.t.Fatal(err)
	}
}

// untilSeen shows what comes until it has seen a text.
func (v *viewer) untilSeen(text string) {
	v.t.Helper()
	for !bytes.Contains(v.seen.Bytes(), []byte(text)) {
		v.until(v.offset + 1)
	}
}

// take receives once without an acknowledgement.
func (v *viewer) take() {
	v.t.Helper()
	m, err := v.Receive()
	if err != nil {
		v.t.Fatal(err)
	}
	if d, ok := m.(*wire.Data); ok {
		v.screen.Write(d.Bytes)
		v.seen.Write(d.Bytes)
		v.offset += uint64(len(d.Bytes))
	}
}

func (v *viewer) types(text string) {
	v.t.Helper()
	if err := v.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), text...), len(text))); err != nil {
		v.t.Fatal(err)
	}
}

// opened shows a session whose program the test plays.
func opened(t *testing.T) (*Terminal, *program) {
	t.Helper()
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	p := newProgram()
	term := New(s, p, size)
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: term}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.End(&wire.Error{Code: wire.Killed})
		if err := table.Wait(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return term, p
}

// lines is output that changes the screen in many ways.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "\x1b[%dmline %d \x1b[0m日本 \x1b[K\r\n", 31+i%7, i)
	}
	return b.String()
}

// equal compares a screen with that of who was given everything.
func (v *viewer) equal(all []byte) {
	v.t.Helper()
	want := screen.New(size)
	want.Write(all)
	if got := v.screen.Repaint(nil, math.MaxInt32, 0, ""); !bytes.Equal(got, want.Repaint(nil, math.MaxInt32, 0, "")) {
		v.t.Errorf("the screen is another one than that of who saw everything:\n%q\n%q", got, want.Repaint(nil, math.MaxInt32, 0, ""))
	}
}

// typedAt waits until the program got what was typed.
func (p *program) typedAt(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-p.typed:
		if string(got) != want {
			t.Fatalf("the program got %q, not %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("the program did not get %q", want)
	}
}

// After Ctrl-C what waits is left out, however much it is and wherever the viewer had to stop; the
// screen is the same as if nothing were missing, and what comes next follows.
func TestSkip(t *testing.T) {
	for _, n := range []int{8_000, 70_000} { // 256 kB wait in the backlog; then 2 MB more with the program
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			term, p := opened(t)
			v := attach(t, term, wire.Attach{Skip: true, Prompt: true})
			flood := make(chan struct{})
			go func() {
				defer close(flood)
				p.says(t, lines(n))
			}()
			v.take() // and acknowledge nothing: the screen is slow
			v.types("\x03")
			p.typedAt(t, "\x03")
			<-flood // nothing holds it back any more
			p.says(t, "^")
			p.says(t, "C\r\n\x1b[?2004h$ ")
			v.until(uint64(p.all.Len()))
			if v.skips != 1 {
				t.Fatalf("%d times something was left out", v.skips)
			}
			if left := p.all.Len() - v.seen.Len(); left < p.all.Len()/4 {
				t.Errorf("only %d bytes of %d were left out", left, p.all.Len())
			}
			v.equal(p.all.Bytes())
			p.says(t, "echo next\r\nnext\r\n")
			v.until(uint64(p.all.Len()))
			v.equal(p.all.Bytes())
			if v.skips != 1 {
				t.Error("something was left out again")
			}
			// Whoever comes back finds it: the history has no gap.
			back := attach(t, term, wire.Attach{Client: []byte("another viewer!!")})
			back.until(uint64(p.all.Len()))
			if got := back.seen.Bytes(); !bytes.HasSuffix(p.all.Bytes(), got) || len(got) < min(p.all.Len(), backlogSize) {
				t.Errorf("the history has %d bytes of %d", len(got), p.all.Len())
			}
		})
	}
}

// Nothing is left out when the program does not react, when the viewer has not asked for it, when
// another key was typed, and when next to nothing waits.
func TestNoSkip(t *testing.T) {
	for name, c := range map[string]struct {
		attach wire.Attach
		n      int
		key    string
		answer string
	}{
		"no reaction":   {wire.Attach{Skip: true, Prompt: true}, 8_000, "\x03", "the key is only a key here\r\n"},
		"not asked for": {wire.Attach{Prompt: true}, 6_000, "\x03", "^C\r\n$ "},
		"another key":   {wire.Attach{Skip: true, Prompt: true}, 6_000, "q", "^C\r\n$ "},
		"little waits":  {wire.Attach{Skip: true, Prompt: true}, 20, "\x03", "^C\r\n$ "},
	} {
		t.Run(name, func(t *testing.T) {
			term, p := opened(t)
			v := attach(t, term, c.attach)
			flood := make(chan struct{})
			go func() { // as much as is read of a program whose screen stands still, and then the answer
				defer close(flood)
				p.says(t, lines(c.n))
				p.says(t, c.answer)
			}()
			v.take()
			v.types(c.key)
			p.typedAt(t, c.key)
			if c.n < 8_000 { // all of it is there, and the viewer has nearly nothing
				<-flood
			}
			v.until(uint64(len(lines(c.n)) + len(c.answer)))
			<-flood
			if v.skips != 0 || !bytes.Equal(v.seen.Bytes(), p.all.Bytes()) {
				t.Errorf("%d bytes of %d came, and %d times something was left out", v.seen.Len(), p.all.Len(), v.skips)
			}
		})
	}
}

// flood prints without an end, until the test is over.
func (p *program) flood(t *testing.T) {
	text := lines(1000)
	go func() {
		for {
			if _, err := io.WriteString(p.print, text); err != nil {
				return
			}
		}
	}()
	go func() {
		for {
			select {
			case <-p.typed:
			case <-t.Context().Done():
				return
			}
		}
	}()
}

// held is how far output is ahead of the screen, and how much memory the backlog has.
func (t *Terminal) held() (ahead uint64, ring int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.head - t.seen, len(t.out.ring)
}

// Whoever types Ctrl-C again and again and acknowledges nothing makes the relay hold 4 MiB and no more;
// when they have gone, that is given back with the next who comes.
func TestSkipIsBounded(t *testing.T) {
	term, p := opened(t)
	v := attach(t, term, wire.Attach{Skip: true, Prompt: true, Client: []byte("one")})
	p.flood(t)
	for end := time.Now().Add(patience); ; {
		v.types("\x03")
		ahead, ring := term.held()
		if ahead > skipAhead || ring > skipAhead {
			t.Fatalf("output is %d bytes ahead, and the backlog has %d", ahead, ring)
		}
		if ahead > skipAhead-2*wire.MaxData {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("only %d bytes were read", ahead)
		}
	}
	for range 100 {
		v.types("\x03")
		if ahead, ring := term.held(); ahead > skipAhead || ring > skipAhead {
			t.Fatalf("output is %d bytes ahead, and the backlog has %d", ahead, ring)
		}
	}
	v.Reset(wire.ViewerLost)
	w := attach(t, term, wire.Attach{Client: []byte("two")})
	w.until(w.attached.Head + 1)
	for end := time.Now().Add(patience); ; w.until(w.offset + 1) {
		if _, ring := term.held(); ring <= backlogSize {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the backlog has %d bytes", ring)
		}
	}
}

// Who holds Ctrl-C down sees what the program prints all the same, if it takes the key for itself.
func TestHeldKey(t *testing.T) {
	term, p := opened(t)
	v := attach(t, term, wire.Attach{Skip: true, Prompt: true})
	p.flood(t)
	v.until(100_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 200 {
			v.types("\x03")
		}
	}()
	v.until(1_000_000)
	<-done
	if v.skips != 0 {
		t.Errorf("%d times something was left out", v.skips)
	}
}

// A viewer whose connection breaks while a reaction is waited for goes on at the byte where it was.
func TestResumeAfterCtrlC(t *testing.T) {
	term, p := opened(t)
	id := []byte("0123456789abcdef")
	v := attach(t, term, wire.Attach{Skip: true, Client: id})
	p.flood(t)
	v.take()
	v.types("\x03")
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if ahead, _ := term.held(); ahead > backlogSize+wire.ViewerWindow {
			break
		} else if time.Now().After(end) {
			t.Fatalf("only %d bytes were read", ahead)
		}
	}
	from := v.offset
	v.Reset(wire.ViewerLost)
	back := attach(t, term, wire.Attach{Skip: true, Client: id, From: &from})
	if back.attached.Offset != from {
		t.Errorf("it comes back with %d and goes on at %d", from, back.attached.Offset)
	}
}

// A watcher that falls behind when the owner's Ctrl-C is skipped has the right screen again, and goes on.
func TestWatcherFallsBehind(t *testing.T) {
	for _, skips := range []bool{true, false} {
		t.Run(fmt.Sprint(skips), func(t *testing.T) {
			term, p := opened(t)
			v := attach(t, term, wire.Attach{Skip: true, Prompt: true})
			w := watch(t, term, wire.Attach{Skip: skips, Prompt: true})
			flood := make(chan struct{})
			go func() {
				defer close(flood)
				p.says(t, "\x1b[?1049h\x1b[31m"+lines(60_000))
			}()
			v.take()
			v.types("\x03")
			p.typedAt(t, "\x03")
			<-flood
			p.says(t, "\x1b[?1049l^C\r\n$ ")
			v.until(uint64(p.all.Len()))
			total := p.all.Len() + len(lines(10_000))
			more := make(chan struct{})
			go func() { // more than a window: nobody may stand still
				defer close(more)
				p.says(t, lines(10_000))
			}()
			v.until(uint64(total))
			<-more
			if v.equal(p.all.Bytes()); v.skips == 0 {
				t.Error("nothing was left out for the owner")
			}
			if skips {
				w.until(uint64(p.all.Len()))
				w.equal(p.all.Bytes())
			} else { // it does not know how much it missed, and yet gets everything that comes
				w.untilSeen("line 9999 ")
			}
		})
	}
}

// A connection that breaks with a skip under way leaves no gap either, however much is printed meanwhile.
func TestResumeAfterLostSkip(t *testing.T) {
	term, p := opened(t)
	id := []byte("0123456789abcdef")
	v := attach(t, term, wire.Attach{Skip: true, Client: id})
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		p.says(t, lines(60_000))
	}()
	v.take()
	v.types("\x03")
	p.typedAt(t, "\x03")
	<-flood
	p.says(t, "^C\r\n$ ")
	from := v.offset
	for skipped := false; !skipped; { // the viewer's connection takes it, and nobody reads it there
		m, err := v.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := m.(*wire.Data); ok {
			from += uint64(len(d.Bytes))
		}
		_, skipped = m.(*wire.Skip)
	}
	v.Reset(wire.ViewerLost)
	more := make(chan struct{})
	go func() {
		defer close(more)
		p.says(t, lines(30_000))
	}()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // as much as is read without a viewer
		term.mu.Lock()
		gone := term.audience.OwnerLocked() == nil
		term.mu.Unlock()
		if gone {
			break
		} else if time.Now().After(end) {
			t.Fatal("the viewer does not go")
		}
	}
	back := attach(t, term, wire.Attach{Skip: true, Client: id, From: &from})
	if back.attached.Offset != from {
		t.Errorf("it comes back with %d and goes on at %d", from, back.attached.Offset)
	}
	back.until(uint64(len(lines(60_000)) + len("^C\r\n$ ") + len(lines(30_000))))
	<-more
	back.equal(append(append([]byte(lines(60_000)), "^C\r\n$ "...), lines(30_000)...))
}

// A watcher that was only told that it fell behind, as the screen was too much to send, understands a skip
// that comes later: its acknowledgements count as they are from then on.
func TestWatcherMissedThenSkips(t *testing.T) {
	term, _ := opened(t)
	watch(t, term, wire.Attach{Skip: true, Prompt: true})
	term.mu.Lock()
	defer term.mu.Unlock()
	term.outLocked([]byte(lines(1000)))
	seat := term.audience.WatchersLocked()[0]
	seat.Missed = 1000 // as if that had happened
	if term.skipLocked(seat) == nil {
		t.Fatal("nothing was skipped")
	}
	if seat.Missed != 0 || seat.Next != term.out.head {
		t.Errorf("it goes on at %d of %d, and its acknowledgements count as lower by %d", seat.Next, term.out.head, seat.Missed)
	}
}

// A viewer that comes back by itself leaves the session to who has taken it over meanwhile, and hears again how much
// of its input has arrived.
func TestComesBack(t *testing.T) {
	term, p := opened(t)
	v := attach(t, term, wire.Attach{Client: []byte("one")})
	v.types("abc")
	p.typedAt(t, "abc")
	for {
		m, err := v.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if a, ok := m.(*wire.Ack); ok && a.Offset == 3 {
			break
		}
	}
	v.Reset(wire.ViewerLost)
	from := uint64(0)
	back := attach(t, term, wire.Attach{Client: []byte("one"), From: &from, Back: true})
	if back.attached.Typed != 3 {
		t.Errorf("%d bytes of its input were taken", back.attached.Typed)
	}
	if a, err := wire.Expect[wire.Ack](back.Framed); err != nil || a.Offset != 3 {
		t.Errorf("it hears %+v, %v", a, err)
	}
	two := attach(t, term, wire.Attach{Client: []byte("two")})
	for _, gone := range []bool{false, true} {
		if gone { // for a moment, as its connection broke
			two.Reset(wire.ViewerLost)
			for attached := true; attached; time.Sleep(time.Millisecond) {
				attached, _ = term.audience.Present()
			}
		}
		near, far := wiretest.Streams()
		served := time.AfterFunc(5*time.Second, func() { near.Reset(wire.ViewerLost) })
		defer near.Reset(wire.None)
		err := term.Serve(t.Context(), wire.NewFramed(far), session.Viewer{OperatorID: "1", Operator: "ann"}, &wire.Attach{Client: []byte("one"), From: &from, Back: true})
		served.Stop()
		if wire.CodeOf(err) != wire.TakenOver {
			t.Errorf("it takes the session back: %v; the other one is gone: %v", err, gone)
		}
	}
	third := attach(t, term, wire.Attach{Client: []byte("one"), From: &from}) // a person who asks for it gets it
	if third.attached.Typed != 3 {
		t.Errorf("%d bytes of its input were taken", third.attached.Typed)
	}
}

// Who has written something over the screen gets it painted, once it has all of the output.
func TestPaintedAnew(t *testing.T) {
	for _, late := range []bool{false, true} {
		term, p := opened(t)
		prints(t, term, p, []byte(lines(400)+"\x1b[?1049h\x1b[5;5Hhere"))
		from := uint64(p.all.Len())
		if late {
			from -= 1000
		}
		v := attach(t, term, wire.Attach{Client: []byte("first"), From: &from, Back: true, Anew: true, Paint: true, Size: size})
		v.screen.Write(p.all.Bytes()[:from])
		v.screen.Write([]byte("\x1b7\x1b[24;1H\x1b[7mno connection\x1b8"))
		for v.skips == 0 || v.offset < uint64(p.all.Len()) {
			v.step()
		}
		v.equal(p.all.Bytes())
	}
}
