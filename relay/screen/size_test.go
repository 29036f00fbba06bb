package screen

import (
	"math"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"scrier/wire"
)

func TestMemory(t *testing.T) {
	if n := unsafe.Sizeof(cell{}); n != 16 {
		t.Errorf("a cell has %d bytes", n)
	}
	const many = 64
	for name, c := range map[string]struct {
		output string
		most   uint64
	}{
		"plain output": {strings.Repeat("plain output\r\n", 100), 64 << 10},
		"a prompt":     {"Last login: today\r\n\r\nuser@host:~$ ", 12 << 10}, // what is not written to takes nothing
	} {
		var before, after runtime.MemStats
		screens := make([]*Screen, many)
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range screens {
			screens[i] = New(wire.Size{Cols: 80, Rows: 24})
			screens[i].Write([]byte(c.output))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		each := (after.HeapAlloc - before.HeapAlloc) / many
		t.Logf("%d bytes for 80x24 with %s", each, name)
		if each > c.most {
			t.Errorf("%d bytes for 80x24 with %s, more than %d", each, name, c.most)
		}
		runtime.KeepAlive(screens)
	}
}

// What a host can make grow, each in its way.
func TestHostileOutputIsBounded(t *testing.T) {
	t.Parallel()
	hostile := []string{
		"\x1b]2;" + strings.Repeat("title", 1<<18),
		"\x1b]4;" + strings.Repeat("1;#123456;", 1<<18),
		"\x1b[" + strings.Repeat("1;", 1<<18) + "m",
		"\x1b[" + strings.Repeat("1:", 1<<18) + "m",
		"\x1b" + strings.Repeat("(", 1<<18),
		"\x1bP" + strings.Repeat("q", 1<<18),
		"e" + strings.Repeat("\u0301", 1<<18),
		strings.Repeat("e\u0301\u0302\u0303", 1<<17),
		"x" + strings.Repeat("\x1b[2147483647b", 20),
		strings.Repeat("\x1b[2147483647S\x1b[2147483647T\x1b[2147483647@\x1b[2147483647L\x1b[2147483647I", 100),
		strings.Repeat("\x1b[?1049h\x1b[?1049l", 1<<12),
	}
	for _, size := range []wire.Size{{Cols: 80, Rows: 24}, {Cols: 65535, Rows: 65535}, {}} {
		s := New(size)
		for _, p := range hostile {
			s.Write([]byte(p))
			if n, most := len(s.Repaint(nil, math.MaxInt32, 1<<60, "")), 64*(s.cols*s.rows+s.rows)+8<<10; n > most {
				t.Errorf("%v: %.20q is painted with %d bytes", size, p, n)
			}
			s.Write([]byte("\x1b\\\r\n"))
		}
		most := 16*(2*s.rows+100)*s.cols + 4<<20
		if n := s.Bytes(); n > most {
			t.Errorf("%v: %d bytes", size, n)
		}
	}
}
