package wire

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Socket is a UDP socket for QUIC. A network that is away for a moment ends no connection of it: what cannot be sent then
// counts as a packet that was lost. All methods may be called at the same time.
type Socket struct {
	*net.UDPConn
	// Settled says that there is a connection. Until then whoever dials hears at once that there is no way.
	Settled atomic.Bool

	refusals refusals
	system   socketSystem
}

// NewSocket makes a Socket of a UDP socket, which it owns from now on.
func NewSocket(c *net.UDPConn) *Socket {
	s := &Socket{UDPConn: c}
	s.prepare()
	return s
}

// pendingErrors is how many errors of earlier packets a call may bring before its own packet is sent.
const pendingErrors = 8

// WriteMsgUDP is that of [net.UDPConn], for quic-go.
func (s *Socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	for range pendingErrors {
		n, oobn, err = s.UDPConn.WriteMsgUDP(b, oob, addr)
		if err == nil || s.drain() == 0 {
			break
		}
	}
	if err != nil && s.Settled.Load() && passes(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// passes says that a later packet may get through.
func passes(err error) bool {
	for _, e := range passing {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refusals are peers of whom somebody wants to know whether their socket is gone. Nothing is kept of others.
type refusals struct {
	mu sync.Mutex
	of map[netip.AddrPort]map[*atomic.Int32]struct{}
}

// Expect counts how often the network says from now on that nobody listens at a peer's address any more. Who is on the way
// may forge that: it is a hint. forget ends the counting. Only Linux tells.
func (s *Socket) Expect(peer net.Addr) (refused func() int, forget func()) {
	r := &s.refusals
	udp, ok := peer.(*net.UDPAddr)
	if !ok {
		return func() int { return 0 }, func() {}
	}
	addr, n := bare(udp.AddrPort()), new(atomic.Int32)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[netip.AddrPort]map[*atomic.Int32]struct{}{}
	}
	if r.of[addr] == nil {
		r.of[addr] = map[*atomic.Int32]struct{}{}
	}
	r.of[addr][n] = struct{}{}
	return func() int { return int(n.Load()) }, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.of[addr], n)
		if len(r.of[addr]) == 0 {
			delete(r.of, addr)
		}
	}
}

func (r *refusals) add(addr netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.of[bare(addr)] {
		n.Add(1)
	}
}

func bare(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
