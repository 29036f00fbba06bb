package wire

import (
	"syscall"
	"testing"
	"time"

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

// What a reader does not take is not much.
func TestBulkHoldsLittle(t *testing.T) {
	near, _ := tlsPair(t)
	ForBulk(near.NetConn())
	c := newLaneConn(near)
	defer c.reset()
	go func() {
		for buf := make([]byte, 32<<10); ; {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	raw, err := near.NetConn().(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for before, held := -1, 0; before != held || held == 0; time.Sleep(300 * time.Millisecond) { // until it is full
		before = held
		if err := raw.Control(func(fd uintptr) { held, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
			t.Fatal(err)
		}
		if held > 2*bulkUnsent && before == held {
			t.Fatalf("%d bytes are held", held)
		}
	}
}
