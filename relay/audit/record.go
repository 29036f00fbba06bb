package audit

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"scrier/wire"
)

// MaxRecord is the longest encoded record, in bytes.
const MaxRecord = 64 << 10

// A record is encoded as core deterministic CBOR (RFC 8949, 4.2.1): a map with these integer
// keys in this order. The first four are always there, of the others those that are not empty.
// There is no float, tag, null or indefinite length. A key that this version does not know is an
// error: a log that has one is of a new format.
const (
	keySeq       = 1 // unsigned
	keyTime      = 2 // integer, Unix nanoseconds
	keyPrev      = 3 // 32 bytes
	keyType      = 4 // text, like all up to keyDetail
	keyOperator  = 5
	keyEnvoy     = 6
	keyEnvoyName = 7
	keySession   = 8
	keySource    = 9
	keyCode      = 10
	keyDetail    = 11
	keyFields    = 12 // map of text to text, shorter keys first
)

var (
	errNotCanonical = errors.New("the record is not in the canonical form")
	errTooLong      = errors.New("the record is too long")
)

// texts are the record's strings in the order of their keys, from keyType on.
func (r *Record) texts() [keyFields - keyType]*string {
	return [...]*string{&r.Type, &r.Operator, &r.Envoy, &r.EnvoyName, &r.Session, &r.Source, &r.Code, &r.Detail}
}

// encode returns the one encoding of r, whose event is bounded.
func (r Record) encode() ([]byte, error) {
	pairs, texts := uint64(4), r.texts()
	for _, s := range texts[1:] {
		if *s != "" {
			pairs++
		}
	}
	if len(r.Fields) > 0 {
		pairs++
	}
	b := appendHead(make([]byte, 0, 256), majorMap, pairs)
	b = appendHead(append(b, keySeq), majorUint, r.Seq)
	if t := r.Time.UnixNano(); t >= 0 {
		b = appendHead(append(b, keyTime), majorUint, uint64(t))
	} else {
		b = appendHead(append(b, keyTime), majorNegative, uint64(^t))
	}
	b = appendHead(append(b, keyPrev), majorBytes, uint64(len(r.Prev)))
	b = append(b, r.Prev[:]...)
	for i, s := range texts {
		if i == 0 || *s != "" {
			b = appendText(append(b, byte(keyType+i)), *s)
		}
	}
	if len(r.Fields) > 0 {
		b = appendHead(append(b, keyFields), majorMap, uint64(len(r.Fields)))
		for _, k := range slices.SortedFunc(maps.Keys(r.Fields), compareKeys) {
			b = appendText(appendText(b, k), r.Fields[k])
		}
	}
	if len(b) > MaxRecord {
		return nil, errTooLong
	}
	return b, nil
}

// row is a record as package cbor decodes it.
type row struct {
	Seq       uint64            `cbor:"1,keyasint"`
	Time      int64             `cbor:"2,keyasint"`
	Prev      tlog.Hash         `cbor:"3,keyasint"`
	Type      string            `cbor:"4,keyasint"`
	Operator  string            `cbor:"5,keyasint,omitempty"`
	Envoy     string            `cbor:"6,keyasint,omitempty"`
	EnvoyName string            `cbor:"7,keyasint,omitempty"`
	Session   string            `cbor:"8,keyasint,omitempty"`
	Source    string            `cbor:"9,keyasint,omitempty"`
	Code      string            `cbor:"10,keyasint,omitempty"`
	Detail    string            `cbor:"11,keyasint,omitempty"`
	Fields    map[string]string `cbor:"12,keyasint,omitempty"`
}

// decodeRecord accepts what encode returns and nothing else, so that there is no second encoding
// of a record which would hash to something else: whatever the library reads is encoded again, and
// must be what was read.
func decodeRecord(data []byte) (Record, error) {
	if len(data) > MaxRecord {
		return Record{}, errTooLong
	}
	var w row
	if err := wire.Unmarshal(data, &w); err != nil {
		return Record{}, fmt.Errorf("%w: %w", errNotCanonical, err)
	}
	switch {
	case w.Type == "":
		return Record{}, fmt.Errorf("%w: it has no type", errNotCanonical)
	case len(w.Fields) > maxFields:
		return Record{}, fmt.Errorf("%w: it has too many fields", errNotCanonical)
	}
	r := Record{w.Seq, time.Unix(0, w.Time).UTC(), w.Prev, Event{w.Type, w.Operator, w.Envoy, w.EnvoyName, w.Session, w.Source, w.Code, w.Detail, w.Fields}}
	again, err := r.encode()
	if err != nil {
		return Record{}, err
	}
	if !bytes.Equal(again, data) {
		return Record{}, errNotCanonical
	}
	return r, nil
}

// leaf is the hash by which both the tree and the next record hold on to a record.
func leaf(data []byte) tlog.Hash { return tlog.RecordHash(data) }
