package builtin

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

func ignoresHUP(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, mask, _ := bytes.Cut(status, []byte("SigIgn:\t"))
	var bits uint64
	_, err = fmt.Sscanf(string(mask), "%x", &bits)
	return err == nil && bits&1 != 0
}

func TestWhoIsLetIn(t *testing.T) {
	s := newServer(t)
	_, stranger := newKey(t)
	for name, try := range map[string]func(*link) error{
		"another key":   func(l *link) error { _, err := l.tryDial(testLogin, stranger); return err },
		"the host key":  func(l *link) error { _, err := l.tryDial(testLogin, s.hostKey); return err },
		"another login": func(l *link) error { _, err := l.tryDial("nobody", l.key); return err },
		"root":          func(l *link) error { _, err := l.tryDial("root", l.key); return err },
		"no login":      func(l *link) error { _, err := l.tryDial("", l.key); return err },
		"no key": func(l *link) error {
			_, _, _, err := ssh.NewClientConn(l.conn, "", &ssh.ClientConfig{User: testLogin, HostKeyCallback: ssh.FixedHostKey(s.HostKeys()[0])})
			return err
		},
		"a password": func(l *link) error {
			_, _, _, err := ssh.NewClientConn(l.conn, "", &ssh.ClientConfig{User: testLogin, Auth: []ssh.AuthMethod{ssh.Password("x")}, HostKeyCallback: ssh.FixedHostKey(s.HostKeys()[0])})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := serve(t, s)
			if try(l) == nil {
				t.Fatal("let in")
			}
			l.conn.Close()
			l.wait(t)
			wantCode(t, l.err, wire.AuthFailed)
		})
	}
	serve(t, s).dial(t) // and the right one is
}

func TestRefusedRequests(t *testing.T) {
	c := serveGuest(t, newServer(t), Guest{Rights: without(wire.MayForward, wire.MayReverse, wire.MayAgent)}).dial(t)
	for _, kind := range []string{"direct-tcpip", "direct-streamlocal@openssh.com", "forwarded-tcpip", "x11", "auth-agent@openssh.com", "tun@openssh.com", ""} {
		_, _, err := c.OpenChannel(kind, nil)
		e, ok := err.(*ssh.OpenChannelError)
		if !ok || e.Reason != ssh.Prohibited {
			t.Errorf("channel %q: %v", kind, err)
		}
	}
	if _, err := c.Dial("tcp", "127.0.0.1:22"); err == nil {
		t.Error("port forwarding works")
	}
	for _, kind := range []string{"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "no-such-thing"} {
		if ok, _, err := c.SendRequest(kind, true, ssh.Marshal(struct {
			Addr string
			Port uint32
		}{"127.0.0.1", 0})); ok || err != nil {
			t.Errorf("request %s: %v, %v", kind, ok, err)
		}
	}
	s := newSession(t, c)
	for _, kind := range []string{"auth-agent-req@openssh.com", "x11-req", "break", "window-change", "no-such-thing"} {
		if ok, err := s.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("session request %s: %v, %v", kind, ok, err)
		}
	}
	if err := s.RequestSubsystem("netconf"); err == nil {
		t.Error("there is another subsystem")
	}
	for _, kind := range []string{"pty-req", "env", "exec", "signal", "subsystem"} { // malformed
		if ok, err := newSession(t, c).SendRequest(kind, true, []byte{0, 0, 0, 9, 'x'}); ok || err != nil {
			t.Errorf("malformed %s: %v, %v", kind, ok, err)
		}
	}
	if out, err := newSession(t, c).Output("echo still here"); string(out) != "still here\n" {
		t.Errorf("afterwards: %q, %v", out, err)
	}
}

func TestSessionLimit(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	var open []*ssh.Session
	for range maxSessions {
		open = append(open, newSession(t, c))
	}
	_, err := c.NewSession()
	if e, ok := err.(*ssh.OpenChannelError); !ok || e.Reason != ssh.ResourceShortage {
		t.Fatalf("session %d: %v", maxSessions+1, err)
	}
	if err := open[3].Run("true"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the place is free again", func() bool {
		s, err := c.NewSession()
		if err == nil {
			s.Close()
		}
		return err == nil
	})
}

func TestHandshakeDeadline(t *testing.T) {
	s := newServer(t)
	_, key := newKey(t)
	synctest.Test(t, func(t *testing.T) {
		for _, say := range []string{"", "SSH-2.0-slow\r\n"} {
			near, far := net.Pipe()
			go func() {
				buf := make([]byte, 4096)
				if _, err := near.Read(buf); err != nil {
					return
				}
				if _, err := near.Write([]byte(say)); err != nil {
					return
				}
				for {
					if _, err := near.Read(buf); err != nil {
						return
					}
				}
			}()
			began := time.Now()
			err := s.Serve(t.Context(), far, Guest{Key: key.PublicKey(), Rights: wire.Rights()})
			wantCode(t, err, wire.AuthFailed)
			if took := time.Since(began); took != handshakeTime {
				t.Errorf("took %v", took)
			}
			near.Close()
		}
		// If the context ends before that, Serve ends with it.
		near, far := net.Pipe()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, wire.Errorf(wire.Killed, "test"))
		defer cancel()
		wantCode(t, s.Serve(ctx, far, Guest{Key: key.PublicKey(), Rights: wire.Rights()}), wire.Killed)
		near.Close()
	})
}

// TestOpenSSH has the real ssh log in.
func TestOpenSSH(t *testing.T) {
	s := newServer(t)
	n := newNative(t, s, wire.Rights())
	t.Run("command", func(t *testing.T) {
		cmd := n.ssh("envoy", "cat; echo err >&2; exit 9")
		cmd.Stdin = strings.NewReader("in")
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != 9 || out.String() != "in" || !strings.Contains(errs.String(), "err\n") {
			t.Errorf("%v: %q, %q", err, &out, &errs)
		}
		n.ends(t, wire.None)
	})
	t.Run("killed command", func(t *testing.T) {
		cmd := n.ssh("envoy", "kill -KILL $$")
		_ = cmd.Run()
		if cmd.ProcessState.ExitCode() != 255 { // ssh exits so when it gets exit-signal
			t.Errorf("exit status %d", cmd.ProcessState.ExitCode())
		}
		n.ends(t, wire.None)
	})
	t.Run("another login", func(t *testing.T) {
		out, err := n.ssh("-l", "nobody", "envoy", "true").CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("Permission denied")) {
			t.Errorf("%v: %s", err, out)
		}
		n.ends(t, wire.AuthFailed)
	})
	t.Run("forwarding", func(t *testing.T) {
		n := newNative(t, s, without(wire.MayForward, wire.MayReverse, wire.MayUpload, wire.MayDownload))
		out, err := n.ssh("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "envoy", "true").CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("forwarding failed")) {
			t.Errorf("-R: %v: %s", err, out)
		}
		n.ends(t, wire.None)
		out, err = n.ssh("-W", "127.0.0.1:22", "envoy").CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("administratively prohibited")) {
			t.Errorf("-W: %v: %s", err, out)
		}
		n.ends(t, wire.None)
		out, err = n.ssh("-s", "envoy", "sftp").CombinedOutput()
		if err == nil {
			t.Errorf("sftp: %s", out)
		}
		n.ends(t, wire.None)
	})
	t.Run("terminal", func(t *testing.T) {
		term := newTerminal(t, n.ssh("-tt", "envoy"))
		term.send(t, setPrompt)
		pid := number(t, term.until(t, ":end\r\n"))
		term.until(t, "prompt> ")
		term.send(t, "stty size; echo 'Grüße ✓'\n")
		term.until(t, "30 100\r\n")
		term.until(t, "Grüße ✓\r\n")
		term.resize(t, 120, 40)
		term.send(t, "until stty size | grep '40 120'; do :; done\n")
		term.until(t, "\n40 120\r\n")
		term.send(t, "sleep 1000\n")
		eventually(t, "sleep runs in the foreground", func() bool { return inForeground(t, pid, "sleep") })
		term.send(t, "\x03")
		term.until(t, "prompt> ")
		term.send(t, "exit 4\n")
		if status := term.wait(t); status != 4 {
			t.Errorf("exit status %d", status)
		}
		n.ends(t, wire.None)
	})
	t.Run("ssh escape", func(t *testing.T) {
		term := newTerminal(t, n.ssh("-tt", "envoy"))
		term.send(t, setPrompt)
		pid := number(t, term.until(t, ":end\r\n"))
		term.send(t, "\r~.")
		if status := term.wait(t); status != 255 {
			t.Errorf("exit status %d", status)
		}
		n.ends(t, wire.None)
		if alive(pid) {
			t.Error("the shell outlives ssh")
		}
	})
}
