package store

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"scrier/wire"
)

// Records are deterministic CBOR with integer keys. A key that this version does not know is
// ignored, so that a newer relay may add one without a new schema version; everything else that
// is not as written here is an error. Times keep their nanoseconds and become UTC.
var (
	encodeMode = must(encodeOptions().EncMode())
	decodeMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  8,
		MaxArrayElements: 4096,
		MaxMapPairs:      4096,
	}.DecMode())
)

func encodeOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeRFC3339NanoUTC // TimeUnix would drop the fraction
	o.TagsMd = cbor.TagsForbidden
	return o
}

func must[M any](m M, err error) M {
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}

// put encodes record and writes it.
func put(tx Tx, key string, record any) error {
	data, err := encodeMode.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode %q: %w", key, err)
	}
	if err := tx.Put(key, data); err != nil {
		return fmt.Errorf("write %q: %w", key, err)
	}
	return nil
}

// get reads and decodes a record; the error is [ErrNotFound] as it is, or says which record
// cannot be read.
func get[R any](tx Tx, key string) (R, error) {
	var r R
	data, err := tx.Get(key)
	if errors.Is(err, ErrNotFound) {
		return r, ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("read %q: %w", key, err)
	}
	return decode[R](key, data)
}

func decode[R any](key string, data []byte) (R, error) {
	var r R
	if err := decodeMode.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("decode %q: %w", key, err)
	}
	return r, nil
}

// list decodes all records under prefix.
func list[R any](tx Tx, prefix string) ([]R, error) {
	var all []R
	for key, data := range tx.Scan(prefix) {
		r, err := decode[R](key, data)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// missing turns [ErrNotFound] into an error for people that is still ErrNotFound.
func missing(err error, code wire.Code, format string, args ...any) error {
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	return &wire.Error{Code: code, Detail: fmt.Sprintf(format, args...), Err: err}
}
