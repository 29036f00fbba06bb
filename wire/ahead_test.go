package wire_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// A stream's end is noticed while nobody reads it, and what came before is not lost.
func TestReadAhead(t *testing.T) {
	const most = 1000
	for name, c := range map[string]struct {
		before string            // is written before Stop
		end    func(wire.Stream) // happens before Stop; nil: nothing
		stop   wire.Code         // of what Stop returns
		ended  error             // what is told; nil: nothing
	}{
		"nothing happens":                 {},
		"early bytes":                     {before: "early"},
		"more than is kept":               {before: strings.Repeat("x", most+1)},
		"the peer ends":                   {end: func(s wire.Stream) { _ = s.CloseWrite() }, ended: io.EOF},
		"the peer speaks and ends":        {before: "early", end: func(s wire.Stream) { _ = s.CloseWrite() }, ended: io.EOF},
		"the peer breaks off":             {end: func(s wire.Stream) { s.Reset(wire.Cancelled) }, stop: wire.Cancelled, ended: &wire.Error{}},
		"an end behind too much to keep":  {before: strings.Repeat("x", most+1), end: func(s wire.Stream) { _ = s.CloseWrite() }},
		"an end behind all that was kept": {before: strings.Repeat("x", most), end: func(s wire.Stream) { _ = s.CloseWrite() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := wiretest.Streams()
				var told []error
				a := wire.ReadAhead(far, most, func(err error) { told = append(told, err) })
				if _, err := near.Write([]byte(c.before)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if c.end != nil {
					c.end(near)
				}
				synctest.Wait()
				if err := a.Stop(); wire.CodeOf(err) != c.stop {
					t.Errorf("Stop: %v, want %s", err, c.stop)
				}
				switch {
				case c.ended == nil && len(told) > 0:
					t.Errorf("an end was told: %v", told)
				case c.ended != nil && (len(told) != 1 || !errors.Is(told[0], c.ended) && wire.CodeOf(told[0]) != c.stop):
					t.Errorf("told: %v, want one %v", told, c.ended)
				}
				want := c.before
				if c.end == nil { // the stream goes on
					if _, err := near.Write([]byte("late")); err != nil {
						t.Fatal(err)
					}
					if err := near.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					want += "late"
				}
				if got, err := io.ReadAll(a); string(got) != want || wire.CodeOf(err) != c.stop {
					t.Errorf("read %d bytes %.20q, %v; want %d", len(got), got, err, len(want))
				}
			})
		})
	}
}
