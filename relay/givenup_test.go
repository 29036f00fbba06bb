package relay

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/wire"
)

// logged is a relay's log, line by line.
type logged chan string

func (l logged) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// Who gives up what they have asked for was refused nothing, and no error is "ok" in the log.
func TestGivenUp(t *testing.T) {
	log := make(logged, 1000)
	r := start(t, func(s *Settings) {
		s.Log = slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	p := newPerson(t, r, "alice", access.Viewer)
	link := dial(t, r, wire.ALPNClient, nil)
	s, err := link.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.Send(s, &wire.Login{Keys: [][]byte{p.signer.PublicKey().Marshal()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Expect[wire.Challenge](s); err != nil {
		t.Fatal(err)
	}
	s.Reset(wire.None)
	for late := time.After(patience); ; {
		select {
		case line := <-log:
			if strings.Contains(line, "code=ok") || strings.Contains(line, "request refused") {
				t.Fatal(line)
			}
			if strings.Contains(line, "request given up") {
				return
			}
		case <-late:
			t.Fatal("the log does not tell of it")
		}
	}
}
