package boltfile

import (
	"fmt"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// Check reads the whole file and returns the first thing that is wrong with it. No change may go on
// meanwhile. bbolt's own check runs in a goroutine of its own, where a fault from a wild page number
// would end the process: Walk, which comes before it, finds those.
func (f *File) Check() error {
	return f.GuardedView(func(tx *bbolt.Tx) error {
		if err := f.cfg.Walk(tx); err != nil {
			return err
		}
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = err // the channel must be read to its end
			}
		}
		return first
	})
}

// GuardedView is View for a file that may be damaged: a panic, or a fault in mapped memory, becomes
// an error.
func (f *File) GuardedView(view func(*bbolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return f.DB.View(view)
}
