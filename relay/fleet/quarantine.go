package fleet

import (
	"context"
	"errors"
	"strconv"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Quarantine says why an envoy serves nobody: two machines have used its identity, and an administrator
// has to decide. The envoy has no link and no session meanwhile, and gets no certificate.
type Quarantine struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
	// Counts is the newest certificate. Whoever has it is served again after a release, and nobody else.
	Counts Certificate `json:"counts"`
	Other  Certificate `json:"other"` // what was used beside it
}

// Certificate is one that an agent used.
type Certificate struct {
	Generation uint64    `json:"generation"`
	Source     string    `json:"source"`        // the address from which it was used last; empty: not known
	Time       time.Time `json:"time,omitzero"` // and when
	Key        string    `json:"key"`           // SHA-256 of its public key; empty: not known
}

func quarantineOf(q store.Quarantine) *Quarantine {
	if q.Since.IsZero() {
		return nil
	}
	return &Quarantine{Since: q.Since, Why: q.Why, Counts: certificateOf(q.Counts), Other: certificateOf(q.Other)}
}

func certificateOf(c store.Certificate) Certificate {
	out := Certificate{Generation: c.Generation, Source: c.Source, Time: c.Time}
	if len(c.Key) == len(certs.Pin{}) {
		out.Key = certs.Pin(c.Key).String()
	}
	return out
}

// admit says whether an agent's identity still counts, before anything is served: enrolled, not
// revoked, not in quarantine, and its certificate one that may be used.
func (f *Fleet) admit(ctx context.Context, l *agentLink) error {
	err := f.KV.View(ctx, func(tx store.Tx) error {
		e, err := l.row(tx)
		if err != nil {
			return err
		}
		return e.Use(l.certificate()) // to see: it is written when the agent has said what it wants
	})
	if _, copied := errors.AsType[*store.Copied](err); !copied {
		return err
	}
	defer f.turn(l.id)()
	return f.unmasked(ctx, l, err)
}

// unmasked puts l's envoy into quarantine if err is a [store.Copied], and gives what l is refused with.
// The caller has the envoy's turn.
func (f *Fleet) unmasked(ctx context.Context, l *agentLink, err error) error {
	c, ok := errors.AsType[*store.Copied](err)
	if !ok {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	f.duplicate(ctx, l, c.Error())
	if !c.Settled {
		if err := f.quarantine(ctx, l.id, c); err != nil {
			return err
		}
	}
	return wire.Errorf(wire.DuplicateIdentity, "this certificate was renewed by another machine")
}

// quarantine ends the envoy's links and sessions, and all that could be begun with its identity. It goes
// on when the audit log cannot be written: what is at stake is who reads what operators type.
func (f *Fleet) quarantine(ctx context.Context, id wire.EnvoyID, c *store.Copied) error {
	var e store.Envoy
	look := func(tx store.Tx) (err error) {
		e, err = store.GetEnvoy(tx, id)
		return err
	}
	if err := f.KV.View(ctx, look); err != nil || e.Serves() != nil {
		return err // another has done it, or it was revoked
	}
	f.Log.Error("two machines have one identity", "envoy", id, "name", e.Hostname, "why", c.Error())
	event := audit.Event{Type: "envoy.quarantine", Envoy: id.String(), EnvoyName: e.Hostname, Source: c.Other.Source, Code: wire.Quarantined.String(), Detail: c.Why, Fields: parties(c.Counts, c.Other)}
	if _, err := f.Journal.AppendEnd(ctx, event); err != nil {
		f.Log.Error("audit", "err", err)
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		if err := f.evict(tx, id); err != nil {
			return err
		}
		e.Quarantined(c, f.Now())
		return store.PutEnvoy(tx, e)
	})
	if err != nil {
		f.notDone(ctx, event, err)
		return err
	}
	if a := f.agent(id); a != nil {
		f.dropAll(a, e.Serves())
	}
	f.rolls.changed()
	f.changed(id, false)
	return nil
}

// parties are the two certificates for the audit log.
func parties(counts, other store.Certificate) map[string]string {
	return map[string]string{
		"counts_generation": strconv.FormatUint(counts.Generation, 10), "counts_source": counts.Source,
		"other_generation": strconv.FormatUint(other.Generation, 10), "other_source": other.Source,
	}
}

// Release ends the quarantine that began at since, or whichever there is if since is zero. The newest
// certificate counts from then on; who has another one has to be enrolled again.
func (f *Fleet) Release(ctx context.Context, by audit.Event, id wire.EnvoyID, since time.Time) error {
	defer f.turn(id)()
	var e store.Envoy
	look := func(tx store.Tx) (err error) {
		if e, err = store.GetEnvoy(tx, id); err != nil {
			return err
		}
		if wire.CodeOf(e.Serves()) != wire.Quarantined {
			return wire.Errorf(wire.Conflict, "envoy %s is not in quarantine", e.Hostname)
		}
		if !since.IsZero() && !since.Equal(e.Quarantine.Since) {
			return wire.Errorf(wire.Conflict, "envoy %s was released meanwhile, and is in quarantine for something else", e.Hostname)
		}
		return nil
	}
	if err := f.KV.View(ctx, look); err != nil {
		return err
	}
	by.Type, by.Envoy, by.EnvoyName, by.Fields = "envoy.release", id.String(), e.Hostname, parties(e.Quarantine.Counts, e.Quarantine.Other)
	if _, err := f.Journal.Append(ctx, by); err != nil {
		return err
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		e.Release()
		return store.PutEnvoy(tx, e)
	})
	if err != nil {
		f.notDone(ctx, by, err)
		return err
	}
	f.rolls.changed()
	f.changed(id, false)
	return nil
}

// duplicate adds to the audit log that a copy was refused: the first one at once, and then how many.
func (f *Fleet) duplicate(ctx context.Context, l *agentLink, detail string) {
	f.Log.Warn("a copy of an identity was refused", "envoy", l.id, "addr", l.link.Peer().Addr, "detail", detail)
	var e store.Envoy
	if err := f.KV.View(ctx, func(tx store.Tx) (err error) {
		e, err = store.GetEnvoy(tx, l.id)
		return err
	}); err != nil {
		f.Log.Error("look up the envoy", "envoy", l.id, "err", err)
	}
	if err := f.copies.Append(ctx, l.id.String(), audit.Event{
		Type: "envoy.duplicate", Envoy: l.id.String(), EnvoyName: e.Hostname, Source: l.source(),
		Code: wire.DuplicateIdentity.String(), Detail: detail,
	}); err != nil {
		f.Log.Error("audit", "err", err)
	}
}
