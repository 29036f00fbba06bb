package metrics

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"scrier/relay/tally"
)

// full are figures in which every metric has a value.
func full() Figures {
	size := int64(4096)
	var took tally.Times
	took.Took(time.Second)
	return Figures{
		Version: "v1.2.3", Commit: "1a2b3c4d", Go: "go1.26",
		Envoys: map[string]int{"online": 2, "offline": 1}, Links: map[Link]int{{"agent", "quic"}: 1, {"page", "websocket"}: 3},
		Why: map[string]int{"proxy": 1}, Moves: map[Move]uint64{{"quic", "tcp"}: 1}, Viewer: map[Viewer]int{{"webtransport", "owner"}: 1}, Aside: 1, Panics: 1,
		Ends:     map[string]time.Time{"ca": time.Unix(1_800_000_000, 0)},
		Sessions: map[string]Sessions{"ssh": {Waiting: 1, Active: 2, Opened: 3, Ended: map[string]uint64{"ok": 4}, Took: took.Read(), Sent: 5, Received: 6}}, MaxSessions: 10,
		Refused: map[string]uint64{"limit": 1}, Lanes: Lanes{1, 2, 3, 4, Bounded{5, 6}}, ProgramBytes: Bounded{1, 2}, Handshakes: Bounded{1, 2},
		TurnedAway: map[string]uint64{"too_fast": 1}, Places: map[string]Places{"strangers": {Bounded{1, 2}, 3}, "agent_links": {Bounded: Bounded{Taken: 1}}},
		Limited: map[string]uint64{"bytes": 1}, AuditRecords: 1, AuditBytes: &size, AuditTook: took.Read(), AuditWritable: true, StoreBytes: &size, StoreTook: took.Read(), StoreReserve: true,
	}
}

// scrape is what Prometheus would get.
func scrape(t *testing.T, f Figures) string {
	t.Helper()
	m, err := New(func(context.Context) Figures { return f })
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.NewTextHandler(t.Output(), nil))).ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %s: %s", w.Code, w.Header(), w.Body)
	}
	return w.Body.String()
}

// Every metric is there, with its help, its type and the labels that are promised; beside them are only Go's and the process's.
func TestAllMetrics(t *testing.T) {
	text := scrape(t, full())
	for _, d := range All() {
		if !strings.Contains(text, fmt.Sprintf("# TYPE %s %s\n", d.Name, d.Kind)) || !strings.Contains(text, "# HELP "+d.Name+" "+d.Help+"\n") {
			t.Errorf("%s, a %s, is not there", d.Name, d.Kind)
		}
		if (d.Kind == "counter") != strings.HasSuffix(d.Name, "_total") || !strings.HasPrefix(d.Name, "scrier_") || !strings.HasSuffix(d.Help, ".") {
			t.Errorf("%s, a %s, is not named or explained as it should: %s", d.Name, d.Kind, d.Help)
		}
		sample := regexp.MustCompile(`(?m)^` + d.Name + `(?:_sum)?(?:\{(.*)\})? [-+.0-9e]+$`).FindStringSubmatch(text)
		if sample == nil {
			t.Errorf("%s has no value", d.Name)
			continue
		}
		var labels []string
		for _, m := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(sample[1], -1) {
			labels = append(labels, m[1])
		}
		want := slices.Sorted(slices.Values(d.Labels))
		if !slices.Equal(labels, want) {
			t.Errorf("%s has the labels %q, and says %q", d.Name, labels, want)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(text, -1) {
		own := slices.ContainsFunc(All(), func(d Description) bool { return d.Name == m[1] })
		if !own && !strings.HasPrefix(m[1], "go_") && !strings.HasPrefix(m[1], "process_") {
			t.Errorf("%s is there, and nothing says so", m[1])
		}
	}
	for _, want := range []string{
		`scrier_build_info{commit="1a2b3c4d",go_version="go1.26",version="v1.2.3"} 1`, `scrier_envoys{state="online"} 2`, `scrier_agent_links_over_tcp{why="set"} 0`,
		`scrier_sessions_ended_total{code="ok",kind="ssh"} 4`, `scrier_session_open_seconds_bucket{kind="ssh",le="0.5"} 0`, `scrier_session_open_seconds_bucket{kind="ssh",le="1"} 1`,
		`scrier_session_open_seconds_bucket{kind="ssh",le="+Inf"} 1`, `scrier_certificate_expiry_timestamp_seconds{certificate="ca"} 1.8e+09`, `scrier_audit_writable 1`,
		`scrier_places_limit{of="strangers"} 2`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("it does not say %s", want)
		}
	}
	if strings.Contains(text, `scrier_places_limit{of="agent_links"}`) {
		t.Error("there is a limit where there is none")
	}
	text = scrape(t, Figures{})
	if strings.Contains(text, "scrier_audit_file_bytes ") || !strings.Contains(text, "\nscrier_audit_writable 0\n") {
		t.Error("what is not known is said, or what is known is not")
	}
}

// A value that a label may not have is none: whoever has chosen it. What was counted is counted all the same.
func TestLabelsAreBounded(t *testing.T) {
	const evil = "web1.example.com\"\n\xff{"
	var took tally.Times
	took.Took(time.Second)
	spread := took.Read()
	s := Sessions{Waiting: 1, Active: 1, Opened: 1, Ended: map[string]uint64{evil: 1, evil + "2": 1, "ok": 1}, Took: spread, Sent: 1, Received: 1}
	text := scrape(t, Figures{
		Envoys: map[string]int{evil: 1, evil + "2": 2}, Links: map[Link]int{{evil, evil}: 1, {"agent", evil}: 1, {"agent", evil + "2"}: 1}, Why: map[string]int{evil: 1}, Moves: map[Move]uint64{{evil, evil}: 1},
		Viewer: map[Viewer]int{{evil, evil}: 1}, Ends: map[string]time.Time{evil: time.Unix(1, 0)}, Sessions: map[string]Sessions{evil: s, evil + "2": s},
		Refused: map[string]uint64{evil: 1}, TurnedAway: map[string]uint64{evil: 1}, Places: map[string]Places{evil: {Bounded{1, 1}, 1}}, Limited: map[string]uint64{evil: 1},
	})
	if strings.Contains(text, "example") {
		t.Errorf("it says a name:\n%s", text)
	}
	for _, want := range []string{
		`scrier_envoys{state="other"} 3`, `scrier_links{peer="agent",road="other"} 2`, `scrier_links{peer="other",road="other"} 1`,
		`scrier_sessions_ended_total{code="other",kind="other"} 4`, `scrier_sessions_ended_total{code="ok",kind="other"} 2`, `scrier_session_open_seconds_count{kind="other"} 2`,
		`scrier_session_open_seconds_bucket{kind="other",le="1"} 2`, `scrier_session_open_seconds_bucket{kind="other",le="0.5"} 0`, `scrier_session_open_seconds_sum{kind="other"} 2`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("it does not say %s", want)
		}
	}
}

// A room that panics takes nothing with it but its own figures.
func TestPanicWhileReading(t *testing.T) {
	m, err := New(func(context.Context) Figures { panic("as a test") })
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
	if body := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(body, "\ngo_goroutines ") || strings.Contains(body, "scrier_") {
		t.Errorf("%d: %s", w.Code, body)
	}
}

// serving runs a Server on loopback.
func serving(t *testing.T, read func(context.Context) Figures) *httptest.Server {
	t.Helper()
	m, err := New(read)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nil)
	s.Config = Server(m.Handler(slog.New(slog.NewTextHandler(t.Output(), nil))))
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// The server has one path and one method, takes no long requests, and keeps no connection.
func TestServer(t *testing.T) {
	s := serving(t, func(context.Context) Figures { return full() })
	ask := func(method, path, cookie string) (status int, body string, closes bool) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text), answer.Close
	}
	if status, body, closes := ask("GET", "/metrics", ""); status != 200 || !strings.Contains(body, "\nscrier_panics_total 1\n") || !closes {
		t.Errorf("%d, closes %t: %s", status, closes, body)
	}
	for want, request := range map[int][][2]string{
		http.StatusNotFound:         {{"GET", "/"}, {"GET", "/metrics/"}, {"GET", "/api/v1/envoys"}, {"GET", "/debug/pprof/"}},
		http.StatusMethodNotAllowed: {{"POST", "/metrics"}, {"DELETE", "/metrics"}, {"OPTIONS", "/metrics"}},
	} {
		for _, r := range request {
			if status, body, _ := ask(r[0], r[1], ""); status != want || strings.Contains(body, "scrier_") {
				t.Errorf("%s %s: %d", r[0], r[1], status)
			}
		}
	}
	if c := s.Config; c.ReadHeaderTimeout <= 0 || c.ReadTimeout <= 0 || c.WriteTimeout <= scrapeTime || c.IdleTimeout <= 0 {
		t.Errorf("somebody may take for ever: %+v", c)
	}
	if status, _, _ := ask("GET", "/metrics", strings.Repeat("x", 32<<10)); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long header: %d", status)
	}
}

// Who asks again and again has the rooms read no more often than Prometheus ever would.
func TestScrapesAreLimited(t *testing.T) {
	var reads atomic.Int64
	m, err := New(func(context.Context) Figures {
		reads.Add(1)
		return Figures{}
	})
	if err != nil {
		t.Fatal(err)
	}
	h := Server(m.Handler(slog.New(slog.DiscardHandler))).Handler
	var answers [600]int
	began := time.Now()
	for range 10 * scrapesBurst {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
		answers[w.Code]++
	}
	most := scrapesBurst + scrapes*(int(time.Since(began)/time.Second)+1)
	if n := int(reads.Load()); n < scrapesBurst || n > most || answers[200] != n || answers[200]+answers[429] != 10*scrapesBurst {
		t.Errorf("of %d requests %d were answered, the rooms were read %d times, and %d were sent away", 10*scrapesBurst, answers[200], n, answers[429])
	}
}

// A few scrapes are answered at once, and more are sent away, however long the rooms take.
func TestFewScrapesAtOnce(t *testing.T) {
	begun, end := make(chan struct{}, 10), make(chan struct{})
	s := serving(t, func(ctx context.Context) Figures {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("a room has all the time in the world")
		}
		begun <- struct{}{}
		<-end
		return Figures{}
	})
	get := func() (int, error) {
		answer, err := http.Get(s.URL + Path)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}
	done := make(chan int, maxScrapes)
	for range maxScrapes {
		go func() {
			status, err := get()
			if err != nil {
				t.Error(err)
			}
			done <- status
		}()
		<-begun
	}
	if status, err := get(); status != http.StatusServiceUnavailable || err != nil {
		t.Errorf("one too many: %d, %v", status, err)
	}
	close(end)
	for range maxScrapes {
		if status := <-done; status != http.StatusOK {
			t.Errorf("%d", status)
		}
	}
}
