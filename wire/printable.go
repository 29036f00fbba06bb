package wire

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxPrintable is the longest untrusted string that is shown, in bytes before escaping.
const maxPrintable = 4096

// Printable makes an untrusted string (an envoy's name, an error's detail) safe for a terminal
// or a log: control characters, invalid UTF-8, and the characters that reorder or hide text
// (bidirectional controls, zero-width characters, tags) appear as escapes. It is idempotent on
// what it lets through and never returns a byte below 0x20 or 0x7f.
func Printable(s string) string {
	clean := len(s) <= maxPrintable
	if clean {
		for _, r := range s {
			if r == utf8.RuneError || !showable(r) {
				clean = false
				break
			}
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	cut := len(s) > maxPrintable
	if cut {
		s = s[:maxPrintable]
	}
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + hexByte(s[0]))
		case showable(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			b.WriteString(`\x` + hexByte(byte(r)))
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	if cut {
		b.WriteString("…")
	}
	return b.String()
}

// Lines makes an untrusted text of several lines safe for a terminal, a page or a log: each line is
// [Printable], and a tab is spaces. At most most bytes of s count. Empty lines
// at the end are left out.
func Lines(s string, most int) string {
	cut := len(s) > most
	if cut {
		s = strings.ToValidUTF8(s[:most], "")
	}
	s = strings.NewReplacer("\r\n", "\n", "\t", "    ").Replace(s)
	lines := strings.Split(strings.TrimRight(s, "\r\n "), "\n")
	for i, line := range lines {
		lines[i] = Printable(line)
	}
	if cut {
		lines[len(lines)-1] += "…"
	}
	return strings.Join(lines, "\n")
}

// PrintableJSON is [Printable] for JSON text: what must not reach a terminal appears as JSON's own
// escapes, so that the text means the same.
func PrintableJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '\n' || r < utf8.RuneSelf && r != 0x7f || showable(r):
			out = append(out, text[:n]...) // below 0x20 JSON has only its own white space
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[n:]
	}
	return out
}

// showable says whether r moves the cursor by its own width and does nothing else. IsPrint
// leaves out controls, format characters (Cf: bidi, zero width, tags) and odd spaces; variation
// selectors and the Hangul fillers are marks or letters that show as nothing.
func showable(r rune) bool {
	switch {
	case r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0, r == 0x034f, r == 0x2800:
		return false
	case unicode.Is(unicode.Variation_Selector, r):
		return false
	}
	return unicode.IsPrint(r)
}

func hexByte(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}
