package screen_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// generator makes output that is more hostile than any program's: on small screens, where all edges are near.
type generator struct {
	*rand.Rand
	cols, rows int
	resizes    bool // but no alternate screen, and nothing of several code points; see piece
	then       bool // behind the repaint
	narrow     bool // nothing wide, but autowrap may be off: what xterm.js does to both together cannot be made again
}

func (g *generator) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g *generator) number(most int) int {
	if g.IntN(20) == 0 {
		return g.IntN(3000)
	}
	return g.IntN(most + 2)
}

// piece is one thing that a program does.
func (g *generator) piece() string {
	x, y := g.number(g.cols), g.number(g.rows)
	kind := g.IntN(34)
	if g.narrow && kind >= 6 && kind <= 9 {
		return g.pick("a", "\x1b[?7l", "\x1b[?7h", "é", "e\u0301", strings.Repeat("b", g.cols))
	}
	if g.resizes && kind >= 6 && kind <= 9 {
		// When xterm.js moves parts of a line it takes the marks of other parts along.
		return strings.Repeat(g.pick("日", "本語", "ｱ", "é", "─│", "한글"), 1+g.IntN(4))
	}
	switch kind {
	case 0, 1, 2, 3:
		return strings.Repeat(g.pick("a", "Hello, ", "x y z ", "0123456789", "~", "#[]|"), 1+g.IntN(6))
	case 4, 5:
		return g.pick("\r\n", "\n", "\r", "\b", "\t", "\x0b", "\x7f", "\x00", "\x0e", "\x0f", "\r\n\r\n\r\n")
	case 6, 7:
		return strings.Repeat(g.pick("日", "本語", "ｱ", "é", "─│", "한글", "각", "ᄒ", "ᅡ", "ᆫ", "…", "\u00ad"), 1+g.IntN(4))
	case 8:
		return g.pick("\u0301", "\u0308", "\u200d", "\ufe0f", "\u093f", "\u0600", "\u20dd", "\u200b", "\U0001F3FD")
	case 9:
		return g.pick("👨‍👩‍👧", "🇩🇪", "🇫", "❤️", "👍🏽", "😀", "e\u0301", "क्षि", "☺", "\U000E0067", "🏴\U000E0067\U000E0062\U000E007F")
	case 10, 11, 12:
		return fmt.Sprintf("\x1b[%d;%dH", y, x)
	case 13:
		return fmt.Sprintf("\x1b[%d%s", x, g.pick("A", "B", "C", "D", "E", "F", "G", "`", "a", "d", "e", "I", "Z"))
	case 14, 15:
		// not ED 3: xterm.js counts a saved cursor from the first line above the screen, and forgets to when
		// these go; nor ED 1 behind a repaint, with which it changes a line that it counts from there, too
		n, final := g.IntN(3), g.pick("J", "K", "K")
		if g.then && n == 1 {
			final = "K"
		}
		return fmt.Sprintf("\x1b[%s%d%s", g.pick("", "", "?"), n, final)
	case 16:
		return fmt.Sprintf("\x1b[%d%s", g.number(g.rows)%40, g.pick("L", "M", "S", "T", "\n", "S"))
	case 17:
		return fmt.Sprintf("\x1b[%d%s", g.number(g.cols)%100, g.pick("@", "P", "X", " @", " A", "'}", "'~"))
	case 18:
		return fmt.Sprintf("\x1b[%db", g.IntN(2*g.cols))
	case 19, 20, 21:
		return g.sgr()
	case 22:
		return fmt.Sprintf("\x1b[%d;%dr", g.number(g.rows), g.number(g.rows))
	case 23:
		return g.pick("\x1b[4h", "\x1b[4l", "\x1b[4l", "\x1b[20h", "\x1b[20l", "\x1b[?6h", "\x1b[?6l", "\x1b[?45h", "\x1b[?45l")
	case 24:
		return fmt.Sprintf("\x1b[?%s%s", g.pick("1", "12", "25", "66", "9", "1000", "1002", "1003", "1004", "1006", "1016", "2004", "2026", "5", "1007", "3", "2", "1;25;2004"), g.pick("h", "l"))
	case 25:
		if g.resizes { // xterm.js keeps its lines at their old length; programs paint it again
			return "x"
		}
		return g.pick("\x1b[?47h", "\x1b[?47l", "\x1b[?1047h", "\x1b[?1047l", "\x1b[?1049h", "\x1b[?1049l", "\x1b[?1049l", "\x1b[?1048h", "\x1b[?1048l")
	case 26:
		return g.pick("\x1b7", "\x1b8", "\x1b[s", "\x1b[u", "\x1b7", "\x1b8")
	case 27:
		if g.resizes { // RIS makes new buffers, and xterm.js's old ones remember how large they have been
			return g.pick("\x1bD", "\x1bM", "\x1b[!p")
		}
		return g.pick("\x1bD", "\x1bE", "\x1bM", "\x1bM", "\u0084", "\u0085", "\x1bD", "\x1b#8", "\x1b[!p", "\x1bc", "\x1b=", "\x1b>")
	case 28:
		return g.pick("\x1b(0", "\x1b(B", "\x1b)0", "\x1b)B", "\x1b(A", "\x1b*0", "\x1b+4", "\x1bn", "\x1bo", "\x1b~", "\x1b}", "\x1b|", "\x1b%G", "\x1b(7", "\x1b-=", "\x1b/A", "\x1b(x")
	case 29:
		return g.pick("\x1bH", "\x1b[g", "\x1b[3g", "\x1bH", "\u0088", "\t\t")
	case 30:
		return g.pick("\x1b]0;a title\x07", "\x1b]2;日本\x1b\\", "\x1b]2;\x07", "\x1b]4;7;#123456\x07", "\x1b]10;rgb:1/22/3\x07", "\x1b]11;#abc;#def\x1b\\", "\x1b]104\x07", "\x1b]104;7\x07", "\x1b]110\x07", "\x1b]1;icon\x07", "\x1b]52;c;eA==\x07", "\x1b]4;1;rgb:ff/0/00\x18x")
	case 31:
		return fmt.Sprintf("\x1b[%d %s", g.IntN(9), "q") + g.pick("", "\x1b[1\"q", "\x1b[0\"q")
	case 32: // broken, or of no effect
		return g.pick("\x1b[1;2\x1b[3m", "\x1b[<5u", "\x1b[1$p\x18", "\x1b[31\x18x", "\x1b(\n(0", "\x1b[3\n1m", "\xc3(", "\xe2\x82", "\xf0\x9f", "\xff", "\xc0\x80", "\xed\xa0\x80", "\ufeff", "\u009b1m", "\u009d2;t\u009c", "\x1b_Gabc\x1b\\", "\x1b^é", "\x1bPqabc\x1b\\", "\x1bP1$r\x18", "\x1b]x;\x07", "\x1b[:3m", "\x1b[1:2:3;4m", "\x1b[?1<h", "\x1b[99999999999999999999C", "\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;3m")
	default: // the ways of real programs
		if g.resizes {
			return g.pick("\x1b[H\x1b[2J", "\r\n", "\x1b[K\r\n")
		}
		return g.pick("\x1b[H\x1b[2J", "\x1b[H\x1b[J", "\x1b[K\r\n", "\x1b[m\x1b[K", "\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[H\x1b[2J", "\x1b[0m\x1b[01;34mdir\x1b[0m  ", "\r\x1b[K$ ")
	}
}

func (g *generator) sgr() string {
	n := g.IntN(256)
	return "\x1b[" + g.pick("", "0", "1", "2", "3", "4", "4:3", "4:0", "5", "7", "8", "9", "21", "22", "23", "24", "25", "27", "28", "29", "53", "55", "39", "49", "59",
		"31", "32;1", "44", "95", "103", fmt.Sprintf("38;5;%d", n), fmt.Sprintf("48;5;%d", n), fmt.Sprintf("38;2;%d;1;2", n), fmt.Sprintf("48:2::3:%d:4", n), fmt.Sprintf("58:5:%d", n),
		fmt.Sprintf("58;2;%d;5;6", n), "38;5", "38:2:1:2:3", "38;2;1", "48;5:3", "38:5;3;1", "0;7;33") + "m"
}

func (g *generator) output(pieces int) (ops []op) {
	var b strings.Builder
	for range pieces {
		if g.resizes && g.IntN(25) == 0 {
			ops = append(ops, op{W: []byte(b.String())})
			b.Reset()
			g.cols = 2 + g.IntN(30)
			g.rows = 2 + g.IntN(8)
			ops = append(ops, op{R: &[2]int{g.cols, g.rows}})
		}
		b.WriteString(g.piece())
	}
	return append(ops, op{W: []byte(b.String())})
}

func TestRandomOutput(t *testing.T) {
	t.Parallel()
	seed := *chosen
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	random(t, seed, 10_000**more, false)
}

func TestRandomOutputAndSizes(t *testing.T) {
	t.Parallel()
	seed := *chosen
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	random(t, seed, 500**more, true)
}

func random(t *testing.T, seed uint64, count int, resizes bool) {
	r := rand.New(rand.NewPCG(seed, 1))
	examples := make([]example, count)
	for i := range examples {
		g := &generator{Rand: r, cols: 2 + r.IntN(30), rows: 2 + r.IntN(8), resizes: resizes, narrow: r.IntN(4) == 0}
		e := example{name: fmt.Sprintf("seed %d, %d", seed, i), cols: g.cols, rows: g.rows, output: g.output(1 + r.IntN(60)), fed: r.IntN(4)}
		n := size(e.output)
		if e.cut = n; r.IntN(4) > 0 {
			e.cut = r.IntN(n + 1)
		}
		if r.IntN(4) == 0 { // the output may end anywhere, too
			last := &e.output[len(e.output)-1]
			last.W = last.W[:r.IntN(len(last.W)+1)]
			e.cut = min(e.cut, size(e.output))
		}
		g.resizes, g.then = false, true
		e.then = g.output(1 + r.IntN(20))
		examples[i] = e
	}
	check(t, examples)
}
