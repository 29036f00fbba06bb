package transfer_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"scrier/client/transfer"
)

// watched is a server whose requests and answers are looked at.
type watched struct {
	io.ReadWriteCloser
	mu          sync.Mutex
	request     func(kind byte, payload []byte) // without the id
	in, out     []byte
	asked, most int // requests without an answer, and how many there were at the same time
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.out = append(w.out, p...)
	for len(w.out) >= 4 && len(w.out) >= 4+int(binary.BigEndian.Uint32(w.out)) {
		n := 4 + int(binary.BigEndian.Uint32(w.out))
		w.asked++
		w.most = max(w.most, w.asked)
		if n > 9 {
			w.request(w.out[4], w.out[9:n])
		}
		w.out = w.out[n:]
	}
	w.mu.Unlock()
	return w.ReadWriteCloser.Write(p)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadWriteCloser.Read(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.in = append(w.in, p[:n]...)
	for len(w.in) >= 4 && len(w.in) >= 4+int(binary.BigEndian.Uint32(w.in)) {
		w.in = w.in[4+int(binary.BigEndian.Uint32(w.in)):]
		w.asked--
	}
	return n, err
}

// The bytes of a file are asked for, and sent, in their order: whoever looks at what passes can hash it. Many requests
// are under way.
func TestOrder(t *testing.T) {
	s := newSite(t)
	for i := range 3 {
		write(t, filepath.Join(s.here, fmt.Sprint("d/f", i)), string(random(3<<20)))
	}
	next := map[string]uint64{} // by type and handle
	var wrong int
	w := &watched{ReadWriteCloser: server(t, s.there), request: func(kind byte, p []byte) {
		switch kind {
		case typeOpen:
			clear(next)
		case typeRead, 6:
			n := binary.BigEndian.Uint32(p)
			handle, at := string(kind)+string(p[4:4+n]), binary.BigEndian.Uint64(p[4+n:])
			if at != next[handle] {
				wrong++
			}
			next[handle] = at + uint64(binary.BigEndian.Uint32(p[12+n:]))
		}
	}}
	s.remote = remoteOf(t, transfer.RemoteConfig{Name: "web1", Conn: w})
	for i := range 3 {
		s.up(transfer.Options{}, fmt.Sprint("g", i), fmt.Sprint("d/f", i))
		s.down(transfer.Options{}, "back", fmt.Sprint("g", i))
		if read(t, filepath.Join(s.here, "back")) != string(random(3<<20)) {
			t.Error("it is another file")
		}
	}
	if wrong > 0 {
		t.Errorf("%d requests were out of order", wrong)
	}
	if w.most < 16 || w.most > 256 {
		t.Errorf("%d requests were under way at a time", w.most)
	}
}

// Several small files are copied at a time, and not too many.
func TestManySmall(t *testing.T) {
	s := newSite(t)
	const files = 1000
	for i := range files {
		write(t, filepath.Join(s.here, "d", fmt.Sprint(i)), fmt.Sprint("text ", i))
	}
	var open, most int
	w := &watched{ReadWriteCloser: server(t, s.there), request: func(kind byte, p []byte) {
		switch kind {
		case typeOpen:
			open++
			most = max(most, open)
		case typeClose:
			open--
		}
	}}
	s.remote = remoteOf(t, transfer.RemoteConfig{Name: "web1", Conn: w})
	if sum := s.up(tree, "d", "d"); sum.Copied != files {
		t.Fatalf("%+v", sum)
	}
	s.down(tree, "back", "d")
	if look(t, filepath.Join(s.here, "back")) != look(t, filepath.Join(s.here, "d")) {
		t.Error("they are other files")
	}
	if most < 2 || most > 40 {
		t.Errorf("%d files were open at a time", most)
	}
}

// No more bytes a second pass than may; a test cannot say that it was no less, as machines are slow at times.
func TestLimit(t *testing.T) {
	s := newSite(t)
	write(t, filepath.Join(s.here, "f"), string(random(64<<10)))
	for _, way := range []string{"up", "down"} {
		began := time.Now()
		if way == "up" {
			s.up(transfer.Options{Rate: 128 << 10}, "f", "f")
		} else {
			s.down(transfer.Options{Rate: 128 << 10}, "back", "f")
		}
		if took := time.Since(began); took < 350*time.Millisecond { // half a second, without what passes at once
			t.Errorf("%s took %v", way, took)
		}
	}
	s.wants(s.here, "back", string(random(64<<10)))
}

// small mounts a file system with room for n KiB.
func small(t *testing.T, path string, n int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("only root can mount a small file system")
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%dk", n)); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// A full disk is told as one, before anything is written where that can be known; nothing is left on it, and the rest is
// copied.
func TestFullDisk(t *testing.T) {
	for _, way := range []string{"up", "down"} {
		t.Run(way, func(t *testing.T) {
			s := newSite(t)
			src, dst := s.here, s.there
			if way == "down" {
				src, dst = s.there, s.here
			}
			for name, size := range map[string]int{"d/big": 4 << 20, "d/a": 600 << 10, "d/b": 600 << 10, "d/c": 600 << 10, "d/z": 10 << 10} {
				write(t, filepath.Join(src, name), string(random(size)))
			}
			if err := os.Mkdir(filepath.Join(dst, "to"), 0o755); err != nil {
				t.Fatal(err)
			}
			small(t, filepath.Join(dst, "to"), 1500)
			var sum transfer.Summary
			if way == "up" {
				sum = s.up(tree, "to", "d")
			} else {
				sum = s.down(tree, "to", "d")
			}
			if sum.Failed != 2 || sum.Copied != 3 { // 1,500 KiB have room for two of three, and for the smallest
				t.Errorf("%+v", sum)
			}
			for _, line := range s.told.sorted() {
				if strings.HasPrefix(line, "failed") && !strings.Contains(line, "there is no room for it") && !strings.Contains(line, "the disk is full") {
					t.Error(line)
				}
				if strings.Contains(line, "/big") && !strings.Contains(line, "there is no room for it: 4.0 MiB are needed") {
					t.Error(line)
				}
			}
			noParts(t, dst)
			// What is there is whole.
			for _, name := range []string{"a", "b", "c", "z"} {
				if data, err := os.ReadFile(filepath.Join(dst, "to/d", name)); err == nil && string(data) != read(t, filepath.Join(src, "d", name)) {
					t.Errorf("%s is cut", name)
				}
			}
		})
	}
}

// Files of more than 4 GiB. This one is all hole here, so that the test takes no more of the disk than it must.
func TestLarge(t *testing.T) {
	s := newSite(t)
	const size = 5<<30 + 1
	for _, path := range []string{filepath.Join(s.here, "f"), filepath.Join(s.there, transfer.PartName("f"))} {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size - 1); err != nil {
			t.Fatal(err)
		}
		if path == filepath.Join(s.here, "f") {
			if _, err := f.WriteAt([]byte("end"), size-3); err != nil {
				t.Fatal(err)
			}
		} else if err := f.Truncate(size - 64<<20); err != nil { // the last bytes are copied behind 4 GiB
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	sum := func(home string) *transfer.Remote {
		return remoteOf(t, transfer.RemoteConfig{Name: "web1", Conn: server(t, home), Sum: fileSum(home)})
	}
	s.remote = sum(s.there)
	if got := s.up(transfer.Options{Continue: true}, "f", "f"); got.Moved != 64<<20 {
		t.Errorf("%+v %q", got, s.told.ends)
	}
	f, err := os.Open(filepath.Join(s.there, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end := make([]byte, 4)
	if n, err := f.ReadAt(end, size-4); err != nil || string(end) != "\x00end" {
		t.Errorf("it ends with %q, %d, %v", end, n, err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Errorf("it is %v, %v", info, err)
	}
}
