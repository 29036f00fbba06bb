package wire

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// socketSystem is what Linux needs of a Socket.
type socketSystem struct {
	batch *ipv4.PacketConn // reads of IPv6 too, see quic-go
	raw   syscall.RawConn
}

// prepare asks for the errors that the network has about packets (RFC 1122, 4.1.3.3). A kernel that does not tell them is one
// that has none.
func (s *Socket) prepare() {
	s.system.batch = ipv4.NewPacketConn(s.UDPConn)
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	s.system.raw = raw
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1) // one of IPv4 has no such thing
	})
}

// ReadBatch reads packets, for quic-go, which takes an error for the end of the socket. Those of packets that were sent to one
// peer are none for the others.
func (s *Socket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		n, err := s.system.batch.ReadBatch(ms, flags)
		switch {
		case err == nil, errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case s.drain() > 0, passes(err):
		case strings.Contains(err.Error(), "not pollable"): // package net's word for an error while nothing can be sent: that passes
			time.Sleep(time.Millisecond)
		default:
			return n, err
		}
	}
}

// Rebind gives the socket another port with the next packet. It must be one that has chosen none.
func (s *Socket) Rebind() error {
	if s.system.raw == nil {
		return errors.ErrUnsupported
	}
	var err error
	if cerr := s.system.raw.Control(func(fd uintptr) {
		none := unix.RawSockaddr{Family: unix.AF_UNSPEC} // dissolves a connection, and with it a port that the system has chosen (connect(2))
		_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
		if errno != 0 {
			err = errno
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

// maxDrained bounds one go: more errors are taken with the next.
const maxDrained = 256

// drain takes the errors that wait, and says how many there were.
func (s *Socket) drain() (n int) {
	if s.system.raw == nil {
		return 0
	}
	_ = s.system.raw.Control(func(fd uintptr) { // fails on a socket that is closed
		var packet [1]byte
		var oob [512]byte
		for ; n < maxDrained; n++ {
			_, size, _, to, err := unix.Recvmsg(int(fd), packet[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			if portUnreachable(oob[:size]) {
				s.refusals.add(addrPort(to))
			}
		}
	})
	return n
}

// portUnreachable says whether an error is the answer of a machine on which nobody listens at the port any more.
func portUnreachable(oob []byte) bool {
	for len(oob) > 0 {
		head, body, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return false
		}
		oob = rest
		ours := head.Level == unix.IPPROTO_IP && head.Type == unix.IP_RECVERR || head.Level == unix.IPPROTO_IPV6 && head.Type == unix.IPV6_RECVERR
		if !ours || len(body) < 16 { // struct sock_extended_err
			continue
		}
		origin := body[4]
		return binary.NativeEndian.Uint32(body) == uint32(unix.ECONNREFUSED) && (origin == unix.SO_EE_ORIGIN_ICMP || origin == unix.SO_EE_ORIGIN_ICMP6)
	}
	return false
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}
