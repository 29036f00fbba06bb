package client

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// playAsking asks for a secret, and says what it got.
func playAsking() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM) // as main does
	defer stop()
	t, err := OpenTerminal(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	text, err := t.Ask(ctx, "ready, secret: ", false)
	if err != nil {
		fmt.Printf("nothing: %v\n", err)
		return 3
	}
	fmt.Printf("got %x\n", text)
	return 0
}

// A secret is not seen, and the terminal is as it was afterwards, however it ends.
func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(*testing.T, *stage)
		status int
		says   string
	}{
		"an answer": {func(t *testing.T, s *stage) { s.press(t, "hush\x7f\x7fh\n") }, 0, "got 687568\n"},
		"nothing":   {func(t *testing.T, s *stage) { s.press(t, "\n") }, 0, "got \n"},
		"the end":   {func(t *testing.T, s *stage) { s.press(t, "\x04") }, 3, "nothing: EOF"},
		"Ctrl-C":    {func(t *testing.T, s *stage) { s.press(t, "hush\x03") }, 3, "nothing: cancelled"},
		"Ctrl-\\":   {func(t *testing.T, s *stage) { s.press(t, "hush\x1c") }, 3, "nothing: cancelled"},
		"TERM":      {func(t *testing.T, s *stage) { s.signal(t, unix.SIGTERM) }, 3, "nothing: cancelled"},
		"HUP":       {func(t *testing.T, s *stage) { s.signal(t, unix.SIGHUP) }, 3, "nothing: cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := perform(t, "asks")
			s.until(t, ", secret: ")
			if m := s.modes(t); m.Lflag&unix.ECHO != 0 || m.Lflag&unix.ICANON == 0 {
				t.Errorf("while it asks the terminal is %+v", m)
			}
			c.do(t, s)
			if shown := s.until(t, strings.ReplaceAll(c.says, "\n", "\r\n")); strings.Contains(shown, "hus") {
				t.Errorf("it shows %q", shown)
			}
			if state := s.wait(t); state.ExitCode() != c.status {
				t.Errorf("%v", state)
			}
			s.wantRestored(t)
		})
	}
}

// What was typed before it asks, for a shell that is to come, is no answer.
func TestAskDropsWhatWasTypedAhead(t *testing.T) {
	s := openStage(t)
	terminal, err := OpenTerminal(s.slave, s.slave)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	shows := func(want string) {
		for shown := ""; !strings.Contains(shown, want); {
			n, err := s.master.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			shown += string(buf[:n])
		}
	}
	s.press(t, "rm -rf build\n")
	shows("build") // its echo: the terminal has it
	got := make(chan string, 1)
	go func() {
		text, err := terminal.Ask(t.Context(), "secret: ", false)
		got <- fmt.Sprintf("%s %v", text, err)
	}()
	shows("secret: ")
	s.press(t, "hush\n")
	if g := <-got; g != "hush <nil>" {
		t.Errorf("the answer is %q", g)
	}
	s.wantRestored(t)
}

// While it asks it can be stopped and continued, as others can; the shell has its terminal meanwhile.
func TestAskSuspended(t *testing.T) {
	s := perform(t, "shell asks")
	for range 2 {
		s.until(t, "secret: ")
		s.press(t, "half\x1a")
		s.until(t, "stopped cooked=true")
	}
	s.until(t, "secret: ")
	if m := s.modes(t); m.Lflag&unix.ECHO != 0 {
		t.Errorf("after SIGCONT the terminal is %+v", m)
	}
	s.press(t, "hush\n")
	s.until(t, "got 68757368\r\n")
	if state := s.wait(t); state.ExitCode() != 0 {
		t.Errorf("%v", state)
	}
	s.wantRestored(t)
}
