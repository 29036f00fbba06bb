package doctor

import (
	"fmt"
	"io"
	"unicode/utf8"

	"scrier/wire"
)

// Report is all findings, in the order of the groups.
type Report struct {
	Version  string    `json:"version"` // of the program that looked
	OK       int       `json:"ok"`
	Warnings int       `json:"warnings"`
	Failed   int       `json:"failed"`
	Skipped  int       `json:"skipped"`
	Checks   []Finding `json:"checks"`
}

func (r Report) count() Report {
	for _, f := range r.Checks {
		switch f.Status {
		case OK:
			r.OK++
		case Warn:
			r.Warnings++
		case Fail:
			r.Failed++
		case Skip:
			r.Skipped++
		}
	}
	return r
}

// Print writes the report for people. Details may hold strings of far sides.
func (r Report) Print(w io.Writer) error {
	width := 0
	for _, f := range r.Checks {
		width = max(width, utf8.RuneCountInString(wire.Printable(f.What)))
	}
	group := ""
	for _, f := range r.Checks {
		if f.Group != group {
			group = f.Group
			if _, err := fmt.Fprintln(w, group); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "  %-4s  %-*s  %s\n", f.Status, width, wire.Printable(f.What), wire.Printable(f.Detail)); err != nil {
			return err
		}
		if f.Hint == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "  %-4s  %-*s  hint: %s\n", "", width, "", wire.Printable(f.Hint)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d ok, %d to look at, %d failed, %d skipped\n", r.OK, r.Warnings, r.Failed, r.Skipped)
	return err
}
