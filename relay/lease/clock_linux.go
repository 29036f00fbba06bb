package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

// boot is how long the machine has been up, the time in which it slept included: Go's own clock stands still then.
func boot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // every Linux since 2.6.39 has it
	}
	return time.Duration(t.Nano())
}
