package relay

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/wire"
)

const token = "1-correct-horse-7"

// asking serves web1, whose SSH server has a banner, and wants a token behind the key.
func asking(t *testing.T, r *Relay, shell func(ssh.Channel)) *envoy {
	t.Helper()
	return serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.strict = func(c *ssh.ServerConfig) {
			let := c.PublicKeyCallback
			c.BannerCallback = func(ssh.ConnMetadata) string { return "Authorized\x1b[2J use only\n" }
			c.PublicKeyCallback = func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
				if _, err := let(m, key); err != nil {
					return nil, err
				}
				return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{
					KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
						answers, err := ask("", "Two-factor", []string{"Token: "}, []bool{false})
						if err == nil && answers[0] != token {
							err = errors.New("wrong")
						}
						return nil, err
					},
				}}
			}
		}
		e.opened(s)
		e.sshServer(s, open, shell)
	})
}

// opener is a page that opens a session and can be asked.
func opener(t *testing.T, r *Relay, who access.Operator, carrier string) *page {
	t.Helper()
	s, err := begin(t.Context(), t, r, who)
	if err != nil {
		t.Fatal(err)
	}
	return &page{t: t, relay: r, id: s.ID(), who: who, client: bytes.Repeat([]byte{1}, 16), open: carriers[carrier]}
}

func begin(ctx context.Context, t *testing.T, r *Relay, who access.Operator) (*session.Session, error) {
	t.Helper()
	keys, err := r.access.Keys(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	return r.connectWeb(ctx, who, &session.Request{Envoy: "web1", Kind: wire.KindSSH, Keys: keys, Answers: true})
}

// listens attaches and can be asked.
func (p *page) listens(v session.Viewer) {
	p.t.Helper()
	ticket, err := p.relay.sessions.Ticket(p.id, v)
	if err != nil {
		p.t.Fatal(err)
	}
	p.Framed = wire.NewFramed(p.open(p.t, p.relay, p.id))
	if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	if err := p.Send(&wire.Attach{Ticket: ticket, Client: p.client, Size: wire.Size{Cols: 100, Rows: 30}, Answers: true}); err != nil {
		p.t.Fatal(err)
	}
}

// question takes messages up to a question, and what was said before it.
func question(t *testing.T, f *wire.Framed) (said string, a *wire.Ask) {
	t.Helper()
	for {
		m, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *wire.Said:
			said += m.Text
		case *wire.Ask:
			return said, m
		default:
			t.Fatalf("%T %+v", m, m)
		}
	}
}

func reply(t *testing.T, f *wire.Framed, a *wire.Ask, text string) {
	t.Helper()
	if err := f.Send(&wire.Answer{ID: a.ID, Texts: [][]byte{[]byte(text)}}); err != nil {
		t.Fatal(err)
	}
}

// A page gets its ticket while the session is being opened, over each carrier, and may go and come back. What it answers
// is in no record and no log.
func TestPageIsAsked(t *testing.T) {
	for carrier := range carriers {
		t.Run(carrier, func(t *testing.T) {
			log := new(lockedLog)
			r := start(t, func(s *Settings) {
				s.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			asking(t, r, echo)
			ann := admin(t, r, "ann")
			p := opener(t, r, ann, carrier)
			p.listens(viewerOf(ann))
			said, a := question(t, p.Framed)
			if said != `Authorized\x1b[2J use only` || a.Text != "Two-factor" || a.Questions[0].Text != "Token:" || a.Login != "deploy" || a.Envoy != "web1" {
				t.Errorf("said %q, asked %+v", said, a)
			}
			if row := rows(t, r)[0]; row.State != store.Waiting {
				t.Errorf("the session is %s", row.State)
			}
			reply(t, p.Framed, a, "nonsense")
			if _, a = question(t, p.Framed); !a.Again {
				t.Error("nobody is told that it was wrong")
			}
			p.Reset(wire.ViewerLost) // the page is loaded again
			p.listens(viewerOf(ann))
			question(t, p.Framed)
			first := *p
			p.listens(viewerOf(ann)) // and once more, in another window
			if m, err := first.Receive(); err != nil || m.(*wire.Exit).Code != wire.TakenOver {
				t.Errorf("the first window is told %+v, %v", m, err)
			}
			if said, a = question(t, p.Framed); !strings.Contains(said, "Authorized") {
				t.Errorf("who comes back is told %q", said)
			}
			reply(t, p.Framed, a, token)
			attached, err := wire.Expect[wire.Attached](p)
			if err != nil || attached.Login != "deploy" {
				t.Fatalf("%+v, %v", attached, err)
			}
			p.Attached = attached
			p.typing("exit")
			if e := p.exit(); e.Status != 7 {
				t.Errorf("ended with %+v", e)
			}
			settled(t, r)
			records, err := r.audit.Records(t.Context(), 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range records {
				if b, err := wire.Marshal(rec.Event); err != nil || bytes.Contains(b, []byte(token)) || bytes.Contains(b, []byte("nonsense")) {
					t.Errorf("%+v, %v", rec.Event, err)
				}
			}
			if strings.Contains(log.String(), token) || strings.Contains(log.String(), "nonsense") {
				t.Error("an answer is in the log")
			}
		})
	}
}

// A terminal is asked on the stream with which it opens the session.
func TestTerminalIsAsked(t *testing.T) {
	r := start(t)
	asking(t, r, echo)
	f, _ := connecting(t, r, newPerson(t, r, "ann", access.Admin))
	said, a := question(t, f)
	if said != `Authorized\x1b[2J use only` {
		t.Errorf("said %q", said)
	}
	reply(t, f, a, token)
	attached, err := wire.Expect[wire.Attached](f)
	if err != nil {
		t.Fatal(err)
	}
	v := &viewer{f, attached}
	v.types(t, "exit")
	if e := v.exit(t); e.Status != 7 {
		t.Errorf("ended with %+v", e)
	}
	settled(t, r)
}

// A session that a terminal has begun goes on in the page that has taken it over, when the terminal is gone.
func TestTerminalIsTakenOverWhileAsked(t *testing.T) {
	for what, before := range map[string]func(*wire.Framed){
		"it is there":          func(*wire.Framed) {},
		"its stream is broken": func(f *wire.Framed) { f.Reset(wire.ViewerLost) },
	} {
		t.Run(what, func(t *testing.T) {
			r := start(t)
			asking(t, r, echo)
			f, link := connecting(t, r, newPerson(t, r, "ann", access.Admin))
			question(t, f)
			before(f)
			row := rows(t, r)[0]
			p := &page{t: t, relay: r, id: row.ID, client: bytes.Repeat([]byte{1}, 16), open: carriers["WebSocket"]}
			p.listens(session.Viewer{OperatorID: row.OperatorID, Operator: row.Operator})
			_, a := question(t, p.Framed)
			if m, err := f.Receive(); err == nil && m.(*wire.Exit).Code != wire.TakenOver {
				t.Errorf("the terminal is told %+v", m)
			}
			f.Reset(wire.Cancelled)
			_ = link.Close(wire.None, "")
			time.Sleep(100 * time.Millisecond) // the relay has heard of it
			reply(t, p.Framed, a, token)
			attached, err := wire.Expect[wire.Attached](p)
			if err != nil {
				t.Fatal(err)
			}
			p.Attached = attached
			p.typing("exit")
			if e := p.exit(); e.Status != 7 {
				t.Errorf("ended with %+v", e)
			}
			settled(t, r)
		})
	}
}

// connecting sends Connect as a terminal does that can be asked.
func connecting(t *testing.T, r *Relay, p *person) (*wire.Framed, wire.Link) {
	t.Helper()
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	s, err := link.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(s)
	if err := f.Send(&wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Size: wire.Size{Cols: 80, Rows: 24}, Answers: true}); err != nil {
		t.Fatal(err)
	}
	return f, link
}

// Whatever ends a session while a question is open ends it at once, says why, and gives its slot back.
func TestEndsWhileAsked(t *testing.T) {
	for what, c := range map[string]struct {
		end  func(*testing.T, *Relay, *envoy, *wire.Framed, wire.Link)
		code wire.Code
	}{
		"it is killed": {func(t *testing.T, r *Relay, _ *envoy, _ *wire.Framed, _ wire.Link) {
			if err := r.sessions.Kill(t.Context(), audit.Event{Operator: "root"}, rows(t, r)[0].ID); err != nil {
				t.Error(err)
			}
		}, wire.Killed},
		"its operator is changed": {func(t *testing.T, r *Relay, _ *envoy, _ *wire.Framed, _ wire.Link) {
			if err := r.access.Delete(t.Context(), access.Local("test"), "ann"); err != nil {
				t.Error(err)
			}
		}, wire.OperatorChanged},
		"its envoy goes": {func(_ *testing.T, _ *Relay, e *envoy, _ *wire.Framed, _ wire.Link) {
			_ = e.link.Close(wire.None, "")
		}, wire.AgentLost},
		"the person gives up": {func(_ *testing.T, _ *Relay, _ *envoy, f *wire.Framed, _ wire.Link) {
			f.Reset(wire.Cancelled)
		}, wire.Cancelled},
		"their terminal is closed": {func(_ *testing.T, _ *Relay, _ *envoy, _ *wire.Framed, link wire.Link) {
			_ = link.Close(wire.None, "")
		}, wire.Cancelled},
	} {
		t.Run(what, func(t *testing.T) {
			r := start(t, func(s *Settings) { s.Config.Scrier.MaxSessions = 1 })
			e := asking(t, r, echo)
			f, link := connecting(t, r, newPerson(t, r, "ann", access.Admin))
			question(t, f)
			c.end(t, r, e, f, link)
			settled(t, r)
			if row := rows(t, r)[0]; row.Code != c.code {
				t.Errorf("it ended with %s: %s", row.Code, row.Reason)
			}
		})
	}
}

// Who asks for a session and cannot be asked is refused with a reason; so is who only watches.
func TestNobodyIsAsked(t *testing.T) {
	r := start(t)
	asking(t, r, echo)
	if _, err := newPerson(t, r, "bob", access.Admin).connect("web1"); wire.CodeOf(err) != wire.LoginUnanswered {
		t.Errorf("an older terminal: %v", err)
	}
	ann := admin(t, r, "ann")
	keys, err := r.access.Keys(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.connectWeb(t.Context(), ann, &session.Request{Envoy: "web1", Kind: wire.KindSSH, Keys: keys}); wire.CodeOf(err) != wire.LoginUnanswered {
		t.Errorf("a program that uses the API: %v", err)
	}
	p := opener(t, r, ann, "WebSocket")
	watcher := *p
	v := viewerOf(admin(t, r, "eve"))
	v.Watch = true
	watcher.listens(v)
	if _, err := wire.Expect[wire.Attached](&watcher); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("who watches: %v", err)
	}
	p.listens(viewerOf(ann))
	_, a := question(t, p.Framed)
	reply(t, p.Framed, a, token)
	if _, err := wire.Expect[wire.Attached](p); err != nil {
		t.Error(err)
	}
}

// A page whose request is given up gives the session up; one that has got its ticket does not need the request any
// more. What a machine says before it refuses is shown with the refusal.
func TestRequestOfAPage(t *testing.T) {
	r := start(t)
	silent := make(chan struct{})
	defer close(silent)
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		if open.Login == "slow" {
			<-silent
			return
		}
		e.strict = func(c *ssh.ServerConfig) {
			c.BannerCallback = func(ssh.ConnMetadata) string { return "Closed today" }
			c.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, errors.New("no") }
		}
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	ann := admin(t, r, "ann")
	keys, err := r.access.Keys(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		waitFor(t, "the session", func() bool { return audited(t, r, "scrier.connect") == 1 })
		cancel()
	}()
	if _, err := r.connectWeb(ctx, ann, &session.Request{Envoy: "web1", Login: "slow", Kind: wire.KindSSH, Keys: keys, Answers: true}); wire.CodeOf(err) != wire.Cancelled {
		t.Errorf("given up: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	s, err := begin(ctx, t, r, ann)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	settled(t, r)
	ticket, err := s.Ticket(viewerOf(ann))
	if err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(carriers["WebSocket"](t, r, s.ID()))
	if err := f.Send(&wire.Attach{Ticket: ticket, Client: make([]byte, 16), Answers: true}); err != nil {
		t.Fatal(err)
	}
	if m, err := f.Receive(); err != nil || m.(*wire.Said).Text != "Closed today" {
		t.Errorf("told %+v, %v", m, err)
	}
	if _, err := wire.Expect[wire.Attached](f); wire.CodeOf(err) != wire.AuthFailed {
		t.Errorf("refused with %v", err)
	}
}
