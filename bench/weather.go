package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// weather is what the network between the operator and the relay does.
type weather struct {
	roundTrip time.Duration
	loss      float64
	rate      float64 // Mbit/s each way, 0: no limit
	reorder   float64 // share of the packets that overtake those before
}

func (w weather) String() string {
	s := fmt.Sprintf("%d ms, %.3g %%", w.roundTrip.Milliseconds(), 100*w.loss)
	if w.reorder > 0 {
		s += fmt.Sprintf(", %.3g %% reordered", 100*w.reorder)
	}
	if w.rate > 0 {
		s += fmt.Sprintf(", %g Mbit/s", w.rate)
	}
	return s
}

// link is a network of two ends that changes while it is used.
type link struct {
	netem *os.File // takes its settings
	log   string   // says when they hold
	told  int      // how many it was given
}

// set changes the link, and waits until it has changed.
func (l *link) set(ctx context.Context, now weather) error {
	if _, err := fmt.Fprintf(l.netem, "delay %s\nloss %g\nrate %g\nreorder %g\n", now.roundTrip/2, now.loss, now.rate, now.reorder); err != nil {
		return fmt.Errorf("change the link: %w", err)
	}
	l.told += 4
	for end := time.Now().Add(patience); time.Now().Before(end); {
		said, err := os.ReadFile(l.log)
		if err != nil {
			return err
		}
		if strings.Count(string(said), "\nok ") >= l.told {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return errors.New("the link does not change")
}
