package relay

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/store"
	"scrier/wire"
)

// envoy is a machine whose SSH server a test plays: what it does with a session's stream is the
// test's.
type envoy struct {
	*machine
	*up
	hostKey ssh.Signer
	wait    sync.WaitGroup
	strict  func(*ssh.ServerConfig) // changes whom its SSH server lets in
}

// serve enrols a machine and hands each session's stream to f, after Open. The link closes, and
// all f must have returned, before the test ends.
func serve(t *testing.T, r *Relay, name string, f func(e *envoy, open *wire.Open, s wire.Stream)) *envoy {
	t.Helper()
	return served(t, enrolled(t, r, name), f)
}

// served is serve for a machine that is enrolled.
func served(t *testing.T, m *machine, f func(e *envoy, open *wire.Open, s wire.Stream)) *envoy {
	t.Helper()
	e := &envoy{machine: m, hostKey: newSigner(t)}
	t.Cleanup(e.wait.Wait) // runs after connect's own cleanup, which closes the link
	e.up = m.must()
	e.wait.Go(func() {
		for {
			s, err := e.link.Accept(e.link.Context())
			if err != nil {
				return
			}
			e.wait.Go(func() {
				open, err := wire.Expect[wire.Open](s)
				if err != nil {
					s.Reset(wire.Protocol)
					return
				}
				f(e, open, s)
				wire.Finish(s, time.Second)
			})
		}
	})
	return e
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// opened answers Open as an honest agent does.
func (e *envoy) opened(s wire.Stream) {
	if err := wire.Send(s, &wire.Opened{Login: "deploy", HostKeys: [][]byte{e.hostKey.PublicKey().Marshal()}}); err != nil {
		e.t.Error(err)
	}
}

// sshServer runs an honest SSH server on a stream up to the session channel, whose shell is f.
func (e *envoy) sshServer(s wire.Stream, open *wire.Open, f func(ssh.Channel)) {
	e.sshRequests(s, open, func(c ssh.Channel, r *ssh.Request, rest <-chan *ssh.Request) bool {
		if r.Type != "shell" {
			return true
		}
		go ssh.DiscardRequests(rest)
		f(c)
		return false
	})
}

// resized runs an SSH server whose shell says nothing, and tells the terminal's sizes.
func (e *envoy) resized(s wire.Stream, open *wire.Open, f func(wire.Size)) {
	e.sshRequests(s, open, func(_ ssh.Channel, r *ssh.Request, _ <-chan *ssh.Request) bool {
		var size struct{ Cols, Rows, W, H uint32 }
		if r.Type == "window-change" && ssh.Unmarshal(r.Payload, &size) == nil {
			f(wire.Size{Cols: uint16(size.Cols), Rows: uint16(size.Rows)})
		}
		return true
	})
}

// sshRequests runs an honest SSH server, and hands the session channel's requests to on, until it
// wants no more.
func (e *envoy) sshRequests(s wire.Stream, open *wire.Open, on func(c ssh.Channel, r *ssh.Request, rest <-chan *ssh.Request) bool) {
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "deploy" || string(key.Marshal()) != string(open.Ephemeral) {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, nil
	}}
	if e.strict != nil {
		e.strict(config)
	}
	config.AddHostKey(e.hostKey)
	conn, channels, requests, err := ssh.NewServerConn(sshConn(s), config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.WantReply {
				_ = r.Reply(true, nil)
			}
			if !on(channel, r, requests) {
				return
			}
		}
	}
}

// exit tells how the shell ended.
func exit(c ssh.Channel, status uint32) {
	_, _ = c.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
	_ = c.Close()
}

// sshConn is a tunnel as an SSH server wants it.
func sshConn(s wire.Stream) *wire.NetConn {
	return &wire.NetConn{Stream: s, End: func(s wire.Stream) { _ = s.CloseWrite() }}
}

// viewer is an operator's attached terminal.
type viewer struct {
	*wire.Framed
	attached *wire.Attached
}

// connect opens a session as a person does with the CLI.
func (p *person) connect(envoy string) (*viewer, error) {
	p.t.Helper()
	cert, err := p.login(attempt{})
	if err != nil {
		return nil, err
	}
	s, err := dial(p.t, p.relay, wire.ALPNClient, cert).Open(p.t.Context())
	if err != nil {
		return nil, err
	}
	f := wire.NewFramed(s)
	if err := f.Send(&wire.Connect{Envoy: envoy, Kind: wire.KindSSH, Size: wire.Size{Cols: 80, Rows: 24}, Term: "xterm"}); err != nil {
		return nil, err
	}
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	a, err := wire.Expect[wire.Attached](f)
	return &viewer{f, a}, err
}

// types sends what a person types.
func (v *viewer) types(t *testing.T, text string) {
	t.Helper()
	frame := append(make([]byte, wire.DataHeader), text...)
	if err := v.WriteData(wire.DataFrame(frame, len(text))); err != nil {
		t.Fatal(err)
	}
}

// roundTrip types a byte and waits for its echo.
func (v *viewer) roundTrip(t *testing.T) {
	t.Helper()
	if err := v.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	v.types(t, ".")
	for {
		m, err := v.Receive()
		if err != nil {
			t.Fatalf("waiting for an echo: %v", err)
		}
		if _, ok := m.(*wire.Data); ok {
			return
		}
	}
}

// exit reads on until the session's end.
func (v *viewer) exit(t *testing.T) *wire.Exit {
	t.Helper()
	for {
		m, err := v.Receive()
		if err != nil {
			t.Fatalf("waiting for Exit: %v", err)
		}
		if e, ok := m.(*wire.Exit); ok {
			if err := v.CloseWrite(); err != nil {
				t.Log(err) // the relay may have gone already
			}
			return e
		}
	}
}

// rows is the sessions table, newest first.
func rows(t *testing.T, r *Relay) (out []store.Session) {
	t.Helper()
	err := r.kv.View(t.Context(), func(tx store.Tx) (err error) {
		out, err = store.Sessions(tx, 1000, wire.SessionID{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// settled waits until no session is open, and checks that each left one record of its beginning
// and one of its end.
func settled(t *testing.T, r *Relay) {
	t.Helper()
	waitFor(t, "all sessions to close", func() bool {
		for _, row := range rows(t, r) {
			if row.State != store.Closed {
				return false
			}
		}
		return true
	})
	n := len(rows(t, r))
	if begun, ended := audited(t, r, "scrier.connect"), audited(t, r, "scrier.disconnect"); begun != n || ended != n {
		t.Errorf("%d sessions, %d records of a beginning, %d of an end", n, begun, ended)
	}
}
