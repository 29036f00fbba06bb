package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"scrier/agent/keys"
)

// A start after which nothing had to be swept says nothing of it.
func TestTellSwept(t *testing.T) {
	var log bytes.Buffer
	a := &Agent{Settings: Settings{Log: slog.New(slog.NewTextHandler(&log, nil))}}
	a.tellSwept(t.Context(), keys.Swept{})
	if log.Len() > 0 {
		t.Errorf("nothing was swept, and it says %s", &log)
	}
	a.tellSwept(t.Context(), keys.Swept{Removed: 2, Failed: []keys.Failure{{Login: "ann"}}})
	if got := log.String(); !strings.Contains(got, "removed=2 made_harmless=0") || !strings.Contains(got, "ann") {
		t.Errorf("it says %s", got)
	}
}
