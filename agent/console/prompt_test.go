package console

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"scrier/wire"
)

func u0log(testing.TB) *slog.Logger { return slog.New(slog.DiscardHandler) }

var hostileNames = []string{
	"", "-display", "--help", "<b>bold</b> &amp; <a href='x'>", `\n\x41\101`, "a\nb\r\nc\x00d\x1b[2J", "Grüße Жук 日本", "a\u202egnp.exe", "\xff\xfe",
	strings.Repeat("x", 10_000), strings.Repeat("日", 3000), `" sees nothing. Press Allow "`, "%s%n", "$(reboot) `reboot` ; reboot",
}

func TestPrompts(t *testing.T) {
	for _, name := range hostileNames {
		p := newPrompt(Request{Operator: name, Purpose: name}, false, 30*time.Second)
		for _, s := range []string{p.question(), p.notice("Press End")} {
			if !strings.HasPrefix(s, "Screen sharing:") || len(s) > 2000 || !utf8.ValidString(s) {
				t.Errorf("%.40q: %q", name, s)
			}
			if strings.Count(s, `"`) != 2 || strings.Contains(s, `\`) {
				t.Errorf("%.40q: quotation marks or backslashes in %q", name, s)
			}
			for line := range strings.Lines(s) {
				line = strings.TrimSuffix(line, "\n")
				if utf8.RuneCountInString(line) > columns || wire.Printable(line) != line {
					t.Errorf("%.40q: line %q", name, line)
				}
			}
			for _, b := range []byte(latin1(s)) {
				if b < 0x20 && b != '\n' || b >= 0x7f && b < 0xa0 {
					t.Errorf("%.40q: byte %#x", name, b)
				}
			}
		}
		for _, d := range dialogs() {
			for _, argv := range [][]string{d.ask(p), d.show(p)} {
				for _, a := range argv {
					if a == "-display" || a == "--help" || strings.Contains(a, "\x00") {
						t.Errorf("%s: argument %q", d.program, a)
					}
				}
			}
		}
	}
	p := newPrompt(Request{Operator: "<b>x</b> & y"}, true, 0)
	if s := strings.Join(kdialog().ask(p), " "); strings.Contains(s, "<b>") || !strings.Contains(s, "&lt;b&gt;") {
		t.Errorf("kdialog: %s", s)
	}
	if s := strings.Join(swaynag().ask(p), " "); strings.ContainsAny(s, "<&") {
		t.Errorf("swaynag: %s", s)
	}
	if strings.Contains(p.question(), "keyboard") {
		t.Error(p.question())
	}
}

// Each text is shown by xmessage, and its buttons mean what they say.
func TestHostileNames(t *testing.T) {
	u := newUser(t)
	x := u.xserver("environ")
	c := u.console(DefaultConfig())
	for i, name := range hostileNames {
		a := ask(t, t.Context(), c, Request{Operator: name, Purpose: name})
		x.press(i % 2)
		s, err := a.wait()
		if i%2 == 1 {
			wantCode(t, err, wire.ConsoleRefused)
			continue
		}
		must(t, err)
		s.Close()
	}
}

// The other dialogs are replaced by scripts that print and exit as the real ones do.
func TestAnswers(t *testing.T) {
	u := newUser(t)
	u.xserver("environ")
	for _, try := range []struct {
		program, script string
		want            wire.Code // none: yes
	}{
		{"zenity", "exit 0", wire.None},
		{"zenity", "exit 1", wire.ConsoleRefused},
		{"zenity", "exit 5", wire.ConsoleNoAnswer},
		{"zenity", "exit 255", wire.ConsoleRefused},
		{"zenity", "kill -9 $$", wire.ConsoleRefused},
		{"kdialog", "echo allow", wire.None},
		{"kdialog", "echo deny", wire.ConsoleRefused},
		{"kdialog", "exit 0", wire.ConsoleRefused},
		{"kdialog", "echo allow; exit 1", wire.ConsoleRefused},
		{"kdialog", "kill -9 $$", wire.ConsoleRefused},
	} {
		c := u.console(DefaultConfig())
		record := filepath.Join(u.dir, "arguments")
		_ = os.Remove(record)
		c.programs = farm(t, map[string]string{try.program: `for a; do echo "$a"; done >` + record + "\n" + try.script + "\n"}, "loginctl", "xmessage")
		s, err := c.find(t.Context())
		must(t, err)
		err = c.ask(t.Context(), s, newPrompt(Request{Operator: "-alice <b>", Purpose: "p"}, false, 30*time.Second))
		if got := wire.CodeOf(err); got != try.want {
			t.Errorf("%s: %s: %v", try.program, try.script, err)
		}
		if b, err := os.ReadFile(record); err != nil || !strings.Contains(string(b), "-alice") {
			t.Errorf("%s: arguments %s (%v)", try.program, b, err)
		}
	}
}
