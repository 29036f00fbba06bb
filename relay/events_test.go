package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"scrier/relay/access"
	"scrier/relay/fleet"
	"scrier/relay/store"
	"scrier/relay/web"
	"scrier/wire"
)

// event is one server-sent event.
type event struct{ name, data string }

// follower is an open page.
type follower struct {
	t      *testing.T
	resp   *http.Response
	events chan event // closed with the stream
	close  context.CancelFunc
}

// follow opens the stream of events.
func follow(t *testing.T, client *http.Client, url string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{t: t, resp: resp, events: make(chan event, 1000), close: cancel}
	go func() {
		defer close(f.events)
		var e event
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "event: "):
				e.name = line[len("event: "):]
			case strings.HasPrefix(line, "data: "):
				e.data = line[len("data: "):]
			case strings.HasPrefix(line, ":"):
				f.events <- event{name: "comment"}
			case line == "" && e.name != "":
				f.events <- e
				e = event{}
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		for range f.events {
		}
		_ = resp.Body.Close()
	})
	return f
}

// until waits for an event that want likes.
func until[T any](f *follower, name string, want func(T) bool) T {
	f.t.Helper()
	over := time.After(patience)
	for {
		select {
		case e, ok := <-f.events:
			if !ok {
				f.t.Fatalf("the stream ended while waiting for %s", name)
			}
			var v T
			if e.name != name {
				continue
			}
			if e.data != "" {
				if err := json.Unmarshal([]byte(e.data), &v); err != nil {
					f.t.Fatal(err)
				}
			}
			if want == nil || want(v) {
				return v
			}
		case <-over:
			f.t.Fatalf("no %s that is wanted", name)
		}
	}
}

// ends waits for the stream's end and gives the names of the events before it.
func (f *follower) ends() (names []string) {
	f.t.Helper()
	over := time.After(patience)
	for {
		select {
		case e, ok := <-f.events:
			if !ok {
				return names
			}
			names = append(names, e.name)
		case <-over:
			f.t.Fatal("the stream goes on")
		}
	}
}

// overAdmin is the host's administrator on the admin socket.
func overAdmin(t *testing.T, r *Relay) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(r.StateDir, AdminSocket))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A page that follows sees machines enrol, connect, go, be revoked and be forgotten, and sessions
// begin and end.
func TestEvents(t *testing.T) {
	r := start(t)
	d := described(t, r)
	f := follow(t, overAdmin(t, r), "http://relay")
	if got := f.resp.Header.Get("Content-Type"); f.resp.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("status %d, type %q", f.resp.StatusCode, got)
	}
	until[struct{}](f, "comment", nil)
	e := serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	is := func(state fleet.State) func(fleet.Envoy) bool {
		return func(v fleet.Envoy) bool { return v.ID == e.id && v.State == state }
	}
	until(f, "envoy", is(fleet.Online))
	if err := e.control.Send(&wire.Heartbeat{Time: wire.Millis(r.Now()), Facts: wire.Facts{Hostname: "host", Load: 777}}); err != nil {
		t.Fatal(err)
	}
	until(f, "envoy", func(v fleet.Envoy) bool { return v.Facts.Load == 777 })

	v, err := newPerson(t, r, "ann", access.Admin).connect("web1")
	if err != nil {
		t.Fatal(err)
	}
	type view struct{ ID, State string }
	id := v.attached.Session.String()
	until(f, "session", func(s view) bool { return s.ID == id && s.State == "active" })
	if resp := call(t, r, "DELETE", "/sessions/"+id, nil); resp.StatusCode != 204 {
		t.Errorf("kill: status %d", resp.StatusCode)
	}
	closed := until(f, "session", func(s map[string]any) bool { return s["id"] == id && s["state"] == "closed" })
	if err := d.check(&schema{Ref: "#/components/schemas/Session"}, closed, "session"); err != nil {
		t.Error(err)
	}
	_ = v.exit(t)

	if resp := call(t, r, "POST", "/envoys/web1/revoke", nil); resp.StatusCode != 200 {
		t.Errorf("revoke: status %d", resp.StatusCode)
	}
	until(f, "envoy", is(fleet.Revoked))
	if resp := call(t, r, "DELETE", "/envoys/"+e.id.String(), nil); resp.StatusCode != 200 {
		t.Errorf("remove: status %d", resp.StatusCode)
	}
	until(f, "envoy-gone", func(g web.Gone) bool { return g.ID == e.id })
	settled(t, r)
}

// An envoy that falls silent is told to be stale: nothing happens then but time.
func TestEventsTellSilence(t *testing.T) {
	var c clock
	r := start(t, c.settings)
	f := follow(t, overAdmin(t, r), "http://relay")
	m := enrolled(t, r, "web1")
	m.must()
	until(f, "envoy", func(v fleet.Envoy) bool { return v.State == fleet.Online })
	c.turn(time.Minute)
	until(f, "envoy", func(v fleet.Envoy) bool { return v.State == fleet.Stale })
}

// Who may see sessions only gets no word of envoys.
func TestEventsFollowTheRole(t *testing.T) {
	r := start(t)
	server := serverFor(t, r, is(access.Operator{ID: "c", Username: "carl", Role: access.Compliance}))
	carl := follow(t, server.Client(), server.URL)
	ann := follow(t, overAdmin(t, r), "http://relay")
	until[struct{}](carl, "comment", nil)
	until[struct{}](ann, "comment", nil)
	m := enrolled(t, r, "web1")
	until(ann, "envoy", func(v fleet.Envoy) bool { return v.ID == m.id }) // carl's is laid in before ann reads hers
	s, err := r.sessions.Reserve(t.Context(), store.Session{Operator: "ann", Envoy: m.id, Kind: "ssh", Source: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(wire.Cancelled, ""); err != nil {
		t.Fatal(err)
	}
	for e := range carl.events {
		if e.name == "session" {
			break
		}
		if e.name != "comment" {
			t.Errorf("compliance gets %s %s", e.name, e.data)
		}
	}
}

// serverDeadline is long enough for a request on a busy machine.
const serverDeadline = time.Second

// serverFor serves the relay's API as the relay does, over HTTP/1.1 and HTTP/2, with deadlines
// that a stream outlives.
func serverFor(t *testing.T, r *Relay, who web.Caller) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(r.api)
	s.EnableHTTP2 = true
	s.Config.ReadTimeout, s.Config.WriteTimeout = serverDeadline, serverDeadline
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return web.WithCaller(ctx, who) }
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// The stream outlives the server's deadlines over each version of HTTP.
func TestEventsOverEachHTTP(t *testing.T) {
	admin := is(access.Local("test"))
	for name, dial := range map[string]func(t *testing.T, r *Relay) (*http.Client, string){
		"HTTP/1.1": func(t *testing.T, r *Relay) (*http.Client, string) {
			s := serverFor(t, r, admin)
			transport := s.Client().Transport.(*http.Transport).Clone()
			transport.ForceAttemptHTTP2 = false
			transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
			t.Cleanup(transport.CloseIdleConnections)
			return &http.Client{Transport: transport}, s.URL
		},
		"HTTP/2.0": func(t *testing.T, r *Relay) (*http.Client, string) {
			s := serverFor(t, r, admin)
			return s.Client(), s.URL
		},
		"HTTP/3.0": func(t *testing.T, r *Relay) (*http.Client, string) {
			tcp := serverFor(t, r, admin) // for its certificate
			udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			s := &http3.Server{Handler: r.api, TLSConfig: http3.ConfigureTLSConfig(tcp.TLS.Clone())}
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				r.api.ServeHTTP(w, req.WithContext(web.WithCaller(req.Context(), admin)))
			})
			done := make(chan error, 1)
			go func() { done <- s.Serve(udp) }()
			transport := &http3.Transport{TLSClientConfig: tcp.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
			t.Cleanup(func() {
				if err := errors.Join(transport.Close(), s.Close()); err != nil {
					t.Error(err)
				}
				<-done
				_ = udp.Close()
			})
			return &http.Client{Transport: transport}, "https://" + udp.LocalAddr().String()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			client, url := dial(t, r)
			f := follow(t, client, url)
			if f.resp.Proto != name {
				t.Fatalf("it is %s", f.resp.Proto)
			}
			over := time.Now().Add(2 * serverDeadline)
			for n := 0; time.Now().Before(over); n++ {
				m := enrolled(t, r, "web1")
				until(f, "envoy", func(v fleet.Envoy) bool { return v.ID == m.id })
			}
		})
	}
}

// An operator has 16 streams and no more, and gets new ones when old ones end.
func TestEventsAreBounded(t *testing.T) {
	r := start(t)
	client := overAdmin(t, r)
	var all []*follower
	for range 16 {
		all = append(all, follow(t, client, "http://relay"))
	}
	if f := follow(t, client, "http://relay"); f.resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the seventeenth: status %d", f.resp.StatusCode)
	}
	all[0].close()
	waitFor(t, "a place to be free", func() bool { return follow(t, client, "http://relay").resp.StatusCode == 200 })
}

// A stream ends with the right to it, and with the relay.
func TestEventsEnd(t *testing.T) {
	r := start(t)
	admin := follow(t, overAdmin(t, r), "http://relay")
	ann := newPerson(t, r, "ann", access.Admin)
	cert, err := ann.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		s, err := link.Open(ctx)
		if err != nil {
			return nil, err
		}
		return &wire.NetConn{Stream: s}, wire.Send(s, &wire.Call{})
	}}
	t.Cleanup(transport.CloseIdleConnections)
	f := follow(t, &http.Client{Transport: transport}, "http://relay")
	until[struct{}](f, "comment", nil)
	if err := r.access.Delete(t.Context(), access.Local("test"), "ann"); err != nil {
		t.Fatal(err)
	}
	f.ends()
	until[struct{}](admin, "comment", nil)
	r.events.Close()
	admin.ends()
	if f := follow(t, overAdmin(t, r), "http://relay"); f.resp.StatusCode < 400 {
		t.Errorf("a new one at shutdown: status %d", f.resp.StatusCode)
	}
}
