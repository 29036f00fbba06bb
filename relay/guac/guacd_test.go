package guac_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"scrier/relay/guac"
	"scrier/wire"
)

// passAll lists the opcodes of the reference that reach a viewer of this policy, and those that
// guacd was told no about.
func passAll(t *testing.T, p guac.Policy) (passed, told []string) {
	t.Helper()
	for opcode, args := range reference() {
		_, g := connected(t, p)
		if opcode == "blob" || opcode == "end" {
			if _, _, err := g.Pass(instruction(t, "img", "40", "14", "0", "image/png", "0", "0")); err != nil {
				t.Fatal(err)
			}
		}
		pass, reply, err := g.Pass(instruction(t, opcode, args...))
		if err != nil {
			t.Errorf("%s: %v", opcode, err)
		}
		if pass {
			passed = append(passed, opcode)
		}
		if reply == nil {
			continue
		}
		told = append(told, opcode)
		index := args[0]
		if opcode == "body" {
			index = args[1]
		}
		if want := string(guac.Append(nil, "ack", index, "forbidden", "771")); string(reply) != want || pass {
			t.Errorf("%s: passed %v, and guacd is told %q", opcode, pass, reply)
		}
		for _, follows := range []*guac.Instruction{instruction(t, "blob", index, "AAAA"), instruction(t, "end", index)} {
			if pass, reply, err := g.Pass(follows); pass || reply != nil || err != nil {
				t.Errorf("%q follows a refused %s: %v, %q, %v", follows.Raw(), opcode, pass, reply, err)
			}
		}
	}
	slices.Sort(passed)
	slices.Sort(told)
	return passed, told
}

func TestGuacdReachesTheViewerWithNothingButThis(t *testing.T) {
	always := []string{"ack", "arc", "blob", "cfill", "clip", "close", "copy", "cstroke", "cursor", "curve", "dispose", "distort", "end",
		"identity", "img", "lfill", "line", "lstroke", "mouse", "move", "msg", "name", "nop", "pop", "push", "rect", "reset", "set",
		"shade", "size", "start", "sync", "transfer", "transform"}
	never := []string{"argv", "pipe", "video"}
	for _, c := range []struct {
		policy     guac.Policy
		more, told []string
	}{
		{guac.Policy{View: true}, nil, []string{"audio", "body", "clipboard", "file"}},
		{guac.Policy{}, []string{"required"}, []string{"audio", "body", "clipboard", "file"}},
		{guac.Policy{ToEnvoy: true}, []string{"required"}, []string{"audio", "body", "clipboard", "file"}},
		{guac.Policy{FromEnvoy: true}, []string{"required", "clipboard"}, []string{"audio", "body", "file"}},
		{guac.Policy{Audio: true}, []string{"required", "audio"}, []string{"body", "clipboard", "file"}},
		{guac.Policy{Upload: true}, []string{"required", "filesystem", "undefine"}, []string{"audio", "body", "clipboard", "file"}},
		{guac.Policy{Download: true}, []string{"required", "filesystem", "undefine", "body", "file"}, []string{"audio", "clipboard"}},
		{everything, []string{"required", "filesystem", "undefine", "body", "file", "audio", "clipboard"}, nil},
	} {
		want, wantTold := append(c.more, always...), append(c.told, never...)
		slices.Sort(want)
		slices.Sort(wantTold)
		passed, told := passAll(t, c.policy)
		if !slices.Equal(passed, want) {
			t.Errorf("%+v: passed %q", c.policy, passed)
		}
		if !slices.Equal(told, wantTold) {
			t.Errorf("%+v: told no %q", c.policy, told)
		}
	}
}

func TestGuacdKeepsToTheRanges(t *testing.T) {
	for _, c := range []struct {
		ok bool
		i  []string
	}{
		{true, []string{"size", "0", "3840", "2160"}}, {true, []string{"size", "0", "15360", "4320"}}, {true, []string{"size", "-1", "0", "0"}},
		{false, []string{"size", "0", "60000", "60000"}}, {false, []string{"size", "0", "16385", "1"}}, {false, []string{"size", "0", "8193", "8192"}},
		{false, []string{"size", "0", "-1", "1"}}, {false, []string{"size", "0", "1"}}, {false, []string{"size", "a", "1", "1"}},
		{false, []string{"size", "9999999", "1", "1"}}, {true, []string{"size", "0", "1", "1", "something new"}},
		{false, []string{"copy", "0", "0", "0", "30000", "30000", "14", "-1", "30000", "30000"}},
		{false, []string{"copy", "0", "0", "0", "1", "1", "16", "0", "0", "0"}},
		{true, []string{"copy", "0", "-5", "-5", "100", "100", "14", "-1", "-5", "-5"}},
		{false, []string{"img", "1", "14", "-1", "image/png", "20000", "20000"}}, {false, []string{"img", "1024", "14", "0", "image/png", "0", "0"}},
		{false, []string{"img", "-1", "14", "0", "image/png", "0", "0"}}, {false, []string{"img", "1", "14", "0", "image/png", "0"}},
		{true, []string{"sync", "1700000000000"}}, {true, []string{"sync", "1", "3"}}, {false, []string{"sync", "now"}}, {false, []string{"sync"}},
		{false, []string{"sync", "1", "x"}}, {false, []string{"blob", "x", "AAAA"}}, {false, []string{"blob", "1"}}, {false, []string{"end"}},
		{false, []string{"cfill", "14", "0", "256", "0", "0", "0"}}, {false, []string{"transform", "0", "nan", "0", "0", "0", "0", "0"}},
		{true, []string{"transform", "0", "1.5e-05", "-0.5", "0", "0", "0", "0"}}, {false, []string{"ack", "1", "x", "-1"}},
		{false, []string{"filesystem", "64", "x"}}, {false, []string{"clipboard", "1"}}, {false, []string{"cursor", "0", "0", "0", "0", "0", "1"}},
	} {
		_, g := connected(t, everything)
		pass, _, err := g.Pass(instruction(t, c.i[0], c.i[1:]...))
		if pass != c.ok || (err == nil) != c.ok || err != nil && wire.CodeOf(err) != wire.Protocol {
			t.Errorf("%q: passed %v, %v", c.i, pass, err)
		}
	}
	// What the page would not know how to take, or would take for something else, is dropped.
	for _, i := range [][]string{{"set", "0", "constructor", "1"}, {"set", "0", "multi-touch", "x"}, {"required", "hostname"}, {"required"},
		{"name", strings.Repeat("a", 5000)}, {"msg", "x"}, {"blob", "9", "AAAA"}, {"end", "9"}, {"undefine", "5"}} {
		_, g := connected(t, everything)
		if pass, reply, err := g.Pass(instruction(t, i[0], i[1:]...)); pass || reply != nil || err != nil {
			t.Errorf("%.40q: passed %v, %q, %v", i, pass, reply, err)
		}
	}
	_, g := connected(t, everything)
	if pass, reply, _ := g.Pass(instruction(t, "img", "1", "14", "0", "image/svg+xml", "0", "0")); pass || reply == nil {
		t.Error("a picture passes that is none")
	}
}

func TestGuacdHasSoManyCanvases(t *testing.T) {
	g := guac.NewFromGuacd(guac.Policy{})
	for n := 1; n < 16384; n++ {
		if _, _, err := g.Pass(instruction(t, "size", strconv.Itoa(-n), "64", "64")); err != nil {
			t.Fatalf("buffer %d: %v", n, err)
		}
		if n == 9400 { // as many as an RDP server's cache may hold; the rest are small
			for m := 1; m <= n; m++ {
				if _, _, err := g.Pass(instruction(t, "size", strconv.Itoa(-m), "8", "8")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if _, _, err := g.Pass(instruction(t, "size", "-20000", "1", "1")); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("one more: %v", err)
	}
	if _, _, err := g.Pass(instruction(t, "dispose", "-1")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := g.Pass(instruction(t, "size", "-20000", "1", "1")); err != nil {
		t.Errorf("one was disposed of, but: %v", err)
	}

	g = guac.NewFromGuacd(guac.Policy{})
	for n, want := range []bool{true, true, false} {
		if _, _, err := g.Pass(instruction(t, "size", strconv.Itoa(n), "8192", "8192")); (err == nil) != want {
			t.Errorf("canvas %d: %v", n, err)
		}
	}
	for range 1024 {
		if _, _, err := g.Pass(instruction(t, "push", "0")); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := g.Pass(instruction(t, "push", "0")); err == nil {
		t.Error("states are pushed without end")
	}
}

func TestGuacdOpensSoManyStreams(t *testing.T) {
	g := guac.NewFromGuacd(guac.Policy{Audio: true})
	v := guac.NewFromViewer(guac.Policy{})
	v.Follow(g)
	img := func(n int) error {
		_, _, err := g.Pass(instruction(t, "img", strconv.Itoa(n), "14", "0", "image/png", "0", "0"))
		return err
	}
	for n := range 1000 { // what is refused does not count
		if pass, reply, err := g.Pass(instruction(t, "pipe", strconv.Itoa(n), "text/plain", "p")); pass || reply == nil || err != nil {
			t.Fatal(pass, reply, err)
		}
	}
	for n := range 64 {
		if err := img(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := img(64); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("the 65th stream: %v", err)
	}
	if pass, _, _ := g.Pass(instruction(t, "end", "3")); !pass {
		t.Error("an end does not pass")
	}
	if err := img(64); err != nil {
		t.Errorf("one has ended, but: %v", err)
	}
	// guacd sends no end for a stream that the viewer refuses.
	say(t, v, "ack", "9", "BAD TYPE", "783")
	if err := img(65); err != nil {
		t.Errorf("the viewer refused one, but: %v", err)
	}
	if pass, _, _ := g.Pass(instruction(t, "blob", "9", "AAAA")); pass {
		t.Error("a blob passes that the viewer refused")
	}
}

func TestWhoMayOnlyUploadSeesListingsOnly(t *testing.T) {
	_, g := connected(t, guac.Policy{Upload: true})
	if pass, _, _ := g.Pass(instruction(t, "body", "0", "1", "application/vnd.glyptodon.guacamole.stream-index+json", "/")); !pass {
		t.Error("a listing does not pass")
	}
	if pass, reply, _ := g.Pass(instruction(t, "body", "0", "2", "application/octet-stream", "/a")); pass || reply == nil {
		t.Error("a file passes")
	}
	if pass, reply, _ := g.Pass(instruction(t, "body", "1", "2", "application/vnd.glyptodon.guacamole.stream-index+json", "/")); pass || reply == nil {
		t.Error("a listing of a drive passes that was not shown")
	}
}

func TestStatusIsOneOfOurCodes(t *testing.T) {
	for _, c := range []struct {
		status  string
		message string
		want    wire.Code
	}{
		{"519", "Aborted. See logs.", wire.TargetRefused},
		{"519", "SSL/TLS connection failed (untrusted/self-signed certificate?)", wire.CertificateMismatch},
		{"769", "Authentication failure (invalid credentials?)", wire.DesktopLogin},
		{"769", "Security negotiation failed (wrong security type?)", wire.DesktopSecurity},
		{"519", "Server refused connection (wrong security type?)", wire.TargetRefused},
		{"515", "Security negotiation failed (wrong security type?)", wire.DesktopSecurity},
		{"515", "Upstream error.", wire.DesktopFailed},
		{"514", "Aborted. See logs.", wire.DesktopFailed},
		{"520", "Server refused connection.", wire.DesktopFailed},
		{"521", "Disconnected by other connection.", wire.None},
		{"523", "Logged off.", wire.None},
		{"523", "Forcibly disconnected.", wire.DesktopFailed},
		{"513", "", wire.Busy}, {"797", "", wire.Busy}, {"771", "Credentials expired.", wire.DesktopLogin},
		{"516", "", wire.NotFound}, {"768", "", wire.Protocol}, {"776", "", wire.ViewerLost}, {"512", "", wire.DesktopFailed},
		{"0", "", wire.None}, {"54321", "odd", wire.DesktopFailed}, {"x", "odd", wire.DesktopFailed}, {"-1", "odd", wire.DesktopFailed},
	} {
		err := guac.StatusOf(instruction(t, "error", c.message, c.status))
		if err == nil || err.Code != c.want {
			t.Errorf("%s %q: %v", c.status, c.message, err)
			continue
		}
		if c.message != "" && !strings.Contains(err.Detail, c.message) {
			t.Errorf("%s: the detail %q does not hold guacd's words", c.status, err.Detail)
		}
	}
	for code, want := range map[int]bool{514: true, 515: true, 519: true, 520: true, 512: false, 521: false, 522: false, 523: false, 769: false} {
		if got := errors.Is(guac.Status(code, "Aborted. See logs."), guac.ErrLost); got != want {
			t.Errorf("%d says no more than that the server was lost: %v", code, got)
		}
	}
	if errors.Is(guac.Status(519, "SSL/TLS connection failed (untrusted/self-signed certificate?)"), guac.ErrLost) {
		t.Error("a certificate is a reason")
	}
	hostile := guac.Status(519, "\x1b]0;x\a"+strings.Repeat("\u202e", 5000)).Detail
	if hostile != wire.Printable(hostile) || len(hostile) > 1000 {
		t.Errorf("guacd's words are shown as they came: %.100q", hostile)
	}
	if guac.StatusOf(instruction(t, "sync", "1")) != nil || guac.StatusOf(instruction(t, "error")) == nil {
		t.Error("what is an error")
	}
}
