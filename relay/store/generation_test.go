package store

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"scrier/wire"
)

// history is an envoy's row and those who use its certificates.
type history struct {
	t     *testing.T
	rand  *rand.Rand
	row   Envoy
	now   time.Time
	keys  uint64
	saved []Envoy // backups of the row, the oldest first
}

func newHistory(t *testing.T, seed uint64) (*history, *holder) {
	h := &history{t: t, rand: rand.New(rand.NewPCG(seed, 0)), now: time.Unix(1_900_000_000, 0)}
	first := Certificate{Generation: 1, Key: h.key()}
	h.row.Generation, h.row.Key = 1, first.Key
	return h, &holder{h, first}
}

func (h *history) key() []byte {
	h.keys++
	return binary.BigEndian.AppendUint64(nil, h.keys)
}

// holder is an agent.pem and who has it.
type holder struct {
	*history
	cert Certificate
}

func (a *holder) shown() Certificate {
	a.now = a.now.Add(RenewEvery)
	c := a.cert
	c.Time = a.now
	return c
}

func (a *holder) use() error { return a.row.Use(a.shown()) }

// renew gets a certificate. Its answer may be lost, and so may the word that it was kept.
func (a *holder) renew() error {
	key := a.key()
	generation, err := a.row.Renew(a.shown(), key)
	if err != nil || a.rand.IntN(3) == 0 {
		return err
	}
	a.cert = Certificate{Generation: generation, Key: key}
	if a.rand.IntN(2) == 0 {
		return a.use()
	}
	return nil
}

// Whatever is lost, and whichever backup of the relay's state is put back: who has the only agent.pem
// is never taken for two.
func TestOneIsNeverTakenForTwo(t *testing.T) {
	for seed := range uint64(3000) {
		h, a := newHistory(t, seed)
		for step := range 60 {
			var err error
			switch h.rand.IntN(8) {
			case 0:
				h.saved = append(h.saved, h.row)
			case 1:
				if n := len(h.saved); n > 0 {
					i := h.rand.IntN(n)
					h.row, h.saved = h.saved[i], slices.Clip(h.saved[:i+1])
				}
			case 2, 3, 4:
				err = a.renew()
			default:
				err = a.use()
			}
			if err != nil {
				t.Fatalf("seed %d, step %d: %v; the agent has %+v, the relay %+v", seed, step, err, a.cert, h.row)
			}
		}
	}
}

// Two who have one agent.pem are found: when one of them has used a certificate that it got since, no
// use by the other passes.
func TestTwoAreFound(t *testing.T) {
	found := map[string]int{}
	for seed := range uint64(3000) {
		h, a := newHistory(t, seed)
		for range h.rand.IntN(5) {
			if err := a.renew(); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.use(); err != nil {
			t.Fatal(err)
		}
		b := &holder{h, a.cert}
		copied := a.cert.Generation
		both := [2]*holder{a, b}
		ahead := -1 // who has used a certificate that is newer than the copy
		var err error
		for step := 0; err == nil; step++ {
			if step > 200 {
				t.Fatalf("seed %d: two of one identity were not found in %d steps: %+v, %+v, %+v", seed, step, a.cert, b.cert, h.row)
			}
			i := h.rand.IntN(2)
			if h.rand.IntN(2) == 0 {
				err = both[i].renew()
			} else {
				err = both[i].use()
			}
			if err == nil && ahead == 1-i {
				t.Fatalf("seed %d, step %d: %d got through after %d had used a newer certificate", seed, step, i, ahead)
			}
			if h.row.Generation > copied {
				if ahead < 0 && err == nil {
					ahead = i
				}
			}
		}
		c, ok := errors.AsType[*Copied](err)
		if !ok || c.Settled {
			t.Fatalf("seed %d: %v", seed, err)
		}
		found[c.Why]++

		// Behind a release the newest goes on, and the other never gets in.
		h.row.Quarantined(c, h.now)
		if wire.CodeOf(h.row.Serves()) != wire.Quarantined {
			t.Fatal(h.row.Serves())
		}
		h.row.Release()
		if h.row.Serves() != nil {
			t.Fatal(h.row.Serves())
		}
		good := h.row.Counts()
		for _, x := range both {
			err := x.use()
			right := x.cert.Generation == good.Generation && string(x.cert.Key) == string(good.Key)
			if c, copied := errors.AsType[*Copied](err); right != (err == nil) || copied && !c.Settled {
				t.Fatalf("seed %d: generation %d behind a release of %d: %v", seed, x.cert.Generation, good.Generation, err)
			}
		}
	}
	if len(found) < 2 {
		t.Errorf("found as %v alone", found)
	}
}

// A renewal is refused right after another, whatever became of it, and for a key that is not new. When
// the clock was set back it is not refused for as long as it was ahead.
func TestRenewalsAreBounded(t *testing.T) {
	_, a := newHistory(t, 0)
	c := a.shown()
	if g, err := a.row.Renew(c, c.Key); wire.CodeOf(err) != wire.BadRequest || g != 0 {
		t.Errorf("the same key: %d, %v", g, err)
	}
	if g, err := a.row.Renew(c, []byte("1")); err != nil || g != 2 {
		t.Fatal(g, err)
	}
	before := a.row
	c.Time = c.Time.Add(RenewEvery - 1)
	if _, err := a.row.Renew(c, []byte("2")); wire.CodeOf(err) != wire.Busy {
		t.Error(err)
	}
	if string(a.row.Issued.Key) != string(before.Issued.Key) {
		t.Error("a renewal that was refused counts")
	}
	c.Time = c.Time.Add(-time.Hour)
	if g, err := a.row.Renew(c, []byte("3")); err != nil || g != 3 {
		t.Error(g, err)
	}
}
