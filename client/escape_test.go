package client

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestEscapes(t *testing.T) {
	for _, c := range []struct {
		in, out string
		actions []Action
	}{
		{"", "", nil},
		{"ls -la ~/x\r", "ls -la ~/x\r", nil},
		{"~.", "", []Action{Disconnect}},
		{"~.rest", "", []Action{Disconnect}},
		{"a~.", "a~.", nil},
		{"a\r~.", "a\r", []Action{Disconnect}},
		{"a\n~.", "a\n", []Action{Disconnect}},
		{"~?", "", []Action{Help}},
		{"~?~?x~?", "x~?", []Action{Help, Help}},
		{"~\x1ax", "x", []Action{Suspend}},
		{"\r~\x1a~.", "\r", []Action{Suspend, Disconnect}},
		{"~~", "~", nil},
		{"~~.", "~.", nil},
		{"~~~.", "~~.", nil},
		{"~x", "~x", nil},
		{"~x~.", "~x~.", nil},
		{"~\r~.", "~\r", []Action{Disconnect}},
		{"\r\r\r~?", "\r\r\r", []Action{Help}},
		{"~", "", nil},
		{"\x00~.", "\x00~.", nil},
		{"\xff\r~~/bin\r", "\xff\r~/bin\r", nil},
	} {
		var e Escapes
		out, actions := e.Feed([]byte(c.in))
		if string(out) != c.out || !slices.Equal(actions, c.actions) {
			t.Errorf("%q: got %q %v, want %q %v", c.in, out, actions, c.out, c.actions)
		}
	}
	var e Escapes
	if out, _ := e.Feed([]byte("x\r~")); string(out) != "x\r" || string(e.Flush()) != "~" || e.Flush() != nil {
		t.Error("the tilde that is held back is lost")
	}
	if strings.Contains(HelpText, "\r") || !strings.Contains(HelpText, "~.") {
		t.Errorf("%q", HelpText)
	}
}

// FuzzEscapes cuts the input anywhere: the outcome must be the same.
func FuzzEscapes(f *testing.F) {
	f.Add([]byte("ls\r~.x"), uint16(3))
	f.Add([]byte("~~~?\r~\x1a\n~"), uint16(0x5555))
	f.Add([]byte("no tilde"), uint16(1))
	f.Fuzz(func(t *testing.T, in []byte, cuts uint16) {
		var whole Escapes
		out, actions := whole.Feed(bytes.Clone(in))
		out = append(bytes.Clone(out), whole.Flush()...)

		var parts Escapes
		var out2 []byte
		var actions2 []Action
		rest := bytes.Clone(in)
		for i := 0; len(rest) > 0 && !slices.Contains(actions2, Disconnect); i++ {
			n := min(1+int(cuts>>(i%16))%5, len(rest))
			o, a := parts.Feed(rest[:n])
			out2, actions2, rest = append(out2, o...), append(actions2, a...), rest[n:]
		}
		out2 = append(out2, parts.Flush()...)
		if !bytes.Equal(out, out2) || !slices.Equal(actions, actions2) {
			t.Errorf("%q: whole %q %v, in parts %q %v", in, out, actions, out2, actions2)
		}

		escaped := false // a tilde at the beginning of a line
		for i, b := range in {
			escaped = escaped || b == '~' && (i == 0 || endsLine(in[i-1]))
		}
		if !escaped && (!bytes.Equal(out, in) || actions != nil) {
			t.Errorf("%q becomes %q %v", in, out, actions)
		}
		if len(out) > len(in) {
			t.Errorf("%q grows to %q", in, out)
		}
	})
}
