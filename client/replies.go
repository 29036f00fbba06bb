package client

import (
	"bytes"
	"regexp"
	"sync"
)

// replies are what terminals answer by themselves: device attributes, where the cursor is, the state of
// modes, sizes and colours (ECMA-48, and xterm's "Control Sequences"). A key that sends the same bytes,
// as shifted F3 does with some terminals, is taken for one. It is made at its first use, as making it costs each start of the program two
// milliseconds; so are others that count what is repeated.
var replies = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?s)\x1b\[[?>=]?[0-9;]*c` + // device attributes
		`|\x1b\[\??[0-9]+;[0-9;]*R` + // the cursor's position
		`|\x1b\[[0-9]*n` + // status
		`|\x1b\[\??[0-9;]+\$y` + // a mode's state
		`|\x1b\[[0-9;]+t` + // sizes
		`|\x1b\[\?[0-9]*u` + // how keys are told
		`|\x1b[P\]_^][\x20-\x7e]{0,512}(\x07|\x1b\\)`) // strings: colours, versions, settings
})

// withoutReplies is what was typed without what the terminal answered.
func withoutReplies(p []byte) []byte {
	if bytes.IndexByte(p, 0x1b) < 0 {
		return p
	}
	return replies().ReplaceAll(p, nil)
}
