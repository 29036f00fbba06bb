package wire_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// streams are the two ends of a stream, the first one framed.
func streams(t *testing.T) (*wire.Framed, wire.Stream) {
	t.Helper()
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	t.Cleanup(func() { _ = near.Close(wire.None, "") })
	a, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := far.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return wire.NewFramed(a), b
}

// What a peer begins it has to finish; it may wait before it begins, also behind a frame that is skipped.
func TestReceiveWithin(t *testing.T) {
	var ping bytes.Buffer
	if err := wire.Send(&ping, &wire.Ping{N: 300}); err != nil {
		t.Fatal(err)
	}
	skipped := []byte{0x40, 0x41, 0x01, 'x'}
	const within = 50 * time.Millisecond
	pause := func() { time.Sleep(4 * within) } // longer than a frame may take; a frame that is there is read at once

	f, far := streams(t)
	go func() {
		pause()
		for _, b := range [][]byte{skipped, ping.Bytes()} {
			_, _ = far.Write(b)
			pause()
		}
		_, _ = far.Write(ping.Bytes()[:2])
	}()
	if m, err := f.ReceiveWithin(within); err != nil || m.(*wire.Ping).N != 300 {
		t.Fatalf("%+v, %v", m, err)
	}
	if m, err := f.ReceiveWithin(within); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a frame: %+v, %v", m, err)
	}
	f, far = streams(t)
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if m, err := f.ReceiveWithin(within); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %+v, %v", m, err)
	}
}
