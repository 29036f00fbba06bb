package client

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// typist is a keyboard whose terminal is a pipe, and what the relay gets of it.
func typist(t *testing.T) (in *input, relay *wire.Framed, types func(string)) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Streams()
	terminal := &Terminal{in: r, out: r, done: make(chan struct{})}
	in = newInput()
	in.resume(0, wire.ViewerWindow)
	c := newAttachment(&lifeline{terminal: terminal, input: in}, wire.NewFramed(near), &wire.Attached{})
	k := &keyboard{terminal: terminal, messages: io.Discard, input: in}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{k.run, c.send} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		_ = w.Close() // twice in some tests
		wg.Wait()
		r.Close()
	})
	if err := far.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return in, wire.NewFramed(far), func(text string) {
		t.Helper()
		if text == "" {
			w.Close()
		} else if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
}

// holds waits until so many bytes are held.
func (in *input) holds(n int) {
	for held := 0; held < n; time.Sleep(time.Millisecond) {
		in.mu.Lock()
		held = len(in.bytes)
		in.mu.Unlock()
	}
}

// got reads until the relay has n bytes of input, or its end if n is negative.
func got(t *testing.T, relay *wire.Framed, n int) string {
	t.Helper()
	var all bytes.Buffer
	for all.Len() < n || n < 0 {
		m, err := relay.Receive()
		if err != nil {
			t.Fatalf("%v behind %q", err, all.String())
		}
		switch m := m.(type) {
		case *wire.Data:
			all.Write(m.Bytes)
		case *wire.EOF:
			return all.String()
		case *wire.Resize, *wire.Ack:
		default:
			t.Fatalf("unexpected %T", m)
		}
	}
	return all.String()
}

// What is typed while history is shown is not lost: it goes out when history has been shown, in order,
// without what the terminal answered meanwhile.
func TestTypedDuringHistory(t *testing.T) {
	in, relay, types := typist(t)
	types("echo one\r")
	types("\x1b[?62;22c\x1b[12;40Recho two\r\x1b]11;rgb:0000/0000/0000\x1b\\")
	in.holds(len("echo one\r\x1b[?62;22c\x1b[12;40Recho two\r\x1b]11;rgb:0000/0000/0000\x1b\\"))
	in.goLive()
	if s := got(t, relay, 18); s != "echo one\recho two\r" {
		t.Errorf("the relay got %q", s)
	}
	types("\x1b[12;40R") // now it is the answer to a question of now
	if s := got(t, relay, 8); s != "\x1b[12;40R" {
		t.Errorf("the relay got %q", s)
	}
	types("")
	got(t, relay, -1)
}

// Much may be typed meanwhile, and nothing of it is lost.
func TestMuchTypedDuringHistory(t *testing.T) {
	in, relay, types := typist(t)
	text := string(bytes.Repeat([]byte("0123456789abcdef"), 12<<10))
	go func() {
		types(text)
		types("")
	}()
	in.holds(len(text))
	in.goLive()
	if s := got(t, relay, -1); s != text {
		t.Errorf("the relay got %d bytes of %d", len(s), len(text))
	}
}

func TestReplies(t *testing.T) {
	for typed, want := range map[string]string{
		"ls\r":                                "ls\r",
		"\x1b[A\x1b[B\x1bOP\x1b[15~\x1b[1;5C": "\x1b[A\x1b[B\x1bOP\x1b[15~\x1b[1;5C", // arrows and function keys
		"\x1b":                                "\x1b", "\x1b:wq\r": "\x1b:wq\r",
		"\x1b[200~paste\x1b[201~":   "\x1b[200~paste\x1b[201~",
		"a\x1b[?1;2cb":              "ab",
		"a\x1b[>0;276;0cb":          "ab",
		"a\x1b[24;80Rb":             "ab",
		"a\x1b[0nb":                 "ab",
		"a\x1b[?2026;2$yb":          "ab",
		"a\x1b[8;24;80tb":           "ab",
		"a\x1b]10;rgb:ff/ff/ff\ab":  "ab",
		"a\x1bP>|xterm(388)\x1b\\b": "ab",
	} {
		if got := withoutReplies([]byte(typed)); string(got) != want {
			t.Errorf("%q becomes %q", typed, got)
		}
	}
}

// More is pasted than may be on its way, and output comes meanwhile: all of it arrives.
func TestPasteBeyondTheWindow(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	near, far := wiretest.Streams()
	f := wire.NewFramed(near)
	a := &wire.Attached{Window: wire.ViewerWindow}
	terminal := &Terminal{in: r, out: null, done: make(chan struct{})}
	in := newInput()
	in.resume(0, wire.ViewerWindow)
	c := newAttachment(&lifeline{terminal: terminal, req: ShellRequest{Messages: io.Discard}, input: in}, f, a)
	defer c.shown.stop()
	k := &keyboard{terminal: terminal, messages: io.Discard, input: in}
	over := make(chan error, 3)
	go func() {
		_, err := c.output()
		over <- err
	}()
	go func() { over <- c.send(t.Context()) }()
	go func() { over <- k.run(t.Context()) }()
	const size = 4 * wire.ViewerWindow
	go func() {
		_, _ = w.Write(bytes.Repeat([]byte("0123456789abcde\n"), size/16)) // the relay's end counts what came
		w.Close()
	}()
	relay := wire.NewFramed(far)
	if err := relay.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; {
		m, err := relay.Receive()
		if err != nil {
			t.Fatalf("%v behind %d bytes of %d", err, n, size)
		}
		switch m := m.(type) {
		case *wire.Data:
			if n += len(m.Bytes); n%wire.ViewerWindow != 0 {
				continue
			}
			for _, m := range []wire.Message{&wire.Notice{Text: "one"}, &wire.Notice{Text: "two"}, &wire.Ack{Offset: uint64(n)}} {
				if err := relay.Send(m); err != nil {
					t.Fatal(err)
				}
			}
			continue
		case *wire.EOF:
			if n != size {
				t.Errorf("the end came behind %d bytes of %d", n, size)
			}
		default:
			continue
		}
		break
	}
	if err := relay.Send(&wire.Exit{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-over; err != nil && err != errExit {
			t.Error(err)
		}
	}
}

// The end of the input comes behind what was held.
func TestEndBehindWhatWasHeld(t *testing.T) {
	for range 50 {
		in, relay, types := typist(t)
		text := strings.Repeat("echo one\n", 7000)
		types(text)
		types("")
		in.holds(len(text))
		go in.goLive()
		if s := got(t, relay, -1); s != text {
			t.Fatalf("the end came behind %d bytes of %d", len(s), len(text))
		}
	}
}
