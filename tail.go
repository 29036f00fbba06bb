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
	next   uint64 // the record behind the last one that was printed
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
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for first := true; ; first = false {
		path := fmt.Sprintf("/audit?limit=%d", a.limit)
		if a.begun {
			path = fmt.Sprintf("/audit?from=%d&limit=%d", a.next, maxRecords)
		}
		data, err := r.Do(ctx, "GET", path, nil)
		if err != nil {
			return err
		}
		items, err := a.read(data)
		if err != nil {
			return err
		}
		if first {
			if err := up(); err != nil {
				return unshown{err}
			}
		}
		if err := a.show(items); err != nil {
			return unshown{err}
		}
		if len(items) == maxRecords && a.begun { // there is more
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
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
		a.next = i.row.Seq + 1
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
