//go:build !agentonly

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"scrier/wire"
)

// poll is how often the audit log is asked for what is new.
const poll = 2 * time.Second

// maxRecords is the most that one answer of the API has.
const maxRecords = 1000

// auditTail prints the audit log as it is written.
type auditTail struct {
	lines[auditRow]
	target *target
	limit  int
	next   uint64   // the record behind the last one that was printed
	last   auditRow // that one
	begun  bool
}

func (a *auditTail) follow(ctx context.Context) error { return follow(ctx, a.status, a.once) }

// once asks one connection for records until it ends.
func (a *auditTail) once(ctx context.Context, up func() error) error {
	r, err := a.target.dial(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	return a.poll(ctx, up, func(query string) ([]item[auditRow], error) {
		data, err := r.Do(ctx, "GET", "/audit?"+query, nil)
		if err != nil {
			return nil, err
		}
		return a.read(data)
	})
}

// poll prints what get has, again and again. A relay that is there again may have an older log, or another one: so the first
// thing that it is asked for is the record that was printed last.
func (a *auditTail) poll(ctx context.Context, up func() error, get func(query string) ([]item[auditRow], error)) error {
	newest := fmt.Sprintf("limit=%d", a.limit)
	behind := func(seq uint64) string { return fmt.Sprintf("from=%d&limit=%d", seq, maxRecords) }
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for first := true; ; first = false {
		query := newest
		if a.next > 0 {
			query = behind(a.next)
			if first {
				query = behind(a.last.Seq)
			}
		}
		items, err := get(query)
		if err != nil {
			return err
		}
		if first {
			if err := up(); err != nil {
				return unshown{err}
			}
			if a.next > 0 && !a.goesOn(items) {
				if err := a.status("the relay's audit log is an older one now, or another; its newest records follow"); err != nil {
					return unshown{err}
				}
				a.next = 0
				if items, err = get(newest); err != nil {
					return err
				}
			}
		}
		before := a.next
		if err := a.show(items); err != nil {
			return unshown{err}
		}
		if before > 0 && len(items) == maxRecords && a.next > before { // there is more
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// goesOn says whether the first of the records is the one that was printed last.
func (a *auditTail) goesOn(items []item[auditRow]) bool {
	if len(items) == 0 {
		return false
	}
	r := items[0].row
	return r.Seq == a.last.Seq && r.Time.Equal(a.last.Time) && r.Type == a.last.Type && r.Operator == a.last.Operator && r.Session == a.last.Session
}

func (a *auditTail) show(items []item[auditRow]) error {
	defer func() { a.begun = true }()
	if !a.begun && !a.json {
		rows := [][]string{a.heads()}
		for _, i := range items {
			rows = append(rows, a.cells(i.row))
		}
		a.measure(rows)
		if err := a.print(rows[0]); err != nil {
			return err
		}
	}
	for _, i := range items {
		if i.row.Seq < a.next {
			continue
		}
		a.next, a.last = i.row.Seq+1, i.row
		if err := a.record(i); err != nil {
			return err
		}
	}
	return nil
}

func (a *auditTail) record(i item[auditRow]) error {
	if !a.json {
		row := a.cells(i.row)
		for j, cell := range row {
			row[j] = wire.Printable(cell)
		}
		return a.print(row)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, i.raw); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := a.out.Write(wire.PrintableJSON(b.Bytes()))
	return err
}
