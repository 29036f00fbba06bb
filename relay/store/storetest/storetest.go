// Package storetest is the suite that every backend of [store.KV] passes.
package storetest

import (
	"context"
	"testing"

	"scrier/relay/store"
)

// Backend opens the store that lives in dir, and makes it when there is none. Opening the same
// dir again after Close finds what was written. The suite closes what it opens.
type Backend func(t *testing.T, dir string) store.KV

// Run runs the suite: first what [store.KV] promises, then the records on top of it.
func Run(t *testing.T, open Backend) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Backend)
	}{
		{"values", values},
		{"keys and limits", limits},
		{"scan order and prefixes", scans},
		{"scan while writing", scanWhileWriting},
		{"view is read-only", readOnly},
		{"view is a snapshot", snapshot},
		{"update is all or nothing", atomic},
		{"update survives a panic", panics},
		{"updates are serialised", serialised},
		{"a failed update hits no other", failing},
		{"context", cancelled},
		{"transaction ends with its function", afterwards},
		{"durable", durable},
		{"close", closing},
		{"schema", schema},
		{"envoys", envoys},
		{"operators", operators},
		{"operator keys have one owner", operatorKeys},
		{"tokens", tokens},
		{"token is redeemed once", redeemOnce},
		{"sign-ins", signIns},
		{"links", links},
		{"link is redeemed once", linkOnce},
		{"passkeys", passkeys},
		{"a deleted operator leaves nothing", deletedOperator},
		{"session states", sessionStates},
		{"session whose record is missing", sessionClosing},
		{"sessions newest first", sessionPages},
		{"slots are never exceeded", slots},
		{"leases are not written", leased},
		{"records ignore unknown keys", unknownKeys},
		{"members", members},
		{"relay tokens", relayTokens},
		{"a copy is whole or nothing", migrations},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open) })
	}
}

// fresh opens an empty store that the test's end closes.
func fresh(t *testing.T, open Backend) store.KV {
	t.Helper()
	kv := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := kv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return kv
}

func update(t *testing.T, kv store.KV, f func(store.Tx) error) {
	t.Helper()
	if err := kv.Update(context.Background(), f); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func view(t *testing.T, kv store.KV, f func(store.Tx) error) {
	t.Helper()
	if err := kv.View(context.Background(), f); err != nil {
		t.Fatalf("view: %v", err)
	}
}

// keys are those under prefix, in the order of the scan.
func keys(tx store.Tx, prefix string) []string {
	var all []string
	for k := range tx.Scan(prefix) {
		all = append(all, k)
	}
	return all
}
