package client

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// booth is a person at a terminal, and the relay that they talk to, as a test plays it.
type booth struct {
	*testing.T
	*stage
	relay    *wire.Framed
	messages bytes.Buffer
	done     chan error
	attached *wire.Attached
}

func newBooth(ctx context.Context, t *testing.T, cols uint16) *booth {
	t.Helper()
	b := &booth{T: t, stage: openStage(t), done: make(chan error, 1)}
	if err := pty.Setsize(b.master, &pty.Winsize{Cols: cols, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	var screen sync.WaitGroup
	screen.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := b.master.Read(buf)
			if err != nil || bytes.IndexByte(buf[:n], 0) >= 0 {
				return
			}
			_, _ = b.stage.Write(buf[:n])
		}
	})
	t.Cleanup(func() {
		_, _ = b.slave.Write([]byte{0})
		screen.Wait()
	})
	terminal, err := OpenTerminal(b.slave, b.slave)
	if err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Streams()
	b.relay = wire.NewFramed(far)
	t.Cleanup(func() { far.Reset(wire.None) })
	go func() {
		var err error
		b.attached, err = (&dialogue{Framed: wire.NewFramed(near), terminal: terminal, messages: &b.messages}).attached(ctx)
		b.done <- err
	}()
	return b
}

func (b *booth) says(m wire.Message) {
	b.Helper()
	if err := b.relay.Send(m); err != nil {
		b.Fatal(err)
	}
}

func (b *booth) answered() []string {
	b.Helper()
	m, err := b.relay.Receive()
	a, ok := m.(*wire.Answer)
	if !ok {
		b.Fatalf("%T, %v", m, err)
	}
	texts := []string{fmt.Sprint(a.ID)}
	for _, t := range a.Texts {
		texts = append(texts, string(t))
	}
	return texts
}

// The person is told and asked as with ssh; an echo is seen where the machine wants it.
func TestDialogue(t *testing.T) {
	b := newBooth(t.Context(), t, 80)
	b.says(&wire.Said{Envoy: "web1", Login: "deploy"})
	b.says(&wire.Said{Envoy: "web1", Login: "deploy", Text: "Authorized use only.\n\nBye."})
	b.says(&wire.Said{Envoy: "web1", Login: "deploy", Text: "Again."})
	b.says(&wire.Ask{ID: 1, Envoy: "web1", Login: "deploy", Text: "Two-factor", Questions: []wire.Question{{Text: "1. Push\n2. Call\nOption (1-2):", Echo: true}, {Text: "Code:"}}})
	b.until(t, "(deploy@web1) Option (1-2): ")
	b.press(t, "1\n")
	b.until(t, "1\r\n(deploy@web1) Code: ")
	b.press(t, "hush\n")
	if got := b.answered(); strings.Join(got, ",") != "1,1,hush" {
		t.Errorf("answered %q", got)
	}
	b.says(&wire.Ask{ID: 2, Envoy: "web1", Login: "deploy", Questions: make([]wire.Question, 1), Password: true, Again: true})
	if shown := b.until(t, "deploy@web1's password: "); strings.Contains(shown, "hush") {
		t.Errorf("it shows %q", shown)
	}
	b.press(t, "\n")
	if got := b.answered(); strings.Join(got, ",") != "2," {
		t.Errorf("answered %q", got)
	}
	b.says(&wire.Attached{Envoy: "web1", Login: "deploy", Size: wire.Size{Cols: 80, Rows: 24}})
	if err := <-b.done; err != nil || b.attached.Envoy != "web1" {
		t.Errorf("%+v, %v", b.attached, err)
	}
	want := "deploy@web1 says:\n| Authorized use only.\n| \n| Bye.\n| Again.\n| Two-factor\n| 1. Push\n| 2. Call\n" +
		"deploy@web1 asks. What you answer goes to that machine:\n" +
		"deploy@web1 did not accept that.\ndeploy@web1 asks. What you answer goes to that machine:\n"
	if b.messages.String() != want {
		t.Errorf("it says\n%s\nnot\n%s", &b.messages, want)
	}
	b.wantRestored(t)
}

// A question ends with the session, with the person's program, and with their patience; the terminal is as it was.
func TestDialogueEnds(t *testing.T) {
	for what, c := range map[string]struct {
		end  func(b *booth, cancel func())
		code wire.Code
	}{
		"the relay refuses":   {func(b *booth, _ func()) { b.says(&wire.Refused{Code: wire.LoginUnanswered}) }, wire.LoginUnanswered},
		"another one asks":    {func(b *booth, _ func()) { b.says(&wire.Exit{Code: wire.TakenOver}) }, wire.TakenOver},
		"the program ends":    {func(_ *booth, cancel func()) { cancel() }, wire.Cancelled},
		"the person gives up": {func(b *booth, _ func()) { b.press(b.T, "\x04") }, wire.Cancelled},
		"a long answer": {func(b *booth, _ func()) {
			b.press(b.T, strings.Repeat("x", wire.MaxAnswer+1)+"\n")
		}, wire.BadRequest},
		"the relay says what is not in turn": {func(b *booth, _ func()) { b.says(&wire.Welcome{}) }, wire.Protocol},
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := newBooth(ctx, t, 80)
			b.says(&wire.Ask{ID: 1, Envoy: "web1", Login: "deploy", Questions: []wire.Question{{Text: "Code:"}}})
			b.until(t, "Code: ")
			c.end(b, cancel)
			if err := <-b.done; wire.CodeOf(err) != c.code {
				t.Errorf("it ended with %v", err)
			}
			b.wantRestored(t)
		})
	}
}

// Nothing that a machine says looks like a line of this program's: each line, also one that the terminal would fold,
// begins with what marks it.
func TestDialogueIsMarked(t *testing.T) {
	evil := []string{
		"scrier: enter the passphrase of your SSH key [~/.ssh/id_ed25519]",
		"\x1b[2J\x1b[Hscrier: your passphrase\r\n", "x\rscrier: your passphrase", "\u202eesarhpssap ruoy\u202c", "a\u2028scrier:", "a\vscrier:\fx\u0085y",
		strings.Repeat(" ", 79) + "scrier: your passphrase", strings.Repeat("x", 1000), strings.Repeat("世界", 300), "\n\n\nscrier: hello\n\n",
		strings.Repeat("a\u0301", 200), "deploy@web1 says:\nConnected to web2 as root.",
	}
	marked := regexp.MustCompile(`^(\| .*|\S+@\S+ (says:|asks\. What you answer goes to that machine:|did not accept that\.))$`)
	for _, cols := range []uint16{20, 40, 80, 200} {
		for _, names := range [][2]string{{"deploy", "web1"}, {strings.Repeat("x", 256), strings.Repeat("y", 128)}} {
			b := newBooth(t.Context(), t, cols)
			for i, text := range evil {
				b.says(&wire.Said{Login: names[0], Envoy: names[1], Text: text})
				b.says(&wire.Ask{ID: uint32(i + 1), Login: names[0], Envoy: names[1], Text: text, Questions: []wire.Question{{Text: text}}, Again: true})
				prompt := b.until(t, ") ")
				if i > 0 {
					_, prompt, _ = strings.Cut(prompt, "\n")
				}
				if !strings.HasPrefix(prompt, "(") {
					t.Errorf("before a question stands %q", prompt)
				}
				b.press(t, "\n")
				b.answered()
			}
			b.says(&wire.Refused{Code: wire.AuthFailed})
			<-b.done
			for line := range strings.Lines(b.messages.String()) {
				line = strings.TrimSuffix(line, "\n")
				if !marked.MatchString(line) {
					t.Errorf("at %d columns it says %q", cols, line)
				}
				if columns(line) >= int(cols) && strings.HasPrefix(line, "|") { // others hold words of ours behind the name
					t.Errorf("at %d columns a line is folded: %q", cols, line)
				}
			}
			b.mu.Lock()
			for line := range strings.Lines(b.text.String()) {
				if line = strings.TrimRight(line, "\r\n"); columns(line) >= int(cols) && cols >= 40 {
					t.Errorf("at %d columns a question is folded: %q", cols, line)
				}
			}
			b.mu.Unlock()
		}
	}
}
