package terminal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scrier/relay/screen"
	"scrier/wire"
)

// op is what a terminal is given: output, or a new size.
type op struct {
	W []byte  `json:"w,omitempty"`
	R *[2]int `json:"r,omitempty"`
}

// judged is an example for relay/screen/testdata/judge.mjs: the page's terminal A is given a, and B b. With list
// the answer is the lines that B has then, those above the screen too; else what differs.
type judged struct {
	Cols int  `json:"cols"`
	Rows int  `json:"rows"`
	A    []op `json:"a"`
	B    []op `json:"b"`
	List bool `json:"list"`
}

// judge asks the page's terminal.
func judge(t *testing.T, examples ...judged) (answers [][]string) {
	t.Helper()
	modules, err := filepath.Abs("../../../static/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "@xterm/headless")); err != nil {
		t.Fatalf("the page's packages are not installed (./just web): %v", err)
	}
	var in bytes.Buffer
	to := json.NewEncoder(&in)
	for _, e := range examples {
		if err := to.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "../../screen/testdata/judge.mjs", modules)
	node.Stdin = &in
	var complaint strings.Builder
	node.Stderr = &complaint
	out, err := node.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, complaint.String())
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var answer []string
		if err := d.Decode(&answer); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
	}
	if len(answers) != len(examples) {
		t.Fatalf("%d answers to %d examples\n%s", len(answers), len(examples), complaint.String())
	}
	return answers
}

// late is what the terminal of a viewer is given who comes when all of the output is there.
func late(t *testing.T, term *Terminal, p *program, a wire.Attach, watching bool) *viewer {
	t.Helper()
	come := attach
	if watching {
		come = watch
	}
	v := come(t, term, a)
	v.until(uint64(p.all.Len()))
	return v
}

// prints shows an owner all of the output, so that nothing holds it back.
func prints(t *testing.T, term *Terminal, p *program, text []byte) {
	t.Helper()
	owner := attach(t, term, wire.Attach{Client: []byte("first")})
	head := uint64(p.all.Len() + len(text))
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.says(t, string(text))
	}()
	owner.until(head)
	<-done
}

// Whoever comes when the begin of the output is no longer kept sees what a terminal shows that was given all of it,
// and goes on as that does: what programs have set long ago counts.
func TestLateViewers(t *testing.T) {
	recordings, err := filepath.Glob("../../screen/testdata/*.out")
	if err != nil || len(recordings) < 10 {
		t.Fatalf("%d recordings, %v", len(recordings), err)
	}
	outputs := map[string][]byte{}
	for _, f := range recordings {
		p, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p = p[:len(p)*3/4] // within the program
		text := bytes.Clone(p)
		for len(text) < backlogSize+300<<10 {
			text = append(text, p[len(p)/2:]...)
		}
		outputs[strings.TrimSuffix(filepath.Base(f), ".out")] = text
	}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 6 {
		outputs[fmt.Sprint("random ", i)] = hostile(r, backlogSize+300<<10)
	}
	var names []string
	var examples []judged
	for name, text := range outputs {
		term, p := opened(t)
		prints(t, term, p, text)
		var shown []byte
		for i, c := range []struct {
			attach   wire.Attach
			watching bool
		}{{wire.Attach{Skip: true, Size: size}, false}, {wire.Attach{Paint: true, Size: size}, false}, {wire.Attach{Paint: true}, true}} {
			v := late(t, term, p, c.attach, c.watching)
			if v.skips != 1 || !bytes.HasSuffix(text, v.seen.Bytes()) {
				t.Errorf("%s: painted %d times, and %d bytes behind that", name, v.skips, v.seen.Len())
			}
			if i == 0 {
				shown = v.got.Bytes()
			} else if !bytes.Equal(v.got.Bytes(), shown) {
				t.Errorf("%s: two viewers are shown different things", name)
			}
			if v.seen.Len() < backlogSize*3/4 {
				t.Errorf("%s: only %d bytes of history", name, v.seen.Len())
			}
		}
		names = append(names, name)
		examples = append(examples, judged{Cols: 80, Rows: 24, A: []op{{W: text}}, B: []op{{W: shown}, {}}})
	}
	failures := 0
	for i, wrong := range judge(t, examples...) {
		if len(wrong) > 0 && wrong[0] == "xterm.js failed" {
			failures++
		} else if len(wrong) > 0 {
			t.Errorf("%s:\n%s", names[i], strings.Join(wrong, "\n"))
		}
	}
	if failures > 3 {
		t.Errorf("xterm.js failed by itself at %d of %d", failures, len(examples))
	}
}

// hostile is output that sets everything that there is, and stops anywhere.
func hostile(r *rand.Rand, n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		switch x, y := r.IntN(82), r.IntN(26); r.IntN(16) {
		case 0:
			fmt.Fprintf(&b, "\x1b[%d;%dH", y, x)
		case 1:
			fmt.Fprintf(&b, "\x1b[%d;%d;4%dm", r.IntN(10), 30+r.IntN(8), r.IntN(8))
		case 2:
			fmt.Fprintf(&b, "\x1b[38;2;%d;%d;1m\x1b[48;5;%dm", x, y, x)
		case 3:
			fmt.Fprintf(&b, "\x1b[?%d%c", []int{1, 25, 1000, 1002, 1003, 1004, 1006, 2004, 47, 1049}[r.IntN(10)], "hl"[r.IntN(2)])
		case 4:
			fmt.Fprintf(&b, "\x1b[%d%c", r.IntN(3), "JK"[r.IntN(2)])
		case 5:
			fmt.Fprintf(&b, "\x1b[%d%c", 1+r.IntN(5), "LMSTPX@"[r.IntN(7)])
		case 6:
			b.WriteString([]string{"日本語", "é", "👍🏽", "e\u0301", "─│"}[r.IntN(5)])
		case 7:
			b.WriteString([]string{"\x1b(0", "\x1b(B", "\x1b=", "\x1b>", "\x1bH", "\x1b7", "\x0e", "\x0f", "\x1b)0"}[r.IntN(9)])
		case 8:
			fmt.Fprintf(&b, "\x1b[%d;%dr", 1+r.IntN(10), 12+r.IntN(12))
		case 9:
			fmt.Fprintf(&b, "\x1b]2;title %d\x07", x)
		default:
			b.WriteString(strings.Repeat("some text ", 1+r.IntN(12)))
			b.WriteString([]string{"\r\n", "", "\t"}[r.IntN(3)])
		}
	}
	return b.Bytes()
}

// The lines above the screen are those that the backlog has, each once.
func TestLateLines(t *testing.T) {
	term, p := opened(t)
	var text bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&text, "line %d of many, and something behind it\r\n", i)
	}
	prints(t, term, p, text.Bytes())
	v := late(t, term, p, wire.Attach{Paint: true, Size: size}, false)
	all := strings.Split(strings.TrimSuffix(text.String(), "\r\n"), "\r\n")
	lines := judge(t, judged{Cols: 80, Rows: 24, B: []op{{W: v.got.Bytes()}}, List: true})[0]
	lines = lines[:len(lines)-1] // the prompt's
	if len(lines) < 10_000 {
		t.Fatalf("there are %d lines", len(lines))
	}
	for i, line := range lines {
		if want := all[len(all)-len(lines)+i]; line != want {
			t.Fatalf("%d lines before the end stands %q, not %q", len(lines)-i, line, want)
		}
	}
}

// A viewer with another size, or who comes after the size has changed, has the screen of a terminal that was resized.
func TestLateAndResized(t *testing.T) {
	vim, err := os.ReadFile("../../screen/testdata/vim.out")
	if err != nil {
		t.Fatal(err)
	}
	vim = vim[:len(vim)*3/4]
	long := bytes.Clone(vim)
	for len(long) < backlogSize+300<<10 {
		long = append(long, vim[len(vim)/2:]...)
	}
	for name, c := range map[string]struct {
		before, after []byte // the change of the size
		late          wire.Size
		painted       int // how often
	}{
		"short, then resized":       {before: vim, after: []byte("\x1b[5;5Hbehind it"), late: wire.Size{Cols: 100, Rows: 30}, painted: 1},
		"long, then resized":        {before: long, after: []byte("\x1b[5;5Hbehind it"), late: wire.Size{Cols: 100, Rows: 30}, painted: 2},
		"resized, then long":        {before: vim, after: long, late: wire.Size{Cols: 100, Rows: 30}, painted: 1},
		"long, resized by who came": {before: long, late: wire.Size{Cols: 60, Rows: 20}, painted: 2},
	} {
		t.Run(name, func(t *testing.T) {
			term, p := opened(t)
			prints(t, term, p, c.before)
			cols, rows := int(c.late.Cols), int(c.late.Rows)
			all := []op{{W: c.before}, {R: &[2]int{cols, rows}}}
			if c.after != nil {
				term.resized(c.late) // what the channel was told
				term.mu.Lock()
				term.input.size = c.late
				term.mu.Unlock()
				prints(t, term, p, c.after)
				all = append(all, op{W: c.after})
			}
			v := attach(t, term, wire.Attach{Paint: true, Size: c.late})
			v.screen = screen.New(c.late)
			for v.skips < c.painted || v.offset < uint64(p.all.Len()) {
				v.step()
			}
			first := judged{Cols: cols, Rows: rows, A: []op{{R: &[2]int{80, 24}}}, B: []op{{W: v.got.Bytes()}, {}}}
			first.A = append(first.A, all...)
			if wrong := judge(t, first)[0]; len(wrong) > 0 {
				t.Error(strings.Join(wrong, "\n"))
			}
		})
	}
}

// A screen that is too much for a keyframe comes without history; what is kept is bounded, whatever the host prints.
func TestLateOnALargeScreen(t *testing.T) {
	term, p := opened(t)
	large := wire.Size{Cols: 300, Rows: 100}
	first := attach(t, term, wire.Attach{Client: []byte("first"), Size: large})
	var text bytes.Buffer
	for i := 0; text.Len() < 3*backlogSize; i++ {
		fmt.Fprintf(&text, "\x1b[%d;%dH\x1b[38;2;%d;%d;3;48;2;%d;5;%dm%c", i/300%100+1, i%300+1, i%256, i/256%256, i%253, i%251, 'a'+i%26)
		if i%100_000 == 99_999 {
			text.WriteString("\x1b[?1h\x1b]2;" + strings.Repeat("t", 10_000) + "\x07")
		}
	}
	head := uint64(text.Len())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.says(t, text.String())
	}()
	first.until(head)
	<-done
	term.mu.Lock()
	held := 0
	for _, k := range term.keyframes.all {
		held += cap(k.paint)
	}
	term.mu.Unlock()
	if most := backlogSize/keyShare + maxKeyframe + 32*maxSpare; held > most {
		t.Errorf("keyframes hold %d bytes, more than %d", held, most)
	}
	v := attach(t, term, wire.Attach{Client: []byte("late"), Paint: true, Size: large})
	v.screen = screen.New(large)
	for v.skips == 0 {
		v.step()
	}
	want := screen.New(large)
	want.Write(text.Bytes())
	if v.attached.Offset != head {
		t.Errorf("it begins at %d of %d", v.attached.Offset, head)
	}
	if !bytes.Equal(v.screen.Repaint(nil, maxScreen, 0, ""), want.Repaint(nil, maxScreen, 0, "")) {
		t.Error("the screen is another one")
	}
}

// Keyframes cost a part of what the screen does.
func BenchmarkOutput(b *testing.B) {
	text := []byte(lines(800))
	for _, size := range []wire.Size{{Cols: 80, Rows: 24}, {Cols: 240, Rows: 67}, {Cols: 1000, Rows: 1000}} {
		for _, keys := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dx%d, keyframes %v", size.Cols, size.Rows, keys), func(b *testing.B) {
				s := screen.New(size)
				var out backlog
				var k keyframes
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					for p := text; len(p) > 0; {
						n := min(len(p), outPiece)
						out.add(p[:n], out.head)
						s.Write(p[:n])
						if keys {
							k.add(s, out.head, out.start())
						}
						p = p[n:]
					}
				}
			})
		}
	}
}
