package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"scrier/wire"
)

// tells is a relay, behind its admin socket, that says text to whoever follows it, and then does what end says.
func tells(t *testing.T, text string, end func(*http.Request)) *Relay {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, adminSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != apiPath+"/events" {
			http.NotFound(w, r)
			return
		}
		_, _ = fmt.Fprint(w, text)
		_ = http.NewResponseController(w).Flush()
		if end != nil {
			end(r)
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	r, err := DialState(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestFollow(t *testing.T) {
	r := tells(t, "retry: 2000\n: scrier\n\nevent: envoy\ndata: {\"a\":1}\n\n:\n\nevent: envoy-gone\ndata:{}\n\nevent: half\ndata: {", nil)
	var got []string
	err := r.Follow(t.Context(), func() error { got = append(got, "began"); return nil }, func(name string, data []byte) error {
		got = append(got, name+" "+string(data))
		return nil
	})
	if wire.CodeOf(err) != wire.RelayUnreachable {
		t.Errorf("the end: %v", err)
	}
	if want := `began;envoy {"a":1};envoy-gone {}`; strings.Join(got, ";") != want {
		t.Errorf("%q", got)
	}
}

func TestFollowEnds(t *testing.T) {
	nothing := func(string, []byte) error { return nil }
	mine := errors.New("mine")
	waits := func(r *http.Request) { <-r.Context().Done() }
	if err := tells(t, "event: a\ndata: b\n\n", waits).Follow(t.Context(), func() error { return nil }, func(string, []byte) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("what the caller says: %v", err)
	}
	if err := tells(t, "", waits).Follow(t.Context(), func() error { return mine }, nothing); !errors.Is(err, mine) {
		t.Errorf("what the caller says at the beginning: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := tells(t, "", waits).Follow(ctx, func() error { cancel(); return nil }, nothing); wire.CodeOf(err) != wire.Cancelled {
		t.Errorf("the person's end: %v", err)
	}
	if err := tells(t, "data: "+strings.Repeat("x", maxEvent), waits).Follow(t.Context(), func() error { return nil }, nothing); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("an event without an end: %v", err)
	}
}
