package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

// numberedRun is a numbered command whose relay the test plays.
type numberedRun struct {
	*fakeRelay
	messages syncBuffer
	status   int
	err      error
	over     chan struct{}
	cancel   context.CancelFunc
	ack      wire.Ack // the last one
}

func runNumbered(t *testing.T, req CommandRequest) *numberedRun {
	t.Helper()
	c := &numberedRun{fakeRelay: &fakeRelay{t: t, link: make(chan wire.Link, 1)}, over: make(chan struct{})}
	r := &Relay{http: &http.Client{Transport: c.fakeRelay}, redial: c.redial}
	var err error
	if r.link, err = c.redial(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(t.Context())
	req.Envoy, req.Messages = "web1", &c.messages
	if req.Err == nil {
		req.Err = io.Discard
	}
	go func() {
		defer close(c.over)
		c.status, c.err = r.Command(ctx, req)
	}()
	t.Cleanup(func() {
		c.cancel()
		<-c.over
	})
	return c
}

func (c *numberedRun) ends() {
	c.t.Helper()
	select {
	case <-c.over:
	case <-time.After(patience):
		c.t.Fatal("it does not end")
	}
}

func numberedAt(m wire.Attached) *wire.Attached {
	m.Numbered, m.Channel, m.Part = true, true, 1
	a := attachedAt(m)
	if a.Window = m.Window; a.Window == 0 {
		a.Window = wire.ProgramWindow
	}
	return a
}

// next receives the next message that is no Ack.
func (c *numberedRun) next(f *wire.Framed) wire.Message {
	c.t.Helper()
	for {
		m, err := f.Receive()
		if err != nil {
			c.t.Fatal(err)
		}
		a, ok := m.(*wire.Ack)
		if !ok {
			return m
		}
		c.ack = *a
	}
}

func (c *numberedRun) input(f *wire.Framed, n int) string {
	c.t.Helper()
	var b []byte
	for len(b) < n {
		m := c.next(f)
		d, ok := m.(*wire.Data)
		if !ok {
			c.t.Fatalf("%+v behind %q", m, b)
		}
		b = append(b, d.Bytes...)
	}
	return string(b)
}

// acked waits until so much of the output is acknowledged.
func (c *numberedRun) acked(f *wire.Framed, out, errs uint64) {
	c.t.Helper()
	for c.ack.Offset != out || c.ack.Errors != errs {
		m, err := f.Receive()
		if err != nil {
			c.t.Fatal(err)
		}
		if a, ok := m.(*wire.Ack); ok {
			c.ack = *a
		}
	}
}

// A link that breaks ends nothing: all three streams go on at the byte where they were, and what belongs to the end is said again.
func TestNumberedGoesOn(t *testing.T) {
	in, typed := io.Pipe()
	var out, errs syncBuffer
	c := runNumbered(t, CommandRequest{Command: "x", In: in, Out: &out, Err: &errs})
	f, first := c.accept()
	connect := first.(*wire.Connect)
	if !connect.Numbered || len(connect.Client) != 16 {
		t.Fatalf("it asks for %+v", connect)
	}
	c.say(f, numberedAt(wire.Attached{Window: 100}), &wire.Data{Bytes: []byte("one ")}, &wire.Data{Bytes: []byte("two ")})
	if err := f.WriteData(wire.ErrorsFrame(append(make([]byte, wire.DataHeader), "oh "...), 3)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = typed.Write([]byte("abcdef"))
		_ = typed.Close()
	}()
	if got := c.input(f, 6); got != "abcdef" {
		t.Fatalf("%q", got)
	}
	if _, ok := c.next(f).(*wire.EOF); !ok {
		t.Fatal("no end of the input")
	}
	c.say(f, &wire.Ack{Offset: 2, Window: 200})
	c.acked(f, 8, 3)
	c.breaks()

	f, first = c.accept()
	back, ok := first.(*wire.Attach)
	if !ok || *back.From != 8 || *back.Errors != 3 || !back.Back || !bytes.Equal(back.Client, connect.Client) || string(back.Ticket) != "ticket" {
		t.Fatalf("it comes back as %+v", first)
	}
	c.say(f, numberedAt(wire.Attached{Offset: 8, Errors: 3, Typed: 4, Window: 200}))
	if got := c.input(f, 2); got != "ef" {
		t.Errorf("%q is sent once more", got)
	}
	if _, ok := c.next(f).(*wire.EOF); !ok {
		t.Error("no end of the input")
	}
	c.say(f, &wire.Data{Bytes: []byte("three")}, &wire.Exit{Status: 5})
	c.ends()
	if c.status != 5 || c.err != nil || out.String() != "one two three" || errs.String() != "oh " {
		t.Errorf("%d, %v, %q, %q", c.status, c.err, out.String(), errs.String())
	}
	if text := c.messages.String(); !strings.Contains(text, "lost, and is there again after 0 s; the command goes on") || strings.Count(text, "\n") != 1 {
		t.Errorf("it says %q", text)
	}
}

// stuckWriter takes nothing.
type stuckWriter struct{ done chan struct{} }

func (w stuckWriter) Write(p []byte) (int, error) {
	<-w.done
	return len(p), nil
}

// A relay that knows the session no more, as it was restarted, ends the command, though nothing comes of its input and nobody takes
// its output; and so does the person.
func TestNumberedIsLost(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(*numberedRun)
		code wire.Code
	}{
		"the relay was restarted": {func(c *numberedRun) {
			c.refuse, c.row = &wire.Problem{Code: wire.NotFound}, `{"reason":"relay_restart"}`
		}, wire.RelayRestart},
		"it has ended": {func(c *numberedRun) {
			c.refuse, c.row = &wire.Problem{Code: wire.NotFound}, `{"reason":"exit"}`
		}, wire.NotFound},
		"the person goes": {func(c *numberedRun) {
			c.down = true
			time.AfterFunc(100*time.Millisecond, c.cancel)
		}, wire.Cancelled},
	} {
		t.Run(name, func(t *testing.T) {
			in, typed := io.Pipe()
			defer typed.Close()
			done := make(chan struct{})
			defer close(done)
			c := runNumbered(t, CommandRequest{Command: "x", In: in, Out: stuckWriter{done}})
			f, _ := c.accept()
			c.say(f, numberedAt(wire.Attached{}), &wire.Data{Bytes: []byte("one")})
			_, _ = typed.Write([]byte("x"))
			c.input(f, 1) // it is attached
			c.mu.Lock()
			end.do(c)
			c.mu.Unlock()
			c.breaks()
			c.ends()
			if wire.CodeOf(c.err) != end.code {
				t.Errorf("ended as %v", c.err)
			}
		})
	}
}

// Output waits for who is slow, and holds up nothing: not the acknowledgements of input, not the end. All of it is written before the end.
func TestNumberedSlowReader(t *testing.T) {
	out, in := io.Pipe()
	c := runNumbered(t, CommandRequest{Command: "x", In: strings.NewReader(strings.Repeat("x", 1000)), Out: in})
	f, _ := c.accept()
	c.say(f, numberedAt(wire.Attached{Window: 10}))
	for range wire.ProgramWindow / wire.MaxData {
		c.say(f, &wire.Data{Bytes: make([]byte, wire.MaxData)})
	}
	for n := 0; n < 1000; n += 10 {
		c.input(f, 10)
		c.say(f, &wire.Ack{Offset: uint64(n + 10)})
	}
	c.say(f, &wire.Exit{Status: 3})
	if b, err := io.ReadAll(io.LimitReader(out, wire.ProgramWindow)); err != nil || len(b) != wire.ProgramWindow {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	c.ends()
	if c.status != 3 || c.err != nil {
		t.Errorf("%d, %v", c.status, c.err)
	}
}

// Without a reader the command is told so over each connection, and its input goes on.
func TestNumberedWithoutAReader(t *testing.T) {
	c := runNumbered(t, CommandRequest{Command: "x", Out: gone{}})
	f, _ := c.accept()
	c.say(f, numberedAt(wire.Attached{}), &wire.Data{Bytes: []byte("one")})
	for closed := false; !closed; {
		_, closed = c.next(f).(*wire.Closed)
	}
	c.breaks()
	f, _ = c.accept()
	c.say(f, numberedAt(wire.Attached{Offset: 3}))
	for closed := false; !closed; {
		_, closed = c.next(f).(*wire.Closed)
	}
	c.say(f, &wire.Data{Bytes: []byte("two")}, &wire.Exit{Signal: "PIPE"})
	c.ends()
	if c.status != 141 || c.err != nil {
		t.Errorf("%d, %v", c.status, c.err)
	}
}

// A relay that counts wrongly is not believed.
func TestNumberedEvilRelays(t *testing.T) {
	flood := func(frame func([]byte, int) []byte, n int) func(*wire.Framed) {
		return func(f *wire.Framed) {
			for range n/wire.MaxData + 1 {
				_ = f.WriteData(frame(make([]byte, wire.DataHeader+wire.MaxData), wire.MaxData))
			}
		}
	}
	for name, c := range map[string]struct {
		attached wire.Attached
		evil     func(*wire.Framed)
	}{
		"has had input":        {wire.Attached{Typed: 1}, func(*wire.Framed) {}},
		"has had much":         {wire.Attached{Typed: 1<<64 - 1, Window: 1<<32 - 1}, func(*wire.Framed) {}},
		"acknowledges input":   {wire.Attached{}, func(f *wire.Framed) { _ = f.Send(&wire.Ack{Offset: 1}) }},
		"sends much output":    {wire.Attached{}, flood(wire.DataFrame, wire.ProgramWindow+sinkPiece)},
		"sends much of errors": {wire.Attached{}, flood(wire.ErrorsFrame, wire.ErrorsWindow+sinkPiece)},
		"resizes":              {wire.Attached{}, func(f *wire.Framed) { _ = f.Send(&wire.Resize{}) }},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			defer close(done)
			r := runNumbered(t, CommandRequest{Command: "x", Out: stuckWriter{done}, Err: stuckWriter{done}})
			f, _ := r.accept()
			r.say(f, numberedAt(c.attached))
			c.evil(f)
			r.ends()
			if wire.CodeOf(r.err) != wire.Protocol {
				t.Errorf("ended as %v", r.err)
			}
		})
	}
}

// One that attaches a command elsewhere neither.
func TestNumberedAttachedElsewhere(t *testing.T) {
	for name, a := range map[string]*wire.Attached{
		"output":     numberedAt(wire.Attached{Offset: 1}),
		"errors":     numberedAt(wire.Attached{Errors: 1}),
		"input":      numberedAt(wire.Attached{Typed: 1}),
		"unnumbered": func() *wire.Attached { a := numberedAt(wire.Attached{}); a.Numbered = false; return a }(),
		"session":    func() *wire.Attached { a := numberedAt(wire.Attached{}); a.Session = wire.NewSessionID(); return a }(),
	} {
		t.Run(name, func(t *testing.T) {
			var out syncBuffer
			c := runNumbered(t, CommandRequest{Command: "x", Out: &out})
			f, _ := c.accept()
			c.say(f, numberedAt(wire.Attached{}))
			if _, ok := c.next(f).(*wire.EOF); !ok {
				t.Fatal("no end of the input")
			}
			c.breaks()
			f, _ = c.accept()
			c.say(f, a)
			c.ends()
			if wire.CodeOf(c.err) != wire.Protocol {
				t.Errorf("ended as %v", c.err)
			}
		})
	}
}
