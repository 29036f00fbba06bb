package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// roadColumns are those of the table: for each kind of thing, plain ssh and the roads.
var roadColumns = []string{"Network", "echo ssh", "quic", "tcp", "auto", "file ssh", "quic", "tcp", "auto", "forward ssh", "quic", "tcp", "auto"}

// roadGrid is the table of all networks.
func roadGrid(cells []weather, found map[weather][]passage, took time.Duration) grid {
	g := grid{columns: roadColumns, markdown: true}
	for _, cell := range cells {
		g.rows = append(g.rows, roadRow(cell, found[cell]))
	}
	g.remarks = []string{
		fmt.Sprintf("%d networks in %s. Echo: p50 / p99 of %d keys, 25 a second. File and forward: MiB a second, down, for 1.5 s and 15 round trips from the first byte on; t: over TCP.", len(cells), took.Round(time.Second), roadKeys),
		fmt.Sprintf("Then files and bytes of a forward, both ways and to their ends, SHA-256 compared. TCP's congestion control: %s. %s", firstLine("/proc/sys/net/ipv4/tcp_congestion_control"), loadNow()),
	}
	return g
}

func roadRow(cell weather, found []passage) []string {
	row := []string{cell.String()}
	each := func(show func(passage) string) {
		for _, p := range found {
			if p.said != nil {
				row = append(row, "failed")
			} else {
				row = append(row, show(p))
			}
		}
	}
	each(func(p passage) string {
		return millis(p.echoes.median()) + " / " + millis(p.echoes.percentile(99)) + " ms"
	})
	each(func(p passage) string {
		if p.overTCP {
			return rate(p.file) + " t"
		}
		return rate(p.file)
	})
	each(func(p passage) string { return rate(p.forward) })
	return row
}

// millis prints milliseconds without their name.
func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}

// rate prints bytes a second as MiB a second.
func rate(bytes float64) string {
	switch mib := bytes / (1 << 20); {
	case mib < 10:
		return fmt.Sprintf("%.2f", mib)
	case mib < 100:
		return fmt.Sprintf("%.1f", mib)
	default:
		return fmt.Sprintf("%.0f", mib)
	}
}

// equal compares two files by SHA-256.
func equal(got, want string) error {
	var sums [2][]byte
	for i, path := range []string{got, want} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		_ = f.Close() // it was only read
		if err != nil {
			return err
		}
		sums[i] = sum.Sum(nil)
	}
	if !bytes.Equal(sums[0], sums[1]) {
		return fmt.Errorf("%s: %w", filepath.Base(got), errNotExact)
	}
	return nil
}
