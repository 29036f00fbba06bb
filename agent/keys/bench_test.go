package keys

import (
	"context"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// BenchmarkSession is what a session waits for (find, install) and what follows (remove).
func BenchmarkSession(b *testing.B) {
	w := newWorld(b)
	ctx := context.Background()
	keys := []ssh.PublicKey{w.key}
	m := w.find()
	eph, _ := keystest.NewKey(b)
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			w.find()
		}
	})
	b.Run("find named", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.k.Find(ctx, Operator{Keys: keys}, w.u.Login); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("install and remove", func(b *testing.B) {
		for b.Loop() {
			in, err := w.k.Install(ctx, m, wire.NewSessionID(), eph)
			if err != nil {
				b.Fatal(err)
			}
			if err := in.Remove(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}
