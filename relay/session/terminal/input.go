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

// input is what the owner typed and the channel has not taken yet. The terminal's mutex guards it.
type input struct {
	fed     chan struct{} // wakes feed
	size    wire.Size
	resize  bool // size is news to the channel
	typed   []byte
	eof     bool
	clients []client // the owner's first
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
	var last time.Time // of a resize
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.ended:
			return
		case <-t.input.fed:
		}
		for more := true; more; {
			t.mu.Lock()
			in := &t.input
			size, resize := in.size, in.resize
			if resize && time.Since(last) < resizeEvery {
				resize = false
				time.AfterFunc(resizeEvery-time.Since(last), func() { wake(in.fed) })
			}
			in.resize = in.resize && !resize
			bytes, from := in.take()
			more = len(bytes) > 0
			eof := in.eof && !more
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
				t.session.Count(len(bytes), 0)
				t.given(from, len(bytes))
			} else if eof && t.channel.CloseWrite() != nil {
				return
			}
		}
	}
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

// take gives some of the input, and tells whose it is.
func (in *input) take() (bytes []byte, from [16]byte) {
	if len(in.typed) == 0 {
		return nil, from
	}
	n := min(len(in.typed), wire.MaxData)
	bytes, in.typed = in.typed[:n:n], in.typed[n:]
	if len(in.typed) == 0 {
		in.typed = nil // what comes next has a buffer of its own: feed is still at this one
	}
	return bytes, in.clients[0].id
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
	in.size, in.resize = size, true
	wake(in.fed)
	return true
}

// become makes the client with this id the one whose input counts, and gives how much of its input
// was taken before. What another client typed and the channel has not taken is dropped, and not
// counted as taken: that client has it still.
func (in *input) become(id [16]byte) client {
	if len(in.clients) > 0 && in.clients[0].id == id {
		return in.clients[0]
	}
	if len(in.clients) > 0 {
		in.clients[0].taken -= uint64(len(in.typed))
		in.typed, in.eof = nil, false
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
