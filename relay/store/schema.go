package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"scrier/wire"
)

// Schema is the version of the records and keys in this package. It goes up when an older relay
// would misread what a newer one wrote; adding a field is no reason.
const Schema = 1

// SchemaKey holds the version in decimal. It is the one key outside the records' prefixes.
const SchemaKey = "schema"

// CheckSchema marks an empty store with [Schema] and refuses one that a newer version wrote.
// A backend calls it when it opens.
func CheckSchema(ctx context.Context, kv KV) error {
	err := kv.View(ctx, checkSchema)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	return kv.Update(ctx, func(tx Tx) error {
		if err := checkSchema(tx); !errors.Is(err, ErrNotFound) {
			return err
		}
		return tx.Put(SchemaKey, strconv.AppendUint(nil, Schema, 10))
	})
}

func checkSchema(tx Tx) error {
	data, err := tx.Get(SchemaKey)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if string(data) == halfSchema {
		return &wire.Error{Code: wire.BadConfig, Err: ErrHalf, Detail: "a state was being copied here, and did not come whole",
			Advice: "throw this copy away, and copy again: what it was copied from is still there"}
	}
	version, err := strconv.ParseUint(string(data), 10, 32)
	switch {
	case err != nil:
		return wire.Errorf(wire.VersionMismatch, "the state's schema version %q is not a number", data)
	case version > Schema:
		return wire.Errorf(wire.VersionMismatch, "the state was written by a newer version of scrier (schema %d, this one knows %d)", version, Schema).
			Advise("use that version, or a backup of the state from before")
	}
	return nil
}
