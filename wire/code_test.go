package wire

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The numbers are a contract with scripts and with older peers: a line of testdata/codes.txt, once
// released, stays as it is, and new ones are added.
func TestCodesNeverChange(t *testing.T) {
	data, err := os.ReadFile("testdata/codes.txt")
	if err != nil {
		t.Fatal(err)
	}
	released := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			released[line] = true
		}
	}
	names := map[string]Code{}
	for _, c := range Codes() {
		line := fmt.Sprintf("%d %s %d", c, c, c.ExitStatus())
		if !released[line] {
			t.Errorf("testdata/codes.txt does not have the line %q: a new code is added there, and none that was released is changed", line)
		}
		delete(released, line)
		if other, twice := names[c.String()]; twice {
			t.Errorf("%s is both %d and %d", c, other, c)
		}
		names[c.String()] = c
		if got, ok := ParseCode(c.String()); !ok || got != c {
			t.Errorf("ParseCode(%s) = %d, %t", c, got, ok)
		}
		if c.Meaning() == "" {
			t.Errorf("%d %s has no meaning", c, c)
		}
		if old := c <= 46 || c >= 64 && c <= maxStatus; !old && c < classes[0].First {
			t.Errorf("%d %s: new codes are numbered from %d on, in the hundred of their class", c, c, classes[0].First)
		}
	}
	for line := range released {
		t.Errorf("the code of the line %q is gone or has changed", line)
	}
	if all := Codes(); len(all) != len(codes) {
		t.Errorf("%d of %d codes are beyond %d", len(codes)-len(all), len(codes), MaxCode)
	}
}

// Every number that a peer can name has an exit status, and none is 0 (all is well), 1 or 2 (verdicts)
// or that of a shell.
func TestExitStatus(t *testing.T) {
	for i, class := range classes {
		if class.First != Code(300+100*i) || class.Meaning == "" || class.Sysexit == "" {
			t.Errorf("%+v is not the class of %d to %d", class, 300+100*i, 399+100*i)
		}
		for _, c := range []Code{class.First, class.First + 50, class.First + 99} { // codes of a later version
			if got := c.ExitStatus(); got != class.Status || got < 64 || got > 78 {
				t.Errorf("%d exits with %d, not with a status of sysexits, %d", c, got, class.Status)
			}
			if _, known := codes[c]; !known && !strings.HasSuffix(c.Meaning(), ": "+class.Meaning) {
				t.Errorf("%d means %q", c, c.Meaning())
			}
		}
	}
	for _, c := range []Code{126, 127, 128, 255, 256, 299, 1000, 1 << 15, 1<<16 - 1} {
		if got := c.ExitStatus(); got != int(Internal) {
			t.Errorf("%d, which is no code, exits with %d", c, got)
		}
	}
	if None.ExitStatus() != 0 {
		t.Error("an ordinary end is no success")
	}
}

// Where the hint of a code does not fit, an error has one of its own, also for a page.
func TestHintOf(t *testing.T) {
	plain := Errorf(Conflict, "taken")
	own := fmt.Errorf("enrol: %w", Errorf(Conflict, "enrolled already").Advise("remove %s", "a file"))
	for err, want := range map[error]string{plain: Conflict.Hint(), own: "remove a file", errors.New("x"): Internal.Hint()} {
		if got := HintOf(err); got != want {
			t.Errorf("%v: %q, not %q", err, got, want)
		}
		if got := ProblemOf(err, 409).Hint; got != want {
			t.Errorf("%v as a problem: %q, not %q", err, got, want)
		}
	}
}

// A hint of its own goes with an error to whoever asked, as one line; the code's does not need to.
func TestHintsTravel(t *testing.T) {
	for _, c := range []struct {
		err  *Error
		want string
	}{
		{Errorf(Conflict, "taken").Advise("remove\n%s\x1b", "it"), "remove\\nit\\x1b"},
		{Errorf(Conflict, "taken"), Conflict.Hint()},
	} {
		var r Refused
		data, err := Marshal(Refuse(fmt.Errorf("ask: %w", c.err)))
		if err == nil {
			err = Unmarshal(data, &r)
		}
		if got := HintOf(r.Err()); err != nil || got != c.want {
			t.Errorf("refused: the hint is %q, not %q, %v", got, c.want, err)
		}
		if got := HintOf(ProblemOf(c.err, 409).Err()); got != c.want {
			t.Errorf("in a problem the hint is %q, not %q", got, c.want)
		}
	}
}

// The meaning stands in front of a detail that is part of a sentence only.
func TestText(t *testing.T) {
	for want, err := range map[string]*Error{
		"the session was ended by an administrator, or by its operator elsewhere: ended by ann": Errorf(Killed, "ended by ann"),
		"the envoy is not connected to the relay":                                               {Code: EnvoyOffline},
		"no relay is running on /state":                                                         Errorf(RelayUnreachable, "no relay is running on /state"),
		"the relay does not answer":                                                             {Code: RelayUnreachable},
	} {
		if got := err.Text(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

func TestErrorCarriesItsCode(t *testing.T) {
	cause := errors.New("secret path")
	err := fmt.Errorf("open session: %w", &Error{Code: Limit, Detail: "10 of 10", Err: cause})
	if CodeOf(err) != Limit || DetailOf(err) != "10 of 10" || !errors.Is(err, cause) {
		t.Errorf("code %s, detail %q", CodeOf(err), DetailOf(err))
	}
	if r := Refuse(cause); r.Code != Internal || r.Detail != "" {
		t.Errorf("an internal error went to a peer: %+v", r)
	}
	if CodeOf(nil) != None {
		t.Error("nil has a code")
	}
}
