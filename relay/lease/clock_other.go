//go:build !linux

package lease

import "time"

// begun is any moment; it is not the wall's that is measured from it.
var begun = time.Now()

func boot() time.Duration { return time.Since(begun) }
