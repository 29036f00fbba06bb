package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is a line of the table: what Scrier needs over what something else needs, measured in
// the same run.
type figure struct {
	name   string
	base   string // what it is compared with
	theirs string
	ours   string
	ratio  float64
	aim    string // empty: none was set
	note   string // stands below the table
}

// table prints the figures, and their notes below.
func table(w io.Writer, figures []figure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tagainst\tit\tscrier\tratio\taim")
	var notes []string
	for _, f := range figures {
		name := f.name
		if f.note != "" {
			notes = append(notes, f.note)
			name += fmt.Sprintf(" [%d]", len(notes))
		}
		aim := f.aim
		if aim == "" {
			aim = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.2f\t%s\n", name, f.base, f.theirs, f.ours, f.ratio, aim)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, n := range notes {
		if _, err := fmt.Fprintf(w, "[%d] %s\n", i+1, strings.ReplaceAll(n, "\n", "\n    ")); err != nil {
			return err
		}
	}
	return nil
}

// timing compares two times, of which less is better.
func timing(name, base string, theirs, ours time.Duration) figure {
	return figure{name: name, base: base, theirs: short(theirs), ours: short(ours), ratio: float64(ours) / float64(theirs)}
}

// short prints three digits or so.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}

// samples are times of one thing.
type samples []time.Duration

// percentile is the smallest sample that p percent of all are not above (the nearest rank).
func (s samples) percentile(p int) time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}

func (s samples) median() time.Duration { return s.percentile(50) }

// spread is what lies between the tenth and the ninetieth of a hundred.
func (s samples) spread() string {
	return short(s.percentile(10)) + " to " + short(s.percentile(90))
}
