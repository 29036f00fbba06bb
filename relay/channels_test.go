package relay

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/wire"
)

// commands runs an SSH server whose programs say what they were given, and end with status 3.
func (e *envoy) commands(s wire.Stream, open *wire.Open) {
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(e.hostKey)
	conn, channels, requests, err := ssh.NewServerConn(sshConn(s), config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for n := range channels {
		channel, requests, err := n.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				if r.WantReply {
					_ = r.Reply(true, nil) // the relay may be gone
				}
				if r.Type == "exec" {
					_, _ = channel.Write(r.Payload[4:])
					exit(channel, 3)
				}
			}
		}()
	}
}

// stream opens one of an operator's link, which begins with c.
func stream(t *testing.T, link wire.Link, c *wire.Connect) (*wire.Framed, *wire.Attached, error) {
	t.Helper()
	s, err := link.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(s)
	if err := f.Send(c); err != nil {
		t.Fatal(err)
	}
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	a, err := wire.Expect[wire.Attached](f)
	return f, a, err
}

// Many short commands, in a session that is held and in sessions of their own, leave nothing behind, and each is written down.
func TestManyCommands(t *testing.T) {
	count := 200
	if n, err := strconv.Atoi(os.Getenv("MANY_COMMANDS")); err == nil {
		count = n
	}
	r := start(t, func(s *Settings) { s.Config.Scrier.DetachGrace = Duration(time.Second) })
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
	command := func(share bool) *wire.Attached {
		t.Helper()
		for {
			f, a, err := stream(t, link, &wire.Connect{
				Envoy: "web1", Kind: wire.KindSSH, Share: share, Channel: &wire.Channel{Command: []byte("hello"), Plain: true},
			})
			if wire.CodeOf(err) == wire.Busy { // too fast for what the audit log is to bear
				time.Sleep(100 * time.Millisecond)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if m, err := f.Receive(); err != nil || string(m.(*wire.Data).Bytes) != "hello" {
				t.Fatalf("%+v, %v", m, err)
			}
			if e := (&viewer{f, a}).exit(t); e.Status != 3 {
				t.Fatalf("ended with %+v", e)
			}
			return a
		}
	}
	hold, held, err := stream(t, link, &wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.Hold}, Needs: []wire.Right{wire.MayExec}})
	if err != nil {
		t.Fatal(err)
	}
	command(true)
	before := runtime.NumGoroutine()
	for range count {
		if a := command(true); a.Session != held.Session || a.Part < 2 || !a.Shared {
			t.Fatalf("not joined: %+v", a)
		}
	}
	for range count / 10 {
		if a := command(false); a.Session == held.Session || a.Part != 1 || a.Shared {
			t.Fatalf("joined: %+v", a)
		}
	}
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+5 })
	if err := errors.Join(hold.SetReadDeadline(time.Now().Add(patience)), hold.Send(&wire.EOF{})); err != nil {
		t.Fatal(err)
	}
	if e := (&viewer{hold, held}).exit(t); e.Code != wire.None {
		t.Errorf("the held session ended with %+v", e)
	}
	settled(t, r)
	if begun, ended := audited(t, r, "session.channel"), audited(t, r, "session.channel_end"); begun != count+1 || ended != count+2 {
		t.Errorf("%d records of a channel's beginning, %d of an end", begun, ended)
	}
	channels, more, err := r.sessions.Channels(t.Context(), held.Session)
	if err != nil || len(channels) != min(count+2, 2000) || more != (count > 1998) || channels[1].Status == nil || *channels[1].Status != 3 {
		t.Errorf("%d channels, %v, %v", len(channels), more, err)
	}
}

// Nobody opens a channel on a session of somebody else, nor one that the session was not opened for.
func TestForeignChannels(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.DetachGrace = Duration(time.Second) })
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.commands(s, open)
	})
	links, who := map[string]wire.Link{}, access.Operator{}
	for _, name := range []string{"ann", "bob"} {
		p := newPerson(t, r, name, access.Admin)
		cert, err := p.login(attempt{})
		if err != nil {
			t.Fatal(err)
		}
		links[name] = dial(t, r, wire.ALPNClient, cert)
		if name == "ann" {
			who = access.Operator{ID: p.user.ID, Username: name}
		}
	}
	hold, held, err := stream(t, links["ann"], &wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.Hold}, Needs: []wire.Right{wire.MayExec}})
	if err != nil {
		t.Fatal(err)
	}
	exec := &wire.Channel{Command: []byte("x"), Plain: true}
	for _, c := range []struct {
		who     string
		connect wire.Connect
		want    wire.Code
	}{
		{"bob", wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: exec}, wire.NotFound},
		{"ann", wire.Connect{Session: wire.NewSessionID(), Kind: wire.KindSSH, Channel: exec}, wire.NotFound},
		{"ann", wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.DialTCP, Host: "localhost", Port: 1}}, wire.ChannelNotAllowed},
		{"ann", wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.ListenTCP}}, wire.ChannelNotAllowed},
		{"ann", wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.ForwardAgent}}, wire.ChannelNotAllowed},
		{"ann", wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.SFTP}}, wire.ChannelNotAllowed},
		{"ann", wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: "other"}}, wire.BadRequest},
		{"ann", wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.Accept, Number: 1}}, wire.NotFound},
		{"ann", wire.Connect{Session: held.Session, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.Tunnel}}, wire.ChannelNotAllowed},
		{"ann", wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.Tunnel}}, wire.ChannelNotAllowed},
		{"ann", wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.DialTCP, Host: "x", Port: 1}}, wire.BadRequest},
		{"ann", wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Needs: []wire.Right{"everything"}}, wire.BadRequest},
		{"ann", wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Needs: []wire.Right{wire.MayAgent}}, wire.ChannelNotAllowed},
		{"ann", wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Needs: []wire.Right{wire.MayForward}}, wire.ChannelNotAllowed}, // the agent grants none
	} {
		if _, a, err := stream(t, links[c.who], &c.connect); wire.CodeOf(err) != c.want {
			t.Errorf("%s, %+v: %+v, %v; want %s", c.who, c.connect.Channel, a, err, c.want)
		}
	}
	if a := func() *wire.Attached {
		f, a, err := stream(t, links["bob"], &wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Share: true, Channel: exec})
		if err != nil {
			t.Fatal(err)
		}
		(&viewer{f, a}).exit(t)
		return a
	}(); a.Session == held.Session {
		t.Error("bob has joined ann's session")
	}
	// What copies or forwards is not taken over by another viewer, its own operator's page included.
	ticket, err := r.sessions.Ticket(held.Session, viewerOf(who))
	if err != nil {
		t.Fatal(err)
	}
	s, err := links["ann"].Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(s)
	if err := errors.Join(f.Send(&wire.Attach{Ticket: ticket, Client: []byte("another")}), s.SetReadDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Attached](f); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("taken over: %v", err)
	}
	if err := hold.Send(&wire.EOF{}); err != nil {
		t.Fatal(err)
	}
	(&viewer{hold, held}).exit(t)
	settled(t, r)
}

// A session that is held ends with its SSH connection, and who holds it hears why.
func TestHeldSessionEndsWithItsServer(t *testing.T) {
	r := start(t)
	broken := make(chan struct{})
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		go func() {
			<-broken
			_ = s.CloseWrite() // as a server that was killed
		}()
		e.commands(s, open)
	})
	p := newPerson(t, r, "ann", access.Admin)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	f, a, err := stream(t, dial(t, r, wire.ALPNClient, cert), &wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.Hold}})
	if err != nil {
		t.Fatal(err)
	}
	close(broken)
	exit, err := wire.Expect[wire.Exit](f)
	if err != nil || exit.Code == wire.None {
		t.Errorf("%+v, %v", exit, err)
	}
	waitFor(t, "the row to be closed", func() bool {
		s, err := r.sessions.Get(t.Context(), a.Session)
		return wire.CodeOf(err) == wire.NotFound || err == nil && !s.Closed.IsZero()
	})
}

// Who likes to have more than an open session was opened for has one of their own, which the next one shares: nobody finds out
// by what is refused later. What the relay allows nobody does not count.
func TestLikesAndShares(t *testing.T) {
	r := start(t, func(*Settings) {})
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
	hold := func(needs []wire.Right, likes ...wire.Right) *wire.Attached {
		t.Helper()
		_, a, err := stream(t, link, &wire.Connect{
			Envoy: "web1", Kind: wire.KindSSH, Share: true, Channel: &wire.Channel{Kind: wire.Hold}, Needs: needs, Likes: likes,
		})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	narrow := hold([]wire.Right{wire.MayExec})
	wide := hold(nil, wire.MayExec, wire.MayShell, wire.MayAgent)
	if wide.Shared || wide.Session == narrow.Session {
		t.Errorf("it joined a session of %v", wide.Rights)
	}
	if again := hold(nil, wire.MayExec, wire.MayShell, wire.MayAgent); !again.Shared || again.Session != wide.Session {
		t.Errorf("the second one did not join: %+v", again)
	}
	if a := hold([]wire.Right{wire.MayExec}, wire.MayAgent); !a.Shared {
		t.Errorf("a right that nobody has was in the way: %+v", a)
	}
}
