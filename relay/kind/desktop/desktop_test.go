package desktop

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"scrier/relay/guac"
	"scrier/relay/guac/guactest"
	"scrier/relay/session"
	"scrier/relay/session/display"
	"scrier/wire"
	"scrier/wire/wiretest"
)

const patience = 30 * time.Second

// begin starts a desktop whose server is played by f.
func begin(t *testing.T, behave guactest.Behaviour, l limits, f func(wire.Stream), edit ...func(*Params)) (*Desktop, *guactest.Server, error) {
	t.Helper()
	g := guactest.Start(t, behave, guactest.Greet("hello", 7), guactest.Ping(time.Hour))
	near, far := wiretest.Streams()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(far)
	}()
	t.Cleanup(func() {
		far.Reset(wire.None)
		<-done
	})
	guacd, err := Dial(t.Context(), []string{"127.0.0.1:1", g.Addr()}) // the first one is not there
	if err != nil {
		t.Fatal(err)
	}
	p := Params{
		Guacd: guacd, Hostname: "127.0.0.1", Kind: wire.KindVNC, Tunnel: &session.Tunnel{Stream: near},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, e := range edit {
		e(&p)
	}
	d, err := start(t.Context(), p, l)
	if err == nil {
		t.Cleanup(d.Close)
	}
	return d, g, err
}

// polite is a desktop server that greets and then listens.
func polite(s wire.Stream) {
	if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
		return
	}
	if _, err := io.WriteString(s, "welcome"); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, s)
}

func ended(t *testing.T, d *Desktop) error {
	t.Helper()
	select {
	case <-d.Done():
	case <-time.After(patience):
		t.Fatal("the desktop does not end")
	}
	return d.Err()
}

func join(t *testing.T, d *Desktop) display.Screen {
	t.Helper()
	s, err := d.Join(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shows reads until the screen shows it.
func shows(t *testing.T, s io.Reader, text string) {
	t.Helper()
	var all strings.Builder
	b := make([]byte, 100) // instructions are cut anywhere
	for !strings.Contains(all.String(), text) {
		n, err := s.Read(b)
		all.Write(b[:n])
		if err != nil {
			t.Fatalf("%v before %q; shown: %q", err, text, all.String())
		}
	}
}

// Nobody comes: the root is read and answered all the same, and whoever comes later joins.
func TestParkedRoot(t *testing.T) {
	l := usual
	l.firstViewer = time.Millisecond
	d, g, err := begin(t, guactest.Normal, l, polite)
	if err != nil {
		t.Fatal(err)
	}
	g.Await(t, "the picture's acknowledgement", func(all []guactest.Connection) bool { return all[0].Said("sync") })
	s := join(t, d)
	shows(t, s, "4.sync,")
	if g.Users(d.id) != 2 {
		t.Errorf("%d users, not the root and one that joined", g.Users(d.id))
	}
	s.Close()
	g.Await(t, "the end of the second user", func(all []guactest.Connection) bool { return all[1].Over })
	if d.ctx.Err() != nil {
		t.Errorf("the desktop ended with its viewer: %v", d.Err())
	}
}

// Whoever reads the root once more when its viewer has gone does not wait for the parked root.
func TestReadOfParkedRoot(t *testing.T) {
	d, g, err := begin(t, guactest.Normal, usual, polite)
	if err != nil {
		t.Fatal(err)
	}
	s := join(t, d)
	shows(t, s, "4.sync,")
	s.Close()
	g.Say(d.id, guac.Append(nil, "sync", "4711", "1"))
	g.Await(t, "the parked root's answer", func(all []guactest.Connection) bool { return all[0].Said("sync", "4711") })
	read := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 10))
		read <- err
	}()
	select {
	case err := <-read:
		if !errors.Is(err, io.EOF) {
			t.Errorf("read: %v", err)
		}
	case <-time.After(patience):
		t.Error("the reader waits for the desktop's end")
	}
}

// A guacd that has not told the root how large the screen is gets its viewer as another user; what the
// viewer types goes there too, and the desktop survives them both.
func TestLostBeginning(t *testing.T) {
	d, g, err := begin(t, guactest.LosesBeginning, usual, polite)
	if err != nil {
		t.Fatal(err)
	}
	s := join(t, d)
	shows(t, s, "4.size,1.0,4.1024,3.768;")
	in, out := io.Pipe()
	typed := make(chan error, 1)
	go func() { typed <- s.Type(in) }()
	if _, err := io.WriteString(out, "4.sync,1.1;3.key,2.97,1.1;3.key,2.97,1.0;"); err != nil {
		t.Fatal(err)
	}
	g.Await(t, "a key at the second user", func(all []guactest.Connection) bool {
		return len(all) == 2 && all[1].Said("key", "97", "1") && all[1].Said("key", "97", "0") && !all[0].Said("key", "97", "1")
	})
	if !s.Active() {
		t.Error("who has typed is not active")
	}
	_ = out.Close()
	if err := <-typed; err != nil {
		t.Errorf("type: %v", err)
	}
	s.Close()
	g.Await(t, "the end of the second user", func(all []guactest.Connection) bool { return all[1].Over })
	again := join(t, d)
	shows(t, again, "4.size,1.0,4.1024,3.768;")
	again.Close()
	if d.ctx.Err() != nil {
		t.Errorf("the desktop ended with its viewer: %v", d.Err())
	}
}

// A question that comes when the root is parked reaches who has joined meanwhile.
func TestLateQuestion(t *testing.T) {
	l := usual
	l.firstViewer = time.Millisecond
	talk := make(chan struct{})
	d, g, err := begin(t, guactest.Asks, l, func(s wire.Stream) {
		if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
			return
		}
		<-talk // guacd asks when the server has greeted
		if _, err := io.WriteString(s, "welcome"); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, s)
	})
	if err != nil {
		t.Fatal(err)
	}
	for !func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.taken }() {
		time.Sleep(time.Millisecond) // until the root is parked
	}
	s := join(t, d)
	close(talk)
	shows(t, s, "8.required,8.password;")
	g.Await(t, "two connections", func(all []guactest.Connection) bool { return len(all) == 2 })
	s.Close()
}

// One side is gone, or says nothing, while the others go on: that ends the desktop, whether somebody looks or
// not. In each case only the limit that it is about is short.
func TestOneSideIsGone(t *testing.T) {
	const soon = 300 * time.Millisecond
	silence, quiet, callback := func(l *limits) { l.silence = soon }, func(l *limits) { l.quiet = soon }, func(l *limits) { l.callback = soon }
	greeting, parting := func(l *limits) { l.greeting = soon }, func(l *limits) { l.parting = soon }
	for name, c := range map[string]struct {
		guacd  guactest.Behaviour
		server func(s wire.Stream, drawn <-chan struct{})
		short  func(*limits)
		want   wire.Code
		detail string
	}{
		"guacd hangs without a picture":            {guactest.HangsAfterReady, stays, silence, wire.GuacdUnavailable, "has said nothing"},
		"guacd hangs with a picture":               {guactest.Freezes, stays, silence, wire.GuacdUnavailable, "has said nothing"},
		"guacd that cannot be asked hangs":         {guactest.Freezes10, stays, quiet, wire.GuacdUnavailable, "has said nothing"},
		"guacd does not call back":                 {guactest.NeverDials, stays, callback, wire.GuacdUnavailable, "proxy_hostname"},
		"guacd calls and goes":                     {guactest.CallsAndGoes, stays, parting, wire.GuacdUnavailable, "guacd broke off"},
		"guacd breaks off":                         {guactest.BreaksOff, stays, nil, wire.GuacdUnavailable, "the connection to guacd broke"},
		"the server says nothing":                  {guactest.Normal, deaf, greeting, wire.DesktopFailed, "says nothing"},
		"the server goes":                          {guactest.Normal, goes, nil, wire.None, "the desktop server ended it"},
		"the server goes, and guacd goes on":       {guactest.Spins, goes, parting, wire.DesktopFailed, "it closed the connection"},
		"the server goes before a picture":         {guactest.Loses, refuses, parting, wire.DesktopLogin, "password"},
		"the server breaks, and guacd goes on":     {guactest.Spins, breaks, parting, wire.DesktopFailed, "it closed the connection"},
		"the machine is lost, and guacd goes on":   {guactest.Spins, lost, nil, wire.AgentLost, ""},
		"the user ends the sharing, guacd goes on": {guactest.Spins, ends, nil, wire.ConsoleEnded, ""},
	} {
		for mode, first := range map[string]time.Duration{"parked": time.Millisecond, "watched": time.Hour} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				l := usual
				l.firstViewer = first
				if c.short != nil {
					c.short(&l)
				}
				drawn := make(chan struct{})
				d, _, err := begin(t, c.guacd, l, func(s wire.Stream) { c.server(s, drawn) })
				if err != nil {
					t.Fatal(err)
				}
				seen := make(chan struct{})
				go func() {
					defer close(seen)
					if mode == "watched" {
						_, _ = io.Copy(io.Discard, join(t, d))
					}
				}()
				defer d.Close()
				draw := sync.OnceFunc(func() { close(drawn) })
				t.Cleanup(draw)
				awaitPicture(t, d)
				draw()
				err = ended(t, d)
				if wire.CodeOf(err) != c.want || !strings.Contains(wire.DetailOf(err), c.detail) {
					t.Errorf("ended with %v", err)
				}
				d.Close()
				<-seen
			})
		}
	}
}

// awaitPicture waits until there is one, or the desktop has ended.
func awaitPicture(t *testing.T, d *Desktop) {
	t.Helper()
	for end := time.Now().Add(patience); d.ctx.Err() == nil && !d.pictured.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there is no picture, and no end")
		}
	}
}

// Desktop servers: each has greeted when drawn is closed.

// deaf takes all and says nothing, whatever happens.
func deaf(s wire.Stream, _ <-chan struct{}) { _, _ = io.Copy(io.Discard, s) }

func stays(s wire.Stream, _ <-chan struct{}) { polite(s) }

// goes ends its side, and does not care for the other.
func goes(s wire.Stream, drawn <-chan struct{}) {
	greets(s)
	<-drawn
	_ = s.CloseWrite()
}

// refuses goes as a VNC server does that does not take a password.
func refuses(s wire.Stream, _ <-chan struct{}) {
	greets(s)
	_ = s.CloseWrite()
}

// breaks is a server that closes its connection while something is unread: the agent hears that it broke.
func breaks(s wire.Stream, drawn <-chan struct{}) {
	greets(s)
	<-drawn
	s.Reset(wire.DesktopFailed)
}

func lost(s wire.Stream, drawn <-chan struct{}) {
	greets(s)
	<-drawn
	s.Reset(wire.AgentLost)
}

func ends(s wire.Stream, drawn <-chan struct{}) {
	greets(s)
	<-drawn
	s.Reset(wire.ConsoleEnded)
}

func greets(s wire.Stream) {
	if _, err := io.ReadFull(s, make([]byte, 5)); err == nil {
		_, _ = io.WriteString(s, "welcome")
	}
}

// guacd has the same error for a server that breaks off and for one that ends in order, from 1.6.1 on also
// with RDP: a desktop that was seen has ended then. One that was not has failed.
func TestErrorAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		kind   wire.Kind
		behave guactest.Behaviour
		server func(s wire.Stream, drawn <-chan struct{})
		want   wire.Code
	}{
		"rdp, 1.6":            {wire.KindRDP, guactest.Unavailable, goes, wire.None},
		"rdp, 1.3":            {wire.KindRDP, guactest.Unavailable13, goes, wire.DesktopFailed},
		"vnc, 1.6":            {wire.KindVNC, guactest.Unavailable, goes, wire.None},
		"vnc, 1.3":            {wire.KindVNC, guactest.Unavailable13, goes, wire.None},
		"rdp, 1.6, unread":    {wire.KindRDP, guactest.Unavailable, breaks, wire.None},
		"rdp, 1.3, unread":    {wire.KindRDP, guactest.Unavailable13, breaks, wire.DesktopFailed},
		"the tunnel breaks":   {wire.KindRDP, guactest.Unavailable, lost, wire.AgentLost},
		"the user logs off":   {wire.KindRDP, guactest.LogsOff, stays, wire.None},
		"a login elsewhere":   {wire.KindRDP, guactest.Elsewhere, stays, wire.None},
		"nothing was drawn":   {wire.KindRDP, guactest.UnavailableAtOnce, stays, wire.DesktopFailed},
		"guacd disconnects":   {wire.KindRDP, guactest.Disconnects, stays, wire.None},
		"guacd has timed out": {wire.KindRDP, guactest.UpstreamTimeout, stays, wire.DesktopFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drawn := make(chan struct{})
			d, _, err := begin(t, c.behave, usual, func(s wire.Stream) { c.server(s, drawn) }, func(p *Params) { p.Kind = c.kind })
			if err != nil {
				t.Fatal(err)
			}
			s := join(t, d)
			seen := make(chan struct{})
			go func() {
				defer close(seen)
				_, _ = io.Copy(io.Discard, s)
			}()
			defer d.Close()
			draw := sync.OnceFunc(func() { close(drawn) })
			t.Cleanup(draw)
			awaitPicture(t, d)
			draw()
			if err := ended(t, d); wire.CodeOf(err) != c.want {
				t.Errorf("ended with %v", err)
			} else if name == "a login elsewhere" && !strings.Contains(wire.DetailOf(err), "from elsewhere") {
				t.Errorf("ended with %v", err)
			}
			d.Close()
			<-seen
		})
	}
}

// A guacd that says nothing of itself for long is asked, and goes on if it answers. Nobody sees the answer.
func TestQuietGuacd(t *testing.T) {
	l := usual
	l.silence = 6 * time.Second
	d, g, err := begin(t, guactest.Normal, l, polite)
	if err != nil {
		t.Fatal(err)
	}
	s := join(t, d)
	var shown strings.Builder
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		_, _ = io.Copy(&shown, s)
	}()
	g.Await(t, "two questions", func(all []guactest.Connection) bool {
		n := 0
		for _, i := range all[0].Heard {
			if i[0] == "argv" {
				n++
			}
		}
		return n >= 2
	})
	if err := d.ctx.Err(); err != nil {
		t.Errorf("ended: %v", d.Err())
	}
	d.Close()
	<-seen
	if strings.Contains(shown.String(), "3.ack") {
		t.Errorf("the viewer sees %q", shown.String())
	}
}

// A guacd that takes nothing any more ends the desktop, though it goes on drawing.
func TestGuacdTakesNothing(t *testing.T) {
	l := usual
	l.take = 300 * time.Millisecond
	d, _, err := begin(t, guactest.IgnoresInput, l, polite)
	if err != nil {
		t.Fatal(err)
	}
	s := join(t, d)
	shows(t, s, "4.sync,")
	keys := strings.Repeat("3.key,2.97,1.1;3.key,2.97,1.0;", 1000)
	typed := make(chan error, 1)
	go func() { typed <- s.Type(endless(keys)) }()
	_, err = io.Copy(io.Discard, s)
	if wire.CodeOf(err) != wire.GuacdUnavailable || !strings.Contains(wire.DetailOf(err), "has taken nothing") {
		t.Errorf("the screen ended with %v", err)
	}
	if err := <-typed; err == nil {
		t.Error("all that was typed was taken")
	}
	if err := ended(t, d); wire.CodeOf(err) != wire.GuacdUnavailable {
		t.Errorf("ended with %v", err)
	}
}

// endless is a text again and again.
type endless string

func (e endless) Read(p []byte) (int, error) { return copy(p, e), nil }

// What is typed before there is a picture is for nothing that anybody sees.
func TestTypedTooEarly(t *testing.T) {
	talk := make(chan struct{})
	d, g, err := begin(t, guactest.Normal, usual, func(s wire.Stream) {
		<-talk
		polite(s)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := join(t, d)
	in, out := io.Pipe()
	typed := make(chan error, 1)
	go func() { typed <- s.Type(in) }()
	if _, err := io.WriteString(out, "3.key,2.97,1.1;5.mouse,1.1,1.1,1.1;3.nop;"); err != nil {
		t.Fatal(err)
	}
	close(talk)
	shows(t, s, "4.sync,")
	if _, err := io.WriteString(out, "3.key,2.98,1.1;"); err != nil {
		t.Fatal(err)
	}
	all := g.Await(t, "a key", func(all []guactest.Connection) bool { return all[0].Said("key", "98", "1") })
	if all[0].Said("key", "97") || all[0].Said("mouse") {
		t.Errorf("guacd heard %q", all[0].Heard)
	}
	_ = out.Close()
	if err := <-typed; err != nil {
		t.Error(err)
	}
	s.Close()
}

// The machine's own reason wins over what guacd makes of it.
func TestTunnelKnowsWhy(t *testing.T) {
	for name, f := range map[string]func(wire.Stream){
		"at once": func(s wire.Stream) { s.Reset(wire.ConsoleEnded) },
		"later": func(s wire.Stream) {
			if _, err := io.ReadFull(s, make([]byte, 5)); err == nil {
				_, _ = io.WriteString(s, "welcome")
			}
			s.Reset(wire.ConsoleEnded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, _, err := begin(t, guactest.Normal, usual, f)
			if err == nil {
				err = ended(t, d)
			}
			if wire.CodeOf(err) != wire.ConsoleEnded {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// guacd says 519 for a wrong password as well as for a server that is not there.
func TestWrongPassword(t *testing.T) {
	d, _, err := begin(t, guactest.Normal, usual, func(s wire.Stream) {
		if _, err := io.ReadFull(s, make([]byte, 5)); err == nil {
			_, _ = io.WriteString(s, "no") // shorter than what the fake expects: it says 519
		}
		_ = s.CloseWrite()
		_, _ = io.Copy(io.Discard, s)
	})
	if err == nil {
		_, err = io.Copy(io.Discard, join(t, d))
		if err == nil {
			err = ended(t, d)
		}
	}
	if wire.CodeOf(err) != wire.DesktopLogin && wire.CodeOf(d.Err()) != wire.DesktopLogin {
		t.Errorf("ended with %v", err)
	}
}

// H70: another user of this machine who connects to the port of the callback as fast as they can
// never gets it, and does not keep guacd from it.
func TestCallbackIsForGuacdAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("a process of another user is needed: run it as root")
	}
	guacd, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer guacd.Close()
	for range 10 {
		conn, err := net.Dial("tcp", guacd.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := guacd.Accept()
		if err != nil {
			t.Fatal(err)
		}
		back, err := listen(t.Context(), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		addr := back.listener.Addr().String()
		// Whoever is first in the queue: the other user is.
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{racer + "=" + addr, "GORACE=atexit_sleep_ms=0"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		if line, err := lines.ReadString('\n'); line != "racing\n" {
			t.Fatalf("the other user says %q, %v", line, err)
		}
		go func() { // guacd
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.Copy(io.Discard, c)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		won, err := back.accept(ctx, conn)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := won.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		_ = won.Close()
		rest, _ := io.ReadAll(lines)
		if err := cmd.Wait(); err != nil || len(rest) > 0 {
			t.Errorf("the other user says %q, %v", rest, err)
		}
		_ = conn.Close()
		_ = theirs.Close()
	}
}
