package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// pulsed is a link whose relay the test plays: it answers pings unless it is mute.
type pulsed struct {
	*pulse
	far    wire.Link
	mute   atomic.Bool
	pings  atomic.Int32
	dialed atomic.Int32
	down   atomic.Bool // nobody can dial

	lock sync.Mutex
	held func() error // answers the last ping that was not answered
}

func newPulsed(t *testing.T, changed <-chan struct{}) *pulsed {
	t.Helper()
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	p := &pulsed{far: far}
	p.pulse = newPulse(near, func(context.Context) (wire.Link, error) {
		p.dialed.Add(1)
		if p.down.Load() {
			return nil, errors.New("no way")
		}
		link, _ := wiretest.Pair(wire.Peer{}, wire.Peer{})
		return link, nil
	}, changed)
	return p
}

func (p *pulsed) answers(t *testing.T) {
	for {
		s, err := p.far.Accept(t.Context())
		if err != nil {
			return
		}
		f := wire.NewFramed(s)
		for {
			m, err := f.Receive()
			if err != nil {
				break
			}
			ping := m.(*wire.Ping)
			p.pings.Add(1)
			if len(ping.Pad) < smallPing {
				t.Errorf("a ping of %d bytes", len(ping.Pad))
			}
			answer := func() error { return f.Send(&wire.Pong{N: ping.N}) }
			if !p.mute.Load() {
				_ = answer()
				continue
			}
			p.lock.Lock()
			p.held = answer
			p.lock.Unlock()
		}
	}
}

func (p *pulsed) ends() {
	_ = p.far.Close(wire.None, "")
	_ = p.link.Close(wire.None, "")
	p.close()
}

func silentNow(silence <-chan struct{}) bool {
	select {
	case <-silence:
		return true
	default:
		return false
	}
}

// A relay that does not answer is noticed within 10 s, and one that answers again too: the link stays.
func TestPulseSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulsed(t, nil)
		defer p.ends()
		go p.answers(t)
		go p.run()
		time.Sleep(time.Minute)
		if n := p.pings.Load(); n < 12 || n > 20 {
			t.Errorf("%d pings in a minute", n)
		}
		silence := p.silence()
		if silentNow(silence) || p.isSilent() {
			t.Fatal("a relay that answers is silent")
		}
		p.mute.Store(true)
		time.Sleep(10 * time.Second)
		if !silentNow(silence) || !p.isSilent() || p.isRevived() {
			t.Fatal("it is not noticed")
		}
		p.mute.Store(false)
		p.lock.Lock()
		if err := p.held(); err != nil { // a late answer
			t.Error(err)
		}
		p.lock.Unlock()
		time.Sleep(10 * time.Second)
		if p.isSilent() || !p.isRevived() || silentNow(p.silence()) || p.link.Err() != nil {
			t.Error("an answer is not noticed")
		}
		if p.dialed.Load() != 0 {
			t.Error("another link was dialled for a moment's silence")
		}
	})
}

// When there is another link, a silent one makes room for it.
func TestPulseAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulsed(t, nil)
		defer p.ends()
		go p.answers(t)
		p.down.Store(true)
		over := make(chan struct{})
		go func() { defer close(over); p.run() }()
		time.Sleep(time.Minute)
		p.mute.Store(true)
		time.Sleep(time.Minute)
		if p.link.Err() != nil || p.dialed.Load() < 3 {
			t.Fatalf("%v after %d attempts", p.link.Err(), p.dialed.Load())
		}
		p.down.Store(false)
		<-over
		if !broke(p.link) {
			t.Errorf("the link ended with %v", p.link.Err())
		}
		n := p.dialed.Load()
		link, err := p.another(t.Context())
		if err != nil || link.Err() != nil || p.dialed.Load() != n {
			t.Errorf("%v, %v", link, err)
		}
		_ = link.Close(wire.None, "")
	})
}

// What nobody wants is closed, whenever it comes.
func TestPulseCloses(t *testing.T) {
	for _, late := range []bool{false, true} {
		p := newPulsed(t, nil)
		link, _ := wiretest.Pair(wire.Peer{}, wire.Peer{})
		if late {
			p.close()
		}
		p.keep(link)
		p.ends()
		if link.Err() == nil {
			t.Errorf("late %v: it is left", late)
		}
	}
}

// A relay that is older than pings is not asked for ever, and is not silent.
func TestPulseOlderRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulsed(t, nil)
		defer p.ends()
		go func() {
			for range maxRefusals {
				s, err := p.far.Accept(t.Context())
				if err != nil {
					return
				}
				if wire.Send(s, wire.Refuse(&wire.Error{Code: wire.Protocol})) == nil {
					wire.Finish(s, time.Second)
				}
			}
		}()
		over := make(chan struct{})
		go func() { defer close(over); p.run() }()
		<-over
		if p.isSilent() || p.link.Err() != nil {
			t.Error("it is taken for one that is gone")
		}
	})
}

// A change of the network has the relay asked at once.
func TestPulseChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		p := newPulsed(t, changed)
		defer p.ends()
		go p.answers(t)
		go p.run()
		synctest.Wait()
		before := p.pings.Load()
		changed <- struct{}{}
		synctest.Wait()
		if n := p.pings.Load(); n != before+1 {
			t.Errorf("%d pings, and then %d", before, n)
		}
	})
}
