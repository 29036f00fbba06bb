package session

import (
	"errors"
	"io"

	"scrier/wire"
)

// Tunnel is a stream to or from an envoy that is watched while it carries a session. The functions
// may be nil. They are called from Read and Write, and must not block.
type Tunnel struct {
	wire.Stream
	Count func(sent, received int) // how many bytes have just passed: written, read
	Why   func(error) error        // explains an error other than io.EOF
	Ended func(error)              // reading has ended: io.EOF, or why
}

func (t *Tunnel) Read(p []byte) (int, error) {
	n, err := t.Stream.Read(p)
	if n > 0 && t.Count != nil {
		t.Count(0, n)
	}
	err = t.why(err)
	if err != nil && t.Ended != nil {
		t.Ended(err)
	}
	return n, err
}

func (t *Tunnel) Write(p []byte) (int, error) {
	n, err := t.Stream.Write(p)
	if n > 0 && t.Count != nil {
		t.Count(n, 0)
	}
	return n, t.why(err)
}

func (t *Tunnel) why(err error) error {
	if err == nil || errors.Is(err, io.EOF) || t.Why == nil {
		return err
	}
	return t.Why(err)
}
