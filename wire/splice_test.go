package wire_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"scrier/wire"
	"scrier/wire/wiretest"
)

func TestSpliceHalfCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, a := wiretest.Streams()
		b, far := wiretest.Streams()
		type result struct {
			sent, received int64
			err            error
		}
		done := make(chan result)
		go func() {
			s, r, err := wire.Splice(t.Context(), a, b)
			done <- result{s, r, err}
		}()
		payload := make([]byte, 3*wiretest.Window)
		rand.Read(payload)
		go func() {
			_, _ = near.Write(payload)
			_ = near.CloseWrite()
		}()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%d of %d bytes arrived, %v", len(got), len(payload), err)
		}
		// One direction is over; the other still works.
		go func() {
			_, _ = far.Write([]byte("answer"))
			_ = far.CloseWrite()
		}()
		if got, err := io.ReadAll(near); err != nil || string(got) != "answer" {
			t.Fatalf("%q, %v", got, err)
		}
		if r := <-done; r.err != nil || r.sent != int64(len(payload)) || r.received != 6 {
			t.Errorf("%+v", r)
		}
	})
}

func TestSpliceResetsBothWithTheCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, a := wiretest.Streams()
		b, far := wiretest.Streams()
		done := make(chan error)
		go func() {
			_, _, err := wire.Splice(t.Context(), a, b)
			done <- err
		}()
		near.Reset(wire.Killed)
		if err := <-done; wire.CodeOf(err) != wire.Killed {
			t.Errorf("Splice: %v", err)
		}
		if _, err := far.Read(make([]byte, 1)); wire.CodeOf(err) != wire.Killed {
			t.Errorf("the other side: %v", err)
		}
	})
}

func TestSpliceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := wiretest.Streams()
		b, far := wiretest.Streams()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() {
			_, _, err := wire.Splice(ctx, a, b)
			done <- err
		}()
		synctest.Wait()
		cancel(wire.Errorf(wire.Revoked, "gone"))
		if err := <-done; wire.CodeOf(err) != wire.Revoked {
			t.Errorf("Splice: %v", err)
		}
		if _, err := far.Read(make([]byte, 1)); wire.CodeOf(err) != wire.Revoked {
			t.Errorf("the other side: %v", err)
		}
	})
}

// A reader that stands still stops the writer: between the two is no queue but the windows.
func TestSpliceHasNoQueueOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, a := wiretest.Streams()
		b, far := wiretest.Streams()
		go func() { _, _, _ = wire.Splice(t.Context(), a, b) }()
		written := 0
		go func() {
			chunk := make([]byte, 1024)
			for {
				n, err := near.Write(chunk)
				if written += n; err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if most := 2*wiretest.Window + 64<<10; written > most {
			t.Errorf("%d bytes were taken with nobody reading, at most %d fit", written, most)
		}
		far.Reset(wire.ViewerLost)
		synctest.Wait()
	})
}

// faulty is a stream whose Read panics.
type faulty struct{ wire.Stream }

func (faulty) Read([]byte) (int, error) { panic("a fault") }

// A panic comes to the caller, who may outlive it, and both sides are reset.
func TestSplicePanicsInItsCaller(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		near, a := wiretest.Streams()
		b, far := wiretest.Streams()
		func() {
			defer func() {
				if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "a fault") || !strings.Contains(fmt.Sprint(p), "faulty.Read") {
					t.Errorf("recovered %v", p)
				}
			}()
			if swapped {
				_, _, _ = wire.Splice(t.Context(), faulty{b}, a)
			} else {
				_, _, _ = wire.Splice(t.Context(), a, faulty{b})
			}
		}()
		for _, side := range []wire.Stream{near, far} {
			if _, err := side.Read(make([]byte, 1)); wire.CodeOf(err) != wire.Internal {
				t.Errorf("a side has %v", err)
			}
		}
	}
}
