package main

import (
	"bufio"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// prompted hears the prompt, and says whether what is typed at that moment would be shown.
type prompted struct {
	fd   int
	came chan bool
}

func (p prompted) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "token") {
		modes, err := unix.IoctlGetTermios(p.fd, unix.TCGETS)
		p.came <- err != nil || modes.Lflag&unix.ECHO != 0
	}
	return len(b), nil
}

// Who types as soon as the prompt is there, as a script does, is not shown either; and the terminal is as it was afterwards, also
// if somebody gives up.
func TestNothingOfATokenIsShown(t *testing.T) {
	person, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer person.Close()
	defer tty.Close()
	echoes := func() bool {
		modes, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
		return err == nil && modes.Lflag&unix.ECHO != 0
	}
	for _, gives := range []bool{true, false} {
		ctx, giveUp := context.WithCancel(t.Context())
		p := prompted{int(tty.Fd()), make(chan bool, 1)}
		type answer struct {
			line []byte
			err  error
		}
		answered := make(chan answer, 1)
		go func() {
			line, err := askUnseen(ctx, tty, p, "The token: ")
			answered <- answer{line, err}
		}()
		if <-p.came {
			t.Error("what is typed at the prompt is shown")
		}
		if gives {
			if _, err := person.WriteString("secret\n"); err != nil {
				t.Fatal(err)
			}
		} else {
			giveUp()
		}
		select {
		case a := <-answered:
			if gives && (string(a.line) != "secret" || a.err != nil) || !gives && wire.CodeOf(a.err) != wire.Cancelled {
				t.Errorf("%q, %v", a.line, a.err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("it waits for more")
		}
		giveUp()
		if !echoes() {
			t.Error("the echo is still off")
		}
	}
	// Nothing of it came back to the person.
	if _, err := tty.WriteString("end\n"); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(person).ReadString('\n'); err != nil || strings.Contains(said, "secret") {
		t.Errorf("%q, %v", said, err)
	}
}
