package relay

import (
	"net"
	"sync"
	"testing"
	"time"

	"scrier/wire"
)

// router is a NAT between one client and the relay that can forget its mapping: from then on the
// client's packets come from another port.
type router struct {
	t      *testing.T
	inside *net.UDPConn
	relay  *net.UDPAddr

	mu      sync.Mutex
	client  *net.UDPAddr
	outside *net.UDPConn
	wait    sync.WaitGroup
}

func newRouter(t *testing.T, relay string) *router {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", relay)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	n := &router{t: t, inside: inside, relay: addr}
	n.rebind()
	n.wait.Go(func() {
		buf := make([]byte, 2048)
		for {
			k, from, err := inside.ReadFromUDP(buf)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.client = from
			_, _ = n.outside.WriteToUDP(buf[:k], addr) // a lost packet is a lost packet
			n.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = inside.Close()
		n.mu.Lock()
		_ = n.outside.Close()
		n.mu.Unlock()
		n.wait.Wait()
	})
	return n
}

// rebind forgets the mapping.
func (n *router) rebind() {
	n.t.Helper()
	outside, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	if n.outside != nil {
		_ = n.outside.Close()
	}
	n.outside = outside
	n.mu.Unlock()
	n.wait.Go(func() {
		buf := make([]byte, 2048)
		for {
			k, _, err := outside.ReadFromUDP(buf)
			if err != nil {
				return
			}
			n.mu.Lock()
			if n.client != nil {
				_, _ = n.inside.WriteToUDP(buf[:k], n.client)
			}
			n.mu.Unlock()
		}
	})
}

// H38: a link goes on when the address behind it changes, also in the middle of a transfer.
func TestLinkSurvivesNewAddresses(t *testing.T) {
	r := start(t)
	m := enrolled(t, r, "laptop")
	n := newRouter(t, r.Addr())
	m.via = n.inside.LocalAddr().String()
	u := m.must()
	for i := range uint8(5) {
		n.rebind()
		if err := u.control.Send(&wire.Heartbeat{Time: wire.Millis(time.Now()), Facts: wire.Facts{Disk: i + 1}}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "a heartbeat from the new address", func() bool {
			e, err := r.fleet.Find(t.Context(), "laptop")
			return err == nil && e.Facts.Disk == i+1
		})
	}
	if u.link.Err() != nil {
		t.Errorf("the link ended: %v", u.link.Err())
	}
	if audited(t, r, "envoy.duplicate") != 0 {
		t.Error("a new address was taken for a second machine")
	}
}
