package audience

import (
	"bytes"
	"time"

	"scrier/relay/session"
	"scrier/wire"
)

// aside is a lane of a seat: a connection of its own that carries the seat's output, while all else stays on the seat's
// stream, see [wire.Aside]. It is for output that waits because a page's WebTransport loses packets: TCP may carry more there,
// and if it does not, the output goes back.
//
//	offered -- the page comes --> open -- Used --> used -- Over --> recalled -- the page's Over --> (gone)
//	   '---------------------------'---- it did not come, it broke, the viewer left ------------------^
//
// What was sent over it is kept until the page has said that it came, so that nothing is lost when it breaks.
type aside struct {
	number  uint64       // of the audience's: its ticket says it
	n       uint32       // of the seat's: the page knows it by that
	stream  *wire.Framed // nil: the page has not come
	wake    chan struct{}
	over    chan struct{} // closed when it is gone
	expires time.Time     // of its ticket

	used     time.Time // since when; zero: it is not
	recalled time.Time // since when; zero: it is not
	busy     time.Time // when it was last found busy
	before   float64   // what the stream carried, in bytes a second
	proven   bool      // it carries more
	dry      bool      // the stage has ended, and there was nothing more to send

	kept  []keptFrame // that were sent and not said to have come, at most maxKept and their bytes
	bytes int         // of kept
	first uint64      // the number of kept's first frame, from 0
	moved time.Time
}

// keptFrame is one, and how much output the viewer had before it, by its own count.
type keptFrame struct {
	b    []byte
	from uint64
}

// asideTimes are the times of lanes, for tests that cannot wait.
type asideTimes struct {
	look   time.Duration // how often a lane is looked at
	weigh  time.Duration // how long one measurement takes
	settle time.Duration // from its first use to the measurement that counts
	stall  time.Duration // without a word of what was sent, after which it seems broken
	quiet  time.Duration // without a load, after which it is not needed
	answer time.Duration // for the page to say Over
	rest   time.Duration // between two moves; it doubles with each lane that was of no use
}

func defaultAsides() asideTimes {
	return asideTimes{
		look: time.Second, weigh: 3 * time.Second, settle: 2 * time.Second, stall: 4 * time.Second, quiet: 30 * time.Second,
		answer: 3 * time.Minute, rest: time.Minute, // a page that the browser has frozen may be back by then: its connections are
	}
}

const (
	// A way is lossy when so many packets of all are lost, and not only a few: less slows nobody down.
	lossyShare = 0.005
	lossyLeast = 3

	// worth is how much more a lane must carry than the stream did.
	worth = 1.25

	maxBalk = 6 // doublings of asideTimes.rest: an hour

	maxKept      = 4096    // frames
	maxKeptBytes = 2 << 20 // twice what the largest window lets be on the way
)

// lossy is a stream that counts what its connection loses. trip is the shortest round trip.
type lossy interface {
	Path() (sent, lost uint64, trip time.Duration)
}

// bulky is a stream that can be prepared for much output.
type bulky interface{ ForBulk() }

// weighLocked measures the way on which output goes, and decides from which on it goes over the other. full says that there was
// more than the way takes; window is the most that may be on the way.
func (v *Seat) weighLocked(full bool, window uint64, now time.Time) {
	if !v.Asides {
		return
	}
	f, _ := v.stream.(*wire.Framed)
	if f == nil {
		return
	}
	s, ok := f.Stream.(lossy)
	if !ok {
		return
	}
	sent, lost, trip := s.Path()
	r, ok := v.load.look(full, v.audience.times.weigh, v.pace.acked, sent, lost, now)
	if !ok || !r.busy {
		return
	}
	l := v.aside
	switch {
	case l == nil:
		loses := r.lost >= lossyLeast && float64(r.lost) >= lossyShare*float64(r.sent)
		// If half of the window is on the way, no other way carries much more.
		if loses && r.rate*trip.Seconds() < float64(window)/2 && !now.Before(v.mayMove) {
			v.offerLocked(r.rate, now)
		}
	case !l.used.IsZero() && l.recalled.IsZero():
		l.busy = now
		if l.proven || now.Sub(l.used) < v.audience.times.settle+v.audience.times.weigh {
			return
		}
		if l.proven = r.rate >= worth*l.before; l.proven {
			v.balk = 0
			return
		}
		v.balk = max(v.balk, 2) // it is the network's, and does not change soon
		v.recallLocked(l, now, false)
	}
}

// offerLocked gives the page the right to open a lane.
func (v *Seat) offerLocked(rate float64, now time.Time) {
	a := v.audience
	a.asides++
	who := v.Viewer
	who.Aside = a.asides
	ticket, err := a.session.Ticket(who)
	if err != nil { // they have too many that wait
		v.restLocked(now, false)
		return
	}
	v.asided++
	v.aside = &aside{
		number: a.asides, n: v.asided, wake: make(chan struct{}, 1), over: make(chan struct{}), expires: now.Add(session.TicketLife), before: rate,
	}
	v.notes = append(v.notes, &wire.Aside{N: v.asided, Ticket: ticket})
	v.WakeLocked()
	v.watchLocked(v.aside)
}

// watchLocked looks at a lane now and then until it is gone.
func (v *Seat) watchLocked(l *aside) {
	time.AfterFunc(v.audience.times.look, func() {
		v.audience.mu.Lock()
		defer v.audience.mu.Unlock()
		if v.aside == l {
			v.lookLocked(l, time.Now())
		}
		if v.aside == l {
			v.watchLocked(l)
		}
	})
}

func (v *Seat) lookLocked(l *aside, now time.Time) {
	t := v.audience.times
	switch {
	case l.stream == nil:
		if now.After(l.expires) {
			v.recallLocked(l, now, false)
		}
	case !l.recalled.IsZero():
		if now.Sub(l.recalled) >= t.answer && v.lost == nil {
			v.lost = wire.Errorf(wire.ViewerLost, "a lane was called back, and the page does not answer")
			v.WakeLocked()
		}
	case l.used.IsZero():
	case len(l.kept) > 0:
		if now.Sub(l.moved) >= t.stall {
			v.recallLocked(l, now, false)
		}
	case now.Sub(l.busy) >= t.quiet && now.Sub(l.used) >= t.rest:
		v.recallLocked(l, now, true)
	}
}

// recallLocked has output go back to the stream. useful says that the lane was.
func (v *Seat) recallLocked(l *aside, now time.Time, useful bool) {
	if v.aside != l || !l.recalled.IsZero() {
		return
	}
	v.notes = append(v.notes, &wire.Aside{N: l.n, Over: true})
	v.restLocked(now, useful)
	l.recalled = now
	if l.used.IsZero() {
		v.dropAsideLocked()
	}
	v.WakeLocked()
}

// restLocked has no lane be offered for a while.
func (v *Seat) restLocked(now time.Time, useful bool) {
	v.mayMove = now.Add(v.audience.times.rest << min(v.balk, maxBalk))
	if !useful {
		v.balk++
	}
}

// dropAsideLocked ends the lane, if there is one.
func (v *Seat) dropAsideLocked() {
	if l := v.aside; l != nil {
		v.aside = nil
		close(l.over)
	}
}

// apartLocked says that output does not go on the stream.
func (v *Seat) apartLocked() bool { return v.aside != nil && !v.aside.used.IsZero() }

// outLocked says that output is on its way over a lane, or was lost there. It is asked once the stage has ended.
func (v *Seat) outLocked() bool {
	return len(v.again) > 0 || v.apartLocked() && (len(v.aside.kept) > 0 || !v.aside.recalled.IsZero() || !v.aside.dry)
}

// asideOverLocked takes the page's word that a lane is over.
func (v *Seat) asideOverLocked(m *wire.Aside) error {
	if !m.Over || m.N > v.asided {
		return wire.Errorf(wire.Protocol, "there was no lane %d", m.N)
	}
	l := v.aside
	if l == nil || l.n != m.N { // it is known already
		return nil
	}
	now := time.Now()
	if m.Frames < l.first || m.Frames > l.first+uint64(len(l.kept)) {
		return wire.Errorf(wire.Protocol, "%d frames came over a lane, and %d were sent", m.Frames, l.first+uint64(len(l.kept)))
	}
	v.again = nil
	for _, k := range l.kept[m.Frames-l.first:] {
		v.again = append(v.again, k.b)
	}
	if l.recalled.IsZero() {
		v.restLocked(now, false)
	}
	v.dropAsideLocked()
	v.afreshLocked(false, now)
	v.WakeLocked()
	return nil
}

// asideTakenLocked notes how many frames have come over the lane.
func (v *Seat) asideTakenLocked(frames uint64) error {
	l := v.aside
	if frames == 0 || l == nil { // or one that is over: the page said so behind it
		return nil
	}
	if frames > l.first+uint64(len(l.kept)) {
		return wire.Errorf(wire.Protocol, "%d frames are said to have come over a lane, and %d were sent", frames, l.first+uint64(len(l.kept)))
	}
	for ; l.first < frames; l.first++ {
		l.bytes -= len(l.kept[0].b)
		l.kept[0], l.kept = keptFrame{}, l.kept[1:]
		l.moved = time.Now()
	}
	return nil
}

// tiedLocked checks that who acknowledges output says of the frame that brought it that it has come: else frames would be kept that a
// window does not bound.
func (v *Seat) tiedLocked(offset uint64) error {
	if l := v.aside; l != nil && len(l.kept) > 0 && offset > l.kept[0].from {
		return wire.Errorf(wire.Protocol, "%d bytes are acknowledged, and the frame behind byte %d is not said to have come", offset, l.kept[0].from)
	}
	return nil
}

// afreshLocked measures anew, as output goes another way.
func (v *Seat) afreshLocked(inOrder bool, now time.Time) {
	v.pace = pace{acked: v.pace.acked, ackedAt: now, inOrder: inOrder}
	v.load = load{}
}

// Aside serves a connection as the lane of the viewer that was offered it, until that or the lane is over.
func (a *Audience) Aside(f *wire.Framed, who session.Viewer) error {
	v, l, err := a.open(f, who)
	if err != nil {
		return err
	}
	defer a.gone.Done()
	if b, ok := f.Stream.(bulky); ok {
		b.ForBulk()
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		a.session.Guard(func() { v.hear(f, l) })
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		<-l.over
		f.Reset(wire.None) // frees who reads and who writes
	}()
	a.session.Guard(func() { v.carry(f, l) })
	a.mu.Lock()
	v.recallLocked(l, time.Now(), false) // it broke, unless it is over
	a.mu.Unlock()
	<-done
	<-done
	return nil
}

// open finds whose lane it is, and has output go over it from now on.
func (a *Audience) open(f *wire.Framed, who session.Viewer) (*Seat, *aside, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range a.allLocked() {
		l := v.aside
		if l == nil || l.number != who.Aside || l.stream != nil {
			continue
		}
		if v.end != nil || v.lost != nil || v.left {
			break
		}
		now := time.Now()
		l.stream, l.used, l.busy, l.moved = f, now, now, now
		v.notes = append(v.notes, &wire.Aside{N: l.n, Used: true})
		v.afreshLocked(true, now)
		a.gone.Add(1)
		v.WakeLocked()
		return v, l, nil
	}
	return nil, nil, &wire.Error{Code: wire.TicketInvalid}
}

// hear waits for the end of a lane. The page says nothing on it but that it is there.
func (v *Seat) hear(f *wire.Framed, l *aside) {
	for {
		m, err := f.Receive()
		if _, ok := m.(*wire.Ping); err == nil && ok {
			continue
		}
		v.audience.mu.Lock()
		v.recallLocked(l, time.Now(), false)
		v.audience.mu.Unlock()
		return
	}
}

// carry sends the seat's output over a lane, until that is over or breaks.
func (v *Seat) carry(f *wire.Framed, l *aside) {
	for {
		due, over := v.dueAside(l)
		if over {
			return
		}
		if len(due) == 0 {
			select {
			case <-l.wake:
			case <-l.over:
			}
			continue
		}
		for _, frame := range due {
			if f.WriteBy(time.Now().Add(viewerStall), nil, frame) != nil {
				v.audience.mu.Lock()
				v.recallLocked(l, time.Now(), false)
				v.audience.mu.Unlock()
				<-l.over
				return
			}
		}
	}
}

// dueAside is the frames that are to be sent over a lane now. They are kept, too.
func (v *Seat) dueAside(l *aside) (due [][]byte, over bool) {
	a := v.audience
	a.mu.Lock()
	defer a.mu.Unlock()
	if v.aside != l {
		return nil, true
	}
	if v.lost != nil || v.end != nil || !l.recalled.IsZero() || len(l.kept) >= maxKept || l.bytes >= maxKeptBytes {
		return nil, false
	}
	now := time.Now()
	if len(l.kept) == 0 {
		l.moved = now
	}
	from := v.Next - v.Missed
	keep := func(b []byte) {
		due = append(due, b)
		l.bytes += len(b)
		l.kept = append(l.kept, keptFrame{b, from})
	}
	for _, m := range v.source.News() {
		b, err := wire.Append(nil, m)
		if err != nil {
			v.lost = err
			v.WakeLocked()
			break
		}
		keep(b)
	}
	from = v.Next - v.Missed
	buf := frames.Get().(*[wire.DataHeader + wire.MaxData]byte)
	defer frames.Put(buf)
	if n := v.readLocked(buf[wire.DataHeader:], now); n > 0 {
		keep(bytes.Clone(wire.DataFrame(buf[:], n)))
	}
	if len(due) == 0 && a.final != nil && !l.dry {
		l.dry = true
		v.WakeLocked() // the last frame goes on the stream
	}
	return due, false
}

func (l *aside) wakeLocked() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
