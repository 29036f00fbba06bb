//go:build !agentonly

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"scrier/wire"
)

// A column is one of a list's.
type column[T any] struct {
	name    string // as --columns and --sort have it; its head is the same in capitals, with spaces
	cell    func(T) string
	compare func(a, b T) int // nil: by the cell
	more    bool             // shown only if it is named
	// still is what a change is told by; nil: the cell. What changes all the time, such as a load, is "".
	still func(T) string
}

func (c column[T]) head() string { return strings.ToUpper(strings.ReplaceAll(c.name, "-", " ")) }

// still is for columns whose change is no news.
func quiet[T any](T) string { return "" }

// byTime and byNumber order a list by what a cell shows only in words.
func byTime[T any](f func(T) time.Time) func(a, b T) int {
	return func(a, b T) int { return f(a).Compare(f(b)) }
}

func byNumber[T any, N cmp.Ordered](f func(T) N) func(a, b T) int {
	return func(a, b T) int { return cmp.Compare(f(a), f(b)) }
}

// listing is how a person wants to see a list.
type listing[T any] struct {
	columns []column[T]
	labels  func(T) map[string]string // nil: there are none to pick by

	json        bool
	names, sort string
	picks       []string

	// What prepare made of them.
	shown  []column[T]
	order  func(a, b T) int // nil: as the relay gives it
	picked selector
}

// item is one thing of a list, as the tables show it and as the relay gave it.
type item[T any] struct {
	row T
	raw json.RawMessage
}

func (l *listing[T]) flags(c *cobra.Command) {
	var names, orders []cobra.Completion
	for _, col := range l.columns {
		names = append(names, col.name)
		orders = append(orders, col.name, col.name+"-")
	}
	f := c.Flags()
	f.BoolVar(&l.json, "json", false, "print JSON")
	f.StringVar(&l.names, "columns", "", "show these `COLUMNS`, such as A,B,C; there are "+strings.Join(names, ", "))
	f.StringVar(&l.sort, "sort", "", "sort by `COLUMN`; with - behind it, the other way round")
	must(c.RegisterFlagCompletionFunc("columns", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)))
	must(c.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(orders, cobra.ShellCompDirectiveNoFileComp)))
	if l.labels != nil {
		f.StringArrayVar(&l.picks, "label", nil, "only those with these labels: a `SELECTOR` like k=v,k!=v,k,!k; may be repeated")
	}
}

// prepare reads the flags, before the relay is asked.
func (l *listing[T]) prepare() error {
	find := func(flag, name string) (column[T], error) {
		i := slices.IndexFunc(l.columns, func(c column[T]) bool { return c.name == name })
		if i >= 0 {
			return l.columns[i], nil
		}
		var known []string
		for _, c := range l.columns {
			known = append(known, c.name)
		}
		return column[T]{}, wire.Errorf(wire.Usage, "%s: there is no column %q; there are %s", flag, name, strings.Join(known, ", "))
	}
	l.shown = slices.DeleteFunc(slices.Clone(l.columns), func(c column[T]) bool { return c.more })
	if l.names != "" {
		if l.json {
			return wire.Errorf(wire.Usage, "--columns is for tables, and --json has all there is: give one of the two")
		}
		l.shown = nil
		for name := range strings.SplitSeq(l.names, ",") {
			c, err := find("--columns", strings.ToLower(strings.TrimSpace(name)))
			if err != nil {
				return err
			}
			l.shown = append(l.shown, c)
		}
	}
	if l.sort != "" {
		name, down := strings.CutSuffix(strings.ToLower(l.sort), "-")
		c, err := find("--sort", name)
		if err != nil {
			return err
		}
		order := c.compare
		if order == nil {
			order = func(a, b T) int { return cmp.Compare(c.cell(a), c.cell(b)) }
		}
		l.order = order
		if down {
			l.order = func(a, b T) int { return order(b, a) }
		}
	}
	var err error
	l.picked, err = parseSelector(l.picks)
	return err
}

const (
	// mostRows is far more than a relay can have of anything, and mostBytes is what they may take as JSON: a relay that means no
	// good must not fill the memory here.
	mostRows  = 200_000
	mostBytes = 64 << 20
)

// errTooLong is of a relay whose list is too long.
var errTooLong = wire.Errorf(wire.Protocol, "the relay's list has more than %d rows or %d MiB", mostRows, mostBytes>>20)

// read decodes the API's answer.
func (l *listing[T]) read(data json.RawMessage) ([]item[T], error) {
	if len(data) > mostBytes {
		return nil, errTooLong
	}
	all, err := decode[rows[T]](data)
	return all, err
}

// rows decodes no more of them than there may be.
type rows[T any] []item[T]

func (r *rows[T]) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	switch begin, err := d.Token(); {
	case err != nil:
		return err
	case begin == nil: // null is none
		return nil
	case begin != json.Delim('['):
		return errors.New("a list is expected")
	}
	for d.More() {
		var i item[T]
		if len(*r) == mostRows {
			return errTooLong
		}
		if err := d.Decode(&i.raw); err != nil {
			return err
		}
		if err := json.Unmarshal(i.raw, &i.row); err != nil {
			return err
		}
		*r = append(*r, i)
	}
	return nil
}

func (l *listing[T]) fits(row T) bool { return l.labels == nil || l.picked.fits(l.labels(row)) }

// pick is what is to be seen of items, in the order that is wished.
func (l *listing[T]) pick(items []item[T]) []item[T] {
	out := slices.DeleteFunc(slices.Clone(items), func(i item[T]) bool { return !l.fits(i.row) })
	if l.order != nil {
		slices.SortStableFunc(out, func(a, b item[T]) int { return l.order(a.row, b.row) })
	}
	return out
}

func (l *listing[T]) heads() (heads []string) {
	for _, c := range l.shown {
		heads = append(heads, c.head())
	}
	return heads
}

func (l *listing[T]) cells(row T) (cells []string) {
	for _, c := range l.shown {
		cells = append(cells, c.cell(row))
	}
	return cells
}

func (l *listing[T]) table(w io.Writer, items []item[T]) error {
	var rows [][]string
	for _, i := range items {
		rows = append(rows, l.cells(i.row))
	}
	return table(w, l.heads(), rows)
}

// print prints the API's answer; none is what to say if there is nothing, none of it or none of what was picked.
func (l *listing[T]) print(c *cobra.Command, data json.RawMessage, none func()) error {
	items, err := l.read(data)
	if err != nil {
		return err
	}
	picked := l.pick(items)
	if l.json {
		raws := make([]json.RawMessage, 0, len(picked))
		for _, i := range picked {
			raws = append(raws, i.raw)
		}
		all, err := json.Marshal(raws)
		if err != nil {
			return err
		}
		return printJSON(c.OutOrStdout(), all)
	}
	switch {
	case len(items) == 0 && none != nil:
		none()
		return nil
	case len(picked) == 0 && len(items) > 0:
		_, err := io.WriteString(c.ErrOrStderr(), "None of "+count(len(items), "row")+" has these labels.\n")
		return err
	}
	return l.table(c.OutOrStdout(), picked)
}

// table prints columns; every cell may hold strings of the far side.
func table(w io.Writer, head []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = wire.Printable(cell)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// ago is how long ago a time was, in one unit.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return wire.Rough(time.Since(t)) + " ago"
}
