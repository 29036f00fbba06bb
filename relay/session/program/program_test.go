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

	"go.uber.org/goleak"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mine is the viewer that started the program.
var mine = []byte("0123456789abcdef")

// patience is no measure of speed: the machine may be busy.
const patience = 60 * time.Second

// process is one that a test plays: what is written to out and err is its output, and in is what it reads.
type process struct {
	out, err  *io.PipeWriter
	fromOut   *io.PipeReader
	fromErr   *io.PipeReader
	in        *io.PipeReader
	toIn      *io.PipeWriter
	exit      chan *wire.Exit
	closed    chan struct{} // nobody takes the output
	hungUp    chan struct{}
	once      sync.Once
	closeOnce sync.Once
}

func newProcess() *process {
	p := &process{exit: make(chan *wire.Exit, 1), closed: make(chan struct{}), hungUp: make(chan struct{})}
	p.fromOut, p.out = io.Pipe()
	p.fromErr, p.err = io.Pipe()
	p.in, p.toIn = io.Pipe()
	return p
}

func (p *process) Read(b []byte) (int, error)  { return p.fromOut.Read(b) }
func (p *process) Stderr() io.Reader           { return p.fromErr }
func (p *process) Write(b []byte) (int, error) { return p.toIn.Write(b) }
func (p *process) CloseWrite() error           { return p.toIn.Close() }
func (p *process) CloseOutput() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *process) Wait(ctx context.Context) *wire.Exit {
	select {
	case e := <-p.exit:
		return e
	case <-ctx.Done():
		return nil
	}
}

func (p *process) Close() {
	p.closeOnce.Do(func() {
		_, _, _ = p.out.Close(), p.err.Close(), p.in.Close()
	})
}

func (p *process) Hangup() {
	close(p.hungUp)
	p.Close()
}

// ends has it end in order.
func (p *process) ends(e *wire.Exit) {
	p.exit <- e
	_, _ = p.out.Close(), p.err.Close()
}

// shown is a session with a process and its viewer.
type shown struct {
	*testing.T
	*process
	*session.Channel
	table   *session.Table
	journal *sessiontest.Journal
	viewer  *wire.Framed
	served  chan error
}

func show(t *testing.T) *shown {
	t.Helper()
	s := &shown{T: t, process: newProcess(), served: make(chan error, 1)}
	s.table, s.journal = sessiontest.Table(t)
	s.Channel = sessiontest.Reserve(t, s.table)
	if err := s.Show(t.Context(), session.Shown{Login: "ann", Stage: New(s.Channel, s.process, mine)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// attach has a viewer come.
func (s *shown) attach() {
	s.Helper()
	near, far := wiretest.Streams()
	s.viewer = wire.NewFramed(near)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		f := wire.NewFramed(far)
		s.served <- s.Serve(context.WithoutCancel(s.T.Context()), f, session.Viewer{OperatorID: "1"}, &wire.Attach{Client: mine})
		wire.Finish(f, patience)
	}()
	s.Cleanup(func() {
		s.viewer.Reset(wire.None)
		<-finished
	})
	if err := near.SetDeadline(time.Now().Add(patience)); err != nil {
		s.Fatal(err)
	}
	a, err := wire.Expect[wire.Attached](s.viewer)
	if err != nil || !a.Channel || a.Login != "ann" {
		s.Fatalf("attached as %+v, %v", a, err)
	}
}

// row is the session's when it has ended.
func (s *shown) row() session.View {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), patience)
	defer cancel()
	if err := s.table.Wait(ctx); err != nil {
		s.Fatal("the session does not end")
	}
	row, err := s.table.Get(ctx, s.ID())
	if err != nil || row.State != store.Closed {
		s.Fatalf("%+v, %v", row, err)
	}
	if n := len(s.journal.Events()); n != 1 {
		s.Errorf("%d records", n)
	}
	return row
}

// chunks writes b in pieces of any size.
func chunks(b []byte, write func([]byte) error) error {
	for len(b) > 0 {
		n := min(len(b), 1+rand.IntN(70_000))
		if err := write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// Bytes pass as they are, in pieces of any size, both outputs apart, up to the end of each; then comes the exit status.
func TestBytes(t *testing.T) {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		return b
	}
	for _, size := range []int{0, 1, 5, wire.MaxData, wire.MaxData + 1, 3 << 20} {
		in, out, errs := noise(size), noise(size), noise(size/3)
		s := show(t)
		s.attach()
		var wg sync.WaitGroup
		wg.Go(func() {
			got, err := io.ReadAll(s.in)
			if err != nil || !bytes.Equal(got, in) {
				t.Errorf("%d bytes of %d were read, %v", len(got), len(in), err)
			}
			var outputs sync.WaitGroup
			outputs.Go(func() {
				if err := chunks(out, func(b []byte) error { _, err := s.out.Write(b); return err }); err != nil {
					t.Error(err)
				}
			})
			outputs.Go(func() {
				if err := chunks(errs, func(b []byte) error { _, err := s.err.Write(b); return err }); err != nil {
					t.Error(err)
				}
			})
			outputs.Wait()
			s.ends(&wire.Exit{Status: 42})
		})
		wg.Go(func() {
			buf := make([]byte, wire.DataHeader+wire.MaxData)
			err := chunks(in, func(b []byte) error {
				for len(b) > 0 {
					n := copy(buf[wire.DataHeader:], b)
					if err := s.viewer.WriteData(wire.DataFrame(buf, n)); err != nil {
						return err
					}
					b = b[n:]
				}
				return nil
			})
			if err = errors.Join(err, s.viewer.Send(&wire.EOF{})); err != nil {
				t.Error(err)
			}
		})
		var gotOut, gotErrs []byte
		var exit *wire.Exit
		for exit == nil {
			m, err := s.viewer.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *wire.Data:
				gotOut = append(gotOut, m.Bytes...)
			case *wire.Errors:
				gotErrs = append(gotErrs, m.Bytes...)
			case *wire.Exit:
				exit = m
			}
		}
		row, err := s.table.Get(t.Context(), s.ID())
		if err != nil || row.State != store.Closed || row.Reason != "exit" {
			t.Errorf("behind its exit status the session is %+v, %v", row, err)
		}
		if _, err := s.viewer.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("behind the exit status comes %v", err)
		}
		s.viewer.Reset(wire.None)
		wg.Wait()
		if !bytes.Equal(gotOut, out) || !bytes.Equal(gotErrs, errs) || exit.Status != 42 || exit.Code != wire.None {
			t.Errorf("%d bytes: got %d and %d, %+v", size, len(gotOut), len(gotErrs), exit)
		}
		if err := <-s.served; err != nil {
			t.Error(err)
		}
		if row := s.row(); row.Sent != uint64(len(in)) || row.Received != uint64(len(out)+len(errs)) {
			t.Errorf("counted %d and %d", row.Sent, row.Received)
		}
	}
}

// However the viewer goes, the program is hung up and the session ends; also while the program takes no input.
func TestViewerGoes(t *testing.T) {
	for name, leave := range map[string]func(*shown){
		"resets":        func(s *shown) { s.viewer.Reset(wire.Cancelled) },
		"says no more":  func(s *shown) { _ = s.viewer.CloseWrite() },
		"reads no more": func(s *shown) { s.viewer.CloseRead(wire.None); _, _ = s.out.Write([]byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := show(t)
			s.attach()
			leave(s)
			<-s.hungUp
			if row := s.row(); row.Reason != "viewer_lost" {
				t.Errorf("ended as %q", row.Reason)
			}
			s.viewer.Reset(wire.None)
		})
	}
	t.Run("its link ends while input waits", func(t *testing.T) {
		s := show(t)
		near, far := wiretest.Streams()
		ctx, end := context.WithCancel(t.Context())
		go func() {
			s.served <- s.Serve(ctx, wire.NewFramed(far), session.Viewer{OperatorID: "1"}, &wire.Attach{Client: mine})
		}()
		f := wire.NewFramed(near)
		if _, err := wire.Expect[wire.Attached](f); err != nil {
			t.Fatal(err)
		}
		if err := f.WriteData(wire.DataFrame(make([]byte, wire.DataHeader+10), 10)); err != nil {
			t.Fatal(err)
		}
		end()
		<-s.hungUp
		<-s.served
		if row := s.row(); row.Reason != "viewer_lost" {
			t.Errorf("ended as %q", row.Reason)
		}
		near.Reset(wire.None)
	})
}

// Who ends the session from outside ends the program, and its viewer hears why, also one that takes nothing any more.
func TestEnded(t *testing.T) {
	s := show(t)
	s.attach()
	s.End(&wire.Error{Code: wire.Killed, Detail: "by bob"})
	<-s.hungUp
	m, err := s.viewer.Receive()
	if exit, ok := m.(*wire.Exit); !ok || exit.Code != wire.Killed || exit.Detail != "by bob" {
		t.Errorf("heard %+v, %v", m, err)
	}
	s.viewer.Reset(wire.None)
	if row := s.row(); row.Reason != "killed" {
		t.Errorf("ended as %q", row.Reason)
	}

	s = show(t)
	s.attach()
	go func() {
		for {
			if _, err := s.out.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	s.End(&wire.Error{Code: wire.Killed})
	<-s.hungUp
	s.row()
	<-s.served
}

// lingering is a process that takes its time when it is hung up.
type lingering struct {
	*process
	over chan struct{}
}

func (l lingering) Hangup() {
	close(l.hungUp)
	<-l.over
	l.Close()
}

// While a program that is ended from outside ends, nothing more is typed there.
func TestNoInputBehindTheEnd(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := &shown{T: t, process: newProcess(), served: make(chan error, 1), table: table, Channel: sessiontest.Reserve(t, table)}
	over := make(chan struct{})
	if err := s.Show(t.Context(), session.Shown{Login: "ann", Stage: New(s.Channel, lingering{s.process, over}, mine)}); err != nil {
		t.Fatal(err)
	}
	s.attach()
	typed := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(s.in)
		typed <- b
	}()
	s.End(&wire.Error{Code: wire.Killed})
	<-s.hungUp
	if err := errors.Join(s.viewer.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), 'x'), 1)), s.viewer.Send(&wire.Closed{})); err != nil {
		t.Fatal(err)
	}
	<-s.closed // which came behind it
	close(over)
	if b := <-typed; len(b) > 0 {
		t.Errorf("%q is typed", b)
	}
	if m, err := s.viewer.Receive(); err != nil || m.(*wire.Exit).Code != wire.Killed {
		t.Errorf("%+v, %v", m, err)
	}
	s.viewer.Reset(wire.None)
	<-s.served
}

// A server that does not say how the program ended leaves no success.
func TestNobodyKnows(t *testing.T) {
	s := show(t)
	s.attach()
	s.ends(nil)
	m, err := s.viewer.Receive()
	if exit, ok := m.(*wire.Exit); !ok || exit.Code != wire.TargetRefused {
		t.Errorf("heard %+v, %v", m, err)
	}
	s.viewer.Reset(wire.None)
	s.row()
}

// The program has one viewer, once. Who watches gets in at no time.
func TestOneViewer(t *testing.T) {
	s := show(t)
	if err := s.Serve(t.Context(), nil, session.Viewer{Watch: true}, &wire.Attach{Client: mine}); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a watcher: %v", err)
	}
	if err := s.Serve(t.Context(), nil, session.Viewer{OperatorID: "1"}, &wire.Attach{Client: []byte("another one, say")}); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a page of the same operator's, which comes first: %v", err)
	}
	s.attach()
	if err := s.Serve(t.Context(), nil, session.Viewer{OperatorID: "1"}, &wire.Attach{Client: mine}); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("the second: %v", err)
	}
	s.ends(&wire.Exit{})
	if m, err := s.viewer.Receive(); err != nil || m.(*wire.Exit).Code != wire.None {
		t.Errorf("%+v, %v", m, err)
	}
	s.viewer.Reset(wire.None)
	s.row()
}

// That nobody takes the output any more reaches the program, and other messages break the protocol.
func TestMessages(t *testing.T) {
	s := show(t)
	s.attach()
	if err := s.viewer.Send(&wire.Closed{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.closed:
	case <-time.After(patience):
		t.Error("the program does not hear of it")
	}
	if err := s.viewer.Send(&wire.Resize{}); err != nil {
		t.Fatal(err)
	}
	<-s.hungUp
	if m, err := s.viewer.Receive(); err != nil || m.(*wire.Exit).Code != wire.Protocol {
		t.Errorf("%+v, %v", m, err)
	}
	s.viewer.Reset(wire.None)
	s.row()
}

// faulty is a process whose Read panics.
type faulty struct{ *process }

func (faulty) Read([]byte) (int, error) { panic("a fault") }

// H90: a panic ends the session.
func TestPanic(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	p := newProcess()
	if err := s.Show(t.Context(), session.Shown{Login: "ann", Stage: New(s, faulty{p}, mine)}); err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Streams()
	go func() {
		_ = s.Serve(t.Context(), wire.NewFramed(far), session.Viewer{OperatorID: "1"}, &wire.Attach{Client: mine})
	}()
	<-p.hungUp
	near.Reset(wire.None)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		t.Fatal("the session does not end")
	}
	if row, err := table.Get(ctx, s.ID()); err != nil || row.Reason != "internal" {
		t.Errorf("closed as %+v, %v", row, err)
	}
}
