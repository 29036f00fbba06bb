package wire

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bulkUntaken is how long the network may take nothing of what was sent, before the connection is broken (TCP_USER_TIMEOUT). A peer
// that reads nothing is no such case: its kernel answers.
const bulkUntaken = 30 * time.Second

// ForBulk prepares a TCP connection for much data: where the kernel has BBR, what is lost on the way does not slow it down; others
// keep the usual. A network that has died is noticed within 30 s.
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
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")                          // not every kernel has it
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(bulkUntaken.Milliseconds())) // every one has it
	})
}
