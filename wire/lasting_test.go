package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// lastingPair are the two ends of a stream, and what carries it: connections of which each breaks behind so many bytes, or holds (0).
type lastingPair struct {
	near, far *wire.Lasting
	breaks    func(n int) int
	over      sync.WaitGroup
	ends      [2]error // of the last connection
}

func newLastingPair(breaks func(n int) int) *lastingPair {
	return &lastingPair{near: wire.NewLasting(nil), far: wire.NewLasting(nil), breaks: breaks}
}

// brittle is a stream that is lost behind so many bytes that were written.
type brittle struct {
	wire.Stream
	mu   sync.Mutex
	left int
}

func (b *brittle) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == 0 {
		return b.Stream.Write(p)
	}
	n := min(b.left-1, len(p))
	n, err := b.Stream.Write(p[:n])
	if b.left -= n; b.left == 1 {
		b.Stream.Reset(wire.Internal)
		return n, errors.Join(err, &wire.Error{Code: wire.Internal})
	}
	return n, err
}

// carry has one connection after the other until the stream is over on both sides.
func (p *lastingPair) carry() {
	p.over.Go(func() {
		for n := 0; ; n++ {
			a, b := wiretest.Streams()
			turnB, cameB, _ := p.far.Begin()
			turnA, cameA, _ := p.near.Begin()
			var both sync.WaitGroup
			var errA, errB error
			both.Go(func() { errA = p.near.Carry(turnA, wire.NewFramed(&brittle{Stream: a, left: p.breaks(2 * n)}), cameB) })
			both.Go(func() { errB = p.far.Carry(turnB, wire.NewFramed(&brittle{Stream: b, left: p.breaks(2*n + 1)}), cameA) })
			both.Wait()
			if errA == nil && errB == nil || p.near.Err() != nil && p.far.Err() != nil || p.near.Err() != nil && n > 50 || p.far.Err() != nil && n > 50 {
				p.ends = [2]error{errA, errB}
				return
			}
		}
	})
}

// Wherever its connections break, a stream brings all bytes and both ends in order.
func TestLasting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		breaks := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 300), rapid.IntRange(1, 200<<10)), 0, 30).Draw(t, "breaks")
		p := newLastingPair(func(n int) int {
			if n < len(breaks) {
				return breaks[n]
			}
			return 0
		})
		stops := rapid.SampledFrom([]string{"", "", "", "reads no more", "resets"}).Draw(t, "far")
		stopAt := rapid.IntRange(0, 1<<20).Draw(t, "at")
		var wg sync.WaitGroup
		errs := make(chan error, 4)
		pass := func(name string, from, to *wire.Lasting, stops string) {
			data := noise(rapid.OneOf(rapid.IntRange(0, 1000), rapid.IntRange(0, 3<<20)).Draw(t, name))
			piece := rapid.IntRange(1<<10, 300<<10).Draw(t, name+" piece")
			wg.Go(func() {
				err := sends{data: data, piece: piece, ends: true}.to(from, 5)
				if err != nil && stops == "" {
					errs <- fmt.Errorf("%s: %w", name, err)
				}
			})
			wg.Go(func() {
				var got []byte
				for buf := make([]byte, 40<<10); ; {
					n, err := to.Read(buf)
					got = append(got, buf[:n]...)
					switch {
					case !bytes.HasPrefix(data, got):
						errs <- fmt.Errorf("%s: another byte among the first %d", name, len(got))
						return
					case stops == "reads no more" && len(got) > stopAt:
						to.CloseRead(wire.Killed)
						return
					case stops == "resets" && len(got) > stopAt:
						to.Reset(wire.Killed)
						return
					case errors.Is(err, io.EOF) && len(got) == len(data):
						return
					case err != nil && stops != "resets":
						errs <- fmt.Errorf("%s ends behind %d of %d: %w", name, len(got), len(data), err)
						return
					case err != nil:
						return
					}
				}
			})
		}
		other := ""
		if stops == "resets" {
			other = "either"
		}
		pass("there", p.near, p.far, stops)
		if other == "" {
			pass("back", p.far, p.near, "")
		}
		p.carry()
		done := make(chan struct{})
		go func() {
			defer close(done)
			wg.Wait()
			if stops == "resets" { // a peer without a connection at that time learns it from nobody
				p.far.Reset(wire.Killed)
				p.near.Reset(wire.Killed)
			}
			p.over.Wait()
		}()
		select {
		case <-done:
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(30 * time.Second):
			t.Fatalf("it does not end: %v, %v", p.near, p.far)
		}
		select {
		case err := <-errs:
			t.Fatal(err)
		default:
		}
		if stops != "resets" && (!p.near.Over() || !p.far.Over()) {
			t.Fatalf("over: %v (%v), %v (%v)", p.near.Over(), p.near.Err(), p.far.Over(), p.far.Err())
		}
	})
}

// A peer that says what cannot be ends the stream.
func TestLastingEvil(t *testing.T) {
	for name, says := range map[string]func(f *wire.Framed) error{
		"too much": func(f *wire.Framed) error {
			for range wire.LastingMost/wire.MaxData + 2 {
				if err := f.WriteData(wire.DataFrame(make([]byte, wire.DataHeader+wire.MaxData), wire.MaxData)); err != nil {
					return err
				}
			}
			return nil
		},
		"an early Ack":      func(f *wire.Framed) error { return f.Send(&wire.Ack{Offset: 11}) },
		"an Ack of the end": func(f *wire.Framed) error { return f.Send(&wire.Ack{Offset: 10 + 1}) },
		"behind the end": func(f *wire.Framed) error {
			return errors.Join(f.Send(&wire.EOF{}), f.WriteData(wire.DataFrame(make([]byte, wire.DataHeader+1), 1)))
		},
		"another frame": func(f *wire.Framed) error { return f.Send(&wire.Resize{}) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := wiretest.Streams()
			l := wire.NewLasting(nil)
			if _, err := l.Write(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
			turn, _, _ := l.Begin()
			go func() {
				f := wire.NewFramed(b)
				go io.Copy(io.Discard, b)
				_ = says(f) // the stream may be reset by then
			}()
			if err := l.Carry(turn, wire.NewFramed(a), 0); wire.CodeOf(err) != wire.Protocol {
				t.Errorf("carried with %v", err)
			}
			if _, err := l.Write([]byte("x")); wire.CodeOf(err) != wire.Protocol {
				t.Errorf("written with %v", err)
			}
			if _, err := io.ReadAll(l); wire.CodeOf(err) != wire.Protocol && name != "behind the end" { // which has come
				t.Errorf("read with %v", err)
			}
		})
	}
	for _, came := range []uint64{1, 1 << 63} { // of nothing that was sent
		a, _ := wiretest.Streams()
		l := wire.NewLasting(nil)
		turn, _, _ := l.Begin()
		if err := l.Carry(turn, wire.NewFramed(a), came); wire.CodeOf(err) != wire.Protocol || wire.CodeOf(l.Err()) != wire.Protocol {
			t.Errorf("%d: carried with %v", came, err)
		}
	}
}

// A code is the stream's own end; a connection that is lost is not. Only the last connection carries anything.
func TestLastingCodes(t *testing.T) {
	for _, code := range []wire.Code{wire.None, wire.Killed, wire.Cancelled, wire.Internal, wire.ViewerLost} {
		a, b := wiretest.Streams()
		l := wire.NewLasting(nil)
		turn, _, _ := l.Begin()
		time.AfterFunc(5*time.Millisecond, func() { b.Reset(code) })
		err := l.Carry(turn, wire.NewFramed(a), 0)
		lost := code == wire.Internal || code == wire.ViewerLost
		if wire.CodeOf(err) != code || wire.Lost(err) != lost || (l.Err() == nil) != lost {
			t.Errorf("%s: carried with %v, and then %v", code, err, l.Err())
		}
	}
	l := wire.NewLasting(nil)
	var wg sync.WaitGroup
	first, firstFar := wiretest.Streams()
	turn, _, _ := l.Begin()
	wg.Go(func() {
		if err := l.Carry(turn, wire.NewFramed(first), 0); !wire.Lost(err) {
			t.Errorf("the first: %v", err)
		}
	})
	time.Sleep(5 * time.Millisecond)
	second, secondFar := wiretest.Streams()
	next, _, _ := l.Begin()
	wg.Wait()
	late, _ := wiretest.Streams()
	if err := l.Carry(turn, wire.NewFramed(late), 0); !wire.Lost(err) {
		t.Errorf("an old turn: %v", err)
	}
	if _, err := firstFar.Read(make([]byte, 1)); wire.CodeOf(err) != wire.Internal {
		t.Errorf("the first peer reads %v", err)
	}
	wg.Go(func() { _ = l.Carry(next, wire.NewFramed(second), 0) })
	if _, err := l.Write([]byte("seen")); err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(secondFar)
	m, err := f.Receive()
	if _, ok := m.(*wire.Ack); ok { // what had come is said again
		m, err = f.Receive()
	}
	if data, ok := m.(*wire.Data); !ok || string(data.Bytes) != "seen" {
		t.Errorf("the second peer gets %v, %v", m, err)
	}
	secondFar.Reset(wire.None)
	wg.Wait()
}

// Deadlines hold also while there is no connection.
func TestLastingDeadlines(t *testing.T) {
	l := wire.NewLasting(nil)
	if err := l.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	if err := l.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Write(make([]byte, wire.LastingLeast)); n != wire.LastingLeast || err != nil {
		t.Errorf("wrote %d: %v", n, err)
	}
	if err := l.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Write(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || n != 0 {
		t.Errorf("wrote %d: %v", n, err)
	}
	if err := l.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(5*time.Millisecond, func() { l.Reset(wire.Killed) })
	if _, err := l.Read(make([]byte, 1)); wire.CodeOf(err) != wire.Killed {
		t.Errorf("read: %v", err)
	}
}

// What is not given stays the least.
func TestLastingMemory(t *testing.T) {
	asked := 0
	l := wire.NewLasting(func(n int) bool { asked += n; return false })
	a, b := wiretest.Streams()
	turn, _, _ := l.Begin()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Carry(turn, wire.NewFramed(a), 0)
	}()
	f := wire.NewFramed(b)
	if err := f.Send(&wire.Ack{Window: wire.LastingMost}); err != nil {
		t.Fatal(err)
	}
	for range wire.LastingLeast / wire.MaxData {
		if err := f.WriteData(wire.DataFrame(make([]byte, wire.DataHeader+wire.MaxData), wire.MaxData)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(l, make([]byte, wire.LastingLeast)); err != nil {
		t.Fatal(err)
	}
	if m, err := f.Receive(); err != nil || m.(*wire.Ack).Window != wire.LastingLeast {
		t.Errorf("told %+v, %v", m, err)
	}
	go func() {
		for { // acknowledges nothing
			if _, err := f.Receive(); err != nil {
				return
			}
		}
	}()
	if n, err := l.Write(make([]byte, wire.LastingLeast)); n != wire.LastingLeast || err != nil {
		t.Errorf("wrote %d, %v", n, err)
	}
	if err := l.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, _ := l.Write(make([]byte, 1)); n != 0 {
		t.Errorf("%d bytes more are kept", n)
	}
	f.Reset(wire.None)
	<-done
	if asked == 0 {
		t.Error("it never asked")
	}
}

// Who reads no more, when all else is over, and who is told so, end in order, in whichever order that is seen.
func TestLastingEndsBehindClosed(t *testing.T) {
	for range 200 {
		p := newLastingPair(func(int) int { return 0 })
		if err := p.near.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		p.carry()
		if _, err := p.far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		p.near.CloseRead(wire.Killed)
		p.over.Wait()
		if !p.near.Over() || !p.far.Over() {
			t.Fatalf("over: %v (%v), %v (%v)", p.near.Over(), p.near.Err(), p.far.Over(), p.far.Err())
		}
		if _, err := p.far.Write([]byte("x")); wire.CodeOf(err) != wire.None || err == nil {
			t.Fatalf("written with %v", err)
		}
	}
}

// A next connection may begin while the one before is carried: nothing is lost by that, and nobody waits for ever.
func TestLastingIsTakenOver(t *testing.T) {
	near, far := wire.NewLasting(nil), wire.NewLasting(nil)
	data := noise(3 << 20)
	var wg, carrying sync.WaitGroup
	wg.Go(func() {
		if err := (sends{data: data, piece: 20 << 10, ends: true}).to(near, 3); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
		}
		if err := far.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	over := make(chan struct{})
	go func() {
		defer close(over)
		wg.Wait()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the end is %v", err)
		}
	}()
	for {
		a, b := wiretest.Streams()
		turnB, cameB, _ := far.Begin()
		turnA, cameA, _ := near.Begin()
		carrying.Go(func() { _ = near.Carry(turnA, wire.NewFramed(a), cameB) })
		carrying.Go(func() { _ = far.Carry(turnB, wire.NewFramed(b), cameA) })
		select {
		case <-over:
			near.Reset(wire.None)
			far.Reset(wire.None)
			a.Reset(wire.None)
			carrying.Wait()
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// What a connection cannot be written with is what the peer has said, although its reset is seen in the other direction later.
func TestLastingHearsTheCode(t *testing.T) {
	a, b := wiretest.Streams()
	l := wire.NewLasting(nil)
	turn, _, _ := l.Begin()
	done := make(chan error, 1)
	go func() { done <- l.Carry(turn, wire.NewFramed(a), 0) }()
	b.CloseRead(wire.TargetRefused) // as QUIC's STOP_SENDING, without RESET_STREAM
	time.Sleep(5 * time.Millisecond)
	if _, err := l.Write([]byte("x")); err != nil && wire.CodeOf(err) != wire.TargetRefused {
		t.Fatal(err)
	}
	if err := <-done; wire.CodeOf(err) != wire.TargetRefused {
		t.Errorf("carried with %v", err)
	}
}
