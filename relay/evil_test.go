package relay

import (
	"bytes"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/wire"
)

// T-EVILSSHD: whatever an envoy's agent or SSH server does, the session ends within its time, the
// operator gets an error or an end, no goroutine stays (goleak), and the next session opens.
func TestEvilEnvoys(t *testing.T) {
	junk := make([]byte, 1<<16)
	rand.Read(junk)
	flood := func(s wire.Stream, b []byte) {
		for {
			if _, err := s.Write(b); err != nil {
				return
			}
		}
	}
	hang := func(s wire.Stream) { _, _ = io.Copy(io.Discard, s) }
	// inside is a server that is honest until the shell runs.
	inside := func(f func(c ssh.Channel)) func(*envoy, *wire.Open, wire.Stream) {
		return func(e *envoy, o *wire.Open, s wire.Stream) {
			e.opened(s)
			e.sshServer(s, o, f)
		}
	}
	for name, f := range map[string]func(e *envoy, o *wire.Open, s wire.Stream){
		"agent ends the stream at once": func(_ *envoy, _ *wire.Open, s wire.Stream) { _ = s.CloseWrite(); hang(s) },
		"agent resets the stream":       func(_ *envoy, _ *wire.Open, s wire.Stream) { s.Reset(wire.Internal) },
		"agent answers junk":            func(_ *envoy, _ *wire.Open, s wire.Stream) { flood(s, junk) },
		"agent answers a huge frame":    func(_ *envoy, _ *wire.Open, s wire.Stream) { flood(s, []byte{0x11, 0xbf, 0xff, 0xff, 0xff}) },
		"agent answers another message": func(_ *envoy, _ *wire.Open, s wire.Stream) { _ = wire.Send(s, &wire.Ping{}); hang(s) },
		"agent reports no host key": func(e *envoy, o *wire.Open, s wire.Stream) {
			_ = wire.Send(s, &wire.Opened{Login: "deploy"})
			e.sshServer(s, o, echo)
		},
		"agent reports malformed keys": func(_ *envoy, _ *wire.Open, s wire.Stream) {
			_ = wire.Send(s, &wire.Opened{Login: "deploy", HostKeys: [][]byte{junk[:100]}})
			hang(s)
		},
		"agent reports another host key": func(e *envoy, o *wire.Open, s wire.Stream) {
			_ = wire.Send(s, &wire.Opened{Login: "deploy", HostKeys: [][]byte{newSigner(t).PublicKey().Marshal()}})
			e.sshServer(s, o, echo)
		},
		"agent names another login": func(e *envoy, o *wire.Open, s wire.Stream) {
			_ = wire.Send(s, &wire.Opened{Login: "root\x00\x1b[2J", HostKeys: [][]byte{e.hostKey.PublicKey().Marshal()}})
			e.sshServer(s, o, echo)
		},
		"agent skips frames for ever": func(_ *envoy, _ *wire.Open, s wire.Stream) { flood(s, []byte{0x40, 0x40, 0x01, 'x'}) },
		"server says nothing":         func(e *envoy, _ *wire.Open, s wire.Stream) { e.opened(s); hang(s) },
		"server hangs up":             func(e *envoy, _ *wire.Open, s wire.Stream) { e.opened(s); _ = s.CloseWrite(); hang(s) },
		"server has an endless banner": func(e *envoy, _ *wire.Open, s wire.Stream) {
			e.opened(s)
			flood(s, []byte(strings.Repeat("hello\r\n", 1000)))
		},
		"server has an endless line": func(e *envoy, _ *wire.Open, s wire.Stream) { e.opened(s); flood(s, bytes.Repeat([]byte("x"), 4096)) },
		"server sends junk": func(e *envoy, _ *wire.Open, s wire.Stream) {
			e.opened(s)
			_, _ = s.Write([]byte("SSH-2.0-evil\r\n"))
			flood(s, junk)
		},
		"server sends a huge packet": func(e *envoy, _ *wire.Open, s wire.Stream) {
			e.opened(s)
			_, _ = s.Write([]byte("SSH-2.0-evil\r\n\x7f\xff\xff\xff"))
			hang(s)
		},
		"server stops within the exchange": func(e *envoy, _ *wire.Open, s wire.Stream) {
			e.opened(s)
			_, _ = s.Write([]byte("SSH-2.0-evil\r\n"))
			hang(s)
		},
		"server speaks SSH 1": func(e *envoy, _ *wire.Open, s wire.Stream) {
			e.opened(s)
			_, _ = s.Write([]byte("SSH-1.5-old\r\n"))
			hang(s)
		},
		"server wants another key": func(e *envoy, o *wire.Open, s wire.Stream) { e.opened(s); o.Ephemeral = nil; e.sshServer(s, o, echo) },
		"server opens no channel": func(e *envoy, o *wire.Open, s wire.Stream) {
			e.opened(s)
			e.server(s, o, func(_ *ssh.ServerConn, n ssh.NewChannel) { _ = n.Reject(ssh.ResourceShortage, "\x1b]0;evil\x07") })
		},
		"server refuses the terminal": func(e *envoy, o *wire.Open, s wire.Stream) {
			e.opened(s)
			e.server(s, o, func(_ *ssh.ServerConn, n ssh.NewChannel) {
				if _, requests, err := n.Accept(); err == nil {
					ssh.DiscardRequests(requests)
				}
			})
		},
		"server opens channels to us": func(e *envoy, o *wire.Open, s wire.Stream) {
			e.opened(s)
			e.server(s, o, func(c *ssh.ServerConn, n ssh.NewChannel) {
				for _, kind := range []string{"session", "forwarded-tcpip", "x11", "auth-agent@openssh.com"} {
					if _, _, err := c.OpenChannel(kind, nil); err == nil {
						t.Errorf("the relay let a server open a %s channel", kind)
					}
				}
				_ = n.Reject(ssh.Prohibited, "done")
			})
		},
		"server floods with global requests": func(e *envoy, o *wire.Open, s wire.Stream) {
			e.opened(s)
			e.server(s, o, func(c *ssh.ServerConn, n ssh.NewChannel) {
				for range 1000 {
					if _, _, err := c.SendRequest("keepalive@openssh.com", true, nil); err != nil {
						break
					}
				}
				_ = n.Reject(ssh.Prohibited, "done")
			})
		},
		"shell closes without a status": inside(func(c ssh.Channel) { _ = c.Close() }),
		"shell ends its output only":    inside(func(c ssh.Channel) { _ = c.CloseWrite(); _, _ = io.Copy(io.Discard, c) }),
		"shell says exit twice": inside(func(c ssh.Channel) {
			_, _ = c.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{3}))
			exit(c, 9)
		}),
		"shell sends a malformed status": inside(func(c ssh.Channel) {
			_, _ = c.SendRequest("exit-status", false, []byte{1})
			_ = c.Close()
		}),
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r := start(t, func(s *Settings) {
				s.Config.Scrier.AgentTimeout, s.Config.Scrier.MaxSessions = Duration(2*time.Second), 1
			})
			serve(t, r, "evil", f)
			serve(t, r, "good", func(e *envoy, o *wire.Open, s wire.Stream) {
				e.opened(s)
				e.sshServer(s, o, func(c ssh.Channel) { exit(c, 0) })
			})
			p := newPerson(t, r, "ann", access.Admin)
			if v, err := p.connect("evil"); err == nil {
				v.exit(t)
			} else if c := wire.CodeOf(err); c == wire.Internal || c == wire.None {
				t.Errorf("the operator was told %v", err)
			}
			settled(t, r)
			v, err := p.connect("good")
			if err != nil {
				t.Fatalf("the next session: %v", err)
			}
			if x := v.exit(t); x.Code != wire.None {
				t.Errorf("the next session ended with %s", x.Code)
			}
			settled(t, r)
		})
	}
}

// server runs an SSH server up to authentication, and hands the first channel to f.
func (e *envoy) server(s wire.Stream, o *wire.Open, f func(*ssh.ServerConn, ssh.NewChannel)) {
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(e.hostKey)
	conn, channels, requests, err := ssh.NewServerConn(sshConn(s), config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for n := range channels {
		f(conn, n)
	}
}
