package console

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"scrier/wire"
)

const (
	maxName    = 48  // characters of an operator's name that a dialog shows
	maxPurpose = 200 // and of the purpose
	columns    = 64  // of the lines of a dialog
)

// prompt is the text of a dialog. Its strings come from the relay and may hold anything: operators
// choose their own names.
type prompt struct {
	operator, purpose string
	view              bool
	wait              time.Duration // no answer by then is a no
}

func newPrompt(q Request, view bool, wait time.Duration) prompt {
	p := prompt{operator: shown(q.Operator, maxName), purpose: shown(q.Purpose, maxPurpose), view: view, wait: wait}
	if p.operator == "" {
		p.operator = "somebody without a name"
	}
	return p
}

// shown makes a string of the relay's harmless: one line of at most n characters.
func shown(s string, n int) string {
	s = s[:min(len(s), 4*n)]
	// To some dialogs a backslash means something; the quotation marks around the string are ours.
	s = strings.TrimSpace(strings.NewReplacer(`\`, "/", `"`, "'").Replace(wire.Printable(s)))
	if utf8.RuneCountInString(s) > n {
		s = string([]rune(s)[:n-3]) + "..."
	}
	return s
}

func (p prompt) ability() string {
	if p.view {
		return "see this screen"
	}
	return "see this screen and use its keyboard and mouse"
}

// question is several lines, the answer to which is yes or no.
func (p prompt) question() string {
	s := wrap(fmt.Sprintf("Screen sharing: \"%s\" wants to %s.", p.operator, p.ability()))
	if p.purpose != "" {
		s += "\n" + wrap("Purpose: "+p.purpose)
	}
	return s + "\n\n" + wrap(fmt.Sprintf("Without an answer within %d seconds it is not allowed.", p.seconds()))
}

// notice is shown as long as the screen is shared; it closes with the button end.
func (p prompt) notice(button string) string {
	can := "sees this screen"
	if !p.view {
		can += " and can use its keyboard and mouse"
	}
	return wrap(fmt.Sprintf("Screen sharing: \"%s\" %s.", p.operator, can)) + "\n" + wrap(button+", or close this window, to end it.")
}

func (p prompt) seconds() int { return max(1, int(p.wait/time.Second)) }

// wrap breaks lines at spaces, and words that are longer than a line.
func wrap(s string) string {
	var b strings.Builder
	at := 0
	for word := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(word)
		if at > 0 && at+1+n > columns {
			b.WriteByte('\n')
			at = 0
		} else if at > 0 {
			b.WriteByte(' ')
			at++
		}
		for _, r := range word {
			if at == columns {
				b.WriteByte('\n')
				at = 0
			}
			b.WriteRune(r)
			at++
		}
	}
	return b.String()
}

// latin1 is text for xmessage, which shows bytes as ISO 8859-1. Characters that it does not have are
// written as escapes.
func latin1(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x80 || r >= 0xa0 && r <= 0xff:
			b.WriteByte(byte(r))
		default:
			fmt.Fprintf(&b, "(U+%04X)", r)
		}
	}
	return b.String()
}
