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

	markdown bool // for a document
}

func (g grid) print(w io.Writer) error {
	if len(g.rows) == 0 {
		return nil
	}
	if g.markdown {
		return g.document(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s\n", strings.Join(g.columns, "\t"))
	for _, row := range g.rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return g.remark(w)
}

func (g grid) remark(w io.Writer) error {
	for _, line := range g.remarks {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// document prints it in Markdown.
func (g grid) document(w io.Writer) error {
	fmt.Fprintf(w, "\n| %s |\n|%s\n", strings.Join(g.columns, " | "), strings.Repeat("---|", len(g.columns)))
	for _, row := range g.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(w)
	return g.remark(w) // and tells the first error of all
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
