package audience

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// spring is a source of numbered bytes, with notices between them. It gives each byte once, as a desktop does.
type spring struct {
	seat    *Seat
	all     bytes.Buffer // what it gave, in order; a notice is its text
	made    uint64
	given   uint64
	notices []string
	said    int
}

func (s *spring) News() (messages []wire.Message) {
	for _, text := range s.notices {
		s.all.WriteString(text)
		messages = append(messages, &wire.Notice{Text: text})
	}
	s.notices = nil
	return messages
}

func (s *spring) Read(p []byte) int {
	n := int(min(uint64(len(p)), s.made-s.given))
	for i := range n {
		p[i] = byte('a' + (s.given+uint64(i))%23)
	}
	s.given += uint64(n)
	s.all.Write(p[:n])
	return n
}

func (s *spring) Window() uint64          { return 64 << 10 }
func (s *spring) Shown()                  {}
func (s *spring) Done() bool              { return s.given == s.made }
func (s *spring) Take(wire.Message) error { return nil }
func (s *spring) Given() uint64           { return 0 }
func (s *spring) Active() bool            { return true }
func (s *spring) Left()                   {}

// watched is a seat whose page the test plays, frame by frame.
type watched struct {
	t      rapid.TB
	table  *session.Table
	a      *Audience
	v      *Seat
	source *spring

	stream [][]byte // frames on their way
	up     []wire.Message
	lanes  map[uint32][][]byte

	// The page: which lane it has, whether output comes over it, and what has come.
	open   uint32
	used   bool
	frames uint64
	got    bytes.Buffer
	number uint64
	exit   bool
	who    *session.Viewer // whom its ticket is for
	moves  int             // outputs that came over a lane

	arrivals int
}

func watch(t rapid.TB, table *session.Table, s *session.Channel) *watched {
	w := &watched{t: t, table: table, a: New(s, new(sync.Mutex)), lanes: map[uint32][][]byte{}}
	w.a.times.look = time.Hour
	w.source = &spring{}
	near, _ := wiretest.Streams()
	w.v = w.a.Seat(session.Viewer{OperatorID: "1", Operator: "ann"}, wire.NewFramed(near), w.source)
	w.v.Asides, w.v.Prompt = true, true
	w.source.seat = w.v
	w.locked(func() {
		if err := w.a.EnterLocked(w.v); err != nil {
			t.Fatal(err)
		}
	})
	return w
}

func (w *watched) locked(f func()) {
	w.a.mu.Lock()
	defer w.a.mu.Unlock()
	f()
}

// sends is the seat's turn on its stream.
func (w *watched) sends() bool {
	buf := make([]byte, wire.DataHeader+wire.MaxData)
	again, n, messages, last, err := w.v.due(buf[wire.DataHeader:], true)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range messages {
		b, err := wire.Append(nil, m)
		if err != nil {
			w.t.Fatal(err)
		}
		w.stream = append(w.stream, b)
	}
	if again != nil {
		w.stream = append(w.stream, again)
	}
	if n > 0 {
		w.stream = append(w.stream, bytes.Clone(wire.DataFrame(buf, n)))
	}
	return len(messages) > 0 || again != nil || n > 0 || last
}

// carries is the lane's turn.
func (w *watched) carries() bool {
	l := w.v.aside
	if l == nil || l.used.IsZero() {
		return false
	}
	due, over := w.v.dueAside(l)
	if over {
		w.t.Fatal("the lane that the seat has is over")
	}
	w.lanes[l.n] = append(w.lanes[l.n], due...)
	return len(due) > 0
}

// comes has the page's WebSocket arrive, if it is on its way. It must be taken if the seat still waits for it.
func (w *watched) comes() {
	if w.who == nil {
		return
	}
	near, _ := wiretest.Streams()
	l := w.v.aside
	_, got, err := w.a.open(wire.NewFramed(near), *w.who)
	if waits := l != nil && l.number == w.who.Aside; waits != (err == nil) || err == nil && got != l {
		w.t.Fatalf("the lane that is waited for is %+v, and %+v comes: %v", l, w.who, err)
	}
	if err == nil {
		w.a.gone.Done()
		w.arrivals++
	}
	w.who = nil
}

// hears is the page's turn on its stream.
func (w *watched) hears() bool {
	if len(w.stream) == 0 {
		return false
	}
	m := w.decode(w.stream[0])
	w.stream = w.stream[1:]
	if m, ok := m.(*wire.Aside); ok {
		switch {
		case len(m.Ticket) > 0:
			_, who, err := w.table.Redeem(m.Ticket)
			if err != nil {
				w.t.Fatal(err)
			}
			w.open, w.used, w.frames, w.who = m.N, false, 0, &who
		case m.N != w.open:
		case m.Over:
			w.breaks(0)
		case m.Used:
			w.used = true
		}
		return true
	}
	if _, ok := m.(*wire.Exit); ok {
		w.exit = true
		return true
	}
	if w.used {
		w.t.Fatalf("%T came on the stream while the lane has the output", m)
	}
	w.shows(m)
	return true
}

// takes is the page's turn on its lane.
func (w *watched) takes() bool {
	q := w.lanes[w.open]
	if !w.used || len(q) == 0 {
		return false
	}
	w.lanes[w.open] = q[1:]
	w.frames++
	w.moves++
	w.shows(w.decode(q[0]))
	return true
}

func (w *watched) decode(frame []byte) wire.Message {
	m, err := wire.NewFramed(reader{r: bytes.NewReader(frame)}).Receive()
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// reader is a stream that only reads.
type reader struct {
	wire.Stream
	r io.Reader
}

func (r reader) Read(p []byte) (int, error) { return r.r.Read(p) }

func (w *watched) shows(m wire.Message) {
	if w.exit {
		w.t.Fatalf("%T came behind the end", m)
	}
	switch m := m.(type) {
	case *wire.Data:
		w.got.Write(m.Bytes)
		w.number += uint64(len(m.Bytes))
	case *wire.Notice:
		w.got.WriteString(m.Text)
	default:
		w.t.Fatalf("unexpected %T", m)
	}
}

func (w *watched) acks() {
	ack := &wire.Ack{Offset: w.number}
	if w.used {
		ack.Frames = w.frames
	}
	w.up = append(w.up, ack)
}

// breaks ends the page's lane; keep of the frames that are on their way come before that.
func (w *watched) breaks(keep int) {
	if w.open == 0 {
		return
	}
	for ; keep > 0 && w.takes(); keep-- {
	}
	over := &wire.Aside{N: w.open, Over: true}
	if w.used {
		over.Frames = w.frames
	}
	w.up = append(w.up, over)
	w.open, w.used, w.frames = 0, false, 0
}

// says delivers one message of the page's.
func (w *watched) says() bool {
	if len(w.up) == 0 {
		return false
	}
	m := w.up[0]
	w.up = w.up[1:]
	if err := w.v.take(m, nil); err != nil {
		w.t.Fatalf("%#v: %v", m, err)
	}
	return true
}

// settles lets everything arrive.
func (w *watched) settles() {
	for i, still := 0, 0; ; i++ {
		moved := w.sends()
		moved = w.carries() || moved
		moved = w.hears() || moved
		moved = w.takes() || moved
		if shown := w.v.Seen + w.v.Missed; shown < w.number || w.v.aside != nil && w.v.aside.first < w.frames {
			w.acks()
		}
		moved = w.says() || moved
		if still++; moved {
			still = 0
		}
		if still == 2 || w.exit { // one turn wakes another
			return
		}
		if i > 1e6 {
			w.t.Fatal("it never settles")
		}
	}
}

// However output moves to lanes and back, and wherever they break, all of it comes once and in its order.
func TestAsides(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	moves, arrivals := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := watch(t, table, s)
		defer func() { moves, arrivals = moves+w.moves, arrivals+w.arrivals }()
		several := func(f func() bool) {
			for range rapid.IntRange(1, 8).Draw(t, "times") {
				f()
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"output": func(t *rapid.T) { w.source.made += uint64(rapid.IntRange(1, 300_000).Draw(t, "bytes")) },
			"notice": func(*rapid.T) {
				w.source.said++
				w.source.notices = append(w.source.notices, fmt.Sprintf("<%d>", w.source.said))
			},
			"offer": func(t *rapid.T) {
				offered := false
				w.locked(func() {
					if offered = w.v.aside == nil && len(w.v.again) == 0; offered {
						w.v.offerLocked(1, time.Now())
					}
				})
				if !offered || rapid.Bool().Draw(t, "late") {
					return
				}
				for w.v.aside != nil && w.who == nil && (w.says() || w.sends() || w.hears()) {
				}
				w.comes()
			},
			"run": func(t *rapid.T) { // all of it in any order, so that lanes come to carry something
				turns := []func() bool{w.sends, w.carries, w.hears, w.takes, w.says, func() bool { w.acks(); return true }, func() bool { w.comes(); return true }}
				for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(turns)-1), 1, 60).Draw(t, "turns") {
					turns[i]()
				}
			},
			"come":   func(*rapid.T) { w.comes() },
			"send":   func(*rapid.T) { several(w.sends) },
			"carry":  func(*rapid.T) { several(w.carries) },
			"hear":   func(*rapid.T) { several(w.hears) },
			"take":   func(*rapid.T) { several(w.takes) },
			"say":    func(*rapid.T) { several(w.says) },
			"ack":    func(*rapid.T) { w.acks() },
			"break":  func(t *rapid.T) { w.breaks(rapid.IntRange(0, 3).Draw(t, "before")) },
			"settle": func(*rapid.T) { w.settles() },
			"recall": func(*rapid.T) {
				w.locked(func() {
					if w.v.aside != nil {
						w.v.recallLocked(w.v.aside, time.Now(), true)
					}
				})
			},
		})
		w.locked(func() { w.a.final = &wire.Exit{} }) // whatever is on its way
		w.settles()
		if !w.exit {
			t.Fatalf("the page does not hear of the end; lane %+v", w.v.aside)
		}
		if got, want := w.got.Bytes(), w.source.all.Bytes(); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came, and %d were given", len(got), len(want))
		}
		if w.v.Next != w.source.made {
			t.Fatalf("%d of %d bytes were given", w.v.Next, w.source.made)
		}
	})
	if moves == 0 || arrivals == 0 {
		t.Errorf("%d lanes carried %d frames", arrivals, moves)
	}
	t.Logf("%d lanes carried %d frames", arrivals, moves)
	if err := s.Close(wire.None, ""); err != nil {
		t.Fatal(err)
	}
}

// losing is a stream whose connection loses every tenth packet, as it says itself.
type losing struct {
	wire.Stream
	packets atomic.Uint64
}

func (l *losing) Path() (sent, lost uint64, trip time.Duration) {
	n := l.packets.Add(100)
	return n, n / 10, time.Millisecond
}

// A page that is slow over a connection which loses packets is offered a lane, and its output goes over that; when the lane
// breaks it goes on on the stream, and when the viewer leaves a lane is over.
func TestAsideWhereItIsLossy(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	a := New(s, new(sync.Mutex))
	a.times = asideTimes{
		look: 5 * time.Millisecond, weigh: 20 * time.Millisecond, settle: time.Hour, stall: time.Hour, quiet: time.Hour, answer: time.Hour, rest: time.Millisecond,
	}
	near, far := wiretest.Streams()
	source := &spring{made: 1 << 40}
	f := wire.NewFramed(&losing{Stream: near})
	v := a.Seat(session.Viewer{OperatorID: "1", Operator: "ann"}, f, source)
	v.Asides, v.Prompt, source.seat = true, true, v
	a.mu.Lock()
	if err := a.EnterLocked(v); err != nil {
		t.Fatal(err)
	}
	a.mu.Unlock()
	attended := make(chan struct{})
	go func() {
		defer close(attended)
		a.Attend(f, v, &wire.Attached{})
	}()
	page := wire.NewFramed(far)
	receive := func(f *wire.Framed) wire.Message {
		if err := f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		m, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	number := uint64(0)
	shows := func(m wire.Message, frames uint64) {
		d, ok := m.(*wire.Data)
		if !ok {
			return
		}
		for i, b := range d.Bytes {
			if want := byte('a' + (number+uint64(i))%23); b != want {
				t.Fatalf("byte %d is %q, not %q", number+uint64(i), b, want)
			}
		}
		number += uint64(len(d.Bytes))
		if err := page.Send(&wire.Ack{Offset: number, Frames: frames}); err != nil {
			t.Fatal(err)
		}
	}
	// aside waits for what the relay says of a lane.
	aside := func() *wire.Aside {
		for {
			m := receive(page)
			if a, ok := m.(*wire.Aside); ok {
				return a
			}
			shows(m, 0)
		}
	}
	served := make(chan error, 2)
	opens := func(ticket []byte) *wire.Framed {
		_, who, err := table.Redeem(ticket)
		if err != nil {
			t.Fatal(err)
		}
		near, far := wiretest.Streams()
		go func() { served <- a.Aside(wire.NewFramed(near), who) }()
		return wire.NewFramed(far)
	}
	for n := uint32(1); n <= 2; n++ {
		offer := aside()
		if offer.N != n || len(offer.Ticket) == 0 {
			t.Fatalf("offered: %+v", offer)
		}
		if _, _, err := table.Redeem(make([]byte, 32)); wire.CodeOf(err) != wire.TicketInvalid {
			t.Fatalf("another ticket: %v", err)
		}
		lane := opens(offer.Ticket)
		if used := aside(); !used.Used || used.N != n {
			t.Fatalf("then: %+v", used)
		}
		for i := range uint64(40) {
			shows(receive(lane), i+1)
		}
		if _, _, err := table.Redeem(offer.Ticket); wire.CodeOf(err) != wire.TicketInvalid {
			t.Fatalf("its ticket, again: %v", err)
		}
		if n == 2 {
			break
		}
		lane.Reset(wire.None)
		if over := aside(); !over.Over || over.N != n {
			t.Fatalf("the lane broke: %+v", over)
		}
		if err := page.Send(&wire.Aside{N: n, Over: true, Frames: 40}); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Fatal(err)
		}
	}
	// Its right is taken away: the viewer and its lane end.
	table.EndViewers(func(v session.Viewer) bool { return v.OperatorID == "1" }, &wire.Error{Code: wire.Forbidden})
	a.End(func(v session.Viewer) bool { return v.OperatorID == "1" }, &wire.Error{Code: wire.Forbidden})
	for {
		if m, ok := receive(page).(*wire.Exit); ok {
			if m.Code != wire.Forbidden {
				t.Errorf("the viewer's end: %+v", m)
			}
			break
		}
	}
	if err := page.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-attended
	if err := <-served; err != nil {
		t.Errorf("the lane: %v", err)
	}
	if err := s.Close(wire.None, ""); err != nil {
		t.Fatal(err)
	}
}

// What a page says of lanes that cannot be is an error of its own, and what comes too late is nothing.
func TestAsideWords(t *testing.T) {
	table, _ := sessiontest.Table(t)
	w := watch(t, table, sessiontest.Reserve(t, table))
	refused := func(m wire.Message) {
		t.Helper()
		if err := w.v.take(m, nil); wire.CodeOf(err) != wire.Protocol {
			t.Errorf("%+v: %v", m, err)
		}
	}
	refused(&wire.Aside{N: 1, Over: true})
	w.locked(func() { w.v.offerLocked(1, time.Now()) })
	refused(&wire.Aside{N: 1})
	refused(&wire.Aside{N: 1, Over: true, Frames: 1})
	refused(&wire.Ack{Frames: 1})
	w.source.made = 10
	for w.who == nil {
		w.sends()
		w.hears()
	}
	who := *w.who
	w.comes()
	if _, _, err := w.a.open(nil, who); wire.CodeOf(err) != wire.TicketInvalid {
		t.Errorf("a second connection for one lane: %v", err)
	}
	w.source.made = 20
	w.carries()
	refused(&wire.Aside{N: 1, Over: true, Frames: 2})
	refused(&wire.Ack{Offset: 20}) // of a frame that is not said to have come
	if err := w.v.take(&wire.Aside{N: 1, Over: true}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.v.take(&wire.Aside{N: 1, Over: true, Frames: 77}, nil); err != nil {
		t.Errorf("it is over already: %v", err)
	}
	if len(w.v.again) != 1 {
		t.Errorf("%d frames are sent again", len(w.v.again))
	}
}
