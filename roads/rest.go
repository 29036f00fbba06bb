package roads

import (
	"slices"
	"time"

	"scrier/wire"
)

// restBelieved is how old may be what is known of a network's patience: its router may have been set otherwise meanwhile.
const restBelieved = 24 * time.Hour

// Rest is what is known of a network: for how long nothing may pass before something on the way (a NAT, a firewall) forgets the link.
type Rest struct {
	// Held is the longest time after which the relay's word still came; 0: nobody knows.
	Held time.Duration
	// Failed is the shortest time after which it did not; 0: none is known.
	Failed time.Duration
}

// restNote is what is kept of it.
type restNote struct {
	Network string    `json:"network"`
	Relay   string    `json:"relay"`
	Held    uint32    `json:"held"` // seconds
	Failed  uint32    `json:"failed,omitempty"`
	Time    time.Time `json:"time"`
}

func (n restNote) usable() bool {
	most := uint32(wire.MaxRest / time.Second)
	return n.Network == cut(n.Network) && n.Relay == cut(n.Relay) && n.Held <= most && n.Failed <= most
}

// Rest is what is known of the network that this machine is in, for a relay.
func (m Memory) Rest(relay string) Rest {
	network := m.network()
	for _, n := range m.load().Rests {
		if age := m.Now().Sub(n.Time); n.Network == network && n.Relay == relay && age >= 0 && age < restBelieved {
			return Rest{time.Duration(n.Held) * time.Second, time.Duration(n.Failed) * time.Second}
		}
	}
	return Rest{}
}

// Rested notes what has been learnt. Fractions of a second are left out.
func (m Memory) Rested(relay string, r Rest) error {
	if m.Path == "" {
		return nil
	}
	network := m.network()
	known := m.load()
	known.Rests = slices.DeleteFunc(known.Rests, func(n restNote) bool { return n.Network == cut(network) && n.Relay == cut(relay) })
	known.Rests = slices.Insert(known.Rests, 0, restNote{
		Network: cut(network), Relay: cut(relay), Held: uint32(r.Held / time.Second), Failed: uint32(r.Failed / time.Second), Time: m.Now().UTC().Truncate(time.Second),
	})
	known.Rests = known.Rests[:min(len(known.Rests), maxNotes)]
	return m.save(known)
}
