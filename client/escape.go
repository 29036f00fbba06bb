package client

import "bytes"

// HelpText is what `~?` shows.
const HelpText = "Escapes, recognised after Enter:\n" +
	"  ~.   disconnect\n" +
	"  ~^Z  suspend\n" +
	"  ~?   this text\n" +
	"  ~~   one tilde\n"

// An Action is what a person asks of the program itself, by an escape.
type Action int

// The actions.
const (
	Disconnect Action = iota + 1 // ~.
	Help                         // ~?
	Suspend                      // ~^Z
)

// Escapes finds ssh's escapes in what is typed. They are recognised at the start and after a CR
// or LF. The zero value is ready; it is not for concurrent use.
//
//	+-> line start --"~"--> tilde --".", "?", "^Z"--> action, at line start
//	|      |                  |
//	CR,LF  | other            +--"~"--> one tilde, mid-line
//	|      v                  |
//	+-- mid-line <------------+--other--> both bytes
type Escapes struct {
	midLine bool
	tilde   bool // a tilde at the line's start is held back
}

// Feed takes what was typed and returns what is for the far side, and the actions in their order.
// Whatever follows Disconnect is dropped. out may share in's memory.
func (e *Escapes) Feed(in []byte) (out []byte, actions []Action) {
	if !e.tilde && bytes.IndexByte(in, '~') < 0 {
		if n := len(in); n > 0 {
			e.midLine = !endsLine(in[n-1])
		}
		return in, nil
	}
	out = make([]byte, 0, len(in)+1)
	for _, b := range in {
		if e.tilde {
			e.tilde = false
			switch b {
			case '.':
				return out, append(actions, Disconnect)
			case '?':
				actions = append(actions, Help)
				continue
			case 'Z' & 0x1f:
				actions = append(actions, Suspend)
				continue
			case '~':
			default:
				out = append(out, '~')
			}
		} else if b == '~' && !e.midLine {
			e.tilde = true
			continue
		}
		out = append(out, b)
		e.midLine = !endsLine(b)
	}
	return out, actions
}

// Flush returns the tilde that is held back, if there is one: at the end of input it was no escape.
func (e *Escapes) Flush() []byte {
	if !e.tilde {
		return nil
	}
	e.tilde, e.midLine = false, true
	return []byte{'~'}
}

func endsLine(b byte) bool { return b == '\r' || b == '\n' }
