package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A terminal turns each newline into two bytes, so 78 characters make 80 bytes, and outputLines of
// them 100 MiB.
const (
	outputSize  = 100 << 20
	outputLine  = 80
	outputLines = outputSize / outputLine
)

// output measures 100 MiB of text shown by a shell: from Enter until the terminal has all of it.
// scrier, ssh and the bare splice take turns.
func output(ctx context.Context, w *world, o options) (_ []figure, err error) {
	s, err := newSite(ctx, w, "output", loopback)
	if err != nil {
		return nil, err
	}
	text := strings.Repeat("0123456789abcdef", 5)[:outputLine-2]
	file := filepath.Join(w.home, "text")
	if err := os.WriteFile(file, bytes.Repeat([]byte(text+"\n"), outputLines), 0o644); err != nil {
		return nil, err
	}
	f, err := newFloor(ctx, w, "output-floor")
	if err != nil {
		return nil, err
	}
	var ours, theirs, floor samples
	for n := range o.outputs + 1 { // the first warms up
		scrier, err := openTerminal("", s.viaScrier())
		if err != nil {
			return nil, err
		}
		a, err := show(ctx, scrier, file, text)
		if err = errors.Join(err, scrier.close()); err != nil {
			return nil, fmt.Errorf("scrier: %w", err)
		}
		ssh, err := openTerminal("", s.viaSSH())
		if err != nil {
			return nil, err
		}
		b, err := show(ctx, ssh, file, text)
		if err = errors.Join(err, ssh.close()); err != nil {
			return nil, fmt.Errorf("ssh: %w", err)
		}
		c, err := f.bulk(ctx)
		if err != nil {
			return nil, fmt.Errorf("bare splice: %w", err)
		}
		if n > 0 {
			ours, theirs, floor = append(ours, a), append(theirs, b), append(floor, c)
		}
	}
	rate := func(base string, it time.Duration) figure {
		return figure{
			name: "100 MiB of output", base: base, theirs: speed(it), ours: speed(ours.median()),
			ratio: it.Seconds() / ours.median().Seconds(),
		}
	}
	out := []figure{rate("ssh", theirs.median()), rate("ssh + bare splice", theirs.median()+floor.median())}
	out[0].note = fmt.Sprintf("Medians of %d runs of each, in turns; here a higher ratio is better. The bare splice alone: %s.\nSlowest to fastest: scrier %s, ssh %s, splice %s.",
		o.outputs, speed(floor.median()), speeds(ours), speeds(theirs), speeds(floor))
	return out, nil
}

func speed(d time.Duration) string {
	return fmt.Sprintf("%.1f MiB/s", float64(outputSize>>20)/d.Seconds())
}

func speeds(s samples) string { return speed(s.percentile(100)) + " to " + speed(s.percentile(1)) }

// show has a shell print the file and drains the terminal.
func show(ctx context.Context, t *terminal, file, text string) (time.Duration, error) {
	if err := t.expect(ctx, prompt); err != nil {
		return 0, err
	}
	if err := t.send("stty -echo; PS1=; printf 're%s' ady\r"); err != nil {
		return 0, err
	}
	if err := t.expect(ctx, "ready"); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := t.send("cat " + file + "\r"); err != nil {
		return 0, err
	}
	last := make([]byte, 0, len(t.buf)+outputLine)
	for left := outputSize; left > 0; {
		p, err := t.read(ctx, time.Now().Add(patience))
		if err != nil {
			return 0, err
		}
		left -= len(p)
		last = append(last[max(0, len(last)-outputLine):], p...)
		if left < 0 {
			return 0, fmt.Errorf("%d bytes too many; at the end %q", -left, last[max(0, len(last)-outputLine):])
		}
	}
	took := time.Since(begin)
	if !bytes.HasSuffix(last, []byte(text+"\r\n")) {
		return 0, fmt.Errorf("the last line is %q", last[max(0, len(last)-outputLine):])
	}
	return took, nil
}
