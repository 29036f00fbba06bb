package metrics

import (
	"time"

	"scrier/relay/tally"
)

// Figures is what a relay knows of itself at one moment. What is missing in a map is none; what a room could not tell is nil, and
// then nothing is said of it.
type Figures struct {
	Version, Commit, Go string

	Envoys map[string]int       // by state; without the rows only those that are connected
	Links  map[Link]int         // open now
	Why    map[string]int       // of the agents' links over TCP
	Moves  map[Move]uint64      // of agents, from one road to another
	Viewer map[Viewer]int       // attached now
	Aside  int                  // lanes of pages
	Panics int64                // that were contained
	Ends   map[string]time.Time // of the relay's certificates

	Sessions    map[string]Sessions // by kind
	MaxSessions int
	Refused     map[string]uint64 // requests for sessions, by the code's name

	Lanes         Lanes
	ProgramBytes  Bounded
	Handshakes    Bounded
	TurnedAway    map[string]uint64 // handshakes, by the reason
	Places        map[string]Places
	Limited       map[string]uint64 // by what came too fast
	AuditRecords  uint64
	AuditBytes    *int64
	AuditTook     tally.Spread
	AuditWritable bool
	StoreBytes    *int64
	StoreTook     tally.Spread
	StoreReserve  bool // the space that is kept for the most important changes is there
}

// Link says what links are counted together.
type Link struct{ Peer, Road string }

// Move is from one road to another.
type Move struct{ From, To string }

// Viewer says which viewers are counted together: the transport that they came by, and whether they own the session or watch.
type Viewer struct{ Road, Part string }

// Sessions are those of one kind.
type Sessions struct {
	Waiting, Active int
	Opened          uint64
	Ended           map[string]uint64 // by the code's name
	Took            tally.Spread      // from the request until they were open
	Sent, Received  uint64            // bytes, to the envoys and from them
}

// Lanes are connections for one stream each.
type Lanes struct {
	Open                     int
	Taken, WentBack, Refused uint64
	Memory                   Bounded
}

// Bounded is how much is taken of what there is.
type Bounded struct{ Taken, Most int64 }

// Places are those of a crowd, which are bounded. Most is 0 if they are bounded for each of its members alone.
type Places struct {
	Bounded
	Refused uint64
}
