package sockets

import (
	"errors"
	"net/netip"
	"os"
)

// Listener is one listening socket.
type Listener struct {
	Addr  netip.Addr
	UID   uint32
	Inode uint64 // which socket it is, for as long as it is open
}

// Listeners finds who would take a connection to a port of this machine's loopback.
func Listeners(port uint16) ([]Listener, error) {
	var all []Listener
	keep := at(port, &all)
	if err := read(procTCP, keep, listening); err != nil {
		return nil, err
	}
	if err := read(procTCP6, keep, listening); err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
		return nil, err
	}
	return reachable(all), nil
}

// at keeps the sockets at a port.
func at(port uint16, all *[]Listener) func(socket) {
	return func(s socket) {
		if s.local.Port() == port {
			*all = append(*all, Listener{Addr: s.local.Addr(), UID: s.uid, Inode: s.inode})
		}
	}
}

// reachable keeps those that a connection to 127.0.0.1 reaches, or, if there are none, to ::1.
// The kernel does not tell whether a socket at :: takes IPv4 connections too. If there is a socket of
// IPv4 as well, it does not: bind(2) refuses to have both, unless they belong to one user.
func reachable(all []Listener) []Listener {
	var four, six []Listener
	for _, l := range all {
		switch a := l.Addr.Unmap(); a {
		case netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{127, 0, 0, 1}):
			four = append(four, l)
		case netip.IPv6Unspecified(), netip.IPv6Loopback():
			six = append(six, l)
		}
	}
	if len(four) > 0 {
		return four
	}
	return six
}
