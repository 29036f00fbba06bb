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
	m.Give("a", 512)
	m.Give("b", 256)
	m.Give("c", 128)
	m.Give("d", 64)
	if m.Free() != 1024 || len(m.by) != 0 {
		t.Errorf("%d, and %d operators are known", m.Free(), len(m.by))
	}
	if (*Memory)(nil).Take("a", 1) {
		t.Error("of nothing")
	}
}
