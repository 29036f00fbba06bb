package worker

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []*net.UnixConn
	for _, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		t.Cleanup(func() { c.Close() })
		all = append(all, c.(*net.UnixConn))
	}
	return all[0], all[1]
}

// openNow is how many descriptors this process has.
func openNow(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A worker may be in the hands of whoever owns the account: nothing but one connection is taken from it, and nothing stays open.
func TestReceiveHostile(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packets, _ := pair(t)
	fd := func(x any) int {
		switch x := x.(type) {
		case *os.File:
			return int(x.Fd())
		case interface{ File() (*os.File, error) }:
			f, err := x.File()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return int(f.Fd())
		}
		t.Fatalf("%T", x)
		return 0
	}
	conn, datagrams, seq := fd(c), fd(udp), fd(packets)
	for what, m := range map[string]struct {
		text string
		fds  []int
		ok   bool
	}{
		"a connection":      {`{"number":1}`, []int{conn}, true},
		"nothing":           {`{"number":1}`, nil, true},
		"two":               {`{"number":1}`, []int{conn, conn}, false},
		"many":              {`{"number":1}`, []int{conn, conn, conn, conn, conn, conn, conn, conn, conn, conn}, false},
		"a file":            {`{"number":1}`, []int{fd(file)}, false},
		"datagrams":         {`{"number":1}`, []int{datagrams}, false},
		"packets":           {`{"number":1}`, []int{seq}, false},
		"no JSON":           {`{"number":`, []int{conn}, false},
		"a negative number": {`{"number":-1}`, []int{conn}, false},
		"a huge port":       {`{"number":1,"port":65536}`, nil, false},
		"too much":          {`{"number":1,"error":"` + strings.Repeat("x", maxMessage) + `"}`, []int{conn}, false},
	} {
		t.Run(what, func(t *testing.T) {
			a, b := pair(t)
			before := openNow(t)
			var oob []byte
			if len(m.fds) > 0 {
				oob = unix.UnixRights(m.fds...)
			}
			if _, _, err := a.WriteMsgUnix([]byte(m.text), oob, nil); err != nil {
				t.Fatal(err)
			}
			var r Reply
			got, err := Receive(b, &r)
			if m.ok != (err == nil) || m.ok && len(m.fds) > 0 != (got != nil) || err != nil && !errors.Is(err, errMessage) {
				t.Errorf("%v, %v", got, err)
			}
			if got != nil {
				got.Close()
			}
			if after := openNow(t); after != before {
				t.Errorf("%d descriptors, %d before", after, before)
			}
		})
	}
}
