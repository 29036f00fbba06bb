// Package network tells when the way from this machine to others may have changed.
package network

import (
	"context"
	"time"
)

// settle is how long changes are gathered: a machine that joins a network has several in a row.
const settle = 250 * time.Millisecond

// Watch gives a channel on which something comes when addresses or routes of this machine have changed, until ctx ends. One
// that nobody takes stands for all that come behind it. It may be called at any time by any number of goroutines.
func Watch(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	go func() {
		for range changes(ctx) {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed
}
