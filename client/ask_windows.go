package client

import (
	"bufio"
	"bytes"
	"context"
	"io"

	"golang.org/x/term"

	"scrier/wire"
)

// Ask shows a prompt and reads one line, which the caller wipes; echo says whether it is seen while it is typed. It
// ends with ctx; what is typed until the next Enter is lost then, as a console's Read can't be broken off. It is
// for a terminal that is not raw.
func (t *Terminal) Ask(ctx context.Context, prompt string, echo bool) (line []byte, err error) {
	type typed struct {
		text []byte
		err  error
	}
	if _, err := t.out.WriteString(prompt); err != nil {
		return nil, err
	}
	done := make(chan typed, 1)
	go func() {
		var l typed
		if echo {
			l.text, l.err = bufio.NewReader(t.in).ReadBytes('\n')
		} else {
			l.text, l.err = term.ReadPassword(int(t.in.Fd()))
		}
		if l.err == io.EOF && len(l.text) > 0 {
			l.err = nil
		}
		l.text = bytes.TrimRight(l.text, "\r\n")
		done <- l
	}()
	select {
	case l := <-done:
		if !echo {
			_, _ = t.out.WriteString("\n")
		}
		return l.text, l.err
	case <-ctx.Done():
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
}
