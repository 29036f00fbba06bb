package screen_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scrier/relay/screen"
	"scrier/wire"
)

const failed = "xterm.js failed" // what the judge says when there is nothing to compare

// op is what happens to a terminal: it is given output, or a new size.
type op struct {
	W []byte  `json:"w,omitempty"`
	R *[2]int `json:"r,omitempty"`
}

func (o op) do(s *screen.Screen) {
	if o.R != nil {
		s.Resize(wire.Size{Cols: uint16(o.R[0]), Rows: uint16(o.R[1])})
		return
	}
	s.Write(o.W)
}

// example is one case for the judge: terminal A is given all of the output; B is given the part before cut
// and then the model's repaint. Both must be equal, and stay so with what comes then.
type example struct {
	name       string
	cols, rows int
	output     []op
	cut        int // bytes into the output
	then       []op
	fed        int // how much the model is given at once; 0: each op whole
	list       bool
}

type verdict struct {
	Cols int  `json:"cols"`
	Rows int  `json:"rows"`
	A    []op `json:"a"`
	B    []op `json:"b"`
	Then []op `json:"then"`
	List bool `json:"list"`

	skipped bool // no terminal can be brought to that state without all of the output
}

// prepare runs the model.
func (e example) prepare() verdict {
	v := verdict{Cols: e.cols, Rows: e.rows, A: e.output, Then: e.then, List: e.list}
	s := screen.New(wire.Size{Cols: uint16(e.cols), Rows: uint16(e.rows)})
	left, seen, short := e.cut, uint64(0), false
	for _, o := range e.output {
		if o.R != nil {
			v.B = append(v.B, o) // the viewer's own window: it has every size
			short = short || s.Short()
			o.do(s)
			continue
		}
		before := o.W[:min(left, len(o.W))]
		if len(before) > 0 {
			v.B = append(v.B, op{W: before})
			left -= len(before)
		}
		feed(s, before, e.fed)
		if left == 0 && seen == 0 {
			seen = s.Left()
		}
		feed(s, o.W[len(before):], e.fed)
	}
	v.B = append(v.B, op{W: s.Repaint(nil, math.MaxInt32, s.Left()-seen, "")})
	if short || !s.Reachable() {
		v.A, v.B, v.Then, v.skipped = nil, []op{{}}, nil, true
	}
	if s.Spaced() {
		v.Then = nil
	}
	return v
}

func feed(s *screen.Screen, p []byte, size int) {
	if size == 0 {
		size = len(p)
	}
	for len(p) > 0 {
		n := min(size, len(p))
		s.Write(p[:n])
		p = p[n:]
	}
}

func modules(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../static/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "@xterm/headless")); err != nil {
		t.Fatalf("the page's packages are not installed (./just web): %v", err)
	}
	return dir
}

// judge asks the page's terminal about examples, and gives what it finds wrong with each.
func judge(t testing.TB, examples []example) [][]string {
	t.Helper()
	var in bytes.Buffer
	to := json.NewEncoder(&in)
	skipped := 0
	for _, e := range examples {
		v := e.prepare()
		if v.skipped {
			skipped++
		}
		if err := to.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	if skipped > 0 && len(examples) > 100 {
		t.Logf("%d of %d lead where no other output does", skipped, len(examples))
	}
	if skipped > 10+len(examples)/8 {
		t.Error("that is too many")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	node := exec.CommandContext(ctx, "node", "testdata/judge.mjs", modules(t))
	node.Stdin = &in
	var complaint strings.Builder
	node.Stderr = &complaint
	out, err := node.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, complaint.String())
	}
	answers := make([][]string, 0, len(examples))
	for d := json.NewDecoder(bufio.NewReader(bytes.NewReader(out))); ; {
		var wrong []string
		if err := d.Decode(&wrong); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, wrong)
	}
	if len(answers) != len(examples) {
		t.Fatalf("%d answers to %d examples\n%s", len(answers), len(examples), complaint.String())
	}
	return answers
}

// check fails for each example that the judge finds wrong, with the smallest output that it can find.
func check(t *testing.T, examples []example) {
	t.Helper()
	shown, failures := 0, 0
	defer func() {
		if failures > 0 {
			t.Logf("xterm.js failed by itself at %d of %d", failures, len(examples))
		}
		if failures > 10+len(examples)/10 {
			t.Error("that is too many")
		}
	}()
	for i, wrong := range judge(t, examples) {
		if len(wrong) == 0 {
			continue
		}
		if wrong[0] == failed {
			failures++
			continue
		}
		if t.Errorf("%s: %d differences", examples[i].name, len(wrong)); shown < 5 {
			shown++
			e, wrong := shrink(t, examples[i], wrong)
			t.Errorf("%s: %dx%d, cut at %d, fed %d\noutput %s\nthen %s\n%s", e.name, e.cols, e.rows, e.cut, e.fed, text(e.output), text(e.then), strings.Join(wrong, "\n"))
		}
	}
}

func text(ops []op) string {
	var out strings.Builder
	for _, o := range ops {
		if o.R != nil {
			fmt.Fprintf(&out, "(%dx%d)", o.R[0], o.R[1])
		} else {
			fmt.Fprintf(&out, "%q ", o.W)
		}
	}
	return out.String()
}

// shrink takes parts of an example away for as long as it stays wrong.
func shrink(t *testing.T, e example, wrong []string) (example, []string) {
	for begin := time.Now(); time.Since(begin) < 5*time.Second; {
		var smaller []example
		try := func(change func(*example)) {
			n := e
			change(&n)
			smaller = append(smaller, n)
		}
		for i := range e.then {
			try(func(n *example) { n.then = without(e.then, i) })
		}
		for i, o := range e.output {
			if len(e.output) > 1 {
				try(func(n *example) {
					n.output = without(e.output, i)
					n.cut = min(e.cut, size(n.output))
				})
			}
			for part := max(len(o.W)/2, 1); o.R == nil && part > 0 && part < len(o.W); part /= 2 {
				for at := 0; at+part <= len(o.W) && len(smaller) < 400; at += part {
					try(func(n *example) {
						n.output = append(append(append([]op{}, e.output[:i]...), op{W: append(append([]byte{}, o.W[:at]...), o.W[at+part:]...)}), e.output[i+1:]...)
						n.cut = min(e.cut, size(n.output))
					})
				}
			}
		}
		if e.cut > 0 {
			try(func(n *example) { n.cut = 0 })
		}
		found := false
		if len(smaller) > 0 {
			for i, w := range judge(t, smaller) {
				if len(w) > 0 && w[0] != failed {
					e, wrong, found = smaller[i], w, true
					break
				}
			}
		}
		if !found {
			return e, wrong
		}
	}
	return e, wrong
}

func without(ops []op, i int) []op { return append(append([]op{}, ops[:i]...), ops[i+1:]...) }

func size(ops []op) (n int) {
	for _, o := range ops {
		n += len(o.W)
	}
	return n
}
