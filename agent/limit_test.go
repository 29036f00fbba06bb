package agent

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/relaytest"
)

// One session more than max_sessions is told which limit that is, whose, and where it is set; when one has ended there
// is room again.
func TestTooManySessionsAreToldWhy(t *testing.T) {
	port := echo(t)
	config := DefaultConfig()
	config.AllowedPorts, config.MaxSessions = []uint16{port}, 2
	_, far, control, ran := serving(t, config, slog.New(slog.DiscardHandler))
	defer func() {
		if err := far.Close(wire.RelayShutdown, "the test is over"); err != nil {
			t.Error(err)
		}
		<-ran
	}()
	r := &relaytest.Relay{Link: far, Control: control, Grant: func() *wire.Open {
		return &wire.Open{Session: wire.NewSessionID(), Kind: wire.KindVNC, Port: port, Operator: "ann", Timeout: uint32(patience / time.Millisecond)}
	}}
	var open []wire.Stream
	for range config.MaxSessions {
		s, _, err := r.Ask(r.Grant())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	more, _, err := r.Ask(r.Grant())
	if wire.CodeOf(err) != wire.Busy {
		t.Fatalf("one more: %v", err)
	}
	for _, says := range []string{"2 sessions", "on this machine", "max_sessions", "agent.yaml"} {
		if !strings.Contains(wire.DetailOf(err), says) {
			t.Errorf("it does not say %q: %v", says, err)
		}
	}
	more.Reset(wire.None)
	for _, s := range open {
		if err := relaytest.Echo(s); err != nil {
			t.Errorf("one that was there before: %v", err)
		}
	}
	open[0].Reset(wire.None)
	for late := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // its end takes a moment
		s, _, err := r.Ask(r.Grant())
		if err == nil {
			if err := relaytest.Echo(s); err != nil {
				t.Error(err)
			}
			return
		}
		if wire.CodeOf(err) != wire.Busy || time.Now().After(late) {
			t.Fatalf("there is no room again: %v", err)
		}
		s.Reset(wire.None)
	}
}
