package wire

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// bulkUnsent is about how much the kernel keeps of what cannot be sent yet (TCP_NOTSENT_LOWAT); by itself it keeps 4 MiB.
const bulkUnsent = 256 << 10

// ForBulk prepares a TCP connection for much data: where the kernel has BBR, what is lost on the way does not slow it down; others
// keep the usual. A reader that has paused holds little of this machine's memory. TCP_USER_TIMEOUT is not for it: the kernel would break
// a connection whose reader has paused for that long.
func ForBulk(conn net.Conn) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") // not every kernel has it
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bulkUnsent)
	})
}
