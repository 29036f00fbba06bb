package worker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/keys/line"
	"scrier/wire"
)

const maxRedo = 5

// clean takes lines out, by the first of these that works:
//
//	1  write a new file beside the old one, exchange the two, look at what was swapped out
//	2  write a # over the first byte of the line: this needs no space and no second file
//	3  leave the line, which expires by itself
func (w Worker) clean(q Request, p *place) (Result, error) {
	c, err := q.cleaning()
	if err != nil {
		return Result{}, err
	}
	var a Result
	if q.Sweep {
		w.sweepTemps(q, p)
	}
	for range maxRedo {
		var removed int
		if removed, err = w.replace(q, p, c); err == nil {
			a.Removed = removed
			return a, nil
		}
		if isMissing(err) || !errors.Is(err, errRedo) {
			break
		}
	}
	if isMissing(err) {
		return Result{Missing: true}, nil
	}
	if errors.Is(err, errRedo) {
		err = wire.Errorf(wire.KeyfileChanged, "%s kept changing", p.real)
	}
	var off error
	if a.Neutralised, a.Left, off = w.neutralise(p, c); off != nil {
		err = fmt.Errorf("%w; write #: %v", err, off)
	}
	a.Off = off == nil
	return a, err
}

func (q Request) cleaning() (line.Cleaning, error) {
	c := line.Cleaning{Lines: q.Lines}
	for _, text := range q.Lines {
		if _, ok := line.ParseEphemeral(text, q.zone()); !ok {
			return c, wire.Errorf(wire.Internal, "not an ephemeral line")
		}
	}
	for _, t := range q.Torn {
		c.Torn = append(c.Torn, line.Torn{Size: t.Size, Text: t.Text})
	}
	if !q.Sweep {
		return c, nil
	}
	agent, err := wire.ParseEnvoyID(q.Agent)
	if err != nil {
		return c, err
	}
	c.Sweep = &line.Sweep{Agent: agent, Sessions: map[wire.SessionID]bool{}, Now: time.Unix(q.Now, 0), Zone: q.zone()}
	for _, s := range q.Sessions {
		id, err := wire.ParseSessionID(s)
		if err != nil {
			return c, err
		}
		c.Sweep.Sessions[id] = true
	}
	return c, nil
}

// neutralise is way 2. done is how many lines it has disabled, left how many it has found and could
// not disable.
func (w Worker) neutralise(p *place, c line.Cleaning) (done, left int, err error) {
	f, err := p.open()
	if err != nil {
		return 0, 0, err
	}
	defer f.close()
	content, err := f.read()
	if err != nil {
		return 0, 0, err
	}
	offsets := c.Offsets(content)
	if len(offsets) == 0 {
		return 0, 0, nil
	}
	fd, err := p.openToWrite(0)
	if err != nil {
		return 0, len(offsets), err
	}
	defer unix.Close(fd)
	for i, at := range offsets {
		head := make([]byte, len(line.Head))
		n, err := unix.Pread(fd, head, at)
		if err != nil || !strings.HasPrefix(line.Head, string(head[:max(n, 0)])) || n < 1 {
			return i, len(offsets) - i, errRedo
		}
		if _, err := unix.Pwrite(fd, []byte{'#'}, at); err != nil {
			return i, len(offsets) - i, fmt.Errorf("write %s in place: %w", p.real, err)
		}
	}
	return len(offsets), 0, nil
}
