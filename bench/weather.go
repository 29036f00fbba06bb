package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// weather is what the network between the browser and the relay does.
type weather struct {
	roundTrip time.Duration
	loss      float64
}

func (w weather) String() string {
	return fmt.Sprintf("%d ms, %.0f %%", w.roundTrip.Milliseconds(), 100*w.loss)
}

// set changes the link, and waits until it has changed.
func (p *pageBench) set(ctx context.Context, now weather) error {
	if _, err := fmt.Fprintf(p.link, "delay %s\nloss %g\n", now.roundTrip/2, now.loss); err != nil {
		return fmt.Errorf("change the link: %w", err)
	}
	p.told += 2
	for end := time.Now().Add(patience); time.Now().Before(end); {
		said, err := os.ReadFile(p.linkLog)
		if err != nil {
			return err
		}
		if strings.Count(string(said), "\nok ") >= p.told {
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
