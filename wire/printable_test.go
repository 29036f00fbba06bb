package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"web1":                     "web1",
		"grüße, 世界 🎉":              "grüße, 世界 🎉",
		"a\x1b]52;c;x\x07b":        `a\x1b]52;c;x\x07b`,
		"\x9b31m":                  `\x9b31m`,
		"two\nlines\tand\rmore":    `two\nlines\tand\x0dmore`,
		"abc\u202egnp.exe":         `abc\u202egnp.exe`,
		"ze\u200bro":               `ze\u200bro`,
		"c1 \u0085 \u009b":         `c1 \u0085 \u009b`,
		"tag \U000e0041":           `tag \U000e0041`,
		"bad \xff\xfe utf-8":       `bad \xff\xfe utf-8`,
		"\u2066isolate\u2069":      `\u2066isolate\u2069`,
		"no-break\u00a0space":      `no-break\u00a0space`,
		"emoji\ufe0f selector":     `emoji\ufe0f selector`,
		strings.Repeat("x", 5000):  strings.Repeat("x", maxPrintable) + "…",
		"replacement \ufffd stays": "replacement \ufffd stays",
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%.40q) = %.60q, want %.60q", in, got, want)
		}
	}
}

// FuzzPrintable: whatever comes in, nothing comes out that moves a cursor by other than its
// width, and printing what was made printable changes nothing.
func FuzzPrintable(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[2J\x9b\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		p := Printable(s)
		for _, r := range p {
			if !unicode.IsPrint(r) && r != unicode.ReplacementChar {
				t.Fatalf("%q holds %U", p, r)
			}
		}
		if len(p) <= maxPrintable && Printable(p) != p {
			t.Fatalf("not idempotent: %q, then %q", p, Printable(p))
		}
	})
}

func TestPrintableJSON(t *testing.T) {
	in := "web\u009b31m \x7f \u202egnp \U000e0041 \u200b grüße 🎉 \n\t\"\\"
	text, err := json.Marshal(map[string]string{"name": in})
	if err != nil {
		t.Fatal(err)
	}
	shown := PrintableJSON(text)
	for _, r := range string(shown) {
		if !unicode.IsPrint(r) {
			t.Errorf("%q holds %U", shown, r)
		}
	}
	var back map[string]string
	if err := json.Unmarshal(shown, &back); err != nil || back["name"] != in {
		t.Errorf("%q came back as %q, %v", in, back["name"], err)
	}
}

// Lines keeps ends of lines, and nothing else that moves a cursor.
func TestLines(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"\r\n\n":                             "",
		"one\r\ntwo\n\nthree\n":              "one\ntwo\n\nthree",
		"a\tb":                               "a    b",
		"Password: ":                         "Password:",
		"ok\rscrier: your passphrase? ":      `ok\x0dscrier: your passphrase?`,
		"\x1b[2J\x1b]0;x\x07\n\u202egnp.exe": `\x1b[2J\x1b]0;x\x07` + "\n" + `\u202egnp.exe`,
		"line\u2028separator\v\f\u0085":      `line\u2028separator\x0b\x0c\u0085`,
	} {
		if got := Lines(in, 1000); got != want {
			t.Errorf("Lines(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Lines("grüße und mehr", 4); got != "gr\u00fc…" {
		t.Errorf("cut it is %q", got)
	}
	if got := Lines(strings.Repeat("\x00", 1<<20), 1<<10); len(got) > 5<<10 {
		t.Errorf("1 KiB became %d bytes", len(got))
	}
}
