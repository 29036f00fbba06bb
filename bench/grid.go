package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// grid is a table of one kind of thing, measured for several programs in turns: a column each.
type grid struct {
	columns []string
	rows    [][]string
	remarks []string // below it
}

func (g grid) print(w io.Writer) error {
	if len(g.rows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s\n", strings.Join(g.columns, "\t"))
	for _, row := range g.rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, line := range g.remarks {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// amount prints bytes with three digits or so.
func amount(n int64) string {
	switch {
	case n < 0:
		return "-" + amount(-n)
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
}
