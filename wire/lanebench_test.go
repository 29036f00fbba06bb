package wire_test

import (
	"io"
	"testing"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// BenchmarkLane is one direction of a lane over loopback, of one that ends its stream when it breaks and of one that goes back.
func BenchmarkLane(b *testing.B) {
	for _, gates := range []bool{false, true} {
		b.Run(map[bool]string{false: "ends", true: "goes back"}[gates], func(b *testing.B) {
			x, y := wiretest.Streams()
			near, far := wire.NewLaned(x, 0, nil), wire.NewLaned(y, 0, nil)
			if gates {
				memory := new(wire.LaneMemory)
				near.Gates(memory, nil)
				far.Gates(memory, nil)
			}
			c, d := lanePair(b)
			near.Move(b.Context(), c)
			far.Move(b.Context(), d)
			defer near.Reset(wire.None)
			defer far.Reset(wire.None)
			buf, got := make([]byte, 32<<10), make([]byte, 32<<10)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			done := make(chan error, 1)
			b.ResetTimer()
			go func() {
				for range b.N {
					if _, err := io.ReadFull(far, got); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			for range b.N {
				if _, err := near.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
