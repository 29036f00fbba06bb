package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/wire"
)

// leaky is a socket that loses every tenth packet that comes.
type leaky struct {
	net.PacketConn
	n atomic.Uint64
}

func (l *leaky) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.PacketConn.ReadFrom(p)
		if err != nil || l.n.Add(1)%10 != 0 {
			return n, from, err
		}
	}
}

// leakyTransport attaches over WebTransport where packets are lost.
func leakyTransport(t *testing.T, r *Relay, id wire.SessionID) wire.Stream {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tr := &quic.Transport{Conn: &leaky{PacketConn: udp}}
	t.Cleanup(func() {
		_ = tr.Close()
		_ = udp.Close()
	})
	s, err := webTransportBy(t, r, "https://"+r.Addr(), id, func(ctx context.Context, addr string, conf *tls.Config, quicConf *quic.Config) (*quic.Conn, error) {
		to, err := net.ResolveUDPAddr("udp", addr)
		if err != nil {
			return nil, err
		}
		return tr.DialEarly(ctx, to, conf, quicConf)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lane is a page's second connection.
func (p *page) lane(id wire.SessionID, ticket []byte) *wire.Framed {
	p.t.Helper()
	s, err := webSocket(p.t, p.relay, "https://"+p.relay.Addr(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	f := wire.NewFramed(s)
	if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	if err := f.Send(&wire.Attach{Ticket: ticket, Client: p.client, Size: wire.Size{Cols: 1, Rows: 1}}); err != nil {
		p.t.Fatal(err)
	}
	return f
}

// shows takes one message of either connection; what it gives is of a lane.
func (p *page) shows(f *wire.Framed, frames uint64) *wire.Aside {
	p.t.Helper()
	m, err := f.Receive()
	if err != nil {
		p.t.Fatalf("%v behind %d bytes: %q", err, len(p.shown), tail(p.shown))
	}
	switch m := m.(type) {
	case *wire.Aside:
		return m
	case *wire.Data:
		p.shown = append(p.shown, m.Bytes...)
		p.acked = uint64(len(p.shown))
		if err := p.Send(&wire.Ack{Offset: p.acked, Frames: frames}); err != nil {
			p.t.Fatal(err)
		}
	}
	return nil
}

// Where WebTransport loses packets, output goes over a WebSocket of the same viewer, for which the page got a ticket that is good
// for nothing else, and comes back without a byte lost. No key is taken there.
func TestLaneOfAPage(t *testing.T) {
	r := start(t)
	servedBy(t, r, counter)
	who := admin(t, r, "ann")
	p := newPage(t, r, who, "web1", leakyTransport)
	p.Reset(wire.ViewerLost)
	p.asides = true
	p.attach(nil)
	if err := p.SetDeadline(time.Now().Add(5 * patience)); err != nil {
		t.Fatal(err)
	}
	total := 0
	var offer *wire.Aside
	for began := time.Now(); offer == nil; {
		if len(p.shown) == total*8 {
			if time.Since(began) > 4*patience {
				t.Fatal("no lane is offered")
			}
			total += 120_000
			p.typing("120000\n")
		}
		offer = p.shows(p.Framed, 0)
		time.Sleep(100 * time.Millisecond) // so that output waits for the page, and not the page for a slow machine
	}
	if len(offer.Ticket) == 0 || offer.N != 1 {
		t.Fatalf("the offer is %+v", offer)
	}
	total += 120_000
	p.typing("120000\n") // so that there is something left for the lane
	lane := p.lane(p.id, offer.Ticket)
	for {
		if m := p.shows(p.Framed, 0); m != nil {
			if !m.Used || m.N != 1 {
				t.Fatalf("the lane is there: %+v", m)
			}
			if r.counts.asides.all() != 1 || r.counts.owners.all() != 1 || r.counts.pages.all() != 2 {
				t.Errorf("%d lanes, %d viewers and %d links are counted", r.counts.asides.all(), r.counts.owners.all(), r.counts.pages.all())
			}
			break
		}
	}
	again := p.lane(p.id, offer.Ticket)
	if m, err := again.Receive(); err != nil || wire.CodeOf(refusal(m)) != wire.TicketInvalid {
		t.Errorf("a second connection with the lane's ticket: %+v, %v", m, err)
	}
	frames := uint64(0)
	for range 5 {
		frames++
		p.shows(lane, frames)
	}
	// A key on the lane is its end, and is typed nowhere.
	if err := lane.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), "7\n"...), 2)); err != nil {
		t.Fatal(err)
	}
	for {
		m := p.shows(p.Framed, frames)
		if m == nil {
			continue
		}
		if !m.Over || m.N != 1 {
			t.Fatalf("the lane was given input: %+v", m)
		}
		break
	}
	if err := p.Send(&wire.Aside{N: 1, Over: true, Frames: frames}); err != nil {
		t.Fatal(err)
	}
	p.asides = false
	p.until(fmt.Sprintf("%07d\n", total))
	p.typing("0\n")
	if e := p.exit(); e.Code != wire.None || e.Status != 3 {
		t.Errorf("ended with %+v", e)
	}
	if !bytes.Equal(p.shown, numbered(total)) {
		t.Errorf("%d bytes were shown, %d lines are %d bytes", len(p.shown), total, len(numbered(total)))
	}
	settled(t, r)
}

// A ticket for a lane of a viewer that is not there, or of another session, opens nothing.
func TestLaneOfNobody(t *testing.T) {
	r := start(t)
	servedBy(t, r, counter)
	p := newPage(t, r, admin(t, r, "ann"), "web1", carriers["WebSocket"])
	other := newPage(t, r, p.who, "web1", carriers["WebSocket"])
	for _, at := range []wire.SessionID{p.id, other.id} {
		who := viewerOf(p.who)
		who.Aside = 1
		ticket, err := r.sessions.Ticket(p.id, who)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := p.lane(at, ticket).Receive(); err != nil || wire.CodeOf(refusal(m)) != wire.TicketInvalid {
			t.Errorf("at %s: %+v, %v", at, m, err)
		}
	}
	for _, p := range []*page{p, other} {
		p.typing("0\n")
		p.exit()
	}
	settled(t, r)
}

// refusal is the error in a refusal; nil: m is none.
func refusal(m wire.Message) error {
	if r, ok := m.(*wire.Refused); ok {
		return &wire.Error{Code: r.Code, Detail: r.Detail}
	}
	return nil
}
