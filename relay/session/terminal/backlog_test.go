package terminal

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// The backlog is the end of all that was written, whatever the pieces.
func TestBacklog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b backlog
		var all []byte
		next := byte(0)
		for _, n := range rapid.SliceOfN(rapid.IntRange(1, 32<<10), 1, 80).Draw(t, "pieces") {
			p := make([]byte, n)
			for i := range p {
				p[i], next = next, next*5+1
			}
			b.add(p, b.head)
			all = append(all, p...)
			if b.head != uint64(len(all)) || b.head-b.start() > backlogSize || b.head-b.start() < min(b.head, backlogSize) {
				t.Fatalf("%d bytes were written; kept from %d to %d", len(all), b.start(), b.head)
			}
		}
		from := rapid.Uint64Range(b.start(), b.head).Draw(t, "from")
		got := make([]byte, len(all))
		got = got[:b.read(got, from)]
		if !bytes.Equal(got, all[from:]) {
			t.Fatalf("from %d there are %d bytes, %d were written", from, len(got), len(all[from:]))
		}
	})
}
