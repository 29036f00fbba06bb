package transfer

import "time"

// A File is one that is copied, as a person is told of it.
type File struct {
	From, To string // with their places, see [Place.Show]; they may have any bytes
	Size     int64
}

// Result is how a file's copy ended.
type Result string

// The results.
const (
	Copied    Result = "copied"
	Continued Result = "continued" // a part was there already
	Kept      Result = "kept"      // all of it was there already
	LeftOut   Result = "left_out"  // it is nothing that can be copied; no error
	Failed    Result = "failed"
)

// Outcome is what there is to tell of a file in the end.
type Outcome struct {
	Result Result
	Moved  int64 // bytes that were sent
	Took   time.Duration
	Err    error // of Failed and LeftOut
}

// Progress is told what happens. Its methods may be called at the same time, but of each file in their order.
type Progress interface {
	Begin(f *File)
	// At says how far a file is, in bytes.
	At(f *File, offset int64)
	End(f *File, o Outcome) // also of files that did not begin
	// Stop is told in place of End of a file that may go on later, as another one.
	Stop(f *File)
}
