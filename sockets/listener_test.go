package sockets

import (
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	head4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	head6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
)

// A look at the tables takes hardly any memory, however long they are: an idle agent looks all the time.
func TestParseIsCheap(t *testing.T) {
	table := head4 + strings.Repeat(row("0100007F:1A0B", "01", "0", "7"), 10_000)
	const looks = 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range looks {
		if _, err := parseAt(strings.NewReader(table), 3389); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / looks; each > 16<<10 {
		t.Errorf("%d bytes a look", each)
	}
}

// parseAt is the listeners of a table at a port.
func parseAt(r io.Reader, port uint16) (all []Listener, err error) {
	if err := parse(r, at(port, &all), listening); err != nil {
		return nil, err
	}
	return all, nil
}

// row is a line as the kernel writes it.
func row(local, state, uid, inode string) string {
	return "   0: " + local + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000 " + uid + "        0 " + inode + " 1 0000000000000000 100 0 0 10 0\n"
}

func TestListeners(t *testing.T) {
	const port = 3389 // 0D3D
	four := netip.MustParseAddr("127.0.0.1")
	for name, c := range map[string]struct {
		table string
		want  []Listener
	}{
		"nobody":          {head4, nil},
		"another port":    {head4 + row("0100007F:1A0B", "0A", "0", "7"), nil},
		"loopback":        {head4 + row("0100007F:0D3D", "0A", "0", "7"), []Listener{{four, 0, 7}}},
		"a user":          {head4 + row("00000000:0D3D", "0A", "  1001", "18446744073709551615"), []Listener{{netip.IPv4Unspecified(), 1001, 1<<64 - 1}}},
		"the last uid":    {head4 + row("0100007F:0D3D", "0A", "4294967295", "7"), []Listener{{four, 1<<32 - 1, 7}}},
		"a connection":    {head4 + row("0100007F:0D3D", "01", "0", "7"), nil},
		"one without end": {head4 + row("0100007F:0D3D", "06", "0", "0"), nil}, // TIME_WAIT has no inode
		"two": {
			head4 + row("0100007F:0D3D", "0A", "0", "7") + row("0200007F:0D3D", "01", "5", "8") + row("0200007F:0D3D", "0A", "1001", "9"),
			[]Listener{{four, 0, 7}, {netip.MustParseAddr("127.0.0.2"), 1001, 9}},
		},
		"IPv6":        {head6 + row("00000000000000000000000001000000:0D3D", "0A", "0", "7"), []Listener{{netip.IPv6Loopback(), 0, 7}}},
		"IPv6 any":    {head6 + row("00000000000000000000000000000000:0D3D", "0A", "0", "7"), []Listener{{netip.IPv6Unspecified(), 0, 7}}},
		"IPv4 mapped": {head6 + row("0000000000000000FFFF00000100007F:0D3D", "0A", "0", "7"), []Listener{{netip.MustParseAddr("::ffff:127.0.0.1"), 0, 7}}},
	} {
		got, err := parseAt(strings.NewReader(c.table), port)
		if err != nil || !cmp.Equal(got, c.want, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, table := range map[string]string{
		"empty":            "",
		"no header":        row("0100007F:0D3D", "0A", "0", "7"),
		"a short line":     head4 + "   0: 0100007F:0D3D\n",
		"cut":              head4 + "   0: 0100007F:0D3D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0",
		"an empty line":    head4 + "\n",
		"a long line":      head4 + strings.Repeat("x", maxLine+1) + "\n",
		"a long state":     head4 + row("0100007F:0D3D", "0A0", "0", "7"),
		"no address":       head4 + row("0100007G:0D3D", "0A", "0", "7"),
		"a short address":  head4 + row("0100:0D3D", "0A", "0", "7"),
		"no port":          head4 + row("0100007F", "0A", "0", "7"),
		"a long port":      head4 + row("0100007F:00D3D", "0A", "0", "7"),
		"a uid too large":  head4 + row("0100007F:0D3D", "0A", "4294967296", "7"),
		"a negative uid":   head4 + row("0100007F:0D3D", "0A", "-1", "7"),
		"no inode":         head4 + row("0100007F:0D3D", "0A", "0", "0"),
		"an inode in text": head4 + row("0100007F:0D3D", "0A", "0", "x"),
	} {
		if got, err := parseAt(strings.NewReader(table), port); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A table without end is refused, not read into memory.
func TestListenersIsBounded(t *testing.T) {
	if _, err := parseAt(io.MultiReader(strings.NewReader(head4), endless(row("0100007F:0001", "01", "0", "7"))), 1); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Error(err)
	}
}

type endless string

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for len(p)-n >= len(e) {
		n += copy(p[n:], e)
	}
	return max(n, copy(p, e)), nil
}

func FuzzListeners(f *testing.F) {
	f.Add(head4 + row("0100007F:0D3D", "0A", "0", "7"))
	f.Add(head6 + row("0000000000000000FFFF00000100007F:0D3D", "0A", "1001", "7"))
	f.Add(head4 + row("0100007F:0D3D", "01", "0", "0"))
	f.Fuzz(func(t *testing.T, table string) {
		found, err := parseAt(strings.NewReader(table), 3389)
		if err != nil && found != nil {
			t.Error("an error and a result")
		}
		for _, l := range found {
			if !l.Addr.IsValid() || l.Inode == 0 {
				t.Errorf("%+v", l)
			}
		}
		if strings.Count(table, listening) < len(found) {
			t.Error("more listeners than lines that say so")
		}
	})
}

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"127.0.0.1":              "127.0.0.1",
		"127.0.0.2":              "",
		"192.0.2.1 127.0.0.1":    "127.0.0.1",
		"127.0.0.1 0.0.0.0":      "127.0.0.1 0.0.0.0", // whoever it is, none may be a stranger
		"::":                     "::",
		"::1":                    "::1",
		":: ::1":                 ":: ::1",
		"0.0.0.0 ::":             "0.0.0.0", // then :: is for IPv6 alone
		"127.0.0.1 ::1":          "127.0.0.1",
		"::ffff:127.0.0.1 ::":    "::ffff:127.0.0.1",
		"::ffff:0.0.0.0":         "::ffff:0.0.0.0",
		"fe80::1 2001:db8::1 ::": "::",
	} {
		var all []Listener
		for _, a := range strings.Fields(in) {
			all = append(all, Listener{Addr: netip.MustParseAddr(a)})
		}
		var got []string
		for _, l := range reachable(all) {
			got = append(got, l.Addr.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Who has the other end of a connection is found for both ends, over IPv4 and by an IPv6 socket.
func TestOwner(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		near, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		a, b := near.LocalAddr().(*net.TCPAddr).AddrPort(), near.RemoteAddr().(*net.TCPAddr).AddrPort()
		for _, ends := range [][2]netip.AddrPort{{a, b}, {b, a}} {
			if uid, err := Owner(ends[0], ends[1]); err != nil || int(uid) != os.Getuid() {
				t.Errorf("%s: %d, %v", ends, uid, err)
			}
		}
		if _, err := Owner(a, a); err == nil {
			t.Error("a connection that is not there has an owner")
		}
		for _, c := range []io.Closer{near, far, l} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
