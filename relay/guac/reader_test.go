package guac_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"scrier/relay/guac"
	"scrier/wire"
)

func elements(i *guac.Instruction) []string {
	all := []string{string(i.Opcode())}
	for n := range i.Len() {
		all = append(all, string(i.Arg(n)))
	}
	return all
}

func instruction(t testing.TB, opcode string, args ...string) *guac.Instruction {
	t.Helper()
	i, err := guac.NewReader(bytes.NewReader(guac.Append(nil, opcode, args...))).Next()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestReaderTakesWhatTheProtocolAllows(t *testing.T) {
	for in, want := range map[string][]string{
		"3.nop;":                             {"nop"},
		"0.;":                                {""},
		"4.sync,8.12345678;":                 {"sync", "12345678"},
		"4.name,0.,0.;":                      {"name", "", ""},
		"4.name,7.a;b,1.c;":                  {"name", "a;b,1.c"},
		"4.name,1.\U0001f600;":               {"name", "\U0001f600"},
		"4.name,3.a\U0001f600b;":             {"name", "a\U0001f600b"},
		"4.name,2.e\u0301;":                  {"name", "e\u0301"},
		"4.name,1.\ufffd;":                   {"name", "\ufffd"},
		"4.name,1.\x00;":                     {"name", "\x00"},
		"4.name,9.\u00e4\u00f6\u00fc345678;": {"name", "\u00e4\u00f6\u00fc345678"},
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			reader := guac.NewReader(r)
			i, err := reader.Next()
			if err != nil {
				t.Errorf("%q: %v", in, err)
				continue
			}
			if got := elements(i); !slices.Equal(got, want) || string(i.Raw()) != in {
				t.Errorf("%q became %q (raw %q)", in, got, i.Raw())
			}
			if i.Arg(len(want)) != nil || i.Arg(-1) != nil {
				t.Errorf("%q has an argument that it has not", in)
			}
			if _, err := reader.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("%q ends with %v", in, err)
			}
		}
	}
}

func TestReaderTakesAsMuchAsGuacdDoes(t *testing.T) {
	for _, args := range [][]string{slices.Repeat([]string{"a"}, 127), {strings.Repeat("a", 8192)}, {strings.Repeat("\U0001f600", 8192)}} {
		if got := elements(instruction(t, "x", args...)); !slices.Equal(got[1:], args) {
			t.Errorf("%d arguments of %d bytes became %d", len(args), len(args[0]), len(got)-1)
		}
	}
}

func TestReaderRefusesEverythingElse(t *testing.T) {
	long := strings.Repeat("a", 8193)
	for _, in := range []string{
		";", ",", ".", "a", " 3.nop;", "\n", "-1.a;", "+3.nop;", "3:nop;", "03.nop;", "00.;", "3 .nop;", "3,nop;",
		"3.nopx", "3.nop:", "3.nop\n", "3.nop,;", "3.nop,.;", "123456", "123456.", "8193." + long + ";", "99999.",
		"4.name,1.\xff;", "4.name,2.\xc3\x28;", "4.name,1.\xed\xa0\x80;" /* a surrogate */, "4.name,1.\xc0\x80;", /* overlong */
		"4.name,1.\xf4\x90\x80\x80;" /* behind the last plane */, "4.name,9.abcdefgh\xff;", "4.name,2.a\U0001f600b;",
		"1.\U0001f600\U0001f600;", "٣.nop;", strings.Repeat("0.,", 128) + "0.;", strings.Repeat("8192."+long[:8192]+",", 9),
	} {
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			reader := guac.NewReader(r)
			i, err := reader.Next()
			if wire.CodeOf(err) != wire.Protocol {
				t.Errorf("%.40q gives %v, %v", in, i, err)
				continue
			}
			if !reader.More() {
				t.Errorf("%.40q: More waits although the error is known", in)
			}
			if _, again := reader.Next(); !errors.Is(again, err) {
				t.Errorf("%.40q: the error is not final: %v", in, again)
			}
		}
	}
}

func TestReaderTellsACutFromAnEnd(t *testing.T) {
	whole := string(guac.Append(guac.Append(nil, "name", "\U0001f600;"), "sync", "1"))
	for cut := range len(whole) {
		r := guac.NewReader(strings.NewReader(whole[:cut]))
		var err error
		for err == nil {
			_, err = r.Next()
		}
		want := io.ErrUnexpectedEOF
		if cut == 0 || cut == strings.Index(whole, ";4.sync")+1 {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

// A deadline that passes leaves the reader as it was.
func TestReaderGoesOnAfterATimeout(t *testing.T) {
	a, b := io.Pipe()
	defer func() { _ = a.Close() }()
	go func() {
		_, _ = b.Write([]byte("4.na"))
		_, _ = b.Write([]byte("me,1.a;"))
		_ = b.Close()
	}()
	r := guac.NewReader(&interrupted{r: a})
	var fails int
	for {
		i, err := r.Next()
		if errors.Is(err, errInterrupted) {
			fails++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := elements(i); !slices.Equal(got, []string{"name", "a"}) || fails == 0 {
			t.Errorf("%q after %d interruptions", got, fails)
		}
		return
	}
}

var errInterrupted = errors.New("interrupted")

// interrupted fails every other time.
type interrupted struct {
	r io.Reader
	n int
}

func (i *interrupted) Read(b []byte) (int, error) {
	if i.n++; i.n%2 == 1 {
		return 0, errInterrupted
	}
	return i.r.Read(b)
}

// repeat is a stream of the same bytes without end.
type repeat struct {
	b    []byte
	at   int
	read int
}

func (r *repeat) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k := copy(b[n:], r.b[r.at:])
		n += k
		r.at = (r.at + k) % len(r.b)
	}
	r.read += n
	return n, nil
}

func TestReaderStopsReadingWhatNeverEnds(t *testing.T) {
	for name, in := range map[string]string{
		"digits":   "9",
		"zeros":    "0",
		"elements": "1.a,",
		"long":     "8192." + strings.Repeat("a", 8192) + ",",
		"astral":   "8192." + strings.Repeat("\U0001f600", 8192) + ",",
	} {
		r := &repeat{b: []byte(in)}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, err := guac.NewReader(r).Next()
		runtime.ReadMemStats(&after)
		if wire.CodeOf(err) != wire.Protocol {
			t.Errorf("%s: %v", name, err)
		}
		if r.read > 64<<10 {
			t.Errorf("%s: %d bytes were read", name, r.read)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 512<<10 {
			t.Errorf("%s: %d bytes of memory were taken", name, took)
		}
	}
}

// One byte at a time, a large instruction costs one look at each byte, not a look at all of them
// for each.
func TestReaderLooksOnceAtEachByte(t *testing.T) {
	b := guac.Append(nil, "name", slices.Repeat([]string{strings.Repeat("a", 8000)}, 7)...)
	r := guac.NewReader(iotest.OneByteReader(bytes.NewReader(slices.Repeat(b, 20))))
	n := 0
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 20 {
		t.Errorf("%d instructions", n)
	}
}

func TestMoreTellsWholeInstructionsFromPieces(t *testing.T) {
	a, b := io.Pipe()
	defer func() { _ = a.Close() }()
	go func() {
		_, _ = b.Write([]byte("3.nop;3.nop;4.na"))
		_, _ = b.Write([]byte("me,1.a;"))
		_ = b.Close()
	}()
	r := guac.NewReader(a)
	var more []bool
	for {
		i, err := r.Next()
		if err != nil {
			break
		}
		opcode := string(i.Opcode())
		more = append(more, r.More())
		if string(i.Opcode()) != opcode {
			t.Error("More changes what Next returned")
		}
	}
	if !slices.Equal(more, []bool{true, false, false}) {
		t.Errorf("%v", more)
	}
	if r.Buffered() != 0 {
		t.Errorf("%d bytes are left", r.Buffered())
	}
}

// text makes elements of all planes, of the protocol's own characters, and of none.
func text(r *rand.Rand) string {
	var b strings.Builder
	n := r.IntN(3) * r.IntN(6)
	if r.IntN(64) == 0 {
		n = r.IntN(200)
	}
	for range n {
		switch r.IntN(6) {
		case 0:
			b.WriteString([]string{",", ";", ".", "0", "12.", ";3.nop;", "1.a,"}[r.IntN(7)])
		case 1:
			b.WriteRune(rune(0x10000 + r.IntN(0x100000)))
		case 2:
			c := rune(r.IntN(0x10000))
			if !utf8.ValidRune(c) {
				c = 0xe000
			}
			b.WriteRune(c)
		default:
			b.WriteByte(byte(r.IntN(128)))
		}
	}
	return b.String()
}

func TestAppendAndNextAreInverse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	var want [][]string
	for range 20000 {
		e := []string{text(r)}
		for range r.IntN(8) {
			e = append(e, text(r))
		}
		want = append(want, e)
		stream = guac.Append(stream, e[0], e[1:]...)
	}
	reader := guac.NewReader(iotest.HalfReader(bytes.NewReader(stream)))
	for n, e := range want {
		i, err := reader.Next()
		if err != nil {
			t.Fatalf("instruction %d, %q: %v", n, e, err)
		}
		if got := elements(i); !slices.Equal(got, e) {
			t.Fatalf("instruction %d, %q became %q", n, e, got)
		}
	}
}

func TestAppendReplacesWhatIsNoText(t *testing.T) {
	for in, want := range map[string]string{
		"a\xffb":       "3.a\ufffdb;",
		"\xed\xa0\x80": "1.\ufffd;",
		"\U0001f600":   "1.\U0001f600;",
		"":             "0.;",
		"\xf0\x9f\x98": "1.\ufffd;",
	} {
		if got := string(guac.Append(nil, in)); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}

func TestReaderAllocatesNothing(t *testing.T) {
	r := guac.NewReader(&repeat{b: mix()})
	var err error
	if n := testing.AllocsPerRun(1000, func() {
		var i *guac.Instruction
		if i, err = r.Next(); err == nil && (i.Is("nothing") || len(i.Raw()) == 0) {
			err = fmt.Errorf("%q", i.Raw())
		}
	}); n != 0 || err != nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}

// mix is what guacd sends while a window moves: pictures of 8 kB, copies, a cursor, the mouse.
func mix() []byte {
	var b []byte
	for range 4 {
		b = guac.Append(b, "img", "3", "14", "0", "image/png", "128", "256")
		b = guac.Append(b, "blob", "3", strings.Repeat("iVBORw0K", 1008))
		b = guac.Append(b, "blob", "3", strings.Repeat("iVBORw0K", 200))
		b = guac.Append(b, "end", "3")
		b = guac.Append(b, "copy", "0", "100", "100", "640", "64", "14", "0", "100", "164")
		b = guac.Append(b, "mouse", "512", "384", "1", "1700000000000")
	}
	b = guac.Append(b, "cursor", "0", "0", "-2", "0", "0", "32", "32")
	b = guac.Append(b, "rect", "0", "0", "0", "1024", "768")
	b = guac.Append(b, "cfill", "14", "0", "0", "0", "0", "255")
	return guac.Append(b, "sync", "1700000000000", "1")
}

func BenchmarkNext(b *testing.B) {
	stream := mix()
	r := guac.NewReader(&repeat{b: stream})
	b.ReportAllocs()
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		for {
			i, err := r.Next()
			if err != nil {
				b.Fatal(err)
			}
			if i.Is("sync") {
				break
			}
		}
	}
}

// BenchmarkNextSmall is input: keys and the mouse, one instruction an operation.
func BenchmarkNextSmall(b *testing.B) {
	r := guac.NewReader(&repeat{b: guac.Append(guac.Append(nil, "mouse", "512", "384", "1"), "key", "65293", "1")})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPass(b *testing.B) {
	stream := mix()
	r, f := guac.NewReader(&repeat{b: stream}), guac.NewFromGuacd(guac.Policy{})
	b.ReportAllocs()
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		for {
			i, err := r.Next()
			if err != nil {
				b.Fatal(err)
			}
			if pass, reply, err := f.Pass(i); !pass || reply != nil || err != nil {
				b.Fatal(pass, reply, err)
			}
			if i.Is("sync") {
				break
			}
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	r := guac.NewReader(&repeat{b: guac.Append(guac.Append(guac.Append(nil, "mouse", "512", "384", "1"), "key", "65293", "1"), "key", "65293", "0")})
	f := guac.NewFromViewer(guac.Policy{})
	b.ReportAllocs()
	for b.Loop() {
		i, err := r.Next()
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Check(i); err != nil {
			b.Fatal(err)
		}
	}
}
