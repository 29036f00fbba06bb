package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/session"
	"scrier/relay/tally"
	"scrier/relay/web"
	"scrier/wire"
)

// counts are what the relay counts beside its rooms, for its metrics. Its methods may be called concurrently.
type counts struct {
	operators       carried // their links
	owners, watcher carried // viewers
	pages, asides   carried // connections of pages' viewers, and those of them that are lanes
	refused         tally.Codes
	opened          map[wire.Kind]*tally.Times // does not change
}

func newCounts() *counts {
	return &counts{opened: map[wire.Kind]*tally.Times{wire.KindSSH: {}, wire.KindRDP: {}, wire.KindVNC: {}}}
}

// took counts a session that was asked for at some time, and is open now.
func (c *counts) took(kind wire.Kind, asked time.Time) {
	if t := c.opened[kind]; t != nil {
		t.Since(asked)
	}
}

// refuse counts a request for a session that came to nothing before there was one.
func (c *counts) refuse(err error) {
	if err != nil {
		c.refused.Count(wire.CodeOf(err))
	}
}

// viewer counts somebody who comes to see a session.
func (c *counts) viewer(road string, v session.Viewer) (left func()) {
	if v.Watch {
		return c.watcher.enter(road)
	}
	return c.owners.enter(road)
}

// page counts a connection of a page's viewer.
func (c *counts) page(over web.Transport, v session.Viewer) (left func()) {
	as := c.viewer
	if v.Aside != 0 {
		as = func(road string, _ session.Viewer) func() { return c.asides.enter(road) }
	}
	links, viewers := c.pages.enter(string(over)), as(string(over), v)
	return func() {
		viewers()
		links()
	}
}

// carried counts what is there now by what carries it.
type carried struct{ quic, tcp, webTransport, webSocket atomic.Int64 }

// enter counts one that is there until left is called.
func (c *carried) enter(road string) (left func()) {
	n := c.by()[road]
	if n == nil { // the road is one of ours
		return func() {}
	}
	n.Add(1)
	return sync.OnceFunc(func() { n.Add(-1) })
}

func (c *carried) by() map[string]*atomic.Int64 {
	return map[string]*atomic.Int64{
		string(wire.QUIC): &c.quic, string(wire.TCP): &c.tcp, string(web.OverWebTransport): &c.webTransport, string(web.OverWebSocket): &c.webSocket,
	}
}

// all is how many there are now, in all.
func (c *carried) all() (n int) {
	for _, some := range c.by() {
		n += int(some.Load())
	}
	return n
}
