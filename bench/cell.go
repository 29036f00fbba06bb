package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// allCells are the networks in which a terminal must not lag.
const allCells = "*/*/*"

// lagTables are what the part lag can measure.
var lagTables = []string{"screen", "link", "page", "hops"}

// lags says whether this table of the part lag is wanted.
func (o options) lags(table string) bool {
	return slices.Contains(o.run, "lag") && slices.Contains(o.tables, table)
}

// parseLag reads the part lag's own flags.
func (o *options) parseLag(tables, cells, speeds string) error {
	o.tables = strings.Split(tables, ",")
	for _, name := range o.tables {
		if !slices.Contains(lagTables, name) {
			return fmt.Errorf("the part lag has no table %q; it has %s", name, strings.Join(lagTables, ", "))
		}
	}
	for text := range strings.SplitSeq(cells, ",") {
		found, err := parseCells(text)
		if err != nil {
			return err
		}
		o.cells = append(o.cells, found...)
	}
	for text := range strings.SplitSeq(speeds, ",") {
		n, err := parseSpeed(text)
		if err != nil {
			return err
		}
		o.speeds = append(o.speeds, n)
	}
	return nil
}

// parseCells reads "100ms/1%/20mbit", which is one network, or more with a star.
func parseCells(text string) ([]weather, error) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return nil, fmt.Errorf("the cell %q is not RTT/LOSS/RATE", text)
	}
	every := [3][]string{{"0ms", "100ms"}, {"0%", "1%", "2%"}, {"0mbit", "20mbit", "2mbit"}}
	for i, p := range parts {
		if p != "*" {
			every[i] = []string{p}
		}
	}
	var out []weather
	for _, roundTrip := range every[0] {
		for _, loss := range every[1] {
			for _, rate := range every[2] {
				w, err := parseCell(roundTrip, loss, rate)
				if err != nil {
					return nil, fmt.Errorf("the cell %q: %w", text, err)
				}
				out = append(out, w)
			}
		}
	}
	return out, nil
}

func parseCell(roundTrip, loss, rate string) (w weather, err error) {
	if w.roundTrip, err = time.ParseDuration(roundTrip); err != nil {
		return w, err
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(loss, "%"), 64)
	if err != nil {
		return w, err
	}
	if w.rate, err = strconv.ParseFloat(strings.TrimSuffix(rate, "mbit"), 64); err != nil {
		return w, err
	}
	// Not >= and <=, which let NaN pass.
	if w.loss = percent / 100; !(w.loss >= 0 && w.loss < 1) || !(w.rate >= 0 && w.rate < 1e6) || w.roundTrip < 0 || w.roundTrip > patience {
		return w, fmt.Errorf("%s, %s and %s are no network", roundTrip, loss, rate)
	}
	return w, nil
}

// parseSpeed reads bytes a second: 262144, 256k, 1m.
func parseSpeed(text string) (int64, error) {
	unit, digits := int64(1), text
	switch {
	case strings.HasSuffix(text, "k"):
		unit, digits = 1<<10, strings.TrimSuffix(text, "k")
	case strings.HasSuffix(text, "m"):
		unit, digits = 1<<20, strings.TrimSuffix(text, "m")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<30 {
		return 0, fmt.Errorf("the speed %q is not bytes a second as 256k, 1m or 0", text)
	}
	return n * unit, nil
}
