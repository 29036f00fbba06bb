package guac_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"scrier/relay/guac"
	"scrier/wire"
)

var everything = guac.Policy{ToEnvoy: true, FromEnvoy: true, Upload: true, Download: true, Audio: true}

// reference lists every opcode of the protocol's reference, of guacd's handlers and of the page's
// library, those that are only thought of among them, each with arguments that are in order.
func reference() map[string][]string {
	return map[string][]string{
		"abort": {}, "ack": {"1", "OK", "0"}, "arc": {"0", "1", "1", "1", "0", "1.5", "0"}, "args": {"hostname"},
		"argv": {"2", "text/plain", "password"}, "audio": {"3", "audio/L16;rate=44100,channels=2"},
		"blob": {"40", "AAAA"}, "body": {"0", "4", "text/plain", "/a"}, "cfill": {"14", "0", "1", "2", "3", "255"},
		"clip": {"0"}, "clipboard": {"5", "text/plain"}, "close": {"0"}, "connect": {"VERSION_1_5_0", "evil", "22"},
		"copy": {"0", "0", "0", "1", "1", "14", "0", "0", "0"}, "cstroke": {"14", "0", "0", "0", "1", "1", "2", "3", "255"},
		"cursor": {"0", "0", "-1", "0", "0", "1", "1"}, "curve": {"0", "1", "1", "2", "2", "3", "3"}, "disconnect": {},
		"dispose": {"-7"}, "distort": {"1", "1", "0", "0", "1", "0", "0"}, "end": {"40"}, "error": {"no", "519"},
		"file": {"6", "text/plain", "a"}, "filesystem": {"1", "Drive"}, "get": {"0", "/"}, "identity": {"0"},
		"image": {"image/png"}, "img": {"7", "14", "0", "image/png", "0", "0"}, "jpeg": {"14", "0", "0", "0", "AAAA"},
		"key": {"65293", "1"}, "lfill": {"14", "0", "-1"}, "line": {"0", "1", "1"}, "log": {"text"},
		"lstroke": {"14", "0", "0", "0", "1", "-1"}, "mouse": {"10", "10", "1"}, "move": {"1", "0", "5", "5", "0"},
		"msg": {"1", "u", "alice"}, "name": {"desktop"}, "nest": {"0", "3.nop;"}, "nop": {}, "pipe": {"8", "text/plain", "p"},
		"png": {"14", "0", "0", "0", "AAAA"}, "pop": {"0"}, "push": {"0"}, "put": {"0", "9", "text/plain", "/a"},
		"ready": {"$1"}, "rect": {"0", "0", "0", "10", "10"}, "required": {"password"}, "reset": {"0"}, "select": {"vnc"},
		"set": {"0", "multi-touch", "10"}, "shade": {"1", "128"}, "size": {"1", "100", "100"}, "start": {"0", "1", "1"},
		"sync": {"1700000000000"}, "timezone": {"UTC"}, "touch": {"0", "10", "10", "1", "1", "0", "0.5"},
		"transfer": {"0", "0", "0", "1", "1", "3", "0", "0", "0"}, "transform": {"0", "1", "0", "0", "1", "0", "0"},
		"undefine": {"0"}, "video": {"10", "0", "video/mp4"}, "usbdata": {"x"}, "": {}, "constructor": {}, "__proto__": {},
		"Key": {"65", "1"}, "key ": {"65", "1"}, "key\x00": {"65", "1"},
	}
}

// connected are the two filters of a viewer to whom guacd has shown a drive and who was asked for
// a password.
func connected(t testing.TB, p guac.Policy) (*guac.FromViewer, *guac.FromGuacd) {
	t.Helper()
	v, g := guac.NewFromViewer(p), guac.NewFromGuacd(p)
	v.Follow(g)
	if _, _, err := g.Pass(instruction(t, "filesystem", "0", "Drive")); err != nil {
		t.Fatal(err)
	}
	v.Required("password")
	return v, g
}

// checkAll lists the opcodes of the reference that a viewer of this policy may send.
func checkAll(t *testing.T, p guac.Policy) (allowed []string) {
	t.Helper()
	for opcode, args := range reference() {
		v, _ := connected(t, p)
		if opcode == "size" {
			args = []string{"800", "600"}
		}
		err := v.Check(instruction(t, opcode, args...))
		switch wire.CodeOf(err) {
		case wire.None:
			allowed = append(allowed, opcode)
		case wire.Forbidden, wire.Protocol:
		default:
			t.Errorf("%s: %v", opcode, err)
		}
	}
	slices.Sort(allowed)
	return allowed
}

func TestViewerSendsNothingButThis(t *testing.T) {
	for _, c := range []struct {
		policy guac.Policy
		more   []string
	}{
		{guac.Policy{}, nil},
		{guac.Policy{Audio: true, FromEnvoy: true}, nil},
		{guac.Policy{ToEnvoy: true}, []string{"clipboard"}},
		{guac.Policy{Upload: true}, []string{"get", "put"}},
		{guac.Policy{Download: true}, []string{"get"}},
		{everything, []string{"clipboard", "get", "put"}},
	} {
		want := append([]string{"ack", "argv", "disconnect", "key", "mouse", "nop", "size", "sync", "touch"}, c.more...)
		slices.Sort(want)
		if got := checkAll(t, c.policy); !slices.Equal(got, want) {
			t.Errorf("%+v: %q", c.policy, got)
		}
		c.policy.View = true
		if got, want := checkAll(t, c.policy), []string{"ack", "disconnect", "nop", "sync"}; !slices.Equal(got, want) {
			t.Errorf("%+v: %q", c.policy, got)
		}
	}
}

func TestViewerKeepsToTheRanges(t *testing.T) {
	for _, c := range []struct {
		ok bool
		i  []string
	}{
		{true, []string{"key", "16777215", "0"}}, {true, []string{"key", "269025043", "1"}},
		{false, []string{"key", "-1", "1"}}, {false, []string{"key", "65", "2"}}, {false, []string{"key", "65"}},
		{false, []string{"key", "65", "1", "1"}}, {false, []string{"key", "0x41", "1"}}, {false, []string{"key", "", "1"}},
		{false, []string{"key", "536870912", "1"}}, {false, []string{"key", "+65", "1"}}, {false, []string{"key", "65 ", "1"}},
		{false, []string{"key", "99999999999999999999", "1"}},
		{true, []string{"mouse", "-5", "9000", "127"}}, {false, []string{"mouse", "1", "1", "256"}},
		{false, []string{"mouse", "1", "1", "-1"}}, {false, []string{"mouse", "1.5", "1", "0"}}, {false, []string{"mouse", "40000", "1", "0"}},
		{true, []string{"size", "1", "8192"}}, {false, []string{"size", "0", "100"}}, {false, []string{"size", "8193", "100"}},
		{false, []string{"size", "100", "-100"}}, {false, []string{"size", "100"}},
		{false, []string{"sync", ""}}, {false, []string{"sync", "-1"}}, {false, []string{"sync", "1e3"}}, {false, []string{"sync"}},
		{false, []string{"sync", strings.Repeat("1", 20)}},
		{true, []string{"ack", "1023", "BAD TYPE", "783"}}, {false, []string{"ack", "1024", "", "0"}}, {false, []string{"ack", "1", "a\nb", "0"}},
		{false, []string{"ack", "1", strings.Repeat("\U0001f600", 300), "0"}}, {false, []string{"get", "0", strings.Repeat("a", 5000)}},
		{false, []string{"nop", "x"}}, {false, []string{"disconnect", "x"}},
		{true, []string{"touch", "1", "-3", "5", "0", "0", "-0.5", "1e-7"}}, {false, []string{"touch", "1", "3", "5", "0", "0", "NaN", "1"}},
		{false, []string{"touch", "1", "3", "5", "0", "0", "1-2", "1"}}, {false, []string{"touch", "1", "3", "5", "0", "0", "0", ""}},
		{true, []string{"clipboard", "63", "text/plain"}}, {false, []string{"clipboard", "1024", "text/plain"}},
		{false, []string{"clipboard", "1", "text/plain\x00"}}, {false, []string{"clipboard", "1", strings.Repeat("a", 200)}},
		{false, []string{"blob", "1", "AAAA"}}, {false, []string{"end", "1"}},
		{true, []string{"get", "0", "/a..b"}}, {false, []string{"get", "1", "/"}}, {false, []string{"get", "0", "/../etc"}},
		{false, []string{"get", "0", `\..\x`}}, {false, []string{"get", "0", ".."}}, {false, []string{"get", "-1", "/"}},
		{false, []string{"put", "1", "0", "text/plain", "/a"}}, {false, []string{"put", "0", "0", "text/plain", "/a/.."}},
		{false, []string{"argv", "0", "text/plain", "hostname"}}, {false, []string{"argv", "0", "text/plain", "username"}},
	} {
		v, _ := connected(t, everything)
		if err := v.Check(instruction(t, c.i[0], c.i[1:]...)); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.i, err)
		}
	}
}

// say fails the test if an instruction is not let through.
func say(t *testing.T, v *guac.FromViewer, opcode string, args ...string) {
	t.Helper()
	if err := v.Check(instruction(t, opcode, args...)); err != nil {
		t.Error(err)
	}
}

func TestViewerAnswersWhatWasAskedOnce(t *testing.T) {
	v := guac.NewFromViewer(guac.Policy{})
	argv := instruction(t, "argv", "0", "text/plain", "password")
	if wire.CodeOf(v.Check(argv)) != wire.Forbidden {
		t.Error("argv passes although nothing was asked")
	}
	asks := instruction(t, "required", "username", "hostname", "password")
	if got := guac.RequiredNames(asks); !slices.Equal(got, []string{"username", "password"}) {
		t.Errorf("required: %q", got)
	}
	v.Required("username", "hostname", "password")
	say(t, v, "argv", "0", "text/plain", "password")
	say(t, v, "argv", "1", "text/plain", "username")
	say(t, v, "blob", "0", "c2VjcmV0")
	say(t, v, "end", "0")
	if v.Check(instruction(t, "blob", "0", "AAAA")) == nil {
		t.Error("a blob passes behind its stream's end")
	}
	for _, name := range []string{"password", "username", "hostname"} {
		if wire.CodeOf(v.Check(instruction(t, "argv", "0", "text/plain", name))) != wire.Forbidden {
			t.Errorf("%s passes twice, or unasked", name)
		}
	}
	say(t, v, "blob", "1", "YQ==")
	if v.Check(instruction(t, "blob", "1", "<script>")) == nil {
		t.Error("a blob passes that is not base64")
	}
}

func TestViewerOpensSoManyStreams(t *testing.T) {
	v := guac.NewFromViewer(everything)
	for n := range 64 {
		say(t, v, "clipboard", strconv.Itoa(n), "text/plain")
	}
	say(t, v, "clipboard", "5", "text/plain") // instead of the one that is there
	if err := v.Check(instruction(t, "clipboard", "64", "text/plain")); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("the 65th stream: %v", err)
	}
	say(t, v, "end", "7")
	say(t, v, "clipboard", "64", "text/plain")
}

func TestViewerUsesOnlyADriveThatIsShown(t *testing.T) {
	v, g := connected(t, everything)
	say(t, v, "get", "0", "/")
	if _, _, err := g.Pass(instruction(t, "undefine", "0")); err != nil {
		t.Fatal(err)
	}
	if v.Check(instruction(t, "get", "0", "/")) == nil {
		t.Error("a drive can be used after it is gone")
	}
	alone := guac.NewFromViewer(everything)
	if alone.Check(instruction(t, "get", "0", "/")) == nil {
		t.Error("a drive can be used by a viewer who follows no guacd")
	}
}

func TestReleaseLetsEverythingGo(t *testing.T) {
	v := guac.NewFromViewer(guac.Policy{})
	if got := v.Release(nil); len(got) != 0 {
		t.Errorf("nothing is held: %q", got)
	}
	say(t, v, "key", "65507", "1")
	say(t, v, "key", "97", "1")
	say(t, v, "key", "98", "1")
	say(t, v, "key", "97", "1") // repeats
	say(t, v, "key", "98", "0")
	say(t, v, "mouse", "10", "20", "5")
	say(t, v, "touch", "3", "1", "2", "5", "5", "0", "0.5")
	say(t, v, "touch", "4", "1", "2", "5", "5", "0", "1")
	say(t, v, "touch", "3", "7", "8", "5", "5", "0", "0.25")
	say(t, v, "touch", "4", "1", "2", "5", "5", "0", "0.0")
	want := "3.key,2.97,1.0;3.key,5.65507,1.0;5.mouse,2.10,2.20,1.0;5.touch,1.3,1.7,1.8,1.0,1.0,1.0,1.0;"
	if got := string(v.Release(nil)); got != want {
		t.Errorf("released %q", got)
	}
	if got := v.Release(nil); len(got) != 0 {
		t.Errorf("released twice: %q", got)
	}
	say(t, v, "mouse", "10", "20", "1")
	say(t, v, "mouse", "10", "20", "0")
	if got := v.Release(nil); len(got) != 0 {
		t.Errorf("nothing is held any more: %q", got)
	}
	for n := range 64 {
		say(t, v, "key", strconv.Itoa(1000+n), "1")
		say(t, v, "touch", strconv.Itoa(n), "1", "1", "1", "1", "0", "1")
	}
	if v.Check(instruction(t, "key", "65", "1")) == nil || v.Check(instruction(t, "touch", "99", "1", "1", "1", "1", "0", "1")) == nil {
		t.Error("more than 64 are held")
	}
}

func TestFiltersAllocateNothing(t *testing.T) {
	v, g := connected(t, everything)
	input := []*guac.Instruction{
		instruction(t, "key", "97", "1"), instruction(t, "key", "97", "0"), instruction(t, "mouse", "1", "2", "1"),
		instruction(t, "sync", "1700000000000"), instruction(t, "ack", "1", "OK", "0"), instruction(t, "clipboard", "0", "text/plain"),
		instruction(t, "blob", "0", "AAAA"), instruction(t, "end", "0"), instruction(t, "touch", "1", "2", "3", "4", "5", "0", "1"),
	}
	var output []*guac.Instruction
	for opcode, args := range reference() {
		if _, ok := guac.Drawing()[opcode]; ok || slices.Contains([]string{"sync", "img", "blob", "end", "nop", "ack", "audio", "name", "msg"}, opcode) {
			output = append(output, instruction(t, opcode, args...))
		}
	}
	var failed error
	run := func() {
		for _, i := range input {
			if err := v.Check(i); err != nil {
				failed = err
			}
		}
		for _, i := range output {
			if _, reply, err := g.Pass(i); err != nil || reply != nil {
				failed = fmt.Errorf("%s: %q %w", i.Raw(), reply, err)
			}
		}
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 || failed != nil {
		t.Errorf("%v allocations, %v", n, failed)
	}
}
