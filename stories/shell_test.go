package stories

import (
	"bufio"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"scrier/wire"
)

// cmdShell runs a command in a terminal of its own and plays a person at it.
//
//	shell [-status N] [-name NAME] FILE [COMMAND…]
//
// FILE holds one step a line:
//
//	expect REGEXP     wait until the screen shows it, behind what was expected before
//	send TEXT         type it; \r \n \t \e \xNN as in Go strings
//	paste BYTES       so many, in lines
//	resize COLS ROWS  change the terminal's size
//	hold, show        show nothing more, so that the program has to wait; go on
//	signal NAME       send the program a signal
//	leave             let the program run on; "shell -name NAME FILE" comes back to it
//	raw, cooked       check that the terminal is in raw mode, or back in its own
//
// Unless it is left, the program must end by itself behind the last step, with status N (0 unless
// given), and the terminal must be as it was. All that it showed is "stdout" then.
func cmdShell(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: shell [-status N] [-name NAME] FILE [COMMAND…]"
	status, name := 0, "terminal"
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		var err error
		switch args[0] {
		case "-status":
			status, err = strconv.Atoi(args[1])
			ts.Check(err)
		case "-name":
			name = args[1]
		default:
			ts.Fatalf(usage)
		}
		args = args[2:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf(usage)
	}
	var s *screen
	if w := worldOf(ts); len(args) > 1 {
		s = openScreen(ts, name, args[1:])
	} else if s = w.screens[name]; s == nil {
		ts.Fatalf("no terminal %s was left", name)
	}
	steps := bufio.NewScanner(strings.NewReader(ts.ReadFile(args[0])))
	for steps.Scan() {
		line := strings.TrimSpace(steps.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verb, rest, _ := strings.Cut(line, " ")
		if verb == "leave" {
			return
		}
		s.step(verb, rest)
	}
	s.wait(status)
	fmt.Fprint(ts.Stdout(), strings.ReplaceAll(s.shown(), "\r", ""))
}

// refusal is the exit status of a command that fails with a code: `scrier ssh`, which passes on the
// remote shell's, has one for all.
func refusal(code wire.Code, argv []string) int {
	line := strings.Join(argv, " ") + " "
	if strings.Contains(line, "scrier ssh ") || strings.Contains(line, "scrier proxy ") {
		return wire.NoStatus
	}
	return code.ExitStatus()
}

// cmdRefused runs a command in a terminal of its own. It must end with the code's exit status and
// tell the code, what it means and what to do.
//
//	refused CODE COMMAND…
func cmdRefused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: refused CODE COMMAND…")
	}
	code, ok := wire.ParseCode(args[0])
	if !ok {
		ts.Fatalf("there is no code %s", args[0])
	}
	s := openScreen(ts, "refused", args[1:])
	s.wait(refusal(code, args[1:]))
	shown := strings.ReplaceAll(s.shown(), "\r", "")
	fmt.Fprint(ts.Stdout(), shown)
	want := `(?s)(?:^|\n)scrier: .* \(` + args[0] + `\)\n`
	switch hint := "hint: [^\n]+\n"; { // the code's, or one that fits better here
	case code == wire.Usage: // its message says what is right, and some have more to say
		want += "(?:" + hint + ")?"
	case code.Hint() != "":
		want += hint
	default:
		want += "(?:" + hint + ")?"
	}
	if !regexp.MustCompile(want + "$").MatchString(shown) {
		ts.Fatalf("it says:\n%s\nbut should match:\n%s$", shown, want)
	}
}
