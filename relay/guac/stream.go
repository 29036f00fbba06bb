package guac

// What guacd has: 64 streams to each user and 64 to all of them (512 each from 1.6), numbered
// alternately, so that an index is below 1024; 64 objects (libguac, user-constants.h and
// client-constants.h). It has few open at once: an image for each thread that encodes, a
// clipboard, audio, a file.
const (
	streamIndexes = 1024
	maxOpen       = 64
	maxObjects    = 64
)

// Lent is added to the index of a stream that guacd has opened for another user, where it is shown to a
// viewer beside its own.
const Lent = streamIndexes

// fate is what becomes of a stream's blobs.
type fate uint8

const (
	closed  fate = iota // there is no such stream
	passed              // they are passed on
	refused             // they are dropped; whoever opened it was told so
)

// streams are those that one side opened.
type streams struct {
	fates [streamIndexes]fate
	open  int // how many are passed
}

// set gives stream n a fate and says whether so many streams may be open. An index that is used again
// is a new stream; guacd and the page treat it so too.
func (s *streams) set(n int, f fate) bool {
	if s.fates[n] == passed {
		s.open--
	}
	if f == passed {
		if s.open == maxOpen {
			s.fates[n] = closed
			return false
		}
		s.open++
	}
	s.fates[n] = f
	return true
}

// stream reads a stream's index.
func stream(b []byte) (int, bool) { return between(b, 0, streamIndexes-1) }
