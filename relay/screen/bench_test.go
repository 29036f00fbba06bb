package screen_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"scrier/relay/screen"
	"scrier/wire"
)

// kinds of output, as much of each as comes in one go.
func kinds() map[string][]byte {
	var listing, cjk, emoji, full bytes.Buffer
	for i := range 400 {
		fmt.Fprintf(&listing, "\x1b[0m\x1b[01;34mdirectory%d\x1b[0m  \x1b[01;32mprogram%d\x1b[0m  file%d\r\n", i, i, i)
		fmt.Fprintf(&cjk, "第%d行: これは日本語のテキストです。한국어도 있습니다。\r\n", i)
		fmt.Fprintf(&emoji, "👨‍👩‍👧‍👦 🇩🇪 👍🏽 e\u0301 %d क्षि\r\n", i)
		fmt.Fprintf(&full, "\x1b[%d;%dH\x1b[38;2;%d;20;30m%d\x1b[K", i%24+1, i%70+1, i%256, i)
	}
	return map[string][]byte{
		"plain":   bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, 0123456789 and again.\r\n"), 480),
		"listing": listing.Bytes(),
		"cjk":     cjk.Bytes(),
		"emoji":   emoji.Bytes(),
		"screen":  full.Bytes(),
		"noise":   noise(),
	}
}

func noise() []byte {
	p := make([]byte, 32<<10)
	v := uint32(1)
	for i := range p {
		v = v*1664525 + 1013904223
		p[i] = byte(v >> 24)
	}
	return p
}

func BenchmarkWrite(b *testing.B) {
	for name, p := range kinds() {
		b.Run(name, func(b *testing.B) {
			s := screen.New(wire.Size{Cols: 80, Rows: 24})
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				s.Write(p)
			}
		})
	}
}

func BenchmarkRepaint(b *testing.B) {
	for name, p := range kinds() {
		b.Run(name, func(b *testing.B) {
			s := screen.New(wire.Size{Cols: 80, Rows: 24})
			s.Write(p)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = s.Repaint(buf[:0], math.MaxInt32, 0, "")
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
}

func TestWriteAllocatesNothing(t *testing.T) {
	for name, p := range kinds() {
		s := screen.New(wire.Size{Cols: 80, Rows: 24})
		for range 50 { // until there is room for all that it shows at once
			s.Write(p)
		}
		if n := testing.AllocsPerRun(50, func() { s.Write(p) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
