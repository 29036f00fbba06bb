package sftp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/sftp"
	"scrier/wire"
)

// patience is no measure of speed: the machine may be busy.
const patience = 30 * time.Second

// rightsEnv makes the test's own program what stands between a real client and the real server, with these rights.
const (
	rightsEnv  = "SCRIER_TEST_SFTP"
	recordsEnv = "SCRIER_TEST_SFTP_RECORDS" // the file that takes the records, as lines of JSON
)

func TestMain(m *testing.M) {
	if rights := os.Getenv(rightsEnv); rights != "" {
		os.Exit(between(rights))
	}
	goleak.VerifyTestMain(m)
}

// server is OpenSSH's SFTP server.
const server = "/usr/lib/openssh/sftp-server"

// files joins two of a process's files to an [sftp.End].
type files struct {
	io.Reader
	io.WriteCloser
	close func()
}

func (f files) CloseWrite() error { return f.WriteCloser.Close() }
func (f files) Close() error {
	f.close()
	return nil
}

// start runs the real server.
func start() (sftp.End, func(), error) {
	cmd := exec.Command(server, "-e", "-l", "QUIET")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	closed := sync.OnceFunc(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = out.Close()
	})
	return files{out, in, closed}, func() { _ = cmd.Wait() }, nil
}

func parseRights(s string) sftp.Rights {
	return sftp.Rights{Upload: strings.Contains(s, "upload"), Download: strings.Contains(s, "download")}
}

// between is the program between a real client, on standard input and output, and the real server.
func between(rights string) int {
	end, wait, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	records, err := os.OpenFile(os.Getenv(recordsEnv), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	client := files{os.Stdin, os.Stdout, func() {}}
	done := make(chan error, 1)
	go func() {
		_, err := sftp.Pass(context.Background(), client, end, sftp.Config{
			Rights: parseRights(rights),
			File:   func(f sftp.File) func() error { return written(records, f.Fields()) },
			Change: func(c sftp.Change) func() error { return written(records, c.Fields()) },
		})
		wait()
		done <- err
	}()
	if err := <-done; err != nil && wire.CodeOf(err) != wire.ViewerLost {
		fmt.Fprintln(os.Stderr, "pass:", err)
		return 1
	}
	return 0
}

func written(f *os.File, fields map[string]string) func() error {
	err := json.NewEncoder(f).Encode(fields)
	return func() error { return err }
}

// recordsOf are the records in a file, without what differs between clients' order.
func recordsOf(t *testing.T, path string) (all []map[string]string) {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := json.NewDecoder(f); ; {
		var m map[string]string
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

// pair is a socket with two ends.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "pair")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		u := c.(*net.UnixConn)
		t.Cleanup(func() { u.Close() })
		return u
	}
	return conn(fds[0]), conn(fds[1])
}

// journal takes records.
type journal struct {
	mu      sync.Mutex
	files   []sftp.File
	changes []sftp.Change
}

func (j *journal) file(f sftp.File) func() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.files = append(j.files, f)
	return nil
}

func (j *journal) change(c sftp.Change) func() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.changes = append(j.changes, c)
	return nil
}

func (j *journal) all() ([]sftp.File, []sftp.Change) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.files), slices.Clone(j.changes)
}

// ending is what Pass gave.
type ending struct {
	sftp.Summary
	err error
}

// passing is a Pass under way.
type passing struct {
	testing.TB
	*journal
	client *net.UnixConn // the test's side
	done   chan ending
	cancel context.CancelCauseFunc
}

func pass(t testing.TB, rights sftp.Rights, server sftp.End) *passing {
	t.Helper()
	return configured(t, sftp.Config{Rights: rights}, server)
}

// configured takes the records itself.
func configured(t testing.TB, config sftp.Config, server sftp.End) *passing {
	t.Helper()
	near, far := pair(t)
	p := &passing{TB: t, journal: &journal{}, client: near, done: make(chan ending, 1)}
	ctx, cancel := context.WithCancelCause(t.Context())
	p.cancel = cancel
	go func() {
		var e ending
		config.File, config.Change = p.file, p.change
		e.Summary, e.err = sftp.Pass(ctx, far, server, config)
		p.done <- e
	}()
	t.Cleanup(func() {
		near.Close()
		cancel(nil)
		p.end()
	})
	return p
}

// end waits for it.
func (p *passing) end() ending {
	p.Helper()
	select {
	case e := <-p.done:
		p.done <- e
		return e
	case <-time.After(patience):
		p.Fatal("Pass does not end")
	}
	return ending{}
}

// real is a Pass to the real server.
func real(t testing.TB, rights sftp.Rights) *passing {
	t.Helper()
	end, wait, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wait)
	return pass(t, rights, end)
}

var both = sftp.Rights{Upload: true, Download: true}
