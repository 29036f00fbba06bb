package wire

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// tuneTCP bounds what the kernel holds of a link beyond what is in flight: what lies there is before every key. And it
// ends a connection when the far kernel answers nothing.
func tuneTCP(c net.Conn) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // a link without it is slower to answer, and no worse
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 4*tcpChunk)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(tcpSilence.Milliseconds()))
	})
}
