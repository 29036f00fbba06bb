package relay

import (
	"sync"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/wire"
)

// A command that comes while the session of the one before it ends does not fail for that: it has a session of its own.
func TestCommandsBesideSessionsThatEnd(t *testing.T) {
	r := start(t, func(s *Settings) {
		s.Config.Scrier.DetachGrace = Duration(time.Second)
		s.Config.Scrier.MaxSessions = 100
	})
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.commands(s, open)
	})
	p := newPerson(t, r, "ann", access.Admin)
	cert, err := p.login(attempt{})
	if err != nil {
		t.Fatal(err)
	}
	link := dial(t, r, wire.ALPNClient, cert)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				for {
					f, a, err := stream(t, link, &wire.Connect{
						Envoy: "web1", Kind: wire.KindSSH, Share: true, Channel: &wire.Channel{Command: []byte("hello"), Plain: true},
					})
					if wire.CodeOf(err) == wire.Busy { // too fast for what the audit log is to bear
						time.Sleep(100 * time.Millisecond)
						continue
					}
					if err != nil {
						t.Errorf("%v", err)
						break
					}
					if e := (&viewer{f, a}).exit(t); e.Status != 3 {
						t.Errorf("ended with %+v", e)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	settled(t, r)
}
