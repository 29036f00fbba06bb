package fleet

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"scrier/relay/store"
	"scrier/wire"
)

// Envoy is an envoy as the API shows one.
type Envoy struct {
	ID       wire.EnvoyID      `json:"id"`
	Hostname string            `json:"hostname"`
	State    State             `json:"state"`
	LastSeen time.Time         `json:"last_seen"`
	Version  string            `json:"version"`
	Enrolled time.Time         `json:"enrolled"`
	Revoked  time.Time         `json:"revoked,omitzero"`
	Labels   map[string]string `json:"labels"`
	Facts    wire.Facts        `json:"facts"`
	HostKeys []string          `json:"host_keys"`
	Warnings []string          `json:"warnings"`
	// Transport is what carries its agent's link, and TransportReason why, in the agent's words, if it is not the best; both
	// are empty while the agent is not connected.
	Transport       wire.Road `json:"transport,omitempty"`
	TransportReason string    `json:"transport_reason,omitempty"`
	Follows         bool      `json:"follows"` // hostname is what the agent reports; else somebody has given it
	// Quarantine is there in the state quarantined.
	Quarantine *Quarantine `json:"quarantine,omitempty"`
}

// State is what can be expected of an envoy now.
type State string

// The states.
const (
	Online      State = "online"
	Stale       State = "stale" // connected, but silent for longer than it should
	Offline     State = "offline"
	Revoked     State = "revoked"
	Quarantined State = "quarantined" // two machines have its identity, and an administrator has to decide
)

// What is worth a warning.
const (
	diskFull = 95 // percent
	skewed   = 5 * time.Minute
)

// views are the envoys that rows finds.
func (f *Fleet) views(ctx context.Context, rows func(store.Tx) ([]store.Envoy, error)) ([]Envoy, error) {
	var found []store.Envoy
	var others [][]store.Envoy
	if err := f.KV.View(ctx, func(tx store.Tx) (err error) {
		if found, err = rows(tx); err != nil {
			return err
		}
		others = make([][]store.Envoy, len(found))
		for i, e := range found {
			if !e.Revoked.IsZero() {
				continue
			}
			if others[i], err = twins(tx, e, maxTwins); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	out := make([]Envoy, 0, len(found))
	for i, e := range found {
		v, err := f.view(e, others[i])
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// view is an envoy as the API shows it; others have the same name.
func (f *Fleet) view(e store.Envoy, others []store.Envoy) (Envoy, error) {
	v := Envoy{
		ID: e.ID, Hostname: e.Hostname, State: Offline, LastSeen: e.LastSeen, Version: e.Version,
		Enrolled: e.Enrolled, Revoked: e.Revoked, Labels: e.Labels, HostKeys: e.HostKeys, Warnings: []string{},
		Follows: e.Follows,
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	if v.HostKeys == nil {
		v.HostKeys = []string{}
	}
	if len(e.Facts) > 0 {
		if err := wire.Unmarshal(e.Facts, &v.Facts); err != nil {
			return v, fmt.Errorf("read the facts of %s: %w", e.ID, err)
		}
	}
	if a := f.newest(e.ID); a != nil {
		v.Transport, v.TransportReason = a.link.Peer().Road, a.why
		a.mu.Lock()
		v.Facts, v.LastSeen, v.Version = a.facts, a.seen.UTC(), a.facts.Version
		if a.rival != "" {
			v.Warnings = append(v.Warnings, "another machine, at "+a.rival+", tried to connect with its identity")
		}
		limit := a.quietLimit()
		a.mu.Unlock()
		v.State = Online
		if f.Now().Sub(v.LastSeen) > limit {
			v.State = Stale
		}
	}
	if at, ok := f.elsewhere(e.ID); ok && v.State == Offline {
		v.State, v.Transport = Online, wire.Road(at.Road) // that it is silent there, only that relay knows
	}
	switch wire.CodeOf(e.Serves()) {
	case wire.Revoked:
		v.State = Revoked
	case wire.Quarantined:
		v.State, v.Quarantine = Quarantined, quarantineOf(e.Quarantine)
	}
	v.Warnings = append(v.Warnings, v.warn(f.Now())...)
	v.Warnings = append(v.Warnings, f.warnOfNames(e, v.Facts.Hostname, others)...)
	if v.Facts.Users == nil {
		v.Facts.Users = []string{}
	}
	return v, nil
}

// NoSSH is the warning about a machine whose SSH server does not answer.
const NoSSH = "its SSH server did not answer the agent"

// warn tells what may be why a session on this envoy fails.
func (v Envoy) warn(now time.Time) (w []string) {
	if q := v.Quarantine; q != nil {
		w = append(w, fmt.Sprintf("%s: generation %d from %s, beside generation %d from %s",
			q.Why, q.Other.Generation, cmp.Or(q.Other.Source, "an unknown address"), q.Counts.Generation, cmp.Or(q.Counts.Source, "an unknown address")))
	}
	if v.State == Stale || v.State == Offline {
		w = append(w, fmt.Sprintf("last seen %s ago", wire.Rough(now.Sub(v.LastSeen))))
	}
	if v.Facts.Disk >= diskFull {
		w = append(w, fmt.Sprintf("its root file system is %d%% full", v.Facts.Disk))
	}
	if off := time.Duration(v.Facts.Offset) * time.Millisecond; off.Abs() >= skewed {
		side := "behind"
		if off < 0 {
			side = "ahead"
		}
		w = append(w, fmt.Sprintf("its clock is %s %s", wire.Period(off.Abs().Round(time.Second)), side))
	}
	if !v.Facts.SSH && (v.State == Online || v.State == Stale) {
		w = append(w, NoSSH)
	}
	return w
}

// List is all envoys by hostname.
func (f *Fleet) List(ctx context.Context) ([]Envoy, error) {
	out, err := f.views(ctx, store.Envoys)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b Envoy) int {
		if c := strings.Compare(a.Hostname, b.Hostname); c != 0 {
			return c
		}
		return bytes.Compare(a.ID.UUID[:], b.ID.UUID[:])
	})
	return out, nil
}

// Page is at most limit envoys in the order of their ids, those behind after; more says that
// there are others. An envoy that is forgotten meanwhile shifts nothing.
func (f *Fleet) Page(ctx context.Context, after wire.EnvoyID, limit int) (page []Envoy, more bool, err error) {
	page, err = f.views(ctx, func(tx store.Tx) ([]store.Envoy, error) {
		rows, err := store.EnvoysAfter(tx, after, limit+1)
		more = len(rows) > limit
		return rows[:min(len(rows), limit)], err
	})
	return page, more, err
}

// Find resolves what a person typed: an id, a hostname, or a prefix of an id or hostname that
// only one envoy has. A whole hostname goes before prefixes; revoked envoys count only when the
// name is a whole id or fits nothing else. Several matches are listed, never guessed.
func (f *Fleet) Find(ctx context.Context, name string) (Envoy, error) {
	if name == "" {
		return Envoy{}, wire.Errorf(wire.BadRequest, "no envoy was named")
	}
	if wire.Printable(name) != name {
		return Envoy{}, wire.Errorf(wire.NoSuchEnvoy, "no envoy is called %q", wire.Printable(name))
	}
	if id, err := wire.ParseEnvoyID(name); err == nil { // the common case needs no search
		return f.get(ctx, id)
	}
	all, err := f.views(ctx, func(tx store.Tx) ([]store.Envoy, error) { return store.EnvoysLike(tx, name, maxLike) })
	if err != nil {
		return Envoy{}, err
	}
	var exact, prefix, revoked []Envoy
	for _, v := range all {
		switch {
		case v.State == Revoked:
			revoked = append(revoked, v)
		case strings.EqualFold(v.Hostname, name):
			exact = append(exact, v)
		default:
			prefix = append(prefix, v)
		}
	}
	if len(exact) > 0 {
		for _, v := range prefix {
			if meansID(name, v.ID) {
				exact = append(exact, v)
			}
		}
	}
	for _, match := range [][]Envoy{exact, prefix, revoked} {
		if len(match) == 1 {
			return match[0], nil
		}
		if len(match) > 1 {
			return Envoy{}, wire.Errorf(wire.AmbiguousEnvoy, "%q fits %s", wire.Printable(name), names(match))
		}
	}
	return Envoy{}, wire.Errorf(wire.NoSuchEnvoy, "no envoy is called %q", wire.Printable(name))
}

// meansID says whether a name is as much of an envoy's id as lists show. A machine that is called so is not to be found in
// the place of that envoy.
func meansID(name string, id wire.EnvoyID) bool {
	return len(name) >= shortID && strings.HasPrefix(id.String(), strings.ToLower(name))
}

const shortID = 8

// maxLike is how many envoys are looked at for a prefix: more than one is an error anyway, and
// this many are enough to tell a live one from revoked ones of the same name.
const maxLike = 256

func (f *Fleet) get(ctx context.Context, id wire.EnvoyID) (Envoy, error) {
	all, err := f.views(ctx, func(tx store.Tx) ([]store.Envoy, error) {
		row, err := store.GetEnvoy(tx, id)
		return []store.Envoy{row}, err
	})
	if err != nil {
		return Envoy{}, err
	}
	return all[0], nil
}

// offered says of an envoy that fits a name with others whether it may be one that is left over.
func (v Envoy) offered() string {
	if v.State != Offline {
		return ""
	}
	return ", offline: `scrier envoys remove " + v.ID.String()[:shortID] + "` if it is gone"
}

func names(match []Envoy) string {
	const most = 8
	var out []string
	for i, v := range match {
		if i == most {
			out = append(out, fmt.Sprintf("and %d more", len(match)-most))
			break
		}
		out = append(out, v.Hostname+" ("+v.ID.String()+")"+v.offered())
	}
	return strings.Join(out, ", ")
}
