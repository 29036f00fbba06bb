package builtin

import (
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func pemBytes(b *pem.Block) []byte { return pem.EncodeToMemory(b) }

// A terminal runs a program of this machine and lets the test type and read, as a person would.
type terminal struct {
	*screen
	pty  *pty
	cmd  *exec.Cmd
	read chan struct{}
}

func newTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	p, err := openPTY(unix.Winsize{Col: 100, Row: 30}, "")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	x := &terminal{screen: newScreen(), pty: p, cmd: cmd, read: make(chan struct{})}
	go func() {
		defer close(x.read)
		_, _ = io.Copy(x.screen, p.master)
	}()
	t.Cleanup(func() {
		p.close()
		<-x.read
	})
	return x
}

func (x *terminal) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(x.pty.master, text); err != nil {
		t.Fatal(err)
	}
}

func (x *terminal) resize(t *testing.T, cols, rows uint16) {
	t.Helper()
	if err := x.pty.resize(unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

func (x *terminal) wait(t *testing.T) int {
	t.Helper()
	stop := time.AfterFunc(patience, func() { _ = x.cmd.Process.Kill() })
	defer stop.Stop()
	_ = x.cmd.Wait()
	return x.cmd.ProcessState.ExitCode()
}
