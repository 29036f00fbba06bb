package screen_test

import (
	"fmt"
	"strings"
	"testing"
)

// edges are made by hand: what each is about stands before it.
func edges() []string {
	long := strings.Repeat("0123456789", 9)
	return []string{
		"plain text\r\nmore of it",
		long + long, // wrapped
		strings.Repeat("line\r\n", 30) + "prompt$ ", // scrolled
		"\x1b[1;3;4;5;7;8;9;53mall\x1b[0m none",     // attributes
		"\x1b[31;42ma\x1b[91;102mb\x1b[38;5;200;48;5;17mc\x1b[38;2;1;2;3;48;2;4;5;6md\x1b[38:2::7:8:9me",
		"\x1b[4:3;58:2::1:2:3mcurly\x1b[4:2mdouble\x1b[59mwhite\x1b[24mnone",
		"12345678901234567890",         // pending wrap
		"12345678901234567890\x1b[31m", // pending wrap, then another colour
		"1234567890123456789日",         // no room for a wide one
		"\x1b[31;44m1234567890123456789日x",
		"日本語テキスト日本語テキスト",
		"日本\b\bx", "日本\x1b[2Gx", "日本\x1b[2G\x1b[@", "日本\x1b[2G\x1b[P", "日本\x1b[2G\x1b[X", "日本\x1b[2G\x1b[1K",
		"e\u0301", "e\u0301\u0302x", "👨‍👩‍👧‍👦x", "🇩🇪🇫🇷🇩", "❤️x", "각ᄀ", "क्षि",
		"1234567890123456789❤️x", // widens at the line's end
		"\x1b[?7l12345678901234567890abc", "\x1b[?7l1234567890123456789日本", "\x1b[?7l123456789012345678日x",
		"\x1b[44m\x1b[2J\x1b[Htext\x1b[K", "a\x1b[44m\x1b[Jb", // background colour erase
		"\x1b[2;4r\x1b[2;1Ha\nb\nc\nd\ne", "\x1b[2;4r\x1b[?6h\x1b[1;1Hx\x1b[9;9Hy",
		"1\r\n2\r\n3\r\n4\x1b[2;1H\x1b[L", "1\r\n2\r\n3\r\n4\x1b[2;1H\x1b[2M", "1\r\n2\r\n3\x1b[S", "1\r\n2\r\n3\x1b[44m\x1b[2T", "\x1bM\x1bM1\x1bM",
		"abcdef\x1b[3G\x1b[2@", "abcdef\x1b[3G\x1b[2P", "abcdef\x1b[4h\x1b[2GXY", "日本語\x1b[4h\x1b[1GX", "12345678901234567日x\x1b[4h\x1b[1GX",
		"ab\x1b[5b", "🇩🇪\x1b[3b", "e\u0301\x1b[2b", "a\x1b[m\x1b[2b",
		"\x1b[3g\x1b[5G\x1bH\r\tx\ty", "\x1b[5G\x1b[0g\r\tx", "\x1b[2Ix\x1b[Zy",
		"\x1b(0lqqk\x1b(B", "\x1b)0\x0elqqk", "\x1b(A#\x1b(4]|", "\x1b*0\x1bnqqq", "\x1b(0\x1b7\x1b(B\x1b8q", "\x1b(0q", "\x1b(4ab]",
		"x\x1b[?47hy\x1b[?47lz", "x\x1b[?1049hy", "x\x1b[?1047hy\x1b[?1047l", "x\x1b[44m\x1b[?1049h\x1b[2;3Hy\x1b7\x1b[?1049lz",
		"\x1b[3;5H\x1b[31m\x1b7\x1b[H\x1b[mx", "\x1b7\n\n\n\n\n\n\n\nx\x1b8y", "\x1b[5;5H\x1b[s\x1b[H",
		"\x1b[?1;25l\x1b[?2004;1004;1006;1002h\x1b=\x1b[4h\x1b[20h", "\x1b[3 q", "\x1b[?12h\x1b[?45h", "\x1b[8 q", "\x1b[5 q\x1b[7 q\x1b[?2026h",
		"\x1b[?1h\x1b[!p", "\x1b[?1h\x1b[31mx\x1bcy", "\x1b#8", "\x1b[31m\x1b#8\x1b[2;2r",
		"\x1b]0;title\x07", "\x1b]2;日本 \x1b\\", "\x1b]2;a\x1b\\\x1b]2;\x1b\\",
		"\x1b]4;1;#f00;2;rgb:00/ff/00\x07\x1b]10;#123456\x07\x1b]12;rgb:1/2/3\x07", "\x1b]4;1;#f00\x07\x1b]104;1\x07", "\x1b]11;#aaa\x07\x1b]111\x07",
		"\x1b[1\"qp\x1b[0\"qu\x1b[?2K", "\x1b[1\"qprotected",
		"\x1b[2 @a\x1b[1 A", "abc\x1b[2G\x1b[2'}", "abc\x1b[2G\x1b['~",
		"\u009b31mx", "\xc3(\xe2\x82x\xf0\x9f\x98", "\xe2\x80\x93–\ufeffx",
		// within a sequence
		"\x1b", "\x1b[", "\x1b[3", "\x1b[38;2;1", "\x1b[?25", "\x1b[4:", "\x1b[1;", "\x1b[>", "\x1b[1 ", "\x1b[1<", "\x1b(", "\x1b]", "\x1b]2", "\x1b]2;ti", "\x1b]52;c;aGk", "\x1b]5", "\x1b]8;;http://x", "\x1bP", "\x1b_G", "\x1b#",
		"日\xe6", "a\xf0\x9f\x98",
		"x\x1b[5", "ab", // to be repeated
		"\x1b[10;10H\x1b[1J", "a\r\n" + long + "\x1b[3;5H\x1b[K\x1b[2;1H\x1b[2K",
		"\x1b[5;20Hx\x1b[2J", "\x1b[5;20Hx\x1b[41m\x1b[1K", // nothing in the cell of a pending wrap
	}
}

func TestEdges(t *testing.T) {
	t.Parallel()
	thens := []string{"", "x", "\u0301y", "25m31mz\x07\x1b\\w", "\x1b[2bz", "\r\nmore\x1b[31m red\x1b8\x1b[?1049l back\t|\x1b[H\x0eqqq", "\x9fx" + strings.Repeat("A日", 30)}
	var examples []example
	for i, e := range edges() {
		for k, then := range thens {
			for _, cut := range []int{0, len(e) / 2, len(e)} {
				examples = append(examples, example{name: fmt.Sprintf("%d %q then %d", i, e, k), cols: 20, rows: 6, output: []op{{W: []byte(e)}}, cut: cut, then: []op{{W: []byte(then)}}, fed: k % 3})
			}
		}
	}
	for i, e := range edges() {
		examples = append(examples, example{name: fmt.Sprintf("%d %q in one line", i, e), cols: 20, rows: 1, output: []op{{W: []byte(e)}}})
	}
	check(t, examples)
}
