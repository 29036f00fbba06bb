package panics

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"scrier/wire"
)

func TestContain(t *testing.T) {
	var log bytes.Buffer
	b := Boundary{Log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := b.Contain("nothing", func() error { return io.EOF }); !errors.Is(err, io.EOF) || log.Len() > 0 {
		t.Errorf("an ordinary error became %v, the log says %s", err, &log)
	}
	var none []int
	err := b.Contain("stream", func() error { return wire.Errorf(wire.Busy, "%d", none[3]) }, "source", "192.0.2.1")
	if wire.CodeOf(err) != wire.Internal || wire.DetailOf(err) != "" || !errors.Is(err, ErrPanic) || b.Count() != 1 {
		t.Errorf("the panic became %v, and %d are counted", err, b.Count())
	}
	for _, want := range []string{"in=stream", "panics=1", "index out of range", "panics_test.go", "source=192.0.2.1"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %s: %s", want, &log)
		}
	}
}

// A request whose handler panics ends, and the server serves the next.
func TestHandler(t *testing.T) {
	var log bytes.Buffer
	b := Boundary{Log: slog.New(slog.NewTextHandler(&log, nil))}
	s := httptest.NewServer(b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			_, _ = io.WriteString(w, "half")
			panic("oh")
		}
		_, _ = io.WriteString(w, "whole")
	})))
	defer s.Close()
	if resp, err := s.Client().Get(s.URL + "/panic"); err == nil {
		data, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil {
			t.Errorf("half an answer passed as a whole one: %q", data)
		}
	}
	resp, err := s.Client().Get(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err != nil || string(data) != "whole" || b.Count() != 1 {
		t.Errorf("the next request got %q, %v; %d panics are counted", data, err, b.Count())
	}
}
