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
	var err error
	if o.cells, err = parseCells(cells, "RTT/LOSS/RATE", []string{"0ms", "100ms"}, []string{"0%", "1%", "2%"}, []string{"0mbit", "20mbit", "2mbit"}); err != nil {
		return err
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

// parseCells reads a list of networks, each as "100ms/1%/20mbit" or more of them with stars; every has what a star stands for.
func parseCells(list, form string, every ...[]string) (out []weather, _ error) {
	for text := range strings.SplitSeq(list, ",") {
		parts := strings.Split(text, "/")
		if len(parts) != len(every) {
			return nil, fmt.Errorf("the cell %q is not %s", text, form)
		}
		chosen := [][]string{nil}
		for i, part := range parts {
			values := []string{part}
			if part == "*" {
				values = every[i]
			}
			var longer [][]string
			for _, begun := range chosen {
				for _, v := range values {
					longer = append(longer, append(slices.Clone(begun), v))
				}
			}
			chosen = longer
		}
		for _, values := range chosen {
			w, err := parseCell(values)
			if err != nil {
				return nil, fmt.Errorf("the cell %q: %w", text, err)
			}
			out = append(out, w)
		}
	}
	return out, nil
}

// parseCell reads round trip, loss, rate and, if it is there, how much is reordered.
func parseCell(values []string) (w weather, err error) {
	if w.roundTrip, err = time.ParseDuration(values[0]); err != nil {
		return w, err
	}
	if w.loss, err = share(values[1]); err != nil {
		return w, err
	}
	if w.rate, err = strconv.ParseFloat(strings.TrimSuffix(values[2], "mbit"), 64); err != nil {
		return w, err
	}
	if len(values) > 3 {
		if w.reorder, err = share(values[3]); err != nil {
			return w, err
		}
	}
	// Not >= and <=, which let NaN pass.
	if !(w.rate >= 0 && w.rate < 1e6) || w.roundTrip < 0 || w.roundTrip > patience {
		return w, fmt.Errorf("%s and %s are no network", values[0], values[2])
	}
	return w, nil
}

// share reads "1%".
func share(text string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err == nil && !(percent >= 0 && percent < 100) { // not < and >=, which let NaN pass
		err = fmt.Errorf("%s is no share of packets", text)
	}
	return percent / 100, err
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
