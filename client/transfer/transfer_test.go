package transfer_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/client/transfer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long is a generous limit for what never takes long.
const long = 30 * time.Second

// pipes are a program's standard input and output.
type pipes struct {
	io.ReadCloser
	in   io.WriteCloser
	once sync.Once
	done func()
}

func (p *pipes) Write(b []byte) (int, error) { return p.in.Write(b) }

func (p *pipes) Close() error {
	p.once.Do(func() {
		_ = p.in.Close()
		_ = p.ReadCloser.Close()
		p.done()
	})
	return nil
}

// server starts OpenSSH's SFTP server in a folder, which is the home of its paths.
func server(t testing.TB, folder string) io.ReadWriteCloser {
	t.Helper()
	c := exec.Command("/usr/lib/openssh/sftp-server")
	c.Dir = folder
	return start(t, c)
}

func start(t testing.TB, c *exec.Cmd) io.ReadWriteCloser {
	t.Helper()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatalf("start OpenSSH's SFTP server (Debian: openssh-sftp-server): %v", err)
	}
	p := &pipes{ReadCloser: out, in: in, done: func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// remote is a machine whose home is a folder.
func remote(t testing.TB, folder string) *transfer.Remote {
	t.Helper()
	return remoteOf(t, transfer.RemoteConfig{Name: "web1", Conn: server(t, folder)})
}

func remoteOf(t testing.TB, cfg transfer.RemoteConfig) *transfer.Remote {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	r, err := transfer.NewRemote(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// told keeps what a Progress is told.
type told struct {
	mu   sync.Mutex
	ends []string // "result from: why"
	on   func(f *transfer.File, offset int64)
}

func (p *told) Begin(*transfer.File) {}

func (p *told) At(f *transfer.File, offset int64) {
	if p.on != nil {
		p.on(f, offset)
	}
}

func (p *told) Stop(*transfer.File) {}

func (p *told) End(f *transfer.File, o transfer.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := string(o.Result) + " " + f.From
	if o.Err != nil {
		line += ": " + transfer.Reason(o.Err)
	}
	p.ends = append(p.ends, line)
}

func (p *told) sorted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.ends)
	return p.ends
}

// wants compares what was told with what was expected; of each line the beginning.
func (p *told) wants(t *testing.T, lines ...string) {
	t.Helper()
	got := p.sorted()
	slices.Sort(lines)
	if !slices.EqualFunc(got, lines, strings.HasPrefix) {
		t.Errorf("told was\n  %s\nexpected\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// look describes a tree: each name with its type, mode, time to the second and content.
func look(t testing.TB, root string, how ...string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		fmt.Fprintf(&b, "%q", rel)
		if slices.Contains(how, "mode") {
			fmt.Fprintf(&b, " %v %d", info.Mode(), info.ModTime().Unix())
		}
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %x", len(data), sha256.Sum256(data))
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// run copies, and expects that it comes to its end.
func run(t testing.TB, p *told, from []transfer.Source, to transfer.Place, path string, o transfer.Options) transfer.Summary {
	t.Helper()
	o.Progress = p
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	s, err := transfer.Run(ctx, from, to, path, o)
	if err != nil {
		t.Fatalf("copy: %v", err)
	}
	return s
}

func noParts(t testing.TB, roots ...string) {
	t.Helper()
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".scrier-part") {
				t.Errorf("%s was left", path)
			}
			return nil
		})
	}
}
