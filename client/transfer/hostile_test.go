package transfer_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"scrier/client/transfer"
)

// Numbers of SFTP version 3.
const (
	typeOpen, typeClose, typeRead, typeLstat, typeFstat, typeOpendir, typeReaddir = 3, 4, 5, 7, 8, 11, 12
	typeRealpath, typeStat                                                        = 16, 17
	typeStatus, typeHandle, typeData, typeName, typeAttrs                         = 101, 102, 103, 104, 105
)

// evil is an SFTP server that answers as a test wants. An answer has no length and no id; none at all is no answer.
type evil func(kind byte, payload []byte) (answer byte, body []byte)

// machine starts it.
func (e evil) machine(t *testing.T, patience time.Duration) *transfer.Remote {
	t.Helper()
	a, b := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer b.Close()
		e.serve(b)
	}()
	t.Cleanup(func() {
		_ = a.Close()
		<-ended
	})
	return remoteOf(t, transfer.RemoteConfig{Name: "evil", Conn: a, Patience: patience})
}

func (e evil) serve(c net.Conn) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[:])-1)
		if _, err := io.ReadFull(c, payload); err != nil {
			return
		}
		out := []byte{0, 0, 0, 5, 2, 0, 0, 0, 3}
		if kind := head[4]; kind != 1 {
			answer, body := e(kind, payload[4:])
			if answer == 0 {
				continue
			}
			out = binary.BigEndian.AppendUint32(nil, uint32(5+len(body)))
			out = append(append(append(out, answer), payload[:4]...), body...)
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func str(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func status(code uint32) (byte, []byte) {
	return typeStatus, str(str(binary.BigEndian.AppendUint32(nil, code), "no"), "")
}

// attrs are a size and a mode.
func attrs(size uint64, mode uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, 1|4)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, size), mode)
}

const (
	isDir  = 0o040755
	isFile = 0o100644
	isLink = 0o120777
)

type entry struct {
	name string
	mode uint32
}

// names is an answer that lists entries.
func names(entries ...entry) (byte, []byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(entries)))
	for _, e := range entries {
		b = append(str(str(b, e.name), "long "+e.name), attrs(4, e.mode)...)
	}
	return typeName, b
}

// listing is a server with one folder, d, that has these entries; each file has 4 bytes.
func listing(entries ...entry) evil {
	told := false
	return func(kind byte, payload []byte) (byte, []byte) {
		switch kind {
		case typeStat, typeLstat:
			if strings.HasSuffix(string(payload), "d") {
				return typeAttrs, attrs(0, isDir)
			}
			return typeAttrs, attrs(4, isFile)
		case typeRealpath:
			return typeName, append(str(str(binary.BigEndian.AppendUint32(nil, 1), "/home/d"), ""), 0, 0, 0, 0)
		case typeOpen, typeOpendir:
			told = false
			return typeHandle, str(nil, "h")
		case typeReaddir:
			if told {
				return status(1)
			}
			told = true
			return names(entries...)
		case typeRead:
			return typeData, str(nil, "evil")
		case typeClose:
			return status(0)
		}
		return status(4)
	}
}

// Whatever a machine names, nothing is written outside of the target.
func TestHostileNames(t *testing.T) {
	base := t.TempDir()
	target := filepath.Join(base, "target")
	write(t, filepath.Join(base, "outside/f"), "safe")
	for name, to := range map[string]string{"out": "../outside", "abs": filepath.Join(base, "outside"), "f": "../outside/f", ".p.scrier-part": "../outside/f", "in": "d2"} {
		if err := os.MkdirAll(filepath.Join(target, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(target, "d", name)); err != nil {
			t.Fatal(err)
		}
	}
	before := look(t, filepath.Join(base, "outside"))
	e := listing(entry{"", isFile}, entry{".", isDir}, entry{"..", isDir}, entry{"../up", isFile}, entry{"/abs", isFile}, entry{"../../outside/f", isFile}, entry{"/", isDir},
		entry{"a\x00b", isFile}, entry{"out", isDir}, entry{"abs", isDir}, entry{"f", isFile}, entry{"p", isFile}, entry{"fine", isFile}, entry{"fine", isFile},
		entry{"\x1b[2Jclear", isFile}, entry{"in", isFile})
	r := e.machine(t, 0)
	p := &told{}
	run(t, p, []transfer.Source{{Place: r, Path: "d"}}, transfer.NewLocal(), target, transfer.Options{Recursive: true})
	if after := look(t, filepath.Join(base, "outside")); after != before {
		t.Errorf("outside is\n%s\nand was\n%s", after, before)
	}
	for _, name := range []string{"fine", "p", "up"} {
		if got := read(t, filepath.Join(target, "d", name)); got != "evil" {
			t.Errorf("%s has %q", name, got)
		}
	}
	var refused int
	for _, line := range p.sorted() {
		if strings.Contains(line, "leads out of the target") || strings.Contains(line, "no file can have this name") || strings.Contains(line, "same name") || strings.Contains(line, "leads nowhere") {
			refused++
		}
	}
	if refused < 7 {
		t.Errorf("refused were %d: %q", refused, p.ends)
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != 2 {
		t.Errorf("beside the target there is %v, %v", entries, err)
	}
	// Globs take only what they ask for.
	p = &told{}
	run(t, p, []transfer.Source{{Place: r, Path: "d/fi*", Pattern: true}}, transfer.NewLocal(), target, transfer.Options{})
	if got := read(t, filepath.Join(target, "fine")); got != "evil" {
		t.Errorf("fine has %q", got)
	}
	if entries, err := os.ReadDir(target); err != nil || len(entries) != 2 {
		t.Errorf("the target has %v, %v", entries, err)
	}
}

// A machine that never comes to an end is left, and takes a bounded piece of memory.
func TestHostileEndless(t *testing.T) {
	local := transfer.NewLocal()
	many := make([]entry, 500)
	for i := range many {
		many[i] = entry{fmt.Sprintf("%0200d", i), isFile}
	}
	base := listing()
	for name, c := range map[string]struct {
		kind byte
		e    evil
		why  string
	}{
		"names":   {typeReaddir, func(byte, []byte) (byte, []byte) { return names(many...) }, "more in it than can be copied"},
		"nothing": {typeReaddir, func(byte, []byte) (byte, []byte) { return names() }, "more in it than can be copied"},
		"folders": {typeReaddir, nil, "deep in each other"},
		"links":   {typeReaddir, nil, "deep in each other"},
	} {
		t.Run(name, func(t *testing.T) {
			listed, count := false, 0
			r := evil(func(kind byte, payload []byte) (byte, []byte) {
				switch {
				case kind == c.kind && c.e != nil:
					return c.e(kind, payload)
				case kind == typeOpendir:
					listed = false
				case kind == typeReaddir && !listed:
					listed = true
					if name == "links" {
						return names(entry{"sub d", isLink})
					}
					return names(entry{"sub d", isDir})
				case kind == typeReaddir:
					return status(1)
				case kind == typeRealpath:
					count++
					return typeName, append(str(str(binary.BigEndian.AppendUint32(nil, 1), fmt.Sprint("/new", count)), ""), 0, 0, 0, 0)
				}
				return base(kind, payload)
			}).machine(t, 0)
			p := &told{}
			run(t, p, []transfer.Source{{Place: r, Path: "d"}}, local, t.TempDir(), transfer.Options{Recursive: true})
			if lines := p.sorted(); len(lines) != 1 || !strings.Contains(lines[0], c.why) {
				t.Errorf("told was %q", lines)
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapAlloc > 1<<30 {
				t.Errorf("%d MiB are in use", m.HeapAlloc>>20)
			}
		})
	}
}

// A machine that does not answer, or not in the protocol, ends the copy with the reason.
func TestHostileAnswers(t *testing.T) {
	local := transfer.NewLocal()
	base := listing()
	for name, c := range map[string]struct {
		e   evil
		why string
	}{
		"silence": {func(kind byte, p []byte) (byte, []byte) { return 0, nil }, "has not answered for"},
		"silent reads": {func(kind byte, p []byte) (byte, []byte) {
			if kind == typeRead {
				return 0, nil
			}
			return base(kind, p)
		}, "has not answered for"},
		"too long": {func(kind byte, p []byte) (byte, []byte) {
			if kind == typeRead {
				return typeData, make([]byte, 1<<20)
			}
			return base(kind, p)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.e.machine(t, 200*time.Millisecond)
			target := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), long)
			defer cancel()
			_, err := transfer.Run(ctx, []transfer.Source{{Place: r, Path: "file"}}, local, target, transfer.Options{Progress: &told{}})
			if err == nil || !strings.Contains(err.Error(), c.why) || ctx.Err() != nil {
				t.Errorf("the copy ended with %v", err)
			}
			if _, err := os.Stat(filepath.Join(target, "file")); err == nil {
				t.Error("there is a target")
			}
		})
	}
	// Of a file no more is taken than it has, and no less: neither is a target made of what is too short.
	for size, text := range map[uint64]string{2: "ev", 1 << 40: ""} {
		eof := false
		r := evil(func(kind byte, p []byte) (byte, []byte) {
			switch {
			case kind == typeStat || kind == typeFstat:
				return typeAttrs, attrs(size, isFile)
			case kind == typeRead && eof:
				return status(1)
			case kind == typeRead:
				eof = size > 2
			}
			return base(kind, p)
		}).machine(t, 0)
		target := t.TempDir()
		p := &told{}
		o := transfer.Options{}
		if size > 2 { // there is no room for that much
			if _, err := transfer.Run(t.Context(), []transfer.Source{{Place: r, Path: "file"}}, local, target, transfer.Options{Progress: p}); err != nil {
				t.Error(err)
			}
			if line := p.sorted()[0]; !strings.Contains(line, "no room") && !strings.Contains(line, "became shorter") {
				t.Error(line)
			}
			continue
		}
		run(t, p, []transfer.Source{{Place: r, Path: "file"}}, local, target, o)
		if got := read(t, filepath.Join(target, "file")); got != text {
			t.Errorf("of %d bytes came %q", size, got)
		}
	}
}

// A server that gives less than it is asked for is asked again, and one that gives more is cut.
func TestOddReads(t *testing.T) {
	data := random(300_000)
	for name, most := range map[string]int{"short": 1000, "shorter by one": 32<<10 - 1, "long": 40 << 10} {
		r := evil(func(kind byte, p []byte) (byte, []byte) {
			switch kind {
			case typeStat, typeFstat:
				return typeAttrs, attrs(uint64(len(data)), isFile)
			case typeOpen:
				return typeHandle, str(nil, "h")
			case typeClose:
				return status(0)
			case typeRead:
				at := binary.BigEndian.Uint64(p[5:])
				if at >= uint64(len(data)) {
					return status(1)
				}
				return typeData, str(nil, string(data[at:min(int(at)+most, len(data))]))
			}
			return status(4)
		}).machine(t, 0)
		target := filepath.Join(t.TempDir(), "f")
		p := &told{}
		run(t, p, []transfer.Source{{Place: r, Path: "f"}}, transfer.NewLocal(), target, transfer.Options{})
		if read(t, target) != string(data) {
			t.Errorf("%s: it is another file; %q", name, p.ends)
		}
	}
}
