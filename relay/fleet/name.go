package fleet

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// An envoy's name is given, by a token or by [Fleet.Rename], or it follows the hostname that its agent reports. An agent may
// say what it likes, so what is given goes before what is reported, and nobody gets by a report, while it runs, a name
// that another envoy has: that is a clash, which is shown, and an administrator decides.

const (
	followEvery = time.Minute // how often one envoy's name may follow: each time is a record in the audit log
	maxFollows  = 64          // names that are looked at each time, of all envoys
)

// maxTwins is how many envoys of a name are looked at for warnings.
const maxTwins = 9

// twins are the other envoys of e's name, but for revoked ones, of so many as there may be at most.
func twins(tx store.Tx, e store.Envoy, limit int) ([]store.Envoy, error) {
	all, err := store.EnvoysNamed(tx, e.Hostname, limit)
	return slices.DeleteFunc(all, func(t store.Envoy) bool { return t.ID == e.ID || !t.Revoked.IsZero() }), err
}

// follow has an envoy's name follow what its agent reports, if it does.
func (f *Fleet) follow(ctx context.Context, a *agent) error {
	a.mu.Lock()
	reported, source := a.facts.Hostname, a.cert.Source
	a.mu.Unlock()
	var e audit.Event
	var before store.Envoy
	look := func(tx store.Tx) (after store.Envoy, err error) {
		if before, err = store.GetEnvoy(tx, a.id); err == nil {
			e, after, err = f.followed(tx, before, reported)
		}
		return after, err
	}
	if err := f.KV.View(ctx, func(tx store.Tx) (err error) {
		_, err = look(tx)
		return err
	}); err != nil || e.Type == "" {
		return err
	}
	e.Source = source
	if _, err := f.Journal.Append(ctx, e); err != nil {
		return err
	}
	written := e
	var row store.Envoy
	err := f.KV.Update(ctx, func(tx store.Tx) (err error) {
		row, err = look(tx)
		if err == nil && e.Type != written.Type {
			err = wire.Errorf(wire.Conflict, "another envoy has got the name meanwhile")
		}
		if err != nil {
			return err
		}
		return store.PutEnvoy(tx, row)
	})
	if err != nil {
		f.notDone(ctx, written, err)
		return err
	}
	f.renamed(ctx, before, row)
	return nil
}

// renamed tells of an envoy that has got another name, and of those whose warnings may be others for it.
func (f *Fleet) renamed(ctx context.Context, before, after store.Envoy) {
	f.changed(after.ID, false)
	err := f.KV.View(ctx, func(tx store.Tx) error {
		for _, e := range []store.Envoy{before, after} {
			others, err := twins(tx, e, maxTwins)
			if err != nil {
				return err
			}
			for _, t := range others {
				f.changed(t.ID, false)
			}
		}
		return nil
	})
	if err != nil {
		f.Log.Warn("look for envoys of a name", "err", err)
	}
}

// followed is what becomes of an envoy that reports a hostname. An event without a type: nothing.
func (f *Fleet) followed(tx store.Tx, e store.Envoy, reported string) (audit.Event, store.Envoy, error) {
	now := f.Now()
	if !e.Follows || e.Hostname == reported || checkName(reported) != nil || now.Sub(e.Followed).Abs() < followEvery {
		return audit.Event{}, e, nil
	}
	holders, err := store.EnvoysNamed(tx, reported, 2)
	if err != nil {
		return audit.Event{}, e, err
	}
	if len(reported) >= shortID {
		like, err := store.EnvoysLike(tx, reported, 2)
		if err != nil {
			return audit.Event{}, e, err
		}
		holders = append(holders, slices.DeleteFunc(like, func(h store.Envoy) bool { return !meansID(reported, h.ID) })...)
	}
	holders = slices.DeleteFunc(holders, func(h store.Envoy) bool { return h.ID == e.ID })
	event := audit.Event{Envoy: e.ID.String(), EnvoyName: e.Hostname, Fields: map[string]string{"before": e.Hostname, "now": reported}}
	switch {
	case len(holders) == 0:
		event.Type = "envoy.hostname_changed"
		e.Hostname, e.Clash = reported, ""
	case e.Clash == reported: // is in the log
		return audit.Event{}, e, nil
	default:
		event.Type, event.Fields["holder"] = "envoy.name_clash", holders[0].ID.String()
		e.Clash = reported
	}
	e.Followed = now
	return event, e, nil
}

// followAll looks whether agents report other hostnames than their envoys' names.
func (f *Fleet) followAll(ctx context.Context) {
	var differ []*agent
	f.mu.Lock()
	for _, a := range f.live {
		a.mu.Lock()
		if a.facts.Hostname != a.settled && len(differ) < maxFollows { // the map is read in another order each time
			differ = append(differ, a)
		}
		a.mu.Unlock()
	}
	f.mu.Unlock()
	for _, a := range differ {
		f.followOne(ctx, a)
	}
}

// followOne is follow, and notes whether it has to be asked again: after a clash, or too early.
func (f *Fleet) followOne(ctx context.Context, a *agent) {
	err := f.follow(ctx, a)
	var row store.Envoy
	if err == nil {
		err = f.KV.View(ctx, func(tx store.Tx) (err error) {
			row, err = store.GetEnvoy(tx, a.id)
			return err
		})
	}
	if err != nil {
		f.Log.Warn("follow an envoy's hostname", "envoy", a.id, "err", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if reported := a.facts.Hostname; !row.Follows || row.Hostname == reported || checkName(reported) != nil {
		a.settled = reported
	}
}

// Rename gives an envoy a name, which then stays until it is renamed again; an empty name has it follow the hostname
// that its agent reports. A name that another envoy has is [wire.Conflict].
func (f *Fleet) Rename(ctx context.Context, by audit.Event, id wire.EnvoyID, name string) error {
	if name != "" {
		if err := checkName(name); err != nil {
			return err
		}
	}
	var before, after store.Envoy
	look := func(tx store.Tx) (err error) {
		if before, err = store.GetEnvoy(tx, id); err != nil {
			return err
		}
		if !before.Revoked.IsZero() {
			return wire.Errorf(wire.Revoked, "envoy %s was revoked", before.Hostname)
		}
		after = before
		after.Follows, after.Clash = name == "", ""
		if name == "" {
			after.Followed = time.Time{} // at once
			return nil
		}
		after.Hostname = name
		others, err := twins(tx, after, math.MaxInt) // any number of them may be revoked
		if err == nil && len(others) > 0 {
			err = wire.Errorf(wire.Conflict, "%s is the name of envoy %s already", name, others[0].ID)
		}
		return err
	}
	if err := f.KV.View(ctx, look); err != nil {
		return err
	}
	by.Type, by.Envoy, by.EnvoyName = "envoy.rename", id.String(), before.Hostname
	now := name
	if name == "" {
		now = "(follows the hostname)"
	}
	by.Fields = with(by, map[string]string{"before": before.Hostname, "now": now})
	if _, err := f.Journal.Append(ctx, by); err != nil {
		return err
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		return store.PutEnvoy(tx, after)
	})
	if err != nil {
		f.notDone(ctx, by, err)
		return err
	}
	if a := f.agent(id); a != nil {
		a.mu.Lock()
		a.settled = ""
		a.mu.Unlock()
		f.followOne(ctx, a)
	}
	f.renamed(ctx, before, after)
	return nil
}

// isLive says whether an envoy's agent is connected, here or to another relay.
func (f *Fleet) isLive(id wire.EnvoyID) bool {
	if f.agent(id) != nil {
		return true
	}
	_, ok := f.elsewhere(id)
	return ok
}

// warnOfNames tells what is not clear about an envoy's name.
func (f *Fleet) warnOfNames(e store.Envoy, reported string, others []store.Envoy) (w []string) {
	if e.Clash != "" && e.Clash == reported {
		w = append(w, fmt.Sprintf("its hostname is %s now, which is the name of another envoy; rename one of the two", e.Clash))
	}
	for _, t := range others {
		id := t.ID.String()[:shortID]
		switch here, there := f.isLive(e.ID), f.isLive(t.ID); {
		case here && there:
			w = append(w, fmt.Sprintf("envoy %s has the same name and is connected too; rename or remove one of the two", id))
		case there:
			w = append(w, fmt.Sprintf("envoy %s has the same name and is connected; if it is this machine, enrolled again, remove this one", id))
		default:
			w = append(w, fmt.Sprintf("envoy %s has the same name and is not connected; if it was this machine before, remove that one", id))
		}
	}
	return w
}

// Doubt is about an envoy that was found by a name which another one has too, and which is its own report alone. One that
// is older counts in any case, a newer one if it has been used: the name may have been taken before there was such a machine.
type Doubt struct {
	// HostKeys, in authorized_keys form, are those that all the others have of whom any are known: who goes there by the name
	// must find one of these, if there are any. That of one of them would not do: whoever is enrolled twice has one.
	HostKeys []string
}

// FindLive is [Fleet.Find] for what is to work on the machine. Of several envoys whose whole name it is, a given name goes
// before a reported one, and then the one that is connected before those that are not. The error lists those that fit.
func (f *Fleet) FindLive(ctx context.Context, name string) (Envoy, *Doubt, error) {
	e, err := f.Find(ctx, name)
	if wire.CodeOf(err) != wire.AmbiguousEnvoy {
		return e, nil, err
	}
	var rows, like []store.Envoy
	if verr := f.KV.View(ctx, func(tx store.Tx) (err error) {
		if rows, err = store.EnvoysNamed(tx, name, maxLike); err == nil {
			like, err = store.EnvoysLike(tx, name, maxLike)
		}
		return err
	}); verr != nil {
		return Envoy{}, nil, verr
	}
	if len(rows) == maxLike || slices.ContainsFunc(like, func(r store.Envoy) bool { return meansID(name, r.ID) }) {
		return Envoy{}, nil, err
	}
	rows = slices.DeleteFunc(rows, func(r store.Envoy) bool { return !r.Revoked.IsZero() })
	if given := slices.DeleteFunc(slices.Clone(rows), func(r store.Envoy) bool { return r.Follows }); len(given) > 0 {
		rows = given
	}
	live := rows
	if len(rows) > 1 {
		live = slices.DeleteFunc(slices.Clone(rows), func(r store.Envoy) bool { return !f.isLive(r.ID) })
	}
	if len(live) != 1 {
		return Envoy{}, nil, err
	}
	var doubt *Doubt
	for _, r := range rows {
		newer := !r.Enrolled.Before(live[0].Enrolled)
		if live[0].Follows && r.ID != live[0].ID && (!newer || len(r.HostKeys) > 0) {
			if doubt == nil {
				doubt = &Doubt{}
			}
			switch {
			case len(doubt.HostKeys) == 0:
				doubt.HostKeys = r.HostKeys
			case len(r.HostKeys) > 0:
				doubt.HostKeys = slices.DeleteFunc(slices.Clone(doubt.HostKeys), func(k string) bool { return !slices.Contains(r.HostKeys, k) })
				if len(doubt.HostKeys) == 0 { // nobody can have the keys of both
					return Envoy{}, nil, err
				}
			}
		}
	}
	e, err = f.get(ctx, live[0].ID)
	return e, doubt, err
}
