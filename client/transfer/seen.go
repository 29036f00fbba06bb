package transfer

import (
	"hash/maphash"
	"sync"
)

// maxSeen bounds what is remembered, in files and folders: some 40 bytes each. What is not remembered is compared once more when a
// connection was lost, as with Continue.
const maxSeen = 4 << 20

// seen remembers what a copy has done with, for when it goes on over another connection. Its methods may be called at the same time.
type seen struct {
	mu    sync.Mutex
	seed  maphash.Seed
	files map[uint64]struct{}
	dirs  map[uint64]struct{}
	parts map[string]Entry // that this copy was writing, and their sources; of those files that were under way
}

// key is a number for a text. Nobody can choose two texts with the same one: the seed is secret.
func (s *seen) key(parts ...string) uint64 {
	if s.files == nil {
		s.seed, s.files, s.dirs, s.parts = maphash.MakeSeed(), map[uint64]struct{}{}, map[uint64]struct{}{}, map[string]Entry{}
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p)
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// first says whether it is the first time that a file is done with.
func (s *seen) first(f *File) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.key(f.From, f.To)
	if _, before := s.files[k]; before {
		return false
	}
	if len(s.files) < maxSeen {
		s.files[k] = struct{}{}
	}
	return true
}

// has says whether a file is done with.
func (s *seen) has(f *File) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, before := s.files[s.key(f.From, f.To)]
	return before
}

// make remembers a folder that this copy has made, and made says whether it has.
func (s *seen) make(folder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.key(folder); len(s.dirs) < maxSeen {
		s.dirs[k] = struct{}{}
	}
}

func (s *seen) made(folder string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, before := s.dirs[s.key(folder)]
	return before
}

// leave remembers a part that this copy was writing of a source, and left says whether it was, of the same source.
func (s *seen) leave(part string, of Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key()
	s.parts[part] = of
}

func (s *seen) left(part string, of Entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key()
	before, ok := s.parts[part]
	delete(s.parts, part)
	return ok && before.Size == of.Size && before.Changed.Equal(of.Changed)
}
