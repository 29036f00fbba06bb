package store

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"scrier/wire"
)

// Envoy is an enrolled machine.
type Envoy struct {
	ID         wire.EnvoyID      `cbor:"1,keyasint"`
	Hostname   string            `cbor:"2,keyasint"`
	Labels     map[string]string `cbor:"3,keyasint,omitempty"`
	Enrolled   time.Time         `cbor:"4,keyasint,omitzero"`
	LastSeen   time.Time         `cbor:"5,keyasint,omitzero"`
	Generation uint64            `cbor:"6,keyasint"`           // of the certificate that counts: the newest that was kept or used
	Revoked    time.Time         `cbor:"7,keyasint,omitzero"`  // zero: not revoked
	HostKeys   []string          `cbor:"8,keyasint,omitempty"` // authorized_keys form, as the agent reported them
	Facts      []byte            `cbor:"9,keyasint,omitempty"` // opaque here; the fleet's encoding
	Boot       string            `cbor:"10,keyasint,omitempty"`
	Version    string            `cbor:"11,keyasint,omitempty"` // of the agent
	// RDPCertificate is the SHA-256 of the RDP server's certificate, as the agent reported it last.
	RDPCertificate []byte `cbor:"12,keyasint,omitempty"`
	// Changed by [Envoy.Use] and its like alone; so is Generation.
	Key        []byte      `cbor:"13,keyasint,omitempty"` // SHA-256 of Generation's public key; a row from before has none
	Source     string      `cbor:"14,keyasint,omitempty"` // the address that used it last
	Issued     Certificate `cbor:"15,keyasint,omitzero"`  // the newest that was given out by a renewal
	Quarantine Quarantine  `cbor:"16,keyasint,omitzero"`
	Released   Certificate `cbor:"17,keyasint,omitzero"` // the one that counted when an administrator ended a quarantine
	// Follows says that Hostname is what the agent reports. Else somebody has given it; a row from before has one that stays.
	Follows  bool      `cbor:"18,keyasint,omitempty"`
	Clash    string    `cbor:"19,keyasint,omitempty"` // the hostname that it reports, if that is the name of another
	Followed time.Time `cbor:"20,keyasint,omitzero"`  // when Hostname or Clash last followed a report
}

const (
	envoyPrefix     = "envoy/"
	envoyNamePrefix = "envoy-name/" // lower-case hostname, NUL, id: names are not unique
)

func envoyKey(id wire.EnvoyID) string { return envoyPrefix + id.String() }

func envoyNameKey(e Envoy) string {
	return envoyNamePrefix + strings.ToLower(e.Hostname) + "\x00" + e.ID.String()
}

// EnvoyWrites is how many keys [PutEnvoy] writes at most.
const EnvoyWrites = 3

// PutEnvoy writes e, new or changed, with the index of its hostname.
func PutEnvoy(tx Tx, e Envoy) error {
	if e.ID == (wire.EnvoyID{}) {
		return wire.Errorf(wire.BadRequest, "an envoy has no id")
	}
	old, err := get[Envoy](tx, envoyKey(e.ID))
	switch {
	case errors.Is(err, ErrNotFound):
		err = tx.Put(envoyNameKey(e), nil)
	case err == nil && old.Hostname != e.Hostname:
		if err = tx.Delete(envoyNameKey(old)); err == nil {
			err = tx.Put(envoyNameKey(e), nil)
		}
	}
	if err != nil {
		return err
	}
	return put(tx, envoyKey(e.ID), e)
}

// GetEnvoy finds an envoy, or returns [wire.NoSuchEnvoy].
func GetEnvoy(tx Tx, id wire.EnvoyID) (Envoy, error) {
	e, err := get[Envoy](tx, envoyKey(id))
	return e, missing(err, wire.NoSuchEnvoy, "there is no envoy %s", id)
}

// DeleteEnvoy removes an envoy, or returns [wire.NoSuchEnvoy].
func DeleteEnvoy(tx Tx, id wire.EnvoyID) error {
	e, err := GetEnvoy(tx, id)
	if err != nil {
		return err
	}
	if err := tx.Delete(envoyNameKey(e)); err != nil {
		return err
	}
	return tx.Delete(envoyKey(id))
}

// EnvoysLike lists the envoys whose hostname, in any case, or id begins with prefix, at most limit
// of each; a hostname that is the whole prefix comes before longer ones.
func EnvoysLike(tx Tx, prefix string, limit int) ([]Envoy, error) {
	prefix = strings.ToLower(prefix)
	var found []Envoy
	seen := map[wire.EnvoyID]bool{}
	n := 0
	for key := range tx.Scan(envoyNamePrefix + prefix) {
		_, id, _ := strings.Cut(key, "\x00")
		if n++; n > limit {
			break
		}
		e, err := get[Envoy](tx, envoyPrefix+id)
		if err != nil {
			return nil, fmt.Errorf("read index %q: %w", key, err)
		}
		seen[e.ID] = true
		found = append(found, e)
	}
	n = 0
	for key, data := range tx.Scan(envoyPrefix + prefix) {
		if n++; n > limit {
			break
		}
		e, err := decode[Envoy](key, data)
		if err != nil {
			return nil, err
		}
		if !seen[e.ID] {
			found = append(found, e)
		}
	}
	return found, nil
}

// EnvoysNamed lists the envoys that have this hostname, in any case, at most limit.
func EnvoysNamed(tx Tx, name string, limit int) ([]Envoy, error) {
	var found []Envoy
	for key := range tx.Scan(envoyNamePrefix + strings.ToLower(name) + "\x00") {
		if len(found) == limit {
			break
		}
		_, id, _ := strings.Cut(key, "\x00")
		e, err := get[Envoy](tx, envoyPrefix+id)
		if err != nil {
			return nil, fmt.Errorf("read index %q: %w", key, err)
		}
		found = append(found, e)
	}
	return found, nil
}

// Envoys lists all envoys in the order of their ids, the revoked ones too.
func Envoys(tx Tx) ([]Envoy, error) { return list[Envoy](tx, envoyPrefix) }

// EnvoysAfter lists at most limit envoys in the order of their ids, those behind after; the zero
// id begins with the first. There need not be an envoy after.
func EnvoysAfter(tx Tx, after wire.EnvoyID, limit int) ([]Envoy, error) {
	from := envoyPrefix
	if after != (wire.EnvoyID{}) {
		from = envoyKey(after) + "\x00"
	}
	var page []Envoy
	for key, data := range tx.ScanFrom(envoyPrefix, from) {
		if len(page) >= limit {
			break
		}
		e, err := decode[Envoy](key, data)
		if err != nil {
			return nil, err
		}
		page = append(page, e)
	}
	return page, nil
}
