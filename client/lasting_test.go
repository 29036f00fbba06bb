package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"scrier/wire"
)

// keeping is a relay of which the connections last: they echo.
type keeping struct {
	*channels
	mu      sync.Mutex
	last    uint32
	kept    map[uint32]*wire.Lasting
	streams []wire.Stream // that carry them, or have
	backs   int
	forgets bool
}

func newKeeping(t *testing.T) *keeping {
	k := &keeping{channels: newChannels(t), kept: map[uint32]*wire.Lasting{}}
	k.play(k.channels)
	t.Cleanup(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, l := range k.kept {
			l.Reset(wire.None)
		}
	})
	return k
}

// play has one more link lead to the same session.
func (k *keeping) play(c *channels) {
	c.relay.redial = func(context.Context) (wire.Link, error) { return nil, errors.New("there is no other link") }
	c.id = k.id
	c.raw = func(s wire.Stream, m *wire.Connect) {
		l, a := k.find(c, s, m)
		if l == nil {
			_ = wire.Send(s, wire.Refuse(&wire.Error{Code: wire.NotFound}))
			return
		}
		turn, came, window := l.Begin()
		a.Numbered, a.Typed, a.Window = true, came, uint32(window)
		if wire.Send(s, a) == nil {
			_ = l.Carry(turn, wire.NewFramed(s), m.Came)
		}
	}
}

func (k *keeping) find(c *channels, s wire.Stream, m *wire.Connect) (*wire.Lasting, *wire.Attached) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := c.attached()
	if m.Channel.Kind == wire.Back {
		a.Part = m.Channel.Number
		k.backs++
	} else {
		k.last++
		a.Part = k.last
		l := wire.NewLasting(nil)
		k.kept[a.Part] = l
		c.wg.Go(func() {
			if _, err := io.Copy(l, l); err == nil {
				_ = l.CloseWrite()
			}
		})
	}
	if !m.Numbered || len(m.Client) != 16 || k.forgets {
		return nil, nil
	}
	k.streams = append(k.streams, s)
	return k.kept[a.Part], a
}

func (k *keeping) session() *Session {
	k.t.Helper()
	s, err := k.relay.Open(k.t.Context(), SessionRequest{Envoy: "web1", Lasting: true})
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { s.Close() })
	return s
}

func dialled(t *testing.T, s *Session) Conn {
	t.Helper()
	c, err := s.Dial(t.Context(), "tcp", "localhost", 80, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func echoes(t *testing.T, c Conn, what string) {
	t.Helper()
	if _, err := c.Write([]byte(what)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(what))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != what {
		t.Fatalf("%q comes back, %v", got, err)
	}
}

// A connection goes on over the session's other links, and over the session that takes its place, with what was written meanwhile.
func TestConnLasts(t *testing.T) {
	k := newKeeping(t)
	s := k.session()
	c := dialled(t, s)
	echoes(t, c, "one")
	k.mu.Lock()
	k.streams[0].Reset(wire.Internal) // its own link alone is lost
	k.mu.Unlock()
	echoes(t, c, "two")
	_ = k.near.Close(wire.Internal, "")
	<-s.Done()
	if _, err := c.Write([]byte("three")); err != nil {
		t.Fatal(err)
	}
	other := newChannels(t)
	k.play(other)
	next, err := s.Over(t.Context(), other.relay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	s.Succeed(next)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(c); string(got) != "three" || err != nil {
		t.Errorf("%q comes back, %v", got, err)
	}
	if k.backs < 2 {
		t.Errorf("it came back %d times", k.backs)
	}
	echoes(t, dialled(t, next), "and what is new lasts too")
}

// A connection ends with its session, with one of which nobody takes the place, and when the relay keeps it no more.
func TestConnLastsNoLonger(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(*keeping, *Session)
		code wire.Code
	}{
		"killed":   {func(k *keeping, _ *Session) { _ = k.near.Close(wire.Killed, "") }, wire.Killed},
		"closed":   {func(_ *keeping, s *Session) { s.Close() }, wire.Cancelled},
		"no heir":  {func(k *keeping, s *Session) { _ = k.near.Close(wire.Internal, ""); <-s.Done(); s.Close() }, wire.RelayUnreachable},
		"reset":    {func(k *keeping, _ *Session) { k.kept[1].Reset(wire.TargetRefused) }, wire.TargetRefused},
		"forgot":   {func(k *keeping, _ *Session) { k.forgets = true; k.streams[0].Reset(wire.Internal) }, wire.NotFound},
		"protocol": {func(k *keeping, _ *Session) { _ = wire.Send(k.streams[0], &wire.Resize{}) }, wire.Protocol},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeeping(t)
			s := k.session()
			c := dialled(t, s)
			echoes(t, c, "one")
			read := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				read <- err
			}()
			tt.end(k, s)
			select {
			case err := <-read:
				if wire.CodeOf(err) != tt.code {
					t.Errorf("read: %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it goes on")
			}
		})
	}
}

// A relay that keeps nothing, as it is older or has no memory, has the bytes pass as they are.
func TestConnThatDoesNotLast(t *testing.T) {
	c := newChannels(t)
	c.raw = func(s wire.Stream, _ *wire.Connect) {
		if wire.Send(s, c.attached()) == nil {
			_, _ = io.Copy(s, s)
			_ = s.CloseWrite()
		}
	}
	s, err := c.relay.Open(t.Context(), SessionRequest{Envoy: "web1", Lasting: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn := dialled(t, s)
	sent := bytes.Repeat([]byte("raw"), 1000)
	go func() {
		_, _ = conn.Write(sent)
		_ = conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
