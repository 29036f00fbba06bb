package relay

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/guac"
	"scrier/relay/guac/guactest"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/wire"
)

// desk is a page with a desktop in it.
type desk struct {
	*page
}

// withGuacd is a relay with a guacd that behaves so, and an envoy whose desktop server answers hello
// with its own greeting.
func withGuacd(t *testing.T, behave guactest.Behaviour, edit ...func(*Settings)) (*Relay, *guactest.Server) {
	t.Helper()
	g := guactest.Start(t, behave, guactest.Greet("hello", 7))
	r := start(t, append([]func(*Settings){func(s *Settings) { s.Config.Scrier.GuacdAddr = Addrs{g.Addr()} }}, edit...)...)
	serve(t, r, "web1", func(e *envoy, _ *wire.Open, s wire.Stream) {
		if err := wire.Send(s, &wire.Opened{}); err != nil {
			t.Error(err)
			return
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(s, b); err != nil {
			return // guacd does not call back in every test
		}
		if string(b) != "hello" {
			t.Errorf("the desktop server heard %q", b)
		}
		if _, err := io.WriteString(s, "welcome"); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, s)
	})
	return r, g
}

func vnc() *session.Request { return &session.Request{Envoy: "web1", Kind: wire.KindVNC} }

// newDesk opens a desktop as a page does.
func newDesk(t *testing.T, r *Relay, who access.Operator, req *session.Request, carrier string) *desk {
	t.Helper()
	s, err := r.connectWeb(t.Context(), who, req)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{page: &page{t: t, relay: r, id: s.ID(), who: who, client: bytes.Repeat([]byte{1}, 16), open: carriers[carrier]}}
	d.attach(nil)
	return d
}

// until takes instructions until one begins with these elements.
func (d *desk) until(elements ...string) {
	d.t.Helper()
	for {
		in := guac.NewReader(bytes.NewReader(d.shown))
		for {
			i, err := in.Next()
			if err != nil {
				break
			}
			if said(i, elements) {
				return
			}
		}
		if e := d.next(); e != nil {
			d.t.Fatalf("ended with %+v before %q; shown: %.2000q", e, elements, d.shown)
		}
	}
}

func said(i *guac.Instruction, elements []string) bool {
	if !i.Is(elements[0]) || i.Len() < len(elements)-1 {
		return false
	}
	for n, e := range elements[1:] {
		if string(i.Arg(n)) != e {
			return false
		}
	}
	return true
}

func (d *desk) say(opcode string, args ...string) {
	d.t.Helper()
	d.typing(string(guac.Append(nil, opcode, args...)))
}

// heard waits until guacd has heard an instruction on its n-th connection.
func heard(t *testing.T, g *guactest.Server, n int, elements ...string) {
	t.Helper()
	g.Await(t, strings.Join(elements, ","), func(all []guactest.Connection) bool { return len(all) > n && all[n].Said(elements...) })
}

func over(t *testing.T, g *guactest.Server, n int) {
	t.Helper()
	g.Await(t, "the connection's end", func(all []guactest.Connection) bool { return len(all) > n && all[n].Over })
}

// A desktop outlives its viewer: whoever comes back joins the running connection and gets a whole
// picture, what was held down is released, and it ends when it is ended.
func TestDesktop(t *testing.T) {
	for carrier := range carriers {
		t.Run(carrier, func(t *testing.T) {
			r, g := withGuacd(t, guactest.Normal)
			ann := admin(t, r, "ann")
			req := vnc()
			req.Desktop = session.DesktopRequest{Username: "anna", Password: wire.NewSecret("hunter2-secret"), Width: 800, Height: 600}
			d := newDesk(t, r, ann, req, carrier)
			if d.Attached.Kind != wire.KindVNC || d.Desktop == nil || d.Desktop.View || d.Desktop.ToEnvoy || d.Window == 0 || d.Watching {
				t.Errorf("attached as %+v, %+v", d.Attached, d.Desktop)
			}
			d.until("size", "0", "1024", "768") // as large as the server's screen, whatever the page's is
			d.until("sync")
			p := g.Connections()[0].Params
			if p["hostname"] != "127.0.0.1" || p["username"] != "anna" || p["password"] != "hunter2-secret" || p["disable-copy"] != "true" || p["disable-paste"] != "true" {
				t.Errorf("guacd was told %q", p)
			}
			d.say("key", "65507", "1")
			d.say("mouse", "10", "20", "1")
			heard(t, g, 0, "mouse", "10", "20", "1")

			// The page goes: what it held is released, and the desktop goes on.
			d.Reset(wire.ViewerLost)
			heard(t, g, 0, "key", "65507", "0")
			heard(t, g, 0, "mouse", "10", "20", "0")
			d.shown, d.typed, d.acked = nil, nil, 0
			d.attach(nil)
			d.until("sync")
			heard(t, g, 1, "select", g.Connections()[0].ID)
			d.say("key", "97", "1")
			heard(t, g, 1, "key", "97", "1")

			// Another window takes it over.
			second := &desk{page: &page{t: t, relay: r, id: d.id, who: ann, client: bytes.Repeat([]byte{2}, 16), open: carriers[carrier]}}
			second.attach(nil)
			if e := d.exit(); e.Code != wire.TakenOver {
				t.Errorf("the first window ended with %+v", e)
			}
			second.until("sync")
			heard(t, g, 1, "key", "97", "0")
			over(t, g, 1)

			if err := r.sessions.Kill(t.Context(), audit.Event{Operator: "ann"}, d.id); err != nil {
				t.Fatal(err)
			}
			if e := second.exit(); e.Code != wire.Killed {
				t.Errorf("ended with %+v", e)
			}
			over(t, g, 0)
			settled(t, r)
			row := rows(t, r)[0]
			if row.Kind != "vnc" || row.State != store.Closed || row.Sent != 5 || row.Received != 7 {
				t.Errorf("the row is %+v", row)
			}
			records, err := r.audit.Records(t.Context(), 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range records {
				if s := fmt.Sprintf("%+v", rec); strings.Contains(s, "hunter2") || strings.Contains(s, "anna") {
					t.Errorf("credentials in the audit log: %s", s)
				}
			}
		})
	}
}

// What guacd sends before the first viewer has attached is not lost, and the desktop's end before
// that is told to them.
func TestDesktopEnds(t *testing.T) {
	for behave, want := range map[guactest.Behaviour]wire.Code{
		guactest.Silent: wire.GuacdUnavailable, guactest.ClosesAfterSelect: wire.GuacdUnavailable, guactest.ClosesAfterArgs: wire.GuacdUnavailable,
		guactest.ArgsThenSilent: wire.GuacdUnavailable, guactest.LogsOff: wire.None, guactest.Elsewhere: wire.None,
		guactest.Disconnects: wire.None, guactest.BreaksOff: wire.GuacdUnavailable,
		guactest.HugeInstruction: wire.Protocol, guactest.ManyStreams: wire.Protocol, guactest.HugeLayer: wire.Protocol, guactest.UpstreamTimeout: wire.DesktopFailed,
	} {
		t.Run(behave.String(), func(t *testing.T) {
			t.Parallel()
			r, _ := withGuacd(t, behave)
			ann := admin(t, r, "ann")
			s, err := r.connectWeb(t.Context(), ann, vnc())
			if err != nil {
				if wire.CodeOf(err) != want || want == wire.None {
					t.Errorf("connect: %v, not %s", err, want)
				}
				settled(t, r)
				return
			}
			d := &desk{page: &page{t: t, relay: r, id: s.ID(), who: ann, client: make([]byte, 16), open: carriers["WebSocket"]}}
			d.attach(nil)
			e := d.exit()
			if e.Code != want {
				t.Errorf("ended with %+v, not %s", e, want)
			}
			if behave == guactest.Elsewhere && !strings.Contains(e.Detail, "opened from elsewhere") {
				t.Errorf("the viewer hears %+v", e)
			}
			settled(t, r)
		})
	}
}

// No guacd: the error says so before the envoy is asked, and other sessions do not care.
func TestGuacdMissing(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.GuacdAddr = Addrs{"127.0.0.1:1", "127.0.0.1:2"} })
	servedBy(t, r, counter)
	ann := admin(t, r, "ann")
	p := newPage(t, r, ann, "web1", carriers["WebSocket"])
	_, err := r.connectWeb(t.Context(), ann, vnc())
	if wire.CodeOf(err) != wire.GuacdUnavailable || !strings.Contains(wire.DetailOf(err), "127.0.0.1:2") {
		t.Errorf("connect: %v", err)
	}
	p.typing("3\n")
	p.until("0000003\n")
	if status, body := asks(t, r, ann, "POST", "/api/v1/scrier/connect", `{"envoy_id":"web1","protocol":"vnc"}`); status != http.StatusServiceUnavailable || !strings.Contains(body, "scrier doctor") {
		t.Errorf("the API says %d %s", status, body)
	}
}

// guacd asks the first viewer for the password; if that one goes without an answer, the next one is
// asked, and its answer reaches guacd where it asked.
func TestDesktopAsksForThePassword(t *testing.T) {
	r, g := withGuacd(t, guactest.Asks)
	ann := admin(t, r, "ann")
	d := newDesk(t, r, ann, vnc(), "WebSocket")
	d.until("required", "password")
	d.Reset(wire.ViewerLost)
	d.shown, d.typed, d.acked = nil, nil, 0
	d.attach(nil)
	d.until("required", "password")
	d.say("argv", "0", "text/plain", "password")
	d.say("blob", "0", "aHVudGVyMg==")
	d.say("end", "0")
	heard(t, g, 0, "blob", "0", "aHVudGVyMg==")
	heard(t, g, 0, "end", "0")
	// Once: nobody asked again.
	d.say("argv", "1", "text/plain", "password")
	if e := d.exit(); e.Code != wire.Forbidden && e.Code != wire.Protocol {
		t.Errorf("a second answer ended with %+v", e)
	}
}

// H72: the user at the screen said yes to one operator. Nobody else sees it, whatever they may watch.
func TestConsoleIsForOneOperator(t *testing.T) {
	r, g := withGuacd(t, guactest.Normal, func(s *Settings) { s.Config.Scrier.LiveView = true })
	ann, bob := admin(t, r, "ann"), admin(t, r, "bob")
	req := vnc()
	req.Console = &wire.Console{Purpose: "the printer"}
	d := newDesk(t, r, ann, req, "WebSocket")
	d.until("sync")
	if !d.Desktop.Console {
		t.Errorf("attached as %+v", d.Desktop)
	}
	v := viewerOf(bob)
	v.Watch = true
	ticket, err := r.sessions.Ticket(d.id, v)
	if err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(carriers["WebSocket"](t, r, d.id))
	if err := f.Send(&wire.Attach{Ticket: ticket, Client: make([]byte, 16)}); err != nil {
		t.Fatal(err)
	}
	if a, err := wire.Expect[wire.Attached](f); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("attached as %+v, %v", a, err)
	}
	if n := audited(t, r, "session.watch"); n != 0 {
		t.Errorf("%d records of somebody who watched", n)
	}
	// While somebody was asked, the connection to guacd would have grown old: it is another one.
	if all := g.Connections(); len(all) < 2 || len(all[0].Heard) != 0 {
		t.Errorf("guacd had %d connections", len(all))
	}
}

// A viewer does what it may, and nothing else reaches guacd.
func TestDesktopPolicy(t *testing.T) {
	forbidden := [][]string{
		{"clipboard", "0", "text/plain"}, {"select", "vnc"}, {"connect", "x"}, {"file", "0", "text/plain", "x"}, {"pipe", "0", "text/plain", "x"},
		{"put", "0", "0", "text/plain", "/x"}, {"audio", "0", "audio/L8"}, {"argv", "0", "text/plain", "hostname"}, {"nonsense"},
	}
	r, g := withGuacd(t, guactest.Normal)
	ann := admin(t, r, "ann")
	for _, bad := range forbidden {
		d := newDesk(t, r, ann, vnc(), "WebSocket")
		d.until("sync")
		d.say(bad[0], bad[1:]...)
		if e := d.exit(); e.Code != wire.Forbidden && e.Code != wire.Protocol {
			t.Errorf("%q ended with %+v", bad, e)
		}
		if err := r.sessions.Kill(t.Context(), audit.Event{Operator: "ann"}, d.id); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range g.Connections() {
		for _, i := range c.Heard {
			if !slices.Contains([]string{"select", "size", "audio", "video", "image", "timezone", "name", "connect", "nop", "sync", "disconnect"}, i[0]) {
				t.Errorf("guacd heard %q", i)
			}
		}
	}
}

// Who watches another's desktop has a view of their own in which nothing can be typed.
func TestWatchingDesktop(t *testing.T) {
	r, g := withGuacd(t, guactest.Normal, func(s *Settings) { s.Config.Scrier.LiveView = true })
	ann, bob := admin(t, r, "ann"), admin(t, r, "bob")
	d := newDesk(t, r, ann, vnc(), "WebSocket")
	d.until("sync")
	w := watching(t, r, d.id, bob)
	if !w.Watching || !w.Desktop.View {
		t.Errorf("attached as %+v", w.Attached)
	}
	w.until("sync")
	if p := g.Connections()[1].Params; p["read-only"] != "true" {
		t.Errorf("guacd was told %q of a watcher", p)
	}
	for !slices.Equal(d.watchers, []string{"bob"}) {
		if e := d.next(); e != nil {
			t.Fatalf("ended with %+v", e)
		}
	}
	w.say("key", "97", "1")
	if e := w.exit(); e.Code != wire.Forbidden {
		t.Errorf("a watcher that types ended with %+v", e)
	}
	over(t, g, 1)
	d.say("key", "98", "1") // the owner goes on
	heard(t, g, 0, "key", "98", "1")
}

func watching(t *testing.T, r *Relay, id wire.SessionID, who access.Operator) *desk {
	t.Helper()
	v := viewerOf(who)
	v.Watch = true
	ticket, err := r.sessions.Ticket(id, v)
	if err != nil {
		t.Fatal(err)
	}
	w := &desk{page: &page{t: t, relay: r, id: id, who: who, client: make([]byte, 16), open: carriers["WebTransport"]}}
	w.Framed = wire.NewFramed(w.open(t, r, id))
	if err := w.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := w.Send(&wire.Attach{Ticket: ticket, Client: w.client}); err != nil {
		t.Fatal(err)
	}
	if w.Attached, err = wire.Expect[wire.Attached](w); err != nil {
		t.Fatal(err)
	}
	return w
}

// A watcher who does not keep up is dropped, and holds nobody up.
func TestSlowWatcher(t *testing.T) {
	r, _ := withGuacd(t, guactest.Floods, func(s *Settings) { s.Config.Scrier.LiveView = true })
	d := newDesk(t, r, admin(t, r, "ann"), vnc(), "WebSocket")
	d.until("sync")
	w := watching(t, r, d.id, admin(t, r, "bob"))
	for { // takes everything, and says nothing
		m, err := w.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := m.(*wire.Exit); ok {
			if e.Code != wire.Busy {
				t.Errorf("ended with %+v", e)
			}
			break
		}
	}
	before := len(d.shown)
	for len(d.shown) < before+4<<20 {
		if e := d.next(); e != nil {
			t.Fatalf("the owner's view ended with %+v", e)
		}
	}
}

// A slow viewer slows guacd down, and the relay's memory stays as it is.
func TestDesktopFlood(t *testing.T) {
	r, _ := withGuacd(t, guactest.Floods)
	d := newDesk(t, r, admin(t, r, "ann"), vnc(), "WebSocket")
	for range 200 { // takes in, and says so
		if e := d.next(); e != nil {
			t.Fatalf("ended with %+v", e)
		}
	}
	// From here on it says nothing: no more than the window comes.
	came := len(d.shown)
	if err := d.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := d.Receive()
		if err != nil {
			break
		}
		if data, ok := m.(*wire.Data); ok {
			came += len(data.Bytes)
		}
	}
	if ahead := came - int(d.acked); ahead > 1<<20+wire.MaxData {
		t.Errorf("%d bytes came ahead of their acknowledgement", ahead)
	}
}

func TestDesktopRequests(t *testing.T) {
	r := start(t)
	ann := admin(t, r, "ann")
	for body, code := range map[string]string{
		`{"envoy_id":"web1","protocol":"telnet"}`:                                          "bad_request",
		`{"envoy_id":"web1","protocol":"vnc","port":5999}`:                                 "port_not_allowed",
		`{"envoy_id":"web1","protocol":"rdp","console":true}`:                              "bad_request",
		`{"envoy_id":"web1","protocol":"vnc","login":"root"}`:                              "bad_request",
		`{"envoy_id":"web1","protocol":"rdp","desktop":{"security":"rdp"}}`:                "bad_request",
		`{"envoy_id":"web1","protocol":"rdp","desktop":{"keyboard":"xx"}}`:                 "bad_request",
		`{"envoy_id":"web1","protocol":"rdp","desktop":{"timezone":"a b"}}`:                "bad_request",
		`{"envoy_id":"web1","protocol":"vnc","console":true,"purpose":"a\u0007b"}`:         "bad_request",
		`{"envoy_id":"web1","protocol":"rdp","desktop":{"recording-path":"/tmp"}}`:         "bad_request",
		`{"envoy_id":"nowhere","protocol":"rdp","desktop":{"username":"a","password":""}}`: "no_such_envoy",
		`{"envoy_id":"nowhere","kind":"rdp"}`:                                              "no_such_envoy",
		`{"envoy_id":"nowhere","kind":"rdp","protocol":"rdp"}`:                             "no_such_envoy",
		`{"envoy_id":"nowhere","kind":"rdp","protocol":"vnc"}`:                             "bad_request",
		`{"envoy_id":"nowhere"}`:                                                           "bad_request",
	} {
		if _, answer := asks(t, r, ann, "POST", "/api/v1/scrier/connect", body); !strings.Contains(answer, `"`+code+`"`) && !strings.Contains(answer, ":"+code+`"`) {
			t.Errorf("%s: %s, not %s", body, answer, code)
		}
	}
}
