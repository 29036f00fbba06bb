package roads

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"scrier/certs"
	"scrier/wire"
)

const (
	// believed is how old a note may be. An agent that is connected tries the better road as often by itself.
	believed = 10 * time.Minute
	// fresh is for how long a note is not written anew: a program may dial several times in a second.
	fresh = time.Minute

	maxNotes = 32        // networks that are remembered, those of last
	maxFile  = 128 << 10 // bytes of the file
	maxText  = 512       // bytes of what a note says
)

// Memory is a file of notes, one a network and relay. A file that is missing or broken is an empty one. Programs that write
// at the same time may lose each other's notes, and never break the file. Its methods may be called concurrently.
type Memory struct {
	Path string // of the file; empty: nothing is remembered
	Now  func() time.Time
	// Network names the network that this machine is in; nil: [Network].
	Network func() string
}

// note is what is kept.
type note struct {
	Network string    `json:"network"`
	Relay   string    `json:"relay"` // host:port
	Road    wire.Road `json:"road"`
	Why     string    `json:"why,omitempty"`
	Time    time.Time `json:"time"`
}

type notes struct {
	Roads []note     `json:"roads"`           // the newest first
	Rests []restNote `json:"rests,omitempty"` // the same
}

// First is the road to a relay with which to begin, and why; [wire.QUIC] and "" unless something else is known.
func (m Memory) First(relay string) (wire.Road, string) {
	network := m.network()
	for _, n := range m.load().Roads {
		if age := m.Now().Sub(n.Time); n.Network == network && n.Relay == relay && age >= 0 && age < believed {
			return n.Road, n.Why
		}
	}
	return wire.QUIC, ""
}

// Won notes by which road a relay was reached just now, and why not by QUIC.
func (m Memory) Won(relay string, road wire.Road, why string) error {
	if m.Path == "" {
		return nil
	}
	network, now := m.network(), m.Now()
	known := m.load()
	all := known.Roads
	here := func(n note) bool { return n.Network == network && n.Relay == relay }
	i := slices.IndexFunc(all, here)
	if road == wire.QUIC && i < 0 {
		return nil
	}
	if i >= 0 && all[i].Road == road && all[i].Why == why && now.Sub(all[i].Time).Abs() < fresh {
		return nil
	}
	all = slices.DeleteFunc(all, here)
	if road != wire.QUIC {
		all = slices.Insert(all, 0, note{Network: cut(network), Relay: cut(relay), Road: road, Why: cut(why), Time: now.UTC().Truncate(time.Second)})
	}
	known.Roads = all[:min(len(all), maxNotes)]
	return m.save(known)
}

func (m Memory) save(known notes) error {
	data, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.Path), 0o700); err != nil {
		return err
	}
	return certs.WriteFile(m.Path, append(data, '\n'))
}

func (m Memory) network() string {
	if m.Network != nil {
		return m.Network()
	}
	return Network()
}

// load is what the file says, as far as it can be used. Whoever else could have written it decides nothing: at worst the better
// road is tried second.
func (m Memory) load() (all notes) {
	if m.Path == "" {
		return notes{}
	}
	f, err := os.Open(m.Path)
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return notes{}
	}
	defer f.Close()
	if i, err := f.Stat(); err != nil || !i.Mode().IsRegular() {
		return notes{}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(data) > maxFile {
		return notes{}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if d.Decode(&all) != nil {
		return notes{}
	}
	all.Roads = slices.DeleteFunc(all.Roads, func(n note) bool {
		return n.Road != wire.TCP || n.Network != cut(n.Network) || n.Relay != cut(n.Relay) || n.Why != cut(n.Why)
	})
	all.Rests = slices.DeleteFunc(all.Rests, func(n restNote) bool { return !n.usable() })
	all.Roads, all.Rests = all.Roads[:min(len(all.Roads), maxNotes)], all.Rests[:min(len(all.Rests), maxNotes)]
	return all
}

// cut is text that can be shown, of a bounded length.
func cut(s string) string { return wire.Printable(s[:min(len(s), maxText)]) }
