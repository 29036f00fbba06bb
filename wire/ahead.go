package wire

import (
	"errors"
	"io"
	"os"
	"time"
)

// Ahead is a stream that is read before its reader is there, so that its end is noticed. What is
// read meanwhile is kept, and comes first when the reader is there.
type Ahead struct {
	Stream
	max  int
	kept []byte        // read by the goroutine, then by Read
	err  error         // behind kept
	done chan struct{} // closed when the goroutine has ended
}

// ReadAhead begins to read s. ended is called once if s ends before [Ahead.Stop], with io.EOF if the
// peer said that no more comes. Until Stop has returned nobody else may read s or set its read
// deadline.
//
// At most max bytes are kept. Then the reading pauses for good, as flow control must stop the peer,
// and an end behind them is not noticed before somebody reads.
func ReadAhead(s Stream, max int, ended func(error)) *Ahead {
	a := &Ahead{Stream: s, max: max, done: make(chan struct{})}
	go a.run(ended)
	return a
}

func (a *Ahead) run(ended func(error)) {
	defer close(a.done)
	buf := make([]byte, min(a.max, 4<<10))
	for len(a.kept) < a.max {
		n, err := a.Stream.Read(buf[:min(len(buf), a.max-len(a.kept))])
		a.kept = append(a.kept, buf[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return // Stop's
		}
		if err != nil {
			a.err = err
			ended(err)
			return
		}
	}
}

// Stop ends the reading ahead; it must be called once, and from then on the stream is read through
// a. The error is the one that ended the stream, if one did; an ordinary end is none.
func (a *Ahead) Stop() error {
	err := a.SetReadDeadline(time.Unix(1, 0)) // wakes a Read that blocks
	<-a.done
	if a.err == nil {
		return errors.Join(err, a.SetReadDeadline(time.Time{}))
	}
	if errors.Is(a.err, io.EOF) {
		return nil
	}
	return a.err
}

// Read gives what was kept, and then what the stream has.
func (a *Ahead) Read(p []byte) (int, error) {
	if len(a.kept) > 0 {
		n := copy(p, a.kept)
		a.kept = a.kept[n:]
		return n, nil
	}
	if a.err != nil {
		return 0, a.err
	}
	return a.Stream.Read(p)
}
