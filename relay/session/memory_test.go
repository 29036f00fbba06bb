package session

import "testing"

// Whoever takes all they can get leaves as much for the others, and what is given back is there again.
func TestMemory(t *testing.T) {
	m := NewMemory(1024)
	take := func(who string) (n int) {
		for m.Take(who, 1) {
			n++
		}
		return n
	}
	if a, b, c := take("a"), take("b"), take("c"); a != 512 || b != 256 || c != 128 {
		t.Errorf("%d, %d and %d", a, b, c)
	}
	if m.Take("d", 65) || !m.Take("d", 64) {
		t.Error("the fourth")
	}
	if taken, _ := m.Taken(); taken != 512+256+128+64 {
		t.Errorf("%d are taken", taken)
	}
	m.Give("a", 512)
	m.Give("b", 256)
	m.Give("c", 128)
	m.Give("d", 64)
	if taken, most := m.Taken(); taken != 0 || most != 1024 || len(m.by) != 0 {
		t.Errorf("%d of %d are taken, and %d operators are known", taken, most, len(m.by))
	}
	if (*Memory)(nil).Take("a", 1) {
		t.Error("of nothing")
	}
}
