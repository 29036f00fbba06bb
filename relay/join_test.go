package relay

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/wire"
)

// A command that comes while the session of the one before it ends does not fail for that: it has a session of its own.
func TestCommandsBesideSessionsThatEnd(t *testing.T) {
	r := start(t, func(s *Settings) {
		s.Config.Scrier.DetachGrace = Duration(time.Second)
		s.Config.Scrier.MaxSessions = 100
	})
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.commands(s, open)
	})
	p := newPerson(t, r, "ann", access.Admin)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				for {
					f, a, err := stream(t, link, &wire.Connect{
						Envoy: "web1", Kind: wire.KindSSH, Share: true, Channel: &wire.Channel{Command: []byte("hello"), Plain: true},
					})
					if wire.CodeOf(err) == wire.Busy { // too fast for what the audit log is to bear
						time.Sleep(100 * time.Millisecond)
						continue
					}
					if err != nil {
						t.Errorf("%v", err)
						break
					}
					if e := (&viewer{f, a}).exit(t); e.Status != 3 {
						t.Errorf("ended with %+v", e)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	settled(t, r)
}

// fewCommands is commands of a server that has most of them at a time, as with sshd's MaxSessions, each for some time.
func (e *envoy) fewCommands(s wire.Stream, open *wire.Open, most int, last func()) {
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(e.hostKey)
	conn, channels, requests, err := ssh.NewServerConn(sshConn(s), config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	places := make(chan struct{}, most)
	for n := range channels {
		select {
		case places <- struct{}{}:
		default:
			_ = n.Reject(ssh.ConnectionFailed, "open failed") // the relay may be gone
			continue
		}
		channel, requests, err := n.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				if r.WantReply {
					_ = r.Reply(true, nil) // the same
				}
				if r.Type == "exec" {
					last()
					<-places
					exit(channel, 3)
				}
			}
		}()
	}
}

// A session that is full of programs is joined by no more: they have sessions of their own.
func TestCommandsBesideAFullSession(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.MaxSessions = 20 })
	over := make(chan struct{})
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.fewCommands(s, open, 2, func() { <-over })
	})
	p := newPerson(t, r, "ann", access.Admin)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	hold, held, err := stream(t, link, &wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.Hold}, Needs: []wire.Right{wire.MayExec}})
	if err != nil {
		t.Fatal(err)
	}
	var wg, attached sync.WaitGroup
	attached.Add(6)
	var joined atomic.Int64
	for range 6 {
		wg.Go(func() {
			f, a, err := stream(t, link, &wire.Connect{
				Envoy: "web1", Kind: wire.KindSSH, Share: true, Channel: &wire.Channel{Command: []byte("hello"), Plain: true},
			})
			attached.Done()
			if err != nil {
				t.Errorf("%v", err)
				return
			}
			if a.Session == held.Session {
				joined.Add(1)
			}
			if e := (&viewer{f, a}).exit(t); e.Status != 3 {
				t.Errorf("ended with %+v", e)
			}
		})
	}
	attached.Wait()
	close(over)
	wg.Wait()
	if n := joined.Load(); n != 2 {
		t.Errorf("%d have joined", n)
	}
	if err := hold.Send(&wire.EOF{}); err != nil {
		t.Fatal(err)
	}
	(&viewer{hold, held}).exit(t)
	settled(t, r)
}

// Of many commands that come at the same time one opens a session, and the others join it.
func TestCommandsAtTheSameTime(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.MaxSessions = 2 })
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.fewCommands(s, open, 10, func() { time.Sleep(300 * time.Millisecond) })
	})
	p := newPerson(t, r, "ann", access.Admin)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			f, a, err := stream(t, link, &wire.Connect{
				Envoy: "web1", Kind: wire.KindSSH, Share: true, Channel: &wire.Channel{Command: []byte("hello"), Plain: true},
			})
			if err != nil {
				t.Errorf("%v", err)
				return
			}
			if e := (&viewer{f, a}).exit(t); e.Status != 3 {
				t.Errorf("ended with %+v", e)
			}
		})
	}
	wg.Wait()
	settled(t, r)
	if n := len(rows(t, r)); n > 2 {
		t.Errorf("%d sessions", n)
	}
}

// A session with an SSH agent is joined by nobody who might not want their programs to reach it.
func TestSessionsWithAnAgentAreNotJoined(t *testing.T) {
	// One that needs it, and one that only may.
	for _, c := range []wire.Connect{{Needs: []wire.Right{wire.MayExec, wire.MayAgent}}, {Needs: []wire.Right{wire.MayExec}, Likes: []wire.Right{wire.MayAgent}}} {
		r := start(t, func(s *Settings) { s.Config.Scrier.Allow.AgentForwarding = true })
		serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) { e.withFiles(s, open, t.TempDir()) })
		p := newPerson(t, r, "ann", access.Admin)
		cert, err := p.login(attempt{})
		if err != nil {
			t.Fatal(err)
		}
		link := dial(t, r, wire.ALPNClient, cert)
		command := &wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Share: true, Channel: &wire.Channel{Command: []byte("x"), Plain: true}}
		c.Envoy, c.Kind, c.Channel = "web1", wire.KindSSH, &wire.Channel{Kind: wire.Hold}
		hold, held, err := stream(t, link, &c)
		if err != nil {
			t.Fatal(err)
		}
		joined := func() bool {
			f, a, err := stream(t, link, command)
			if err != nil {
				t.Fatal(err)
			}
			f.Reset(wire.Cancelled)
			return a.Session == held.Session
		}
		if len(c.Likes) > 0 {
			if !joined() {
				t.Error("without an agent it is not joined")
			}
			if _, _, err := stream(t, link, &wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.ForwardAgent}}); err != nil {
				t.Fatal(err)
			}
		}
		if joined() {
			t.Errorf("joined: %+v", held)
		}
		if err := r.sessions.Kill(t.Context(), audit.Event{}, held.Session); err != nil {
			t.Error(err)
		}
		(&viewer{hold, held}).exit(t)
		settled(t, r)
	}
}
