package line

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

func testLine(t testing.TB, agent wire.EnvoyID, expiry time.Time) (string, Ephemeral) {
	t.Helper()
	key, _ := keystest.NewKey(t)
	e, ok := NewEphemeral(Ephemeral{Grant: shell(), Agent: agent, Session: wire.NewSessionID(), Sources: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}, Expiry: expiry}, key)
	if !ok {
		t.Fatal("no line")
	}
	return e.Text(Zone{Local: time.UTC, UTC: true}), e
}

// shell is what a session had before there were others.
func shell() Grant { return Grant{Rights: []wire.Right{wire.MayShell, wire.MayExec}} }

// fixedLine is the same in each run: fuzzing keeps what it has learnt.
func fixedLine(t testing.TB, n byte, expiry time.Time) string {
	t.Helper()
	session := wire.SessionID{UUID: uuid.UUID{15: n}}
	e, ok := NewEphemeral(Ephemeral{Grant: shell(), Agent: fixedAgent(), Session: session, Sources: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}, Expiry: expiry}, keystest.FixedKey(t, n))
	if !ok {
		t.Fatal("no line")
	}
	return e.Text(Zone{Local: time.UTC, UTC: true})
}

func fixedAgent() wire.EnvoyID { return wire.EnvoyID{UUID: uuid.UUID{0: 0xa9}} }

func fixedTime() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

// identity installs the lines in order, each by one append, removes them in another order, and
// demands the same bytes.
func identity(t interface{ Fatalf(string, ...any) }, file []byte, lines []string, order []int) {
	now := bytes.Clone(file)
	for _, line := range lines {
		now = Insert(now, line)
	}
	for _, i := range order {
		next, n := Cleaning{Lines: []string{lines[i]}}.Apply(now)
		if n != 1 {
			t.Fatalf("%d lines removed from %q", n, now)
		}
		if offsets := (Cleaning{Lines: []string{lines[i]}}).Offsets(now); len(offsets) != 1 || !strings.HasPrefix(string(now[offsets[0]:]), lines[i]) {
			t.Fatalf("offsets %v in %q", offsets, now)
		}
		now = next
	}
	if !bytes.Equal(now, file) {
		t.Fatalf("file is %q, was %q", now, file)
	}
}

func TestInstallRemoveIsIdentity(t *testing.T) {
	t.Parallel()
	agent := wire.NewEnvoyID()
	var lines []string
	for range 4 {
		line, _ := testLine(t, agent, time.Now())
		lines = append(lines, line)
	}
	for _, file := range []string{"", "\n", "\n\n", "a", "a\n", "a\nb", "a\r\nb\r\n", "\x00", "#", "a\n\n\nb\n", "restrict,pty", "\r"} {
		identity(t, []byte(file), lines, []int{0, 1, 2, 3})
		identity(t, []byte(file), lines, []int{3, 2, 1, 0})
	}
	rapid.Check(t, func(t *rapid.T) {
		file := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.SliceOf(rapid.SampledFrom([]byte("a\n\n\r# ")))).Draw(t, "file")
		n := rapid.IntRange(1, len(lines)).Draw(t, "n")
		order := rapid.Permutation([]int{0, 1, 2, 3}[:n]).Draw(t, "order")
		identity(t, file, lines[:n], order)
	})
}

// Every incomplete append is taken back by what the journal says of it.
func TestTornAppend(t *testing.T) {
	t.Parallel()
	line, _ := testLine(t, wire.NewEnvoyID(), time.Now())
	for _, file := range []string{"", "\n", "abc", "abc\n", "r", "a\nr"} {
		text := Addition(line, EndsInNewline([]byte(file)))
		for n := range len(text) + 1 {
			c := Cleaning{Lines: []string{line}, Torn: []Torn{{int64(len(file)), text}}}
			got, _ := c.Apply(append([]byte(file), text[:n]...))
			want := file
			if n == 1 && text[0] == '\n' {
				want += "\n" // an editor may have added it
			}
			if n == 1 && text[0] != '\n' {
				want += "r" // too little to be sure
			}
			if string(got) != want {
				t.Fatalf("%q and %d bytes: %q, want %q", file, n, got, want)
			}
		}
	}
}

func TestMergedLineSurvives(t *testing.T) {
	t.Parallel()
	line, _ := testLine(t, wire.NewEnvoyID(), time.Now())
	got, n := Cleaning{Lines: []string{line}}.Apply([]byte("abc\n" + line + "ssh-ed25519 AAAA late\n"))
	if n != 1 || string(got) != "abc\nssh-ed25519 AAAA late\n" {
		t.Fatalf("%d, %q", n, got)
	}
	got, n = Cleaning{Lines: []string{line}}.Apply([]byte("abc\n" + disabled(line) + "\nx"))
	if n != 1 || string(got) != "abc\nx" {
		t.Fatalf("%d, %q", n, got)
	}
}

func TestSweepGrammar(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	agent, stranger := wire.NewEnvoyID(), wire.NewEnvoyID()
	z := Zone{Local: time.UTC, UTC: true}
	over, overE := testLine(t, agent, now.Add(time.Minute))
	c := Cleaning{Sweep: &Sweep{Agent: agent, Sessions: map[wire.SessionID]bool{overE.Session: true}, Now: now, Zone: z}}
	line := func(agent wire.EnvoyID, d time.Duration) string {
		s, _ := testLine(t, agent, now.Add(d))
		return s
	}
	local := func(line string) string { return strings.Replace(line, "Z\"", "\"", 1) }
	for what, goes := range map[string]string{
		"in the journal":                       over,
		"in the journal, disabled":             disabled(over),
		"own, expired":                         line(agent, -time.Second),
		"own, expired, disabled":               disabled(line(agent, -time.Second)),
		"own, expired, of an older agent":      keystest.OldLine(line(agent, -time.Second)),
		"the same, disabled":                   disabled(keystest.OldLine(line(agent, -time.Second))),
		"in the journal, of an older agent":    keystest.OldLine(over),
		"foreign, expired for over 5 minutes":  line(stranger, -5*time.Minute-time.Second),
		"foreign, expired for long, disabled":  disabled(line(stranger, -time.Hour)),
		"own, expired, one source, local time": local(strings.Replace(line(agent, -time.Minute), ",::1", "", 1)),
		"foreign, expired in all zones":        local(line(stranger, -27*time.Hour)),
	} {
		if got, n := c.Apply([]byte("a\n" + goes + "\nb\n")); n != 1 || string(got) != "a\nb\n" {
			t.Errorf("%s: stays: %q", what, got)
		}
	}
	old := line(agent, -time.Hour)
	for what, stays := range keystest.NearMisses(old) {
		file := []byte("a\n" + stays + "\nb")
		if stays == old {
			t.Errorf("%s is the line itself", what)
		}
		if got, n := c.Apply(file); n != 0 || !bytes.Equal(got, file) {
			t.Errorf("%s: %q went, %q is left", what, stays, got)
		}
	}
	for what, stays := range map[string]string{
		"own, alive":                 line(agent, time.Minute),
		"own, expires now":           line(agent, 0),
		"own, alive, disabled":       disabled(line(agent, time.Minute)),
		"foreign, expired just now":  line(stranger, -4*time.Minute),
		"foreign, alive":             line(stranger, time.Minute),
		"foreign, alive in its zone": local(line(stranger, -25*time.Hour)),
	} {
		if got, n := c.Apply([]byte(stays)); n != 0 || string(got) != stays {
			t.Errorf("%s: went", what)
		}
	}
}

func FuzzInstallRemove(f *testing.F) {
	f.Add([]byte(""), []byte{0})
	f.Add([]byte("ssh-ed25519 AAAA me"), []byte{1, 0, 1})
	f.Add([]byte("\n\r\x00\xff\n"), []byte{2, 2})
	var lines []string
	for n := range byte(4) {
		lines = append(lines, fixedLine(f, n, fixedTime()))
	}
	f.Fuzz(func(t *testing.T, file, steps []byte) {
		order := []int{0, 1, 2, 3}
		for i, s := range steps[:min(len(steps), 8)] {
			j := int(s) % len(order)
			order[i%4], order[j] = order[j], order[i%4]
		}
		identity(t, file, lines, order)
		// Taking lines out of anything else changes nothing.
		if got, n := (Cleaning{Lines: lines}).Apply(file); n != 0 || !bytes.Equal(got, file) {
			t.Fatalf("%d of %q went", n, file)
		}
	})
}

func FuzzMarker(f *testing.F) {
	agent, now := fixedAgent(), fixedTime()
	line := fixedLine(f, 1, now.Add(-time.Hour))
	f.Add(line)
	f.Add(disabled(line))
	for _, near := range keystest.NearMisses(line) {
		f.Add(near)
	}
	z := Zone{Local: time.UTC, UTC: true}
	f.Fuzz(func(t *testing.T, s string) {
		e, ok := ParseEphemeral(s, z)
		if ok {
			again := e.Text(Zone{Local: time.UTC, UTC: strings.Contains(s, `Z" ssh`)})
			if e.off {
				again = disabled(again)
			}
			// Times have several spellings (the 61st second), all else has one.
			if len(again) != len(s) || strings.ReplaceAll(again, stamp(again), "") != strings.ReplaceAll(s, stamp(s), "") {
				t.Fatalf("read %q, wrote %q", s, again)
			}
		}
		// A sweep takes whole lines, and only those that parse.
		c := Cleaning{Sweep: &Sweep{Agent: agent, Now: now, Zone: z}}
		out, n := c.Apply([]byte(s))
		var want []string
		for _, part := range strings.Split(s, "\n") {
			if e, ok := ParseEphemeral(part, z); !ok || !c.Sweep.over(e) {
				want = append(want, part)
			}
		}
		if n != strings.Count(s, "\n")+1-len(want) || string(out) != strings.Join(want, "\n") {
			t.Fatalf("swept %q: %q, want %q", s, out, want)
		}
	})
}

func stamp(s string) string {
	_, s, _ = strings.Cut(s, lineExpiry)
	s, _, _ = strings.Cut(s, `"`)
	return s
}

func TestEphemeralTimes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata"} {
		local, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{
			time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 7, 2, 3, 4, 5, 0, time.UTC),
			time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC), time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC), // the hour that comes twice
			time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC), time.Date(2026, 3, 29, 1, 0, 1, 0, time.UTC),
		} {
			for _, utc := range []bool{true, false} {
				z := Zone{Local: local, UTC: utc}
				_, e := testLine(t, wire.NewEnvoyID(), at)
				got, ok := ParseEphemeral(e.Text(z), z)
				if !ok || (utc && !got.Expiry.Equal(at)) || got.Expiry.After(at.Add(0)) && !utc && !got.Expiry.Equal(at) {
					t.Errorf("%s %v utc %v: %v", name, at, utc, got.Expiry)
				}
			}
		}
	}
}

func TestOverManyLines(t *testing.T) {
	file := bytes.Repeat([]byte("\n"), MaxFile)
	line, _ := testLine(t, wire.NewEnvoyID(), time.Now())
	mem := testing.AllocsPerRun(1, func() {
		got, n := Cleaning{Lines: []string{line}}.Apply(file)
		if n != 0 || !slices.Equal(got, file) {
			t.Error("changed")
		}
	})
	if mem > 10 {
		t.Errorf("%v allocations for a file of newlines", mem)
	}
}

// disabled is a line that could not be taken out.
func disabled(line string) string { return "#" + line[1:] }
