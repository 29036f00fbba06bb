package store

import (
	"bytes"
	"fmt"
	"time"

	"scrier/wire"
)

// Certificate is one certificate of an agent, as the relay remembers it.
type Certificate struct {
	Generation uint64    `cbor:"1,keyasint"`
	Key        []byte    `cbor:"2,keyasint,omitempty"` // SHA-256 of its public key
	Source     string    `cbor:"3,keyasint,omitempty"` // the address that showed it, or that it was given to
	Time       time.Time `cbor:"4,keyasint,omitzero"`  // when
}

// Quarantine says why an envoy serves nobody until an administrator decides.
type Quarantine struct {
	Since  time.Time   `cbor:"1,keyasint,omitzero"`
	Why    string      `cbor:"2,keyasint,omitempty"`
	Counts Certificate `cbor:"3,keyasint"` // the newest certificate: it goes on when the envoy is released
	Other  Certificate `cbor:"4,keyasint"` // what was used beside it
}

// Copied is the proof that two machines have the identity of one envoy.
type Copied struct {
	Why     string
	Counts  Certificate
	Other   Certificate
	Settled bool // an administrator has decided about this one before: it is refused and that is all
}

func (c *Copied) Error() string {
	return fmt.Sprintf("%s: generation %d from %s, beside generation %d from %s",
		c.Why, c.Other.Generation, c.Other.Source, c.Counts.Generation, c.Counts.Source)
}

// RenewEvery is how often an envoy may get a certificate: far more often than any agent has reason to.
const RenewEvery = time.Minute

// Use notes that c was used; ARCHITECTURE.md has the table of what can happen. The error is a
// [Copied], and e is as it was.
//
// Each generation is given out once, to one key, and an agent that has saved a new certificate never
// uses the one before again. So of all certificates two may be used: the one that counts, and the
// newest one that was given out.
func (e *Envoy) Use(c Certificate) error {
	switch {
	case c.Generation > e.newest(): // this state is a backup from before it was given out
	case c.Generation == e.Generation && (len(e.Key) == 0 || bytes.Equal(c.Key, e.Key)): // a row from before has no key
	case c.Generation == e.Issued.Generation && c.Generation > e.Generation && bytes.Equal(c.Key, e.Issued.Key):
	default:
		return e.copied(c)
	}
	e.Generation, e.Key, e.Source = c.Generation, c.Key, c.Source
	return nil
}

func (e *Envoy) copied(c Certificate) *Copied {
	why := "an old certificate was used after a newer one"
	switch {
	case c.Generation == e.Generation || c.Generation == e.Issued.Generation:
		why = "two keys of one generation were used"
	case c.Generation > e.Generation:
		why = "two machines have renewed one certificate"
	}
	return &Copied{Why: why, Counts: e.Counts(), Other: c, Settled: e.settled(c)}
}

// settled says whether an administrator has decided about c: it is beside a certificate that was released.
func (e *Envoy) settled(c Certificate) bool {
	released := e.Released
	return c.Generation < released.Generation || c.Generation == released.Generation && !bytes.Equal(c.Key, released.Key)
}

// newest is the highest generation that this state knows of.
func (e *Envoy) newest() uint64 { return max(e.Generation, e.Issued.Generation) }

// Counts is the newest certificate.
func (e *Envoy) Counts() Certificate {
	if e.Issued.Generation > e.Generation {
		return e.Issued
	}
	return Certificate{Generation: e.Generation, Key: e.Key, Source: e.Source, Time: e.LastSeen}
}

// Renew gives the next generation to key, for who shows c. What was given out before and never used
// counts no more.
func (e *Envoy) Renew(c Certificate, key []byte) (generation uint64, err error) {
	if err := e.Use(c); err != nil {
		return 0, err
	}
	if bytes.Equal(c.Key, key) {
		return 0, wire.Errorf(wire.BadRequest, "a renewal needs a new key")
	}
	if since := c.Time.Sub(e.Issued.Time); since >= 0 && since < RenewEvery {
		return 0, wire.Errorf(wire.Busy, "the certificate was renewed a moment ago")
	}
	e.Issued = Certificate{Generation: e.newest() + 1, Key: key, Source: c.Source, Time: c.Time}
	return e.Issued.Generation, nil
}

// Quarantined puts e into quarantine because of c.
func (e *Envoy) Quarantined(c *Copied, now time.Time) {
	e.Quarantine = Quarantine{Since: now, Why: c.Why, Counts: c.Counts, Other: c.Other}
}

// Release ends the quarantine. The newest certificate counts; all others that there are now are
// refused from here on, and are no reason for another quarantine. A copy of the newest is one. That the
// answer with the newest was lost makes no difference: the one before may be with both machines.
func (e *Envoy) Release() {
	c := e.Counts()
	e.Quarantine, e.Released = Quarantine{}, c
	e.Generation, e.Key, e.Source = c.Generation, c.Key, c.Source
}

// Serves says whether sessions may be opened and links served: the error is [wire.Revoked] or
// [wire.Quarantined].
func (e *Envoy) Serves() error {
	switch {
	case !e.Revoked.IsZero():
		return wire.Errorf(wire.Revoked, "envoy %s was revoked on %s", e.Hostname, e.Revoked.Format(time.RFC3339))
	case !e.Quarantine.Since.IsZero():
		return wire.Errorf(wire.Quarantined, "envoy %s is in quarantine since %s", e.Hostname, e.Quarantine.Since.Format(time.RFC3339))
	}
	return nil
}
