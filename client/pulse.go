package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"scrier/wire"
)

const (
	// pulseEvery is how often a relay is asked whether a link lives, and pulseWait how long it may take to answer. A dead link is
	// to be noticed within 10 s.
	pulseEvery = 4 * time.Second
	pulseWait  = 3 * time.Second

	// moveWait is how long a link may look for another way to the relay before it counts as silent.
	moveWait = 1500 * time.Millisecond

	// urgeWait is how long the relay may take to answer over another way.
	urgeWait = 2 * time.Second

	// dialAfter is how long a relay must not have answered before a link is given up for another one: all that cannot go on over
	// another link ends then.
	dialAfter = 12 * time.Second

	// rebindEvery is how often a link that finds no other way goes on from another port all the same.
	rebindEvery = 5 * time.Second

	// asleep is how much later than it should a clock must strike for this machine to have slept, or this program to have been
	// stopped: the relay is asked at once then.
	asleep = 5 * time.Second

	// A ping is large enough for a relay that knows nothing of the link any more to say so, which QUIC does not do for the
	// smallest packets. If something has passed it is larger than a packet: it shows whether the path still carries such packets.
	smallPing = 64
	idleBytes = 1000 // pass at most, beside the ping, while nothing happens
)

// pulse asks the relay whether a link lives, for as long as that does. One that is not answered looks for another way through
// the network first: nothing ends with that. Then it says so, and looks for another link too.
//
//	lives --no answer--> moves --no way--> silent --an answer--> lives
//	                                          |
//	                                          | there is another link
//	                                          v
//	                                        ended
type pulse struct {
	link    wire.Link
	dial    func(context.Context) (wire.Link, error) // nil: nobody wants another link
	patient time.Duration                            // with a silent link, before another one takes its place
	changed <-chan struct{}                          // the network has
	stream  *pulseStream

	dialling chan struct{} // holds one while somebody does

	mu      sync.Mutex
	silent  chan struct{} // closed while there is no answer
	quiet   bool          // the same
	revived bool          // there was an answer behind the last silence
	spare   wire.Link
	closed  bool // nobody wants a spare one any more
	retired bool // nobody wants another link any more, nor waits for one
}

func newPulse(link wire.Link, dial func(context.Context) (wire.Link, error), changed <-chan struct{}) *pulse {
	return &pulse{link: link, dial: dial, patient: dialAfter, changed: changed, dialling: make(chan struct{}, 1), silent: make(chan struct{})}
}

// silence is closed when the relay does not answer; nil: nobody asks.
func (p *pulse) silence() <-chan struct{} {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent
}

// isSilent says that the relay does not answer.
func (p *pulse) isSilent() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.quiet
}

// isRevived says that the relay has answered again.
func (p *pulse) isRevived() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revived && !p.quiet
}

func (p *pulse) set(quiet bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case quiet && !p.quiet:
		p.revived = false
		close(p.silent)
	case !quiet && p.quiet:
		p.revived = true
		p.silent = make(chan struct{})
	}
	p.quiet = quiet
}

// another gives another link: the one that was found meanwhile, or one that is dialled. Who asks while somebody dials waits.
func (p *pulse) another(ctx context.Context) (wire.Link, error) {
	select {
	case p.dialling <- struct{}{}:
		defer func() { <-p.dialling }()
	case <-ctx.Done():
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
	p.mu.Lock()
	spare := p.spare
	p.spare = nil
	p.mu.Unlock()
	if spare != nil && spare.Err() == nil {
		return spare, nil
	}
	return p.dial(ctx)
}

// close ends the link that was found and that nobody wants.
func (p *pulse) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	spare := p.spare
	p.spare, p.closed = nil, true
	p.mu.Unlock()
	if spare != nil {
		_ = spare.Close(wire.None, "")
	}
}

// retire has the pulse look for no other link any more: its own one is used for what is open on it alone.
func (p *pulse) retire() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	p.close()
}

// seeks says whether somebody wants another link.
func (p *pulse) seeks() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dial != nil && !p.retired
}

// keep has a link wait for who wants it.
func (p *pulse) keep(link wire.Link) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.spare = link
	}
	p.mu.Unlock()
	if closed {
		_ = link.Close(wire.None, "")
	}
}

// maxRefusals is how many streams may end without a first answer until nobody is asked any more.
const maxRefusals = 3

// run asks until the link ends.
func (p *pulse) run() {
	ctx := p.link.Context()
	passed, known, refusals := p.passed(), false, 0
	for n := uint64(1); n == 1 || p.wait(ctx); n++ {
		if p.stream == nil && !p.open(ctx) {
			continue // as many streams are open as may be
		}
		pad := smallPing
		if now := p.passed(); now > passed {
			pad = wire.MaxPad
		}
		answered, err := p.stream.ask(ctx, n, pad)
		passed = p.passed() + idleBytes + 2*smallPing
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if refusals++; refusals >= maxRefusals && !known { // a relay that is older than this program
				return
			}
			p.stream = nil
		case answered:
			known = true
		case !p.rescue(ctx, n):
			return
		}
	}
}

// passed is how many bytes have passed on the link; 0: nobody counts.
func (p *pulse) passed() uint64 {
	if r, ok := p.link.(wire.Roamer); ok {
		return r.Passed()
	}
	return 0
}

// wait waits until it is time to ask. It is false when the link has ended.
func (p *pulse) wait(ctx context.Context) bool {
	const every = time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last, left := time.Now().Round(0), pulseEvery; left > 0; left -= every { // by the wall's clock, as the other one sleeps too
		select {
		case <-tick.C:
		case <-p.changed:
			return true
		case <-ctx.Done():
			return false
		}
		now := time.Now().Round(0)
		if now.Sub(last) > every+asleep {
			return true
		}
		last = now
	}
	return true
}

func (p *pulse) open(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, pulseWait)
	defer cancel()
	s, err := p.link.Open(ctx)
	if err != nil {
		return false
	}
	p.stream = &pulseStream{f: wire.NewFramed(s), pings: make(chan *wire.Ping, 1), answers: make(chan uint64, 1), ended: make(chan struct{})}
	go p.stream.receive()
	go p.stream.send()
	return true
}

// errUnanswered is how a link ends for which there is another one.
var errUnanswered = &wire.Error{Code: wire.Internal, Detail: "the relay does not answer on this link"}

// rescue looks for another way and for another link until there is an answer. It is false if the link has ended.
func (p *pulse) rescue(ctx context.Context, n uint64) bool {
	began := time.Now()
	var rebound time.Time
	for {
		if p.moves(ctx) && p.stream.urged(ctx, n) || p.stream.answered(ctx, n, 0) || p.stream.over() && ctx.Err() == nil {
			p.set(false)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		p.set(true)
		if r, ok := p.link.(wire.Roamer); ok && time.Since(rebound) >= rebindEvery {
			rebound = time.Now()
			_ = r.Rebind() // not every system can
		}
		if p.seeks() && time.Since(began) >= p.patient {
			link, err := p.another(ctx)
			switch {
			case err != nil:
			case p.stream.answered(ctx, n, 0), p.patient > 0 && p.moves(ctx) && p.stream.urged(ctx, n): // the network is back
				_ = link.Close(wire.None, "")
				p.set(false)
				return true
			default:
				p.keep(link)
				_ = p.link.Close(errUnanswered.Code, errUnanswered.Detail)
				return false
			}
		}
		if p.stream.answered(ctx, n, time.Second) {
			p.set(false)
			return true
		}
	}
}

// moves looks for another way to the relay.
func (p *pulse) moves(ctx context.Context) bool {
	r, ok := p.link.(wire.Roamer)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()
	return r.Move(ctx) == nil
}

// pulseStream is what the relay is asked on.
type pulseStream struct {
	f       *wire.Framed
	pings   chan *wire.Ping
	answers chan uint64 // the last one
	ended   chan struct{}
	last    uint64 // that was answered
}

// send sends pings until the stream ends. One that the link does not take yet holds up nobody but those behind it.
func (s *pulseStream) send() {
	for {
		select {
		case m := <-s.pings:
			if s.f.Send(m) != nil {
				s.f.Reset(wire.None)
				return
			}
		case <-s.ended:
			return
		}
	}
}

func (s *pulseStream) ping(n uint64, pad int) {
	select {
	case s.pings <- &wire.Ping{N: n, Pad: make([]byte, pad)}:
	default: // the one before is not sent yet
	}
}

// receive takes answers until the stream ends. A Pong without a number answers nothing: the relay wants to know something.
func (s *pulseStream) receive() {
	defer close(s.ended)
	defer s.f.Reset(wire.None)
	for {
		m, err := s.f.Receive()
		pong, ok := m.(*wire.Pong)
		if err != nil || !ok {
			return
		}
		if pong.N == 0 {
			continue
		}
		select {
		case <-s.answers:
		default:
		}
		s.answers <- pong.N
	}
}

var errPulse = errors.New("the relay answers no pings")

// ask says whether the relay answers in time.
func (s *pulseStream) ask(ctx context.Context, n uint64, pad int) (bool, error) {
	s.ping(n, pad)
	if s.answered(ctx, n, pulseWait) {
		return true, nil
	}
	if s.over() {
		return false, errPulse
	}
	return false, nil
}

// over says that the relay has ended the stream.
func (s *pulseStream) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// urged asks again and again over the way that was found: the relay too has to learn that it is good, from what comes there.
func (s *pulseStream) urged(ctx context.Context, n uint64) bool {
	const every = 250 * time.Millisecond
	for began := time.Now(); time.Since(began) < urgeWait; {
		s.ping(n, smallPing)
		if s.answered(ctx, n, every) {
			return true
		}
	}
	return false
}

// answered says whether there is an answer to ping n within a time.
func (s *pulseStream) answered(ctx context.Context, n uint64, within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	for s.last != n {
		select {
		case s.last = <-s.answers:
			continue
		default:
		}
		select {
		case s.last = <-s.answers:
		case <-late.C:
			return false
		case <-s.ended:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}
