package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"scrier/certs"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// betterRoad is a relay whose QUIC answers when the test says.
type betterRoad struct {
	*fakeRelay
	opens chan struct{} // closed when it answers
	tries chan struct{}
}

func (b *betterRoad) dial(ctx context.Context) (wire.Link, error) {
	select {
	case b.tries <- struct{}{}:
	default:
	}
	select {
	case <-b.opens:
	default:
		return nil, &wire.Error{Code: wire.RelayUnreachable, Detail: "no answer"}
	}
	near, far := wiretest.Pair(wire.Peer{Road: wire.QUIC}, wire.Peer{Road: wire.QUIC})
	b.t.Cleanup(func() { near.Close(wire.None, "") })
	b.link <- far
	return near, nil
}

// acceptBeside is accept on a link on which the relay is also asked whether it lives.
func (r *fakeRelay) acceptBeside() (f *wire.Framed, first wire.Message, far wire.Link) {
	r.t.Helper()
	select {
	case far = <-r.link:
	case <-time.After(patience):
		r.t.Fatal("nobody dials")
	}
	for {
		stream, err := far.Accept(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		f := wire.NewFramed(stream)
		if first, err = f.Receive(); err != nil {
			r.t.Fatal(err)
		}
		ping, ok := first.(*wire.Ping)
		if !ok {
			return f, first, far
		}
		go func() {
			for err := error(nil); err == nil; {
				if err = f.Send(&wire.Pong{N: ping.N}); err == nil {
					var m wire.Message
					if m, err = f.Receive(); err == nil {
						ping = m.(*wire.Ping)
					}
				}
			}
		}()
	}
}

// A shell on TCP moves to QUIC when that answers: it goes on at the byte where it was, what is typed arrives once, the person sees nothing of it, and
// the link of before ends.
func TestShellMovesToABetterLink(t *testing.T) {
	s := startShell(t, "", func(r *Relay, relay *fakeRelay) {
		b := &betterRoad{relay, make(chan struct{}), make(chan struct{}, 1)}
		r.prober = newProber(b.dial, nil, nil, 20*time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.prober.run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
		relay.better = b
	})
	f, first := s.relay.accept()
	client := first.(*wire.Connect).Client
	s.relay.say(f, attachedAt(wire.Attached{}), &wire.Data{Bytes: []byte("one ")})
	s.until(t, "one ")
	s.press(t, "abcdef")
	if text := s.typedTo(t, f, 6); text != "abcdef" {
		t.Fatalf("typed %q", text)
	}
	s.relay.say(f, &wire.Ack{Offset: 6})
	<-s.relay.better.tries
	before := s.relay.near
	close(s.relay.better.opens)
	f, first, far := s.relay.acceptBeside()
	a, ok := first.(*wire.Attach)
	if !ok || a.From == nil || *a.From != 4 || string(a.Client) != string(client) || !a.Back || a.Anew {
		t.Fatalf("it attaches with %+v", first)
	}
	s.press(t, "ghi")
	s.relay.say(f, attachedAt(wire.Attached{Offset: 4, Head: 4, Typed: 6}), &wire.Data{Bytes: []byte("two ")})
	s.until(t, "two ")
	if text := s.typedTo(t, f, 3); text != "ghi" {
		t.Fatalf("typed %q", text)
	}
	select {
	case <-before.Context().Done():
		if code := wire.CodeOf(before.Err()); code != wire.None {
			t.Errorf("the link of before ended with %s", code)
		}
	case <-time.After(patience):
		t.Error("the link of before stays")
	}
	s.relay.say(f, &wire.Exit{})
	s.ends(t)
	if s.err != nil || s.status != 0 || far.Err() != nil {
		t.Errorf("it ends with %d, %v; the link with %v", s.status, s.err, far.Err())
	}
}

// A terminal that is busy is moved later.
func TestNobodyMovesWhileSomethingIsShown(t *testing.T) {
	in := newInput()
	c := &attachment{life: &lifeline{input: in}}
	if !c.isQuiet() {
		t.Error("a terminal on which nothing happens is not quiet")
	}
	c.heard.Store(time.Now().UnixNano())
	if c.isQuiet() {
		t.Error("a terminal is quiet on which something was shown just now")
	}
	c.heard.Store(0)
	in.add(t.Context(), []byte("x"), 0)
	if c.isQuiet() {
		t.Error("a terminal is quiet into which somebody types")
	}
}

// QUIC is tried again and again, at once in another network, and not while there is a link. What nobody wants is closed.
func TestProber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Duration
		began := time.Now()
		var near, far wire.Link
		works := false
		elsewhere := make(chan struct{})
		p := newProber(func(context.Context) (wire.Link, error) {
			tries = append(tries, time.Since(began))
			if !works {
				return nil, errors.New("no answer")
			}
			near, far = wiretest.Pair(wire.Peer{Road: wire.QUIC}, wire.Peer{Road: wire.QUIC})
			return near, nil
		}, nil, elsewhere, 30*time.Second)
		p.watch = func(context.Context) <-chan struct{} { return nil }
		found := func() wire.Link {
			for range 60 {
				time.Sleep(time.Second)
				if link, _ := p.better(); link != nil {
					return link
				}
			}
			return nil
		}
		over := make(chan struct{})
		go func() { defer close(over); p.run(t.Context()) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := len(tries); n < 8 || n > 14 || tries[0] < 22*time.Second || tries[0] > 38*time.Second {
			t.Errorf("within an hour it tries at %v", tries)
		}
		if link, _ := p.better(); link != nil {
			t.Error("it has a link that was not made")
		}
		works = true
		n := len(tries)
		began = time.Now()
		elsewhere <- struct{}{}
		found()
		if len(tries) != n+1 || tries[n] > 31*time.Second {
			t.Errorf("in another network it tries at %v", tries[n:])
		}
		select {
		case <-p.isNews():
		default:
			t.Error("nobody is told")
		}
		if link, pulse := p.better(); link != near || pulse == nil {
			t.Errorf("it has %v", link)
		}
		before := far
		_ = far.Close(wire.None, "")
		synctest.Wait()
		if link := found(); link == nil || link != near || far == before {
			t.Error("a link that was found has ended, and nobody looks for another one")
		}
		if link, _ := p.take(); link != near {
			t.Error("the new one cannot be had")
		}
		p.close(false)
		<-far.Context().Done()
		<-over
		if link, _ := p.better(); link != nil {
			t.Error("it has a link that has ended")
		}
	})
}

// Where there is one road alone, or a proxy, nothing is looked for.
func TestNobodyProbesWithoutAChoice(t *testing.T) {
	for _, c := range []struct {
		roads Roads
		proxy string
		want  bool
	}{{Roads{}, "", true}, {Roads{Transport: wire.OnlyTCP}, "", false}, {Roads{Transport: wire.OnlyQUIC}, "", false}, {Roads{}, "http://proxy:3128", false}} {
		t.Setenv("HTTPS_PROXY", c.proxy)
		if got := c.roads.prober("relay.example.com:8443", certs.Client{}) != nil; got != c.want {
			t.Errorf("%+v with the proxy %q: %t", c.roads, c.proxy, got)
		}
	}
}
