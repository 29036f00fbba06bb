//go:build unix

package wire

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSegment is what fits into 1,280 bytes behind the headers of IPv6 and TCP.
const maxSegment = 1280 - 40 - 20

// Segments is the Control of a [net.ListenConfig] whose TCP connections get through every path, as QUIC's packets do: neither
// side sends segments that a tunnel would drop without a word. The other side need not have it.
func Segments(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, maxSegment) // without it, it works on most paths
	})
}
