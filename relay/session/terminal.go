package session

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"scrier/wire"
)

// Channel is what a session carries once it is open: a shell. Read and Write may run at the same
// time; Close ends both.
type Channel interface {
	io.ReadWriter
	CloseWrite() error
	Resize(wire.Size) error
	// Wait gives how it ended, after Read has failed; nil: nobody knows.
	Wait(ctx context.Context) *wire.Exit
	Close()
}

const (
	// exitWait is how long a shell that has closed its output may take to say how it ended, and the
	// viewer of a session that is ended from outside to take its last frame.
	exitWait = 2 * time.Second
	// lastWait is how long a viewer may take to take all of a shell that ended by itself.
	lastWait = 8 * time.Second

	// A shell is let run ahead of the screen by as much as one window; while nobody is attached, by
	// what the backlog holds. Then it is stopped by flow control, and nothing is lost.
	aheadAttached = wire.ViewerWindow
	aheadDetached = backlogSize - wire.MaxData

	resizeEvery = 100 * time.Millisecond // a dragged window makes hundreds a second

	maxClients = 8 // whose input is remembered, for when they come back
)

// terminal joins a channel to those who see it: the owner, who types, and watchers.
//
//	channel -- pump --> backlog -- each viewer's own pace --> viewers
//	channel <-- feed -- typed   <----------------------------- owner
//
// Viewers come and go; output goes on into the backlog, and stops when the owner's screen is too
// far behind.
type terminal struct {
	audience[*viewer]
	channel Channel
	room    chan struct{} // wakes pump
	fed     chan struct{} // wakes feed
	ended   chan struct{} // closed when the channel's output has ended
	idle    chan struct{} // wakes run: a viewer has left or has all of the output

	mu      sync.Mutex // guards the audience too
	out     backlog
	seen    uint64 // how much of the output is on the owner's screen, the last owner's when there is none
	over    bool   // as ended
	final   *wire.Exit
	size    wire.Size
	resize  bool // size is news to the channel
	typed   []byte
	eof     bool
	clients []client
}

// client is how much input of one viewer was taken, over all its connections.
type client struct {
	id    [16]byte
	taken uint64 // into typed
	given uint64 // to the channel; what it may count on
}

// Start gives a session its channel, which it owns from now on. It runs until the channel ends,
// the session is ended, or nobody has seen it for the grace.
func (s *Session) Start(c Channel, size wire.Size) {
	t := &terminal{
		audience: audience[*viewer]{session: s}, channel: c, size: size.Clamp(), room: make(chan struct{}, 1), fed: make(chan struct{}, 1),
		ended: make(chan struct{}), idle: make(chan struct{}, 1),
	}
	s.shows(t)
	t.mu.Lock()
	t.waitLocked()
	t.mu.Unlock()
	go t.run() // the table waits for it: the session is live until its end
}

// run closes the session when it is over.
func (t *terminal) run() {
	s := t.session
	var wg sync.WaitGroup
	wg.Go(t.pump)
	wg.Go(t.feed)
	select {
	case <-s.ctx.Done():
	case <-t.ended:
	}
	var exit *wire.Exit
	if s.ctx.Err() == nil { // it ended by itself: its last words are for whoever comes within the grace
		wait, cancel := context.WithTimeout(context.Background(), exitWait)
		exit = t.channel.Wait(wait)
		cancel()
		for !t.delivered() && s.ctx.Err() == nil {
			select {
			case <-s.ctx.Done():
			case <-t.idle:
			}
		}
	}
	t.channel.Close()
	wg.Wait()
	if exit == nil {
		exit = &wire.Exit{Code: wire.AgentLost, Detail: "the shell's connection broke"}
		if s.ctx.Err() != nil { // it was ended, and the shell's end is the effect
			why := context.Cause(s.ctx)
			exit = &wire.Exit{Code: wire.CodeOf(why), Detail: wire.DetailOf(why)}
		}
	}
	err := s.Close(exit.Code, exit.Detail)
	s.table.Log.Info("session closed", "session", s.row.ID, "operator", s.row.Operator, "envoy", s.row.EnvoyName, "code", exit.Code, "err", err)
	t.mu.Lock()
	t.final = exit
	t.mu.Unlock()
	t.dismiss(&t.mu, exit.Code)
	s.table.forget(s)
}

// pump moves the channel's output into the backlog.
func (t *terminal) pump() {
	defer func() {
		t.mu.Lock()
		t.over = true
		close(t.ended)
		t.wakeLocked()
		t.mu.Unlock()
	}()
	buf := make([]byte, wire.MaxData)
	for {
		for !t.mayRead() {
			select {
			case <-t.room:
			case <-t.session.ctx.Done():
				return
			}
		}
		n, err := t.channel.Read(buf)
		if n > 0 {
			t.session.received.Add(uint64(n))
			t.mu.Lock()
			t.out.add(buf[:n])
			t.wakeLocked()
			t.mu.Unlock()
		}
		if err != nil { // io.EOF or a broken transport: how the shell ended tells them apart
			return
		}
	}
}

func (t *terminal) mayRead() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ahead := uint64(aheadDetached)
	if t.owner != nil {
		ahead = aheadAttached
	}
	return t.out.head-t.seen < ahead
}

// feed gives the channel what was typed, and the terminal's size.
func (t *terminal) feed() {
	ctx := t.session.ctx
	var last time.Time // of a resize
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.ended:
			return
		case <-t.fed:
		}
		for more := true; more; {
			t.mu.Lock()
			size, resize := t.size, t.resize
			if resize && time.Since(last) < resizeEvery {
				resize = false
				time.AfterFunc(resizeEvery-time.Since(last), func() { wake(t.fed) })
			}
			t.resize = t.resize && !resize
			bytes, from := t.takeTypedLocked()
			more = len(bytes) > 0
			eof := t.eof && !more
			t.mu.Unlock()
			if resize {
				last = time.Now()
				if t.channel.Resize(size) != nil {
					return // pump sees the end
				}
			}
			if more {
				if _, err := t.channel.Write(bytes); err != nil {
					return
				}
				t.session.sent.Add(uint64(len(bytes)))
				t.given(from, len(bytes))
			} else if eof && t.channel.CloseWrite() != nil {
				return
			}
		}
	}
}

// takeTypedLocked takes some of the input, and tells whose it is.
func (t *terminal) takeTypedLocked() (bytes []byte, from [16]byte) {
	if len(t.typed) == 0 {
		return nil, from
	}
	n := min(len(t.typed), wire.MaxData)
	bytes, t.typed = t.typed[:n:n], t.typed[n:]
	if len(t.typed) == 0 {
		t.typed = nil // what comes next has a buffer of its own: feed is still at this one
	}
	return bytes, t.clients[0].id
}

// given tells a client that the channel has n bytes more of its input.
func (t *terminal) given(from [16]byte, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.clients {
		if t.clients[i].id == from {
			t.clients[i].given += uint64(n)
		}
	}
	if t.owner != nil {
		t.owner.wakeLocked()
	}
}

// becomeLocked makes the client with this id the one whose input counts. What another one typed and the
// shell has not taken is that one's again.
func (t *terminal) becomeLocked(id [16]byte) {
	if len(t.clients) > 0 && t.clients[0].id == id {
		return
	}
	if len(t.clients) > 0 {
		t.clients[0].taken -= uint64(len(t.typed))
		t.typed, t.eof = nil, false
	}
	c := client{id: id}
	if i := slices.IndexFunc(t.clients, func(c client) bool { return c.id == id }); i >= 0 {
		c = t.clients[i]
		t.clients = slices.Delete(t.clients, i, i+1)
	}
	t.clients = slices.Insert(t.clients, 0, c)
	t.clients = t.clients[:min(len(t.clients), maxClients)]
}

// delivered says that the output has ended and the owner's viewer has all of it.
func (t *terminal) delivered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.owner != nil && t.owner.next == t.out.head
}

func (t *terminal) endViewers(match func(Viewer) bool, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(match, why)
}

func (t *terminal) admits(Viewer) error { return nil }

func (t *terminal) viewers() (attached bool, watchers []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.owner != nil, t.namesLocked()
}

// watched writes down that somebody looks on, before they see anything.
func (s *Session) watched(ctx context.Context, what string, v Viewer) error {
	e := s.event(what)
	e.Source = v.Source
	e.Fields["viewer"] = v.Operator
	_, err := s.table.Journal.Append(ctx, e)
	return err
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
