package files_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/files"
	"scrier/relay/sftp"
	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is no measure of speed: the machine may be busy.
const patience = 30 * time.Second

// server is OpenSSH's SFTP server.
const server = "/usr/lib/openssh/sftp-server"

// machine opens channels to real SFTP servers. It implements [files.Opener].
type machine struct {
	*testing.T
	rights sftp.Rights
	home   string
	shell  string // runs the server as its $0; empty: no shell
	other  func() sftp.End
	owner  func(wire.SessionID) string // nil: all are one's

	mu      sync.Mutex
	opened  int
	now     int // that are open
	last    *exec.Cmd
	files   []sftp.File
	changes []sftp.Change
}

type process struct {
	io.Reader
	io.WriteCloser
	close func()
}

func (p process) CloseWrite() error { return p.WriteCloser.Close() }
func (p process) Close() error {
	p.close()
	return nil
}

func (m *machine) OpenSFTP(_ context.Context, id wire.SessionID) (*files.Channel, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened++
	m.now++
	c := &files.Channel{Config: sftp.Config{Rights: m.rights, File: m.file, Change: m.change}}
	if m.owner != nil {
		c.Owner = m.owner(id)
	}
	if m.other != nil {
		c.Server = m.other()
		c.Ended = func(sftp.Summary, error) { m.ended() }
		return c, nil
	}
	cmd := exec.Command(server, "-e", "-l", "QUIET")
	if m.shell != "" {
		cmd = exec.Command("/bin/sh", "-c", m.shell, server)
	}
	cmd.Dir, cmd.Stderr = m.home, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	m.last = cmd
	c.Server = process{out, in, sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = out.Close()
	})}
	c.Ended = func(sftp.Summary, error) {
		_ = cmd.Wait()
		m.ended()
	}
	return c, nil
}

func (m *machine) ended() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now--
}

func (m *machine) file(f sftp.File) func() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = append(m.files, f)
	return nil
}

func (m *machine) change(c sftp.Change) func() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes = append(m.changes, c)
	return nil
}

// work is Files on one machine.
type work struct {
	*machine
	*files.Files
	id wire.SessionID
}

func on(t *testing.T, m *machine, c files.Config) *work {
	t.Helper()
	m.T = t
	if m.home == "" {
		m.home = t.TempDir()
	}
	c.Opener, c.Log = m, slog.New(slog.DiscardHandler)
	w := &work{machine: m, Files: files.New(c), id: wire.NewSessionID()}
	t.Cleanup(w.Close)
	return w
}

func start(t *testing.T) *work {
	t.Helper()
	return on(t, &machine{rights: sftp.Rights{Upload: true, Download: true}}, files.Config{})
}

// do runs work that must not fail.
func (w *work) do(f func(*files.Machine) error) {
	w.Helper()
	if err := w.Do(w.T.Context(), w.id, f); err != nil {
		w.Fatalf("%v: %s", err, wire.DetailOf(err))
	}
}

// want runs work that must fail so.
func (w *work) want(code wire.Code, says string, f func(*files.Machine) error) {
	w.Helper()
	err := w.Do(w.T.Context(), w.id, f)
	if wire.CodeOf(err) != code || err == nil || !strings.Contains(err.Error(), says) {
		w.Errorf("got %v, want %s: %s", err, code, says)
	}
}

func (w *work) write(name string, content []byte) string {
	w.Helper()
	path := w.home + "/" + name
	if err := os.WriteFile(path, content, 0o640); err != nil {
		w.Fatal(err)
	}
	return path
}
