package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// race is a line of the pages' table: one thing over WebTransport and over WebSocket, in turns.
type race struct {
	name                    string
	webTransport, webSocket samples
	unfinished              [2]string // what stands where there are no samples, in this order
}

// races prints the table, and remarks below.
func races(w io.Writer, all []race, remarks []string) error {
	if len(all) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nin the page\tWebSocket p50\tp99\tWebTransport p50\tp99\tratio p50\tp99")
	for _, r := range all {
		ws50, ws99 := r.webSocket.ends(r.unfinished[1])
		wt50, wt99 := r.webTransport.ends(r.unfinished[0])
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.name, ws50, ws99, wt50, wt99, r.ratio(50), r.ratio(99))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, line := range remarks {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// few is how many samples are too few for a ninety-ninth percentile to say anything.
const few = 20

// ends are the median and the ninety-ninth percentile.
func (s samples) ends(none string) (p50, p99 string) {
	switch {
	case len(s) == 0:
		return none, "-"
	case len(s) < few:
		return long(s.median()), "-"
	}
	return long(s.median()), long(s.percentile(99))
}

// long is [short], up to minutes.
func long(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return short(d)
}

// ratio is WebTransport's over WebSocket's.
func (r race) ratio(p int) string {
	least := 1
	if p > 50 {
		least = few
	}
	if min(len(r.webTransport), len(r.webSocket)) < least {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(r.webTransport.percentile(p))/float64(r.webSocket.percentile(p)))
}
