package wire

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel breaks no connection of bulk because its reader has paused: with TCP_USER_TIMEOUT it does, though the far kernel answers.
func TestBulkWaits(t *testing.T) {
	near, _ := tlsPair(t)
	ForBulk(near.NetConn())
	raw, err := near.NetConn().(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); n != 0 || err != nil {
			t.Errorf("it is broken after %d ms: %v", n, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
