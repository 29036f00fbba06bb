package client

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"scrier/network"
	"scrier/wire"
)

const (
	// maxLinks is how many links a session's channels may take, the first one included.
	maxLinks = 24
	// roomWait is how long a link may take to open a stream before it counts as full. Nothing is asked of the network for that,
	// but the machine may be busy.
	roomWait = 5 * time.Millisecond
	// dialWait is how long one more link may take.
	dialWait = 15 * time.Second
)

// links are those that a session's channels are on. A relay lets a few dozen streams be open on one at a time, and fewer where it
// knew nobody of this network when the link began; so more channels need more of them.
type links struct {
	first wire.Link
	dial  func(context.Context) (wire.Link, error) // nil: there are no others
	beats bool                                     // the relay is asked whether a link lives
	found *prober                                  // of first: there may be a better link

	roomy atomic.Pointer[wire.Link] // the one that had room last; nil: the first one

	mu    sync.Mutex // also held while one more is made: who needs one too waits for it
	more  []wire.Link
	ended bool
}

// open opens a stream on a link that has room for it, or on one more. on is that link's context.
func (l *links) open(ctx context.Context) (s wire.Stream, on context.Context, err error) {
	if better, _ := l.found.better(); better != nil {
		if s := try(ctx, better); s != nil {
			return s, better.Context(), nil
		}
	}
	if l.dial != nil {
		likely := l.likely()
		if s := try(ctx, likely); s != nil {
			return s, likely.Context(), nil
		}
		if ctx.Err() == nil && l.first.Err() == nil {
			if s, on := l.other(ctx, likely); s != nil {
				return s, on, nil
			}
		}
	}
	s, err = l.first.Open(ctx) // when there is room again, or it tells why not
	return s, l.first.Context(), err
}

// likely is the link that has room, if one has: where many streams begin, most links are full, and finding that out takes roomWait
// each time.
func (l *links) likely() wire.Link {
	if link := l.roomy.Load(); link != nil && (*link).Err() == nil {
		return *link
	}
	return l.first
}

// other opens a stream on another link than one that was full, or on one more; nil: it cannot.
func (l *links) other(ctx context.Context, full wire.Link) (s wire.Stream, on context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.more = slices.DeleteFunc(l.more, func(link wire.Link) bool { return link.Err() != nil })
	all := append([]wire.Link{l.first}, l.more...)
	if i := slices.Index(all, l.likely()); i > 0 { // somebody else may have found it, or made it, meanwhile
		all[0], all[i] = all[i], all[0]
	}
	for _, link := range all {
		if link == full {
			continue
		}
		if s := try(ctx, link); s != nil {
			l.roomy.Store(&link)
			return s, link.Context()
		}
	}
	if l.ended || len(l.more)+1 >= maxLinks {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	link, err := l.dial(ctx)
	if err != nil {
		return nil, nil // the first one has room again some time
	}
	l.more = append(l.more, link)
	l.roomy.Store(&link)
	if l.beats { // what is on it and does not last cannot go on over another one
		go newPulse(link, nil, network.Watch(link.Context())).run()
	}
	return try(ctx, link), link.Context()
}

// try opens a stream at once or not at all.
func try(ctx context.Context, link wire.Link) wire.Stream {
	ctx, cancel := context.WithTimeout(ctx, roomWait)
	defer cancel()
	s, err := link.Open(ctx)
	if err != nil {
		return nil
	}
	return s
}

// close ends all but the first: as the network would, if what is on them is to go on elsewhere.
func (l *links) close(goesOn bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for _, link := range l.more {
		_ = link.Close(leaving(goesOn), "")
	}
	l.more = nil
	l.roomy.Store(nil)
}
