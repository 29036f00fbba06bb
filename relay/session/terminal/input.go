package terminal

import (
	"context"
	"slices"
	"time"

	"scrier/wire"
)

const (
	resizeEvery = 100 * time.Millisecond // a dragged window makes hundreds a second

	maxClients = 8 // whose input is remembered, for when they come back
)

// input is what the owner typed, and the size that their terminal got, in order: what the channel has
// not taken yet. The terminal's mutex guards it.
type input struct {
	fed     chan struct{} // wakes feed
	typed   []byte
	eof     bool
	clients []client // the owner's first

	size    wire.Size
	resize  bool      // size is news to the channel
	before  int       // how much of typed came before that
	resized time.Time // when the channel was told a size
}

// client is how much input of one viewer was taken, over all its connections.
type client struct {
	id    [16]byte
	taken uint64 // into typed
	given uint64 // to the channel; what it may count on
}

func newInput(size wire.Size) input {
	return input{fed: make(chan struct{}, 1), size: size.Clamp()}
}

// feed gives the channel what was typed, and the terminal's size.
func (t *Terminal) feed(ctx context.Context) {
	for {
		next := t.next()
		var later <-chan time.Time
		if next.wait > 0 {
			later = time.After(next.wait)
		}
		var err error
		switch {
		case len(next.bytes) > 0:
			if _, err = t.channel.Write(next.bytes); err == nil {
				t.session.Count(len(next.bytes), 0)
				t.given(next.from, len(next.bytes))
				continue
			}
		case next.size != wire.Size{}:
			t.resized(next.size)
			if err = t.channel.Resize(next.size); err == nil {
				continue
			}
		case next.eof:
			err = t.channel.CloseWrite()
		}
		if err != nil {
			return // pump sees the end
		}
		select {
		case <-ctx.Done():
			return
		case <-t.ended:
			return
		case <-t.input.fed:
		case <-later:
		}
	}
}

// next is what the channel gets next.
func (t *Terminal) next() step {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.input.next(time.Now())
}

// resized gives the screen the size that the channel is about to get.
func (t *Terminal) resized(size wire.Size) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fitLocked(size)
}

// given tells a client that the channel has n bytes more of its input.
func (t *Terminal) given(from [16]byte, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.input.clients {
		if t.input.clients[i].id == from {
			t.input.clients[i].given += uint64(n)
		}
	}
	if owner := t.audience.OwnerLocked(); owner != nil {
		owner.WakeLocked()
	}
}

// add takes what the owner typed.
func (in *input) add(p []byte) error {
	if len(in.typed)+len(p) > wire.ViewerWindow {
		return wire.Errorf(wire.Protocol, "input is more than %d bytes ahead", wire.ViewerWindow)
	}
	in.typed = append(in.typed, p...)
	in.clients[0].taken += uint64(len(p))
	wake(in.fed)
	return nil
}

// step is what the channel gets next: one of these, or nothing.
type step struct {
	bytes []byte
	from  [16]byte // whose bytes
	size  wire.Size
	eof   bool
	wait  time.Duration // nothing, but something after this time
}

// next takes what comes first. A size waits until resizeEvery after the last one, as a window that is
// dragged makes hundreds a second; what was typed behind it waits with it.
func (in *input) next(now time.Time) step {
	n := len(in.typed)
	if in.resize {
		n = in.before
	}
	switch {
	case n > 0:
		n = min(n, wire.MaxData)
		bytes := in.typed[:n:n]
		if in.typed = in.typed[n:]; len(in.typed) == 0 {
			in.typed = nil // what comes next has a buffer of its own: feed is still at this one
		}
		in.before = max(in.before-n, 0)
		return step{bytes: bytes, from: in.clients[0].id}
	case in.resize:
		if wait := resizeEvery - now.Sub(in.resized); wait > 0 {
			return step{wait: wait}
		}
		in.resize, in.resized = false, now
		return step{size: in.size}
	}
	return step{eof: in.eof}
}

// end says that the owner has no more input.
func (in *input) end() {
	in.eof = true
	wake(in.fed)
}

// resizeTo sets the size; it says whether it is another one than before.
func (in *input) resizeTo(size wire.Size) bool {
	if size = size.Clamp(); size == in.size {
		return false
	}
	if !in.resize { // a later size takes the place of one that waits
		in.resize, in.before = true, len(in.typed)
	}
	in.size = size
	wake(in.fed)
	return true
}

// become makes the client with this id the one whose input counts, and gives how much of its input
// was taken before. What another client typed and the channel has not taken is dropped and not counted
// as taken: that client keeps a copy, and sends it again.
func (in *input) become(id [16]byte) client {
	if len(in.clients) > 0 && in.clients[0].id == id {
		return in.clients[0]
	}
	if len(in.clients) > 0 {
		in.clients[0].taken -= uint64(len(in.typed))
		in.typed, in.before, in.eof = nil, 0, false
	}
	c := client{id: id}
	if i := slices.IndexFunc(in.clients, func(c client) bool { return c.id == id }); i >= 0 {
		c = in.clients[i]
		in.clients = slices.Delete(in.clients, i, i+1)
	}
	in.clients = slices.Insert(in.clients, 0, c)
	in.clients = in.clients[:min(len(in.clients), maxClients)]
	return c
}
