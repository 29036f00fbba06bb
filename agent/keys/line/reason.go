package line

// Reason says why a line that holds the key is not eligible.
type Reason uint8

// The reasons.
const (
	NoReason Reason = iota
	BadOptions
	Authority
	Principals
	Expired
	From
	Command
	NoPTY
	Uncertain
	ReasonEnd // not a reason: the first number that is none
)

// String is for the operator: what is the matter with the line.
func (r Reason) String() string {
	switch r {
	case BadOptions:
		return "its options are not valid"
	case Authority:
		return "it is marked cert-authority"
	case Principals:
		return "it has principals="
	case Expired:
		return "its expiry-time has passed"
	case From:
		return "its from= does not let in the machine itself"
	case Command:
		return "it has command="
	case NoPTY:
		return "its options give no terminal"
	case Uncertain:
		return "its options can be read in more than one way"
	}
	return ""
}
