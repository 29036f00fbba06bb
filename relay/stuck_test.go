package relay

import (
	"context"
	"net"
	"testing"
	"time"

	"scrier/wire"
)

// stuck is a viewer's transport that takes nothing.
type stuck struct{ net.Conn }

func (s stuck) CloseWrite() error   { return s.Close() }
func (s stuck) CloseRead(wire.Code) {}
func (s stuck) Reset(wire.Code)     { _ = s.Close() }

// Who is put out while their transport takes nothing is out within seconds all the same.
func TestStuckViewerIsOut(t *testing.T) {
	r := start(t)
	servedBy(t, r, counter)
	p := newPage(t, r, admin(t, r, "ann"), "web1", carriers["WebSocket"])
	ticket, err := r.sessions.Ticket(p.id, viewerOf(p.who))
	if err != nil {
		t.Fatal(err)
	}
	s, v, err := r.sessions.Redeem(ticket)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	defer far.Close()
	out := make(chan error, 1)
	go func() {
		out <- s.Serve(context.Background(), wire.NewFramed(stuck{near}), v, &wire.Attach{Client: make([]byte, 16)})
	}()
	f := wire.NewFramed(stuck{far})
	if _, err := wire.Expect[wire.Attached](f); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), "5\n"...), 2)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "output", func() bool {
		v, err := r.sessions.Get(t.Context(), p.id)
		return err == nil && v.Received > 0
	})
	if e := p.exit(); e.Code != wire.TakenOver {
		t.Errorf("the first ended with %+v", e)
	}
	p.back()
	select {
	case <-out:
	case <-time.After(patience):
		t.Fatal("the stuck viewer is still there")
	}
}
