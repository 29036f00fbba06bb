package relay

import (
	"sync"

	"scrier/wire"
)

// Links without a certificate at a time: enough for a company behind one address on a Monday
// morning, and a bound for what strangers can hold.
const (
	maxStrangers          = 1024
	maxStrangersPerSource = 64
)

// strangers counts links without a certificate by where they come from.
type strangers struct {
	mu    sync.Mutex
	total int
	by    map[string]int
}

// enter takes a place, or refuses with [wire.Busy].
func (s *strangers) enter(source string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxStrangers || s.by[source] >= maxStrangersPerSource {
		return nil, wire.Errorf(wire.Busy, "too many connections without a login")
	}
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.total++
	s.by[source]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.by[source]--; s.by[source] == 0 {
			delete(s.by, source)
		}
	}), nil
}
