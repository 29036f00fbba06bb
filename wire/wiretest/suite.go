package wiretest

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"scrier/wire"
)

// patience is the deadline of every wait in the suite.
const patience = 30 * time.Second

// Links holds a kind of link to the contract of [wire.Link] and [wire.Stream]. pair makes two ends
// that are connected to each other, and ends them with the test. The second lets the first have [Limit] streams, and the first
// lets the second have a thousand and more.
func Links(t *testing.T, pair func(*testing.T) (wire.Link, wire.Link)) {
	for name, check := range map[string]func(*suite){
		"open and accept":           (*suite).opens,
		"half-close":                (*suite).halfCloses,
		"reset":                     (*suite).resets,
		"reset with none":           (*suite).resetsWithNone,
		"close read":                (*suite).closesRead,
		"deadline":                  (*suite).deadline,
		"close":                     (*suite).closes,
		"close shows on streams":    (*suite).closeShowsOnStreams,
		"contexts of open, accept":  (*suite).contexts,
		"reset just before the end": (*suite).resetBeforeTheEnd,
		"half-close under load":     (*suite).halfClosesUnderLoad,
		"fills and empties":         (*suite).fillsAndEmpties,
		"a thousand streams":        (*suite).thousandStreams,
		"resets make room":          (*suite).resetsMakeRoom,
		"limit":                     (*suite).limit,
		"unread holds up nobody":    (*suite).unreadHoldsUpNobody,
		"deadline of blocked write": (*suite).deadlineOfBlockedWrite,
		"ends before accept":        (*suite).endsBeforeAccept,
		"close while blocked":       (*suite).closesWhileBlocked,
		"close on both sides":       (*suite).closesBoth,
		"exports":                   (*suite).exports,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			s := &suite{T: t, ctx: ctx}
			s.a, s.b = pair(t)
			check(s)
		})
	}
}

type suite struct {
	*testing.T
	ctx  context.Context
	a, b wire.Link
}

// streams opens a stream from a to b; the first byte is on its way already.
func (s *suite) streams() (wire.Stream, wire.Stream) {
	s.Helper()
	near, err := s.a.Open(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := near.Write([]byte("!")); err != nil {
		s.Fatal(err)
	}
	far, err := s.b.Accept(s.ctx)
	if err != nil {
		s.Fatal(err)
	}
	for _, stream := range []wire.Stream{near, far} {
		if err := stream.SetDeadline(time.Now().Add(patience)); err != nil {
			s.Fatal(err)
		}
	}
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		s.Fatal(err)
	}
	return near, far
}

func (s *suite) opens() {
	for _, text := range []string{"one", "two", "three"} {
		near, err := s.a.Open(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := near.Write([]byte(text)); err != nil {
			s.Fatal(err)
		}
		if err := near.CloseWrite(); err != nil {
			s.Fatal(err)
		}
	}
	for _, want := range []string{"one", "two", "three"} {
		far, err := s.b.Accept(s.ctx)
		if err != nil {
			s.Fatal(err)
		}
		if got, err := io.ReadAll(far); err != nil || string(got) != want {
			s.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	if s.a.Err() != nil || s.a.Context().Err() != nil {
		s.Errorf("a link that lives has ended: %v", s.a.Err())
	}
}

func (s *suite) halfCloses() {
	near, far := s.streams()
	if err := near.CloseWrite(); err != nil {
		s.Fatal(err)
	}
	if _, err := near.Write([]byte("x")); err == nil {
		s.Error("a write after CloseWrite succeeded")
	}
	if got, err := io.ReadAll(far); err != nil || len(got) > 0 {
		s.Errorf("%q, %v", got, err)
	}
	if _, err := far.Write([]byte("answer")); err != nil {
		s.Fatal(err)
	}
	if err := far.CloseWrite(); err != nil {
		s.Fatal(err)
	}
	if got, err := io.ReadAll(near); err != nil || string(got) != "answer" {
		s.Errorf("%q, %v", got, err)
	}
}

// A reset frees what blocks, on both sides, with the code, and leaves the link alone.
func (s *suite) resets() {
	near, far := s.streams()
	errs := make(chan error, 3)
	read := func(stream wire.Stream) { _, err := io.Copy(io.Discard, stream); errs <- err }
	go read(near)
	go read(far)
	go func() {
		for {
			if _, err := near.Write(make([]byte, 1<<20)); err != nil { // nobody reads it
				errs <- err
				return
			}
		}
	}()
	near.Reset(wire.Killed)
	for range cap(errs) {
		if err := <-errs; wire.CodeOf(err) != wire.Killed {
			s.Errorf("%v, want %s", err, wire.Killed)
		}
	}
	for {
		if _, err := far.Write([]byte("x")); err != nil {
			if wire.CodeOf(err) != wire.Killed {
				s.Errorf("the peer's Write: %v", err)
			}
			break
		}
	}
	if err := errors.Join(s.a.Err(), s.b.Err()); err != nil {
		s.Errorf("the link ended: %v", err)
	}
	s.streams()
}

func (s *suite) resetsWithNone() {
	near, far := s.streams()
	near.Reset(wire.None)
	_, err := far.Read(make([]byte, 1))
	if err == nil || errors.Is(err, io.EOF) || wire.CodeOf(err) != wire.None || s.b.Err() != nil {
		s.Errorf("%v; the link: %v", err, s.b.Err())
	}
}

func (s *suite) closesRead() {
	near, far := s.streams()
	far.CloseRead(wire.Busy)
	for {
		if _, err := near.Write([]byte("x")); err != nil {
			if wire.CodeOf(err) != wire.Busy {
				s.Errorf("the peer's Write: %v", err)
			}
			break
		}
	}
	if _, err := far.Write([]byte("answer")); err != nil { // the other direction
		s.Fatal(err)
	}
	if _, err := io.ReadFull(near, make([]byte, 6)); err != nil {
		s.Error(err)
	}
}

func (s *suite) deadline() {
	near, far := s.streams()
	if err := far.SetReadDeadline(time.Unix(1, 0)); err != nil {
		s.Fatal(err)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		s.Errorf("%v", err)
	}
	if err := far.SetReadDeadline(time.Now().Add(patience)); err != nil {
		s.Fatal(err)
	}
	if _, err := near.Write([]byte("x")); err != nil {
		s.Fatal(err)
	}
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		s.Error(err)
	}
}

// Both ends learn code and detail, and everything that blocks ends with it. The context does not tell
// the code.
func (s *suite) closes() {
	accepted := make(chan error, 1)
	go func() {
		_, err := s.b.Accept(s.ctx)
		accepted <- err
	}()
	if err := s.a.Close(wire.Revoked, "as a test"); err != nil {
		s.Fatal(err)
	}
	if s.a.Context().Err() == nil {
		s.Error("Close returned before the link's end")
	}
	if err := s.a.Close(wire.Killed, "again"); err != nil {
		s.Error(err)
	}
	if err := <-accepted; err == nil || !errors.Is(err, s.b.Err()) {
		s.Errorf("Accept: %v, Err: %v", err, s.b.Err())
	}
	<-s.b.Context().Done()
	for _, l := range []wire.Link{s.a, s.b} {
		if err := l.Err(); wire.CodeOf(err) != wire.Revoked || wire.DetailOf(err) != "as a test" || wire.CodeOf(wire.Cause(l.Context(), wire.Busy)) != wire.Busy {
			s.Errorf("%v, %v", err, context.Cause(l.Context()))
		}
		_, err := l.Open(s.ctx)
		if !errors.Is(err, l.Err()) {
			s.Errorf("Open: %v", err)
		}
		if _, err = l.Accept(s.ctx); !errors.Is(err, l.Err()) {
			s.Errorf("Accept: %v", err)
		}
	}
}

// Err is set before a stream says so: whoever looks at the moment of the stream's error sees it.
func (s *suite) closeShowsOnStreams() {
	const n = 16
	errs := make(chan error, 2*n)
	saw := func(l wire.Link, err error) error {
		if ended := l.Err(); ended == nil || !errors.Is(err, ended) {
			return errors.Join(errors.New("the stream failed otherwise than its link"), err, ended)
		}
		return nil
	}
	for range n {
		near, far := s.streams()
		go func() { _, err := far.Read(make([]byte, 1)); errs <- saw(s.b, err) }()
		go func() { _, err := near.Read(make([]byte, 1)); errs <- saw(s.a, err) }()
	}
	if err := s.a.Close(wire.None, ""); err != nil {
		s.Fatal(err)
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			s.Error(err)
		}
	}
}

func (s *suite) contexts() {
	why := errors.New("no more time")
	ctx, cancel := context.WithCancelCause(s.ctx)
	cancel(why)
	if _, err := s.a.Open(ctx); !errors.Is(err, why) {
		s.Errorf("Open: %v", err)
	}
	if _, err := s.a.Accept(ctx); !errors.Is(err, why) {
		s.Errorf("Accept: %v", err)
	}
	s.streams()
}

// A stream that was reset is told from a link that ended right after it.
func (s *suite) resetBeforeTheEnd() {
	near, far := s.streams()
	near.Reset(wire.None)
	_, err := far.Read(make([]byte, 1))
	if cerr := s.a.Close(wire.None, ""); cerr != nil {
		s.Fatal(cerr)
	}
	<-s.b.Context().Done()
	if errors.Is(err, s.b.Err()) {
		s.Errorf("%v is taken for %v", err, s.b.Err())
	}
}
