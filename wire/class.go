package wire

// A Class is what the codes of one hundred have in common: the exit status of the command.
//
// The numbers 300 to 999 are divided into classes, a hundred numbers each. So a program knows the
// class of a code that is newer than itself, and scripts have a few statuses to know, which are
// those of sysexits(3).
type Class struct {
	First   Code // the first number of the hundred
	Status  int
	Sysexit string // the status's name in sysexits(3)
	Meaning string
}

// Bounds of the numbers of codes.
const (
	maxStatus = 125 // up to here a code is its own exit status
	MaxCode   = 999 // a WebSocket's close codes for applications are 4000 to 4999
)

var classes = []Class{
	{300, 65, "EX_DATAERR", "what was asked for is not well formed, or does not fit what is there"},
	{400, 77, "EX_NOPERM", "a policy, a role or a person does not allow it"},
	{500, 69, "EX_UNAVAILABLE", "what is needed is not there, does not answer or has ended"},
	{600, 75, "EX_TEMPFAIL", "not now: the same may work later"},
	{700, 76, "EX_PROTOCOL", "the far side is not who it should be, or breaks the protocol"},
	{800, 74, "EX_IOERR", "a file or a disk fails"},
	{900, 78, "EX_CONFIG", "something is not set up, or not rightly"},
}

// Classes lists the classes in the order of their numbers.
func Classes() []Class { return append([]Class(nil), classes...) }

// Class is the class of a code from 300 on, known or not; ok is false for all others.
func (c Code) Class() (class Class, ok bool) {
	for _, class := range classes {
		if class.First <= c && c < class.First+100 {
			return class, true
		}
	}
	return Class{}, false
}

// ExitStatus is the status with which the scrier command ends for this code: the number itself up to
// 125, its class's from 300 on.
func (c Code) ExitStatus() int {
	if c <= maxStatus {
		return int(c)
	}
	if class, ok := c.Class(); ok {
		return class.Status
	}
	return int(Internal) // no version gives such a number
}
