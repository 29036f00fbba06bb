package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/relay/web"
	"scrier/wire"
)

// measured is a setting by which a relay tells its figures.
func measured(s *Settings) { s.Config.Metrics.Listen = "127.0.0.1:0" }

// scraped is what a relay says to Prometheus: by each sample's name and labels.
type scraped struct {
	t    *testing.T
	text string
	by   map[string]float64
}

func scrape(t *testing.T, r *Relay) scraped {
	t.Helper()
	answer, err := http.Get("http://" + r.metrics.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", answer.Status, text, err)
	}
	return samplesOf(t, string(text))
}

func samplesOf(t *testing.T, text string) scraped {
	t.Helper()
	s := scraped{t, text, map[string]float64{}}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndex(line, " ")
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at+1:]), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		s.by[line[:at]] = v
	}
	return s
}

// is demands that samples have these values.
func (s scraped) is(what string, want map[string]float64) {
	s.t.Helper()
	for name, v := range want {
		if got, ok := s.by[name]; !ok || got != v {
			s.t.Errorf("%s: %s is %v (it is there: %t), want %v", what, name, got, ok, v)
		}
	}
}

// What an agent and its sessions do is seen by the figures, over either road, and none of their names is in them.
func TestMetrics(t *testing.T) {
	road := string(wire.QUIC)
	if strings.HasPrefix(t.Name(), "TestOverTCP/") {
		road = string(wire.TCP)
	}
	r := start(t, measured)
	scrape(t, r).is("at first", map[string]float64{
		`scrier_envoys{state="online"}`: 0, `scrier_envoys{state="offline"}`: 0, `scrier_links{peer="agent",road="` + road + `"}`: 0, `scrier_sessions{kind="ssh",state="active"}`: 0,
		`scrier_sessions_limit`: 10, `scrier_sessions_opened_total{kind="ssh"}`: 0, `scrier_session_open_seconds_count{kind="ssh"}`: 0, `scrier_audit_writable`: 1,
		`scrier_store_reserve_present`: 1, `scrier_panics_total`: 0, `scrier_lane_memory_bytes`: 0, `scrier_program_memory_bytes`: 0, `scrier_program_memory_limit_bytes`: 128 << 20,
		`scrier_places_limit{of="strangers"}`: maxStrangers,
	})
	serve(t, r, "zebra", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	p := newPerson(t, r, "quentin", access.Admin)
	v, err := p.connect("zebra")
	if err != nil {
		t.Fatal(err)
	}
	v.types(t, "hello")
	if _, err := v.Receive(); err != nil {
		t.Fatal(err)
	}
	s := scrape(t, r)
	s.is("while it is open", map[string]float64{
		`scrier_envoys{state="online"}`: 1, `scrier_envoys{state="offline"}`: 0, `scrier_links{peer="agent",road="` + road + `"}`: 1, `scrier_links{peer="operator",road="` + road + `"}`: 1,
		`scrier_viewers{part="owner",road="` + road + `"}`: 1, `scrier_viewers{part="watcher",road="` + road + `"}`: 0, `scrier_places_taken{of="agent_links"}`: 1,
		`scrier_sessions{kind="ssh",state="active"}`: 1, `scrier_sessions{kind="ssh",state="waiting"}`: 0, `scrier_sessions_opened_total{kind="ssh"}`: 1,
		`scrier_session_open_seconds_count{kind="ssh"}`: 1, `scrier_session_bytes_total{direction="to_envoy",kind="ssh"}`: 5, `scrier_session_bytes_total{direction="from_envoy",kind="ssh"}`: 5,
	})
	if s.by["scrier_audit_records"] < 3 || s.by["scrier_audit_append_seconds_count"] < 3 || s.by["scrier_audit_file_bytes"] < 4096 || s.by["scrier_store_update_seconds_count"] < 3 || s.by["scrier_store_file_bytes"] < 4096 {
		t.Errorf("of the audit log and the state it says\n%s", s.text)
	}
	for _, certificate := range []string{"ca", "relay"} {
		if at := s.by[`scrier_certificate_expiry_timestamp_seconds{certificate="`+certificate+`"}`]; at < float64(time.Now().Unix()) {
			t.Errorf("the certificate %s ended at %v", certificate, at)
		}
	}
	if _, err := p.connect("nowhere"); wire.CodeOf(err) != wire.NoSuchEnvoy {
		t.Error(err)
	}
	if _, err := p.login(attempt{namespace: "wrong"}); err == nil {
		t.Error("a wrong login")
	}
	v.types(t, "exit")
	v.exit(t)
	settled(t, r)
	waitFor(t, "the viewer to be gone", func() bool { return r.counts.owners.all() == 0 })
	s = scrape(t, r)
	s.is("behind its end", map[string]float64{
		`scrier_sessions{kind="ssh",state="active"}`: 0, `scrier_sessions_ended_total{code="ok",kind="ssh"}`: 1, `scrier_sessions_opened_total{kind="ssh"}`: 1,
		`scrier_session_requests_refused_total{code="no_such_envoy"}`: 1, `scrier_viewers{part="owner",road="` + road + `"}`: 0,
		`scrier_session_bytes_total{direction="to_envoy",kind="ssh"}`: 9, `scrier_session_bytes_total{direction="from_envoy",kind="ssh"}`: 9,
	})

	// The same text over the API, for whoever may see it; and none of the names.
	w := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "/api/v1/metrics", nil)
	r.api.ServeHTTP(w, req.WithContext(web.WithCaller(req.Context(), callerOf(access.Compliance))))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	samplesOf(t, w.Body.String()).is("over the API", map[string]float64{`scrier_sessions_ended_total{code="ok",kind="ssh"}`: 1})
	for _, text := range []string{s.text, w.Body.String()} {
		for _, name := range []string{"zebra", "quentin", "deploy", "nowhere", "127.0.0.1", "::1", p.user.ID, r.ca.Cluster(), r.StateDir} {
			if strings.Contains(text, name) {
				t.Errorf("it says %q", name)
			}
		}
	}
}

// Pages are counted by what carries them, and one that watches apart.
func TestMetricsOfPages(t *testing.T) {
	r := start(t, measured)
	servedBy(t, r, counter)
	who := admin(t, r, "ann")
	for name, road := range map[string]string{"WebTransport": "webtransport", "WebSocket": "websocket"} {
		p := newPage(t, r, who, "web1", carriers[name])
		watching := viewerOf(who)
		watching.Watch = true
		ticket, err := r.sessions.Ticket(p.id, watching)
		if err != nil {
			t.Fatal(err)
		}
		f := wire.NewFramed(carriers[name](t, r, p.id))
		if err := f.Send(&wire.Attach{Ticket: ticket, Client: bytes.Repeat([]byte{2}, 16)}); err != nil {
			t.Fatal(err)
		}
		if _, err := wire.Expect[wire.Attached](f); err != nil {
			t.Fatal(err)
		}
		scrape(t, r).is(name, map[string]float64{
			`scrier_links{peer="page",road="` + road + `"}`: 2, `scrier_viewers{part="owner",road="` + road + `"}`: 1, `scrier_viewers{part="watcher",road="` + road + `"}`: 1, "scrier_page_lanes": 0,
		})
		f.Reset(wire.ViewerLost)
		p.Reset(wire.ViewerLost)
		waitFor(t, "them to be gone", func() bool { return r.counts.pages.all() == 0 })
	}
}

// An agent that moves is counted once, with its own word why, as one of a few.
func TestMetricsOfMoves(t *testing.T) {
	r := start(t, measured)
	m := enrolled(t, r, "zebra")
	u := m.must()
	id := bytes.Repeat([]byte{7}, wire.MoveSize)
	if err := u.control.Send(&wire.Move{ID: id}); err != nil {
		t.Fatal(err)
	}
	second := beside(t, m, dialTCP, wire.Hello{Move: id, Why: wire.WhyNoAnswer})
	scrape(t, r).is("while it has two links", map[string]float64{
		`scrier_envoys{state="online"}`: 1, `scrier_links{peer="agent",road="quic"}`: 1, `scrier_links{peer="agent",road="tcp"}`: 1, `scrier_agent_links_over_tcp{why="no_answer"}`: 1,
		`scrier_agent_links_over_tcp{why="other"}`: 0, `scrier_agent_moves_total{from="quic",to="tcp"}`: 1, `scrier_agent_moves_total{from="tcp",to="quic"}`: 0,
	})
	if err := u.link.Close(wire.None, ""); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the first link's end", func() bool { return r.envoyLinks.taken() == 1 })
	if err := second.Send(&wire.Move{ID: id}); err != nil {
		t.Fatal(err)
	}
	beside(t, m, dialTCP, wire.Hello{Move: id, Why: "zebra says so"})
	s := scrape(t, r)
	s.is("with another link over the same road", map[string]float64{
		`scrier_links{peer="agent",road="quic"}`: 0, `scrier_links{peer="agent",road="tcp"}`: 2, `scrier_agent_links_over_tcp{why="other"}`: 1, `scrier_agent_moves_total{from="quic",to="tcp"}`: 1,
	})
	if strings.Contains(s.text, "zebra") {
		t.Error("it says what an agent says")
	}
}

// beside makes a link of a machine, and has it welcomed.
func beside(t *testing.T, m *machine, dial func(context.Context, string, *tls.Config) (wire.Link, error), h wire.Hello) *wire.Framed {
	t.Helper()
	link, err := dial(t.Context(), m.relay.Addr(), m.relay.trusting(wire.ALPNAgent, m.cert).TLS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = link.Close(wire.None, "") })
	s, err := link.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	f := wire.NewFramed(s)
	h.Boot, h.Time, h.Facts.Hostname = m.boot, wire.Millis(m.relay.Now()), "host"
	if err := f.Send(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Welcome](f); err != nil {
		t.Fatal(err)
	}
	return f
}

// That the audit log cannot be written is seen at once, and what it keeps from opening.
func TestMetricsOfAFullDisk(t *testing.T) {
	r, j := breakable(t, measured)
	serve(t, r, "web1", func(*envoy, *wire.Open, wire.Stream) {})
	p := newPerson(t, r, "ann", access.Admin)
	j.broken.Store(true)
	who, req := asked(p)
	if _, err := r.open(t.Context(), who, req); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("opened with %v", err)
	}
	// Waiting asks the table, not for metrics: a few scrapes a second are answered, and a slow log would take more.
	waitFor(t, "the relay to notice", func() bool { return !r.sessions.Writable() })
	if _, err := r.open(t.Context(), who, req); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("opened with %v", err)
	}
	scrape(t, r).is("without the log", map[string]float64{
		`scrier_audit_writable`: 0, `scrier_sessions_ended_total{code="audit_unavailable",kind="ssh"}`: 1, `scrier_session_requests_refused_total{code="audit_unavailable"}`: 1, `scrier_sessions{kind="ssh",state="waiting"}`: 0,
	})
	j.broken.Store(false)
	waitFor(t, "the log to be back", r.sessions.Writable)
	scrape(t, r).is("with the log", map[string]float64{`scrier_audit_writable`: 1})
}

// Without a word in server.yaml nothing listens; an address that is taken is an error of the configuration.
func TestMetricsAreOff(t *testing.T) {
	r := start(t)
	if r.metrics != nil {
		t.Error("it listens")
	}
	s := Settings{StateDir: t.TempDir(), Config: DefaultConfig(), Now: time.Now, Log: r.Log}
	s.Config.Listen, s.Config.Metrics.Listen = "127.0.0.1:0", r.Addr()
	if _, err := Open(t.Context(), s); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), "cannot listen for metrics on TCP "+r.Addr()) {
		t.Errorf("a taken address: %v", err)
	}
}

// Who is refused at the doors is counted by why, each for itself.
func TestMetricsOfTheDoors(t *testing.T) {
	r := start(t, measured)
	h, l := &r.listener.handshakes.refused, r.listener
	for i, n := range []*atomic.Uint64{
		&h.tooFast, &h.tooMany, &h.ofNetwork, &h.gaveWay, &l.heldRequests, &l.heldBytes, &r.strangers.refused, &r.operatorLinks.refused, &r.envoyLinks.refused,
		&r.newLanes.refused, &l.overTCP.refused, &l.overQUIC.refused, &l.signedIn.refused, &l.asking.refused,
	} {
		n.Add(uint64(i + 1))
	}
	for range 2 { // that are let in
		leave, err := r.strangers.enter("192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		defer leave()
	}
	for who := (access.Operator{ID: "x"}); r.access.Change(who, true) == nil; {
	}
	s := scrape(t, r)
	s.is("of the doors", map[string]float64{
		`scrier_handshakes_refused_total{reason="too_fast"}`: 1, `scrier_handshakes_refused_total{reason="too_many"}`: 2, `scrier_handshakes_refused_total{reason="too_many_of_network"}`: 3,
		`scrier_handshakes_refused_total{reason="gave_way"}`: 4, `scrier_rate_limited_total{what="page_requests"}`: 5, `scrier_rate_limited_total{what="bytes"}`: 6,
		`scrier_places_refused_total{of="strangers"}`: 7, `scrier_places_refused_total{of="operator_links"}`: 8, `scrier_places_refused_total{of="agent_links"}`: 9,
		`scrier_places_refused_total{of="new_lanes"}`: 10, `scrier_places_refused_total{of="pages_tcp"}`: 11, `scrier_places_refused_total{of="pages_quic"}`: 12,
		`scrier_places_refused_total{of="pages_signed_in"}`: 13, `scrier_places_refused_total{of="page_requests"}`: 14,
		`scrier_places_taken{of="strangers"}`: 2, `scrier_rate_limited_total{what="sign_in_links"}`: 1, `scrier_rate_limited_total{what="changes"}`: 0,
		`scrier_handshakes_limit`: float64(maxHandshakes),
	})
	if _, ok := s.by[`scrier_places_limit{of="agent_links"}`]; ok {
		t.Error("agents' links have a limit in all")
	}
}
