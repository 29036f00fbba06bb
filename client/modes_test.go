package client

import (
	"os"
	"os/exec"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// TestTerminalModes: what stty sets is what is told.
func TestTerminalModes(t *testing.T) {
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer tty.Close()
	stty := exec.Command("stty", "sane", "-iutf8", "erase", "^H", "ixany", "-echoctl", "intr", "undef")
	stty.Stdin = tty
	if out, err := stty.CombinedOutput(); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	told := (&Terminal{in: tty, out: tty}).Modes()
	modes := map[byte]byte{}
	for b := told; len(b) > 1; b = b[5:] {
		if b[1]|b[2]|b[3] != 0 {
			t.Fatalf("%v", b[:5])
		}
		modes[b[0]] = b[4]
	}
	for op, want := range map[byte]byte{1: 255, 3: 8, 5: 4, 36: 1, 39: 1, 42: 0, 50: 1, 51: 1, 53: 1, 60: 0, 70: 1, 72: 1, 91: 1} {
		if got, ok := modes[op]; !ok || got != want {
			t.Errorf("opcode %d: %d, %t, not %d", op, got, ok, want)
		}
	}
	if len(told)%5 != 1 || told[len(told)-1] != 0 {
		t.Errorf("%v", told)
	}
	null, err := os.OpenFile(os.DevNull, unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if got := (&Terminal{in: null, out: null}).Modes(); got != nil {
		t.Errorf("%v", got)
	}
}
