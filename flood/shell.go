package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/creack/pty"
)

// shell is a shell that runs meanwhile, in a terminal: somebody types, and looks how late it echoes.
type shell struct {
	cmd *exec.Cmd
	tty *os.File

	mu   sync.Mutex
	took []time.Duration // of each echo since the last look
	err  error
	done chan struct{}
}

const typing = 40 * time.Millisecond // from one key to the next

func openShell(ctx context.Context, o options) (*shell, error) {
	cmd := exec.CommandContext(ctx, o.scrier, "ssh", o.envoy)
	cmd.Env = append(os.Environ(), "SCRIER_HOME="+o.home, "SSH_AUTH_SOCK=", "TERM=dumb")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 80, Rows: 24})
	if err != nil {
		return nil, fmt.Errorf("open a shell: %w", err)
	}
	s := &shell{cmd: cmd, tty: tty, done: make(chan struct{})}
	output := make(chan []byte, 64)
	go func() {
		defer close(output)
		for {
			p := make([]byte, 4096)
			n, err := tty.Read(p)
			if err != nil {
				return
			}
			output <- p[:n]
		}
	}()
	// cat has no line of its own: what comes back is the terminal's echo, and then the line.
	if _, err := tty.WriteString("unset HISTFILE; stty echo icanon; echo flood-$((40+2)); exec cat >/dev/null\r"); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := await(output, []byte("flood-42"), 30*time.Second); err != nil {
		return nil, errors.Join(fmt.Errorf("the shell does not begin: %w", err), s.close())
	}
	go s.typesOn(ctx, output)
	return s, nil
}

// await reads until what was output since it began has p in it.
func await(output <-chan []byte, p []byte, limit time.Duration) error {
	var seen []byte
	late := time.After(limit)
	for !bytes.Contains(seen, p) {
		select {
		case b, ok := <-output:
			if !ok {
				return errors.New("it ended")
			}
			seen = append(seen, b...)
		case <-late:
			return fmt.Errorf("nothing within %s", limit)
		}
	}
	return nil
}

// typesOn types one letter after the other, each when the last has echoed.
func (s *shell) typesOn(ctx context.Context, output <-chan []byte) {
	defer close(s.done)
	for n := 0; ctx.Err() == nil; n++ {
		key := []byte{'a' + byte(n%26)}
		if n%60 == 59 {
			key = []byte{'\r'}
		}
		begin := time.Now()
		_, err := s.tty.Write(key)
		if err == nil {
			want := key
			if key[0] == '\r' {
				want = []byte("\n")
			}
			err = await(output, want, 30*time.Second)
		}
		s.mu.Lock()
		s.took, s.err = append(s.took, time.Since(begin)), err
		s.mu.Unlock()
		if err != nil {
			return
		}
		time.Sleep(typing)
	}
}

// look is the echoes since the last look, the shortest first.
func (s *shell) look() ([]time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.took
	s.took = nil
	slices.Sort(took)
	if s.err != nil {
		return nil, fmt.Errorf("the shell: %w", s.err)
	}
	return took, nil
}

func (s *shell) close() error {
	_ = s.tty.Close() // its end is all that counts
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	return nil
}
