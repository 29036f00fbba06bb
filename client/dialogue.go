package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"scrier/wire"
)

// dialogue is what the person hears and is asked before there is a shell. What the machine's SSH server says stands
// behind a bar at the left, and what it asks behind the name of its login, so that nothing of it looks like words of
// this program's.
type dialogue struct {
	*wire.Framed
	terminal *Terminal // nil: there is none, and nobody can be asked
	messages io.Writer
	speaker  string                  // who has said the last line
	gates    func(*wire.Gates) error // nil: the stream can have none
}

// attached gives what the relay answers in the end.
func (d *dialogue) attached(ctx context.Context) (*wire.Attached, error) {
	for {
		m, err := d.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("the peer ended the stream before its answer: %w", io.ErrUnexpectedEOF)
			}
			return nil, err
		}
		if e, ok := m.(*wire.Exit); ok && e.Code != wire.None { // somebody else is asked now, for example
			return nil, ended(e.Code, e.Detail)
		}
		switch m := m.(type) {
		case *wire.Attached:
			return m, nil
		case *wire.Refused:
			return nil, m.Err()
		case *wire.Gates:
			if d.gates == nil {
				return nil, wire.Errorf(wire.Protocol, "the relay has gates for a stream that can have none")
			}
			if err := d.gates(m); err != nil {
				return nil, err
			}
		case *wire.Said:
			d.said(d.account(m.Login, m.Envoy), m.Text)
		case *wire.Ask:
			if err := d.ask(ctx, m); err != nil {
				return nil, err
			}
		default:
			return nil, wire.Errorf(wire.Protocol, "got %T, expected %T", m, (*wire.Attached)(nil))
		}
	}
}

// columns is the width of a line.
func (d *dialogue) columns() int {
	if d.terminal == nil {
		return 80
	}
	return int(d.terminal.Size().Cols)
}

// account names who speaks, in few characters: both names may be a hostile machine's choice, and what stands behind
// them must begin on the same line.
func (d *dialogue) account(login, envoy string) string {
	most := min(max((d.columns()-24)/2, 8), 40) // characters of each
	brief := func(name string) string {
		if parts := fold(wire.Printable(name), most); len(parts) > 1 {
			return parts[0] + "…"
		}
		return wire.Printable(name)
	}
	return brief(login) + "@" + brief(envoy)
}

// said shows what somebody has said.
func (d *dialogue) said(who, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	if d.speaker != who {
		d.speaker = who
		fmt.Fprintf(d.messages, "%s says:\n", who)
	}
	for line := range strings.Lines(wire.Lines(text, wire.MaxControl)) {
		for _, part := range fold(strings.TrimSuffix(line, "\n"), d.width("| ")) {
			fmt.Fprintf(d.messages, "| %s\n", part)
		}
	}
}

// ask asks the person, and sends the answer. It ends early when the relay has something else to say.
func (d *dialogue) ask(ctx context.Context, m *wire.Ask) error {
	who := d.account(m.Login, m.Envoy)
	d.said(who, m.Text)
	if d.terminal == nil {
		return wire.Errorf(wire.LoginUnanswered, "%s asks something, and there is no terminal in which you could answer", who)
	}
	if m.Again {
		fmt.Fprintf(d.messages, "%s did not accept that.\n", who)
	}
	answer := &wire.Answer{ID: m.ID}
	defer answer.Wipe()
	asked, end := context.WithCancelCause(ctx)
	defer end(nil)
	over := d.ReceiveAhead()
	go func() {
		select {
		case <-over:
			end(errOver)
		case <-asked.Done():
		}
	}()
	for i, q := range m.Questions {
		prompt := d.prompt(who, q, m.Password)
		if i == 0 {
			fmt.Fprintf(d.messages, "%s asks. What you answer goes to that machine:\n", who)
		}
		d.speaker = ""
		text, err := d.terminal.Ask(asked, prompt, q.Echo)
		if errors.Is(context.Cause(asked), errOver) {
			clear(text)
			return nil // what has come says why
		}
		if errors.Is(err, io.EOF) {
			err = wire.Errorf(wire.Cancelled, "nothing was answered")
		}
		if err != nil {
			return err
		}
		answer.Texts = append(answer.Texts, text)
		if len(text) > wire.MaxAnswer {
			return wire.Errorf(wire.BadRequest, "an answer has at most %d bytes", wire.MaxAnswer)
		}
	}
	return d.Send(answer)
}

var errOver = errors.New("the question is over")

// prompt is what stands before the answer to a question. Of several lines it is the last one, as ssh shows them.
func (d *dialogue) prompt(who string, q wire.Question, password bool) string {
	if password {
		return who + "'s password: "
	}
	prefix := "(" + who + ") "
	before, last := "", wire.Lines(q.Text, wire.MaxControl)
	if i := strings.LastIndexByte(last, '\n'); i >= 0 {
		before, last = last[:i], last[i+1:]
	}
	parts := fold(last, d.width(prefix))
	d.said(who, strings.Join(append(strings.Split(before, "\n"), parts[:len(parts)-1]...), "\n"))
	return prefix + parts[len(parts)-1] + " "
}

// width is how much of a line is left behind a prefix.
func (d *dialogue) width(prefix string) int {
	return max(d.columns()-columns(prefix)-2, 8) // a blank and the cursor stand behind it
}

// fold cuts a line into parts that a terminal does not wrap: what begins a line on the screen would stand without what
// marks it. A character that is not ASCII may be two columns wide.
func fold(line string, width int) (parts []string) {
	start, used := 0, 0
	for i, r := range line {
		w := columns(string(r))
		if used+w > width {
			parts = append(parts, line[start:i])
			start, used = i, 0
		}
		used += w
	}
	return append(parts, line[start:])
}

// columns is how many columns of a terminal a text takes at most.
func columns(text string) (n int) {
	for _, r := range text {
		n++
		if r > 0x7e {
			n++
		}
	}
	return n
}
