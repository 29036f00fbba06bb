package wiretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"scrier/wire"
)

// Limit is how many streams the first end of a pair may have open at the same time, or unaccepted: see [Links].
const Limit = 64

// accepts serves each stream that comes to l until the test ends.
func (s *suite) accepts(l wire.Link, serve func(wire.Stream)) {
	ctx, cancel := context.WithCancel(s.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			stream, err := l.Accept(ctx)
			if err != nil {
				return
			}
			_ = stream.SetDeadline(time.Now().Add(patience)) // the stream says what is wrong
			wg.Go(func() { serve(stream) })
		}
	})
	s.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// echo sends back what it reads, to the end.
func echo(stream wire.Stream) {
	_, err := io.Copy(stream, stream)
	if err == nil {
		err = stream.CloseWrite()
	}
	if err != nil {
		stream.Reset(wire.CodeOf(err))
	}
}

// open opens a stream that has the suite's deadline.
func (s *suite) open(l wire.Link) (wire.Stream, error) {
	stream, err := l.Open(s.ctx)
	if err == nil {
		err = stream.SetDeadline(time.Now().Add(patience))
	}
	return stream, err
}

// roundTrip sends n bytes through an echo, in writes of random sizes, says the end meanwhile, and reads all of it back.
func (s *suite) roundTrip(l wire.Link, n int) error {
	stream, err := s.open(l)
	if err != nil {
		return err
	}
	sent, got := sha256.New(), sha256.New()
	var wrong error
	var wg sync.WaitGroup
	wg.Go(func() {
		random := rand.NewChaCha8([32]byte{byte(n)})
		buf := make([]byte, 100<<10)
		for left := n; left > 0 && wrong == nil; {
			p := buf[:min(left, 1+int(random.Uint64()%uint64(len(buf))))]
			_, _ = random.Read(p) // it never fails
			sent.Write(p)
			_, wrong = stream.Write(p)
			left -= len(p)
		}
		if wrong == nil {
			wrong = stream.CloseWrite()
		}
	})
	back, err := io.Copy(got, stream)
	wg.Wait()
	switch {
	case err != nil || wrong != nil:
		return errors.Join(err, wrong)
	case back != int64(n) || !bytes.Equal(sent.Sum(nil), got.Sum(nil)):
		return fmt.Errorf("%d bytes of %d came back, or they differ", back, n)
	}
	return nil
}

// Ends of one direction come behind all bytes, while other streams are busy. Only one side echoes: two that wait for each
// other's windows with echoes would have a link's window between them for good.
func (s *suite) halfClosesUnderLoad() {
	s.accepts(s.b, echo)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for _, n := range []int{0, 1, 1000, 70_000, 1 << 20} {
				if err := s.roundTrip(s.a, n+i); err != nil {
					s.Errorf("%d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
}

// A stream whose reader is slow is full again and again, for longer than any window, and goes on.
func (s *suite) fillsAndEmpties() {
	near, far := s.streams()
	buf := make([]byte, 32<<10)
	for i := range 20 {
		var written int64
		for wait := patience; ; wait = 20 * time.Millisecond { // it was read empty, so the first must be taken
			if err := near.SetWriteDeadline(time.Now().Add(wait)); err != nil {
				s.Fatal(err)
			}
			n, err := near.Write(buf)
			written += int64(n)
			if errors.Is(err, os.ErrDeadlineExceeded) && wait < patience {
				break
			}
			if err != nil {
				s.Fatalf("%d: %v", i, err)
			}
		}
		if _, err := io.CopyN(io.Discard, far, written); err != nil {
			s.Fatalf("%d: %d bytes were written: %v", i, written, err)
		}
	}
}

// A thousand at a time, and far more than the limit one after the other: each end makes room for another.
func (s *suite) thousandStreams() {
	s.accepts(s.a, echo)
	s.accepts(s.b, echo)
	var open []wire.Stream
	for range 1000 {
		stream, err := s.open(s.b)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := stream.Write([]byte("one")); err != nil {
			s.Fatal(err)
		}
		open = append(open, stream)
	}
	for _, stream := range open {
		if err := stream.CloseWrite(); err != nil {
			s.Fatal(err)
		}
		if got, err := io.ReadAll(stream); err != nil || string(got) != "one" {
			s.Fatalf("%q, %v", got, err)
		}
	}
	var wg sync.WaitGroup
	for range 2 * Limit {
		wg.Go(func() {
			for range 8 {
				if err := s.roundTrip(s.a, 3); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// Streams that are reset, in every order of the two sides, make room as well.
func (s *suite) resetsMakeRoom() {
	s.accepts(s.b, func(stream wire.Stream) {
		switch b := make([]byte, 1); {
		case readsOne(stream, b) != nil:
		case b[0] == 'r':
			stream.Reset(wire.Busy)
		case b[0] == 'c':
			stream.CloseRead(wire.Busy)
			_ = stream.CloseWrite()
		case b[0] == 'w':
			_ = stream.CloseWrite()
			stream.CloseRead(wire.Busy)
		default:
			_, _ = io.Copy(io.Discard, stream)
		}
		stream.Reset(wire.Killed)
	})
	for i := range 8 * Limit {
		stream, err := s.open(s.a)
		if err != nil {
			s.Fatalf("%d: %v", i, err)
		}
		if _, err := stream.Write([]byte{"rcwx"[i%4]}); err != nil && wire.CodeOf(err) == wire.Internal {
			s.Fatal(err)
		}
		if i%3 == 0 && i%4 != 3 {
			_, _ = stream.Read(make([]byte, 1)) // until the other side's reset has come
		}
		stream.Reset(wire.None)
	}
	s.streamsAfter()
}

func readsOne(stream wire.Stream, b []byte) error {
	_, err := io.ReadFull(stream, b)
	return err
}

// streamsAfter looks whether both links live.
func (s *suite) streamsAfter() {
	if err := errors.Join(s.a.Err(), s.b.Err()); err != nil {
		s.Fatalf("the link ended: %v", err)
	}
	if _, err := s.a.Open(s.ctx); err != nil {
		s.Error(err)
	}
}

// Who opens too many waits, until there is room, the context ends or the link does.
func (s *suite) limit() {
	why := errors.New("no more time")
	var open []wire.Stream
	for {
		ctx, cancel := context.WithTimeoutCause(s.ctx, 200*time.Millisecond, why)
		stream, err := s.a.Open(ctx)
		cancel()
		if errors.Is(err, why) && len(open) == Limit {
			break
		}
		if err != nil || len(open) == Limit {
			s.Fatalf("%d streams are open: %v", len(open), err)
		}
		if _, err := stream.Write([]byte("!")); err != nil {
			s.Fatal(err)
		}
		open = append(open, stream)
	}
	opened := make(chan error, 1)
	go func() { _, err := s.a.Open(s.ctx); opened <- err }()
	far, err := s.b.Accept(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	far.Reset(wire.None)
	open[0].Reset(wire.None)
	for range Limit - 1 {
		far, err := s.b.Accept(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		if err := readsOne(far, make([]byte, 1)); err != nil {
			s.Error(err)
		}
	}
	if err := <-opened; err != nil {
		s.Errorf("there is room, and Open says %v", err)
	}
}

// A stream that nobody reads fills up, and others go on.
func (s *suite) unreadHoldsUpNobody() {
	near, far := s.streams()
	if err := near.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		s.Fatal(err)
	}
	var written int64
	for {
		n, err := near.Write(make([]byte, 100_000))
		written += int64(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil || written > 64<<20 {
			s.Fatalf("%d bytes that nobody reads: %v", written, err)
		}
	}
	s.accepts(s.b, echo)
	for range 3 {
		if err := s.roundTrip(s.a, 300_000); err != nil {
			s.Error(err)
		}
	}
	// What was written by then is there, not one byte more or less, and the stream goes on.
	if err := near.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		s.Fatal(err)
	}
	go func() {
		_, err := near.Write([]byte("behind it"))
		if err := errors.Join(err, near.CloseWrite()); err != nil {
			s.Error(err)
		}
	}()
	got, err := io.Copy(io.Discard, far)
	if err != nil || got != written+9 {
		s.Errorf("%d bytes arrived, %d were written: %v", got, written, err)
	}
}

// A deadline that is set, moved and taken away while a Write blocks.
func (s *suite) deadlineOfBlockedWrite() {
	near, far := s.streams()
	failed := make(chan error, 1)
	fill := func() {
		for {
			if _, err := near.Write(make([]byte, 1<<20)); err != nil {
				failed <- err
				return
			}
		}
	}
	for range 2 {
		go fill()
		for _, at := range []time.Time{time.Now().Add(patience), {}, time.Now().Add(patience), time.Unix(1, 0)} {
			time.Sleep(time.Millisecond) // so that it does block, mostly
			if err := near.SetWriteDeadline(at); err != nil {
				s.Fatal(err)
			}
		}
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			s.Fatal(err)
		}
		if err := near.SetWriteDeadline(time.Time{}); err != nil {
			s.Fatal(err)
		}
	}
	go fill()
	far.CloseRead(wire.Busy)
	if err := <-failed; wire.CodeOf(err) != wire.Busy {
		s.Error(err)
	}
}

// What ended before it was accepted is accepted all the same, with its bytes or its code.
func (s *suite) endsBeforeAccept() {
	for i := range 3 {
		stream, err := s.open(s.a)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := stream.Write([]byte("first")); err != nil {
			s.Fatal(err)
		}
		switch i {
		case 0:
			err = stream.CloseWrite()
		case 1:
			stream.Reset(wire.Killed)
		case 2:
			stream.CloseRead(wire.Busy)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	// They have arrived when one that was opened later has, in both directions.
	var far [3]wire.Stream
	for i := range far {
		var err error
		if far[i], err = s.b.Accept(s.ctx); err != nil {
			s.Fatal(err)
		}
		_ = far[i].SetDeadline(time.Now().Add(patience))
	}
	if got, err := io.ReadAll(far[0]); err != nil || string(got) != "first" {
		s.Errorf("%q, %v", got, err)
	}
	if _, err := io.ReadAll(far[1]); wire.CodeOf(err) != wire.Killed {
		s.Error(err)
	}
	for {
		if _, err := far[2].Write([]byte("x")); err != nil {
			if wire.CodeOf(err) != wire.Busy {
				s.Error(err)
			}
			break
		}
	}
	s.streamsAfter()
}

// An end of the link frees all that blocks, on both sides, with its code.
func (s *suite) closesWhileBlocked() {
	errs := make(chan error, 5)
	saw := func(l wire.Link, err error) {
		if end := l.Err(); end == nil || !errors.Is(err, end) || wire.CodeOf(err) != wire.Revoked {
			errs <- fmt.Errorf("%w; the link: %w", err, end)
			return
		}
		errs <- nil
	}
	near, far := s.streams()
	writes := func(l wire.Link, stream wire.Stream) {
		for {
			if _, err := stream.Write(make([]byte, 1<<20)); err != nil {
				saw(l, err)
				return
			}
		}
	}
	_, far2 := s.streams()
	go writes(s.a, near)
	go writes(s.b, far)
	go func() { saw(s.b, readsOne(far2, make([]byte, 1))) }()
	go func() { _, err := s.a.Accept(s.ctx); saw(s.a, err) }()
	go func() {
		for {
			stream, err := s.a.Open(s.ctx) // until the limit, and then it blocks
			if err != nil {
				saw(s.a, err)
				return
			}
			_ = stream.CloseWrite()
		}
	}()
	time.Sleep(10 * time.Millisecond) // so that they do block, mostly
	if err := s.b.Close(wire.Revoked, "as a test"); err != nil {
		s.Fatal(err)
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			s.Error(err)
		}
	}
}

// Both sides close at once, and each keeps one reason.
func (s *suite) closesBoth() {
	s.streams()
	var wg sync.WaitGroup
	for _, l := range []wire.Link{s.a, s.b, s.a, s.b} {
		wg.Go(func() {
			if err := l.Close(wire.Killed, ""); err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	for _, l := range []wire.Link{s.a, s.b} {
		if err := l.Err(); wire.CodeOf(err) != wire.Killed {
			s.Error(err)
		}
	}
}

// Both ends derive the same, and something else under another label.
func (s *suite) exports() {
	a, err := s.a.Peer().Export("EXPORTER-test", 32)
	b, err2 := s.b.Peer().Export("EXPORTER-test", 32)
	if err != nil || err2 != nil || len(a) != 32 || !bytes.Equal(a, b) {
		s.Errorf("%x, %v; %x, %v", a, err, b, err2)
	}
	if s.a.Peer().Addr == nil || s.b.Peer().Addr == nil {
		s.Error("no address")
	}
}
