package audit

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxRecord is the longest encoded record, in bytes.
const MaxRecord = 64 << 10

// A record is encoded as core deterministic CBOR (RFC 8949, 4.2.1): a map with these integer
// keys in this order. The first four are always there, of the others those that are not empty.
// There is no float, tag, null or indefinite length, and no room for a key that this version does
// not know: a log with a new one is a log of a new format.
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

// decodeRecord accepts what encode returns and nothing else, so that there is no second encoding
// of a record which would hash to something else.
func decodeRecord(data []byte) (Record, error) {
	if len(data) > MaxRecord {
		return Record{}, errTooLong
	}
	var r Record
	d := decoder{rest: data}
	pairs := d.head(majorMap)
	for last := uint64(0); pairs > 0 && d.err == nil; pairs-- {
		k := d.head(majorUint)
		if k != last+1 && (k <= last || last < keyType) { // ascending, and of the first four none is missing
			d.fail("its keys are not in order")
			break
		}
		last = k
		d.value(&r, k)
	}
	if d.err == nil && r.Type == "" {
		d.fail("it has no type")
	}
	if d.err == nil && len(d.rest) > 0 {
		d.fail("something follows it")
	}
	return r, d.err
}

func (d *decoder) value(r *Record, key uint64) {
	switch {
	case key == keySeq:
		r.Seq = d.head(majorUint)
	case key == keyTime:
		r.Time = time.Unix(0, d.integer()).UTC()
	case key == keyPrev:
		if prev := d.bytes(majorBytes); len(prev) == len(r.Prev) {
			copy(r.Prev[:], prev)
		} else {
			d.fail("it has no hash of the one before")
		}
	case key < keyFields:
		s := r.texts()[key-keyType]
		if *s = d.text(); *s == "" {
			d.fail("it has an empty text")
		}
	case key == keyFields:
		r.Fields = d.fields()
	default:
		d.fail("it has a key that is not known")
	}
}

func (d *decoder) fields() map[string]string {
	n := d.head(majorMap)
	if n == 0 || n > maxFields {
		d.fail("it has too many fields or none")
		return nil
	}
	fields := make(map[string]string, n)
	for last := ""; n > 0 && d.err == nil; n-- {
		k := d.text()
		if len(fields) > 0 && compareKeys(last, k) >= 0 {
			d.fail("its fields are not in order")
		}
		fields[k], last = d.text(), k
	}
	return fields
}

// leaf is the hash by which both the tree and the next record hold on to a record.
func leaf(data []byte) tlog.Hash { return tlog.RecordHash(data) }

// integer reads an int64 of either sign.
func (d *decoder) integer() int64 {
	major, n := d.item()
	switch {
	case n > math.MaxInt64:
	case major == majorUint:
		return int64(n)
	case major == majorNegative:
		return ^int64(n)
	}
	d.fail("its time is not a time")
	return 0
}

func (d *decoder) text() string {
	b := d.bytes(majorText)
	if !utf8.Valid(b) {
		d.fail("it has a text that is not UTF-8")
		return ""
	}
	return string(b)
}

func (d *decoder) fail(why string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errNotCanonical, why)
	}
}
