package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/relaytest"
)

// echo is a program that sends its input back on both outputs, and then ends. end comes behind that.
func echo(c *channels, terminal bool, end wire.Message) func(wire.Stream, *wire.Connect) {
	return func(s wire.Stream, m *wire.Connect) {
		f := wire.NewFramed(s)
		_ = f.Send(c.attached())
		var taken uint64
		buf := make([]byte, wire.DataHeader+wire.MaxData)
		came := make(chan wire.Message, 1<<12) // input is taken whatever becomes of the output, as by a relay
		go func() {
			defer close(came)
			for {
				m, err := f.Receive()
				if err != nil {
					return
				}
				if d, ok := m.(*wire.Data); ok {
					m = &wire.Data{Bytes: bytes.Clone(d.Bytes)}
				}
				came <- m
			}
		}()
		for m := range came {
			switch m := m.(type) {
			case *wire.Data:
				n := copy(buf[wire.DataHeader:], m.Bytes)
				_ = f.WriteData(wire.DataFrame(buf, n))
				if taken += uint64(n); terminal {
					_ = f.Send(&wire.Ack{Offset: taken})
				} else {
					_ = f.WriteData(wire.ErrorsFrame(buf, n))
				}
			case *wire.EOF:
				_ = f.Send(end)
				_ = f.CloseWrite()
			}
		}
	}
}

// Both outputs are what the input was, byte by byte, however much of it there is.
func TestProgram(t *testing.T) {
	for name, terminal := range map[string]bool{"plain": false, "terminal": true} {
		t.Run(name, func(t *testing.T) {
			c := newChannels(t)
			c.raw = echo(c, terminal, &wire.Exit{Status: 7})
			req := ProgramRequest{Command: []byte("cat")}
			if terminal {
				req.PTY = &PTY{Term: "xterm", Size: wire.Size{Cols: 80, Rows: 24}}
			}
			p, err := c.open().Program(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			sent := make([]byte, 3<<20+17)
			rand.Read(sent)
			var wg sync.WaitGroup
			wg.Go(func() {
				if n, err := p.Write(sent); n != len(sent) || err != nil {
					t.Errorf("wrote %d, %v", n, err)
				}
				if err := p.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			var errs []byte
			wg.Go(func() { errs, _ = io.ReadAll(p.Stderr()) })
			out, err := io.ReadAll(p)
			wg.Wait()
			if err != nil || !bytes.Equal(out, sent) {
				t.Errorf("standard output has %d bytes, %v", len(out), err)
			}
			if terminal != (len(errs) == 0) || !terminal && !bytes.Equal(errs, sent) {
				t.Errorf("standard error has %d bytes", len(errs))
			}
			if exit, err := p.Wait(t.Context()); err != nil || exit.Status != 7 {
				t.Errorf("%+v, %v", exit, err)
			}
			if _, err := p.Write([]byte("x")); err == nil {
				t.Error("it takes input behind its end")
			}
			if _, err := p.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
}

// Close frees whoever waits, and the relay sees that the program is to end.
func TestProgramClose(t *testing.T) {
	for name, terminal := range map[string]bool{"plain": false, "terminal": true} {
		t.Run(name, func(t *testing.T) {
			c := newChannels(t)
			left := make(chan error, 1)
			c.raw = func(s wire.Stream, _ *wire.Connect) {
				f := wire.NewFramed(s)
				_ = f.Send(c.attached())
				for {
					if _, err := f.Receive(); err != nil {
						left <- err
						s.Reset(wire.None)
						return
					}
				}
			}
			req := ProgramRequest{}
			if terminal {
				req.PTY = &PTY{}
			}
			p, err := c.open().Program(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = p.Read(make([]byte, 1)) })
			wg.Go(func() { _, _ = io.ReadAll(p.Stderr()) })
			if terminal { // nobody takes it: it waits for its window
				wg.Go(func() { _, _ = p.Write(make([]byte, 1<<20)) })
			}
			_ = p.Close()
			wg.Wait()
			if err := <-left; errors.Is(err, io.EOF) != terminal {
				t.Errorf("the relay sees %v", err)
			}
		})
	}
}

func TestProgramFrames(t *testing.T) {
	c := newChannels(t)
	got := make(chan wire.Message, 4)
	c.raw = func(s wire.Stream, m *wire.Connect) {
		got <- m
		f := wire.NewFramed(s)
		_ = f.Send(c.attached())
		for {
			m, err := f.Receive()
			if err != nil {
				return
			}
			got <- m
		}
	}
	s := c.open()
	p, err := s.Program(t.Context(), ProgramRequest{Subsystem: "netconf", Agent: true})
	if err != nil {
		t.Fatal(err)
	}
	if m := (<-got).(*wire.Connect); m.Channel.Kind != wire.System || string(m.Channel.Command) != "netconf" || !m.Channel.Plain || !m.Channel.Agent {
		t.Errorf("%+v", m.Channel)
	}
	_ = p.CloseOutput()
	if m, ok := (<-got).(*wire.Closed); !ok {
		t.Errorf("%T", m)
	}
	if p.Resize(wire.Size{}) == nil {
		t.Error("it has a size")
	}
	_ = p.Close()
	p, err = s.Program(t.Context(), ProgramRequest{PTY: &PTY{Term: "vt100", Modes: []byte{0}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if m := (<-got).(*wire.Connect); m.Channel.Kind != wire.Program || m.Channel.Plain || m.Term != "vt100" || m.Size.Cols != 1 || len(m.Modes) != 1 {
		t.Errorf("%+v", m)
	}
	_ = p.Resize(wire.Size{Cols: 9, Rows: 9})
	if m, ok := (<-got).(*wire.Resize); !ok || m.Size.Cols != 9 {
		t.Errorf("%+v", m)
	}
}

// Whatever a relay does, a program's callers come back when the program is closed, and nothing is left of it.
func TestProgramAtEvilRelays(t *testing.T) {
	for _, b := range relaytest.Viewers() {
		for _, pty := range []*PTY{nil, {}} {
			t.Run(b.Name, func(t *testing.T) {
				t.Parallel()
				c := newChannels(t)
				c.id = relaytest.Session()
				c.raw = func(s wire.Stream, _ *wire.Connect) { _ = b.Behave(wire.NewFramed(s)) }
				ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the person has seen enough
				defer cancel()
				p, err := c.open().Program(ctx, ProgramRequest{PTY: pty})
				if err == nil {
					var wg sync.WaitGroup
					wg.Go(func() { _, _ = io.Copy(io.Discard, p) })
					wg.Go(func() { _, _ = io.Copy(io.Discard, p.Stderr()) })
					_, err = p.Wait(ctx)
					_ = p.Close()
					wg.Wait()
				}
				if d := wire.DetailOf(err); wire.Printable(d) != d {
					t.Errorf("the detail is %q", d)
				}
			})
		}
	}
}
