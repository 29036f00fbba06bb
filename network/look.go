package network

import (
	"context"
	"iter"
	"net"
	"slices"
	"time"
)

// lookEvery is how often it is looked what addresses there are, where the system tells of no changes.
const lookEvery = 5 * time.Second

// looked are changes of the addresses, which a change of the network nearly always brings.
func looked(ctx context.Context) iter.Seq[struct{}] {
	return func(yield func(struct{}) bool) {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for before := addresses(); ; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			now := addresses()
			if !slices.Equal(now, before) && !yield(struct{}{}) {
				return
			}
			before = now
		}
	}
}

// addresses are those of this machine, in a fixed order; nil: nobody knows.
func addresses() (all []string) {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range found {
		all = append(all, a.String())
	}
	slices.Sort(all)
	return all
}
