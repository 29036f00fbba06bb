package relay

import (
	"math"
	"sync"
	"sync/atomic"

	"scrier/wire"
)

// How many links without a certificate there may be at the same time, viewers without a ticket
// included. That is enough for a company that logs in on Monday morning from one address; it also
// bounds what strangers can hold.
const (
	maxStrangers           = 1024
	maxStrangersPerNetwork = 64
)

// How many connections of browsers that are not signed in there may be, over TCP and over QUIC, each by
// itself: so who takes all of one leaves the other. Those of who has signed in are counted by
// operator, and leave their places to strangers.
const (
	maxOverTCP            = 2048
	maxOverTCPPerNetwork  = 256 // one page has a few; a whole company may come from one address
	maxOverQUIC           = 1024
	maxOverQUICPerNetwork = 64   // one page has one, which costs as much memory as several over TCP
	maxAsking             = 1024 // requests under way
	maxAskingPerNetwork   = 128
	maxSignedIn           = 8192
	maxSignedInPerUser    = 128 // tabs, each with a connection of its own for its viewer
)

// How many links one identity may have at the same time. Each command that is running has one; an
// agent has one, and others for a moment when it comes back before they are known to be gone.
const (
	maxLinks            = 10_000
	maxLinksPerOperator = 128
	maxLinksPerEnvoy    = 8

	// Connections for one stream that have not said yet for which.
	maxLanes            = 1024
	maxLanesPerIdentity = 64
)

const (
	// sitePart is how many times a network's places an IPv6 /48 has, which holds 65,536 networks.
	sitePart = 4

	// The last quarter of the places is for those who hold fewer than newcomer of them: some networks
	// that take all they can leave room for each that comes new.
	reservePart = 4
	newcomer    = 4
)

// unbounded is the size of a crowd that is bounded for each of its members alone.
const unbounded = math.MaxInt

// crowd counts what is open, by who has it: for peers that have not shown who they are the network
// that they come from ([wire.Network]), else an id. Its methods may be called concurrently.
type crowd struct {
	what      string // is counted of each, for the error
	max, each int

	refused atomic.Uint64

	mu    sync.Mutex
	total int
	by    map[string]int // by network or id
	sites map[string]int // by the site around the network ([wire.Site])
}

// enter takes a place for who is at an address, or has an id; or refuses with [wire.Busy].
func (c *crowd) enter(of string) (leave func(), err error) {
	network := wire.Network(of)
	site := wire.Site(network)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.by[network] >= c.each, c.sites[site] >= sitePart*c.each:
		c.refused.Add(1)
		return nil, wire.Errorf(wire.Busy, "%d %s are open, and no more can be; close some", c.by[network], c.what)
	case c.total >= c.max, c.total >= c.max-c.max/reservePart && c.sites[site] >= newcomer:
		c.refused.Add(1)
		return nil, wire.Errorf(wire.Busy, "the relay has as many connections as it can have; try again in a minute")
	}
	if c.by == nil {
		c.by, c.sites = map[string]int{}, map[string]int{}
	}
	c.total++
	c.by[network]++
	c.sites[site]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.total--
		take(c.by, network)
		take(c.sites, site)
	}), nil
}

// take counts one less, and keeps nothing that is none.
func take(by map[string]int, key string) {
	if by[key]--; by[key] == 0 {
		delete(by, key)
	}
}

// taken is how many places are taken.
func (c *crowd) taken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}
