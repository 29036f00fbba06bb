package transfer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"scrier/client/transfer"
)

// BenchmarkCopy copies between this machine and OpenSSH's SFTP server over pipes.
func BenchmarkCopy(b *testing.B) {
	for _, kind := range []string{"up", "down"} {
		b.Run(kind, func(b *testing.B) {
			const size = 256 << 20
			base := b.TempDir()
			f := filepath.Join(base, "big")
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i * 7)
			}
			if err := os.WriteFile(f, data, 0o644); err != nil {
				b.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(base, "to"), 0o755); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(size)
			for b.Loop() {
				local, r := transfer.NewLocal(), remote(b, base)
				from, to := transfer.Source{Place: local, Path: f}, transfer.Place(r)
				if kind == "down" {
					from, to = transfer.Source{Place: r, Path: f}, local
				}
				run(b, &told{}, []transfer.Source{from}, to, filepath.Join(base, "to"), transfer.Options{})
				_ = r.Close()
			}
		})
	}
	b.Run("1000 files", func(b *testing.B) {
		base := b.TempDir()
		for i := range 1000 {
			write(b, filepath.Join(base, "from", fmt.Sprint("f", i)), "some text\n")
		}
		n := 0
		for b.Loop() {
			n++
			r := remote(b, base)
			run(b, &told{}, []transfer.Source{{Place: transfer.NewLocal(), Path: filepath.Join(base, "from")}}, r, fmt.Sprint("to", n), transfer.Options{Recursive: true})
			_ = r.Close()
		}
	})
}
