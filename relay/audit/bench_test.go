package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// BenchmarkAppend: with more callers at a time more records share a commit.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			dir := b.TempDir()
			l, err := Open(Config{Path: filepath.Join(dir, "a.db"), KeyPath: filepath.Join(dir, "a.key"), Name: "bench", Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := l.Append(context.Background(), event(i)); err != nil {
						b.Error(err)
					}
				}
			})
			b.StopTimer()
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	const n = 10_000
	rnd := rand.New(rand.NewPCG(1, 1))
	var cuts []int
	for i := 256; i < n; i += 256 {
		cuts = append(cuts, i)
	}
	whole := newForger(b).export(chain(randomRecords(rnd, n)), cuts...).bytes()
	b.SetBytes(int64(len(whole)))
	for b.Loop() {
		r, err := Verify(bytes.NewReader(whole), VerifyOptions{})
		if err != nil || r.Verdict != OK {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
