package line

// Reason says why a line that holds the key is not eligible.
type Reason uint8

// The reasons. Each of them is about one option, but for BadOptions.
const (
	NoReason Reason = iota
	BadOptions
	Authority
	Principals
	Expired
	From        // the operator's address is not let in
	FromUnknown // nobody says what the operator's address is
	FromName
	UnclearFrom
	Command
	NoPTY
	Environment
	VerifyRequired
	UnclearExpiry
	UnclearPermit
	UnclearTunnel
	NoForwarding
	Permits
	NoAgent
	ReasonEnd // not a reason: the first number that is none
)

// String is for the operator: what is the matter with the line, and what to do where that is not plain.
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
		return "its from= does not let in your address"
	case FromUnknown:
		return "it has from=, and the relay does not tell your address: update the relay"
	case FromName:
		return "its from= has host names, which nobody looks up here: put addresses there"
	case UnclearFrom:
		return "its from= can be read in more than one way"
	case Command:
		return "it has command="
	case NoPTY:
		return "it gives no terminal (no-pty, or restrict without pty)"
	case Environment:
		return "it has environment=, which a session does not get"
	case VerifyRequired:
		return "it has verify-required, and no relay can show that you were verified: use ssh, or put another key there"
	case UnclearExpiry:
		return "its expiry-time can be read in more than one way"
	case UnclearPermit:
		return "its permitopen= or permitlisten= can be read in more than one way"
	case UnclearTunnel:
		return "its tunnel= can be read in more than one way"
	case NoForwarding:
		return "it gives no forwarding of ports (no-port-forwarding, or restrict without port-forwarding)"
	case Permits:
		return "its permitopen= or permitlisten= has nothing that a session's line can say, or too much"
	case NoAgent:
		return "it gives no forwarding of the agent (no-agent-forwarding, or restrict without agent-forwarding)"
	}
	return ""
}
