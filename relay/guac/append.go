package guac

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Append adds an instruction to dst. What is not valid UTF-8 in an element is replaced by U+FFFD,
// so that its length is what both sides count. The bounds that a [Reader] keeps are not checked.
func Append(dst []byte, opcode string, args ...string) []byte {
	dst = appendElement(dst, opcode)
	for _, a := range args {
		dst = append(dst, ',')
		dst = appendElement(dst, a)
	}
	return append(dst, ';')
}

func appendElement(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	dst = strconv.AppendInt(dst, int64(utf8.RuneCountInString(s)), 10)
	dst = append(dst, '.')
	return append(dst, s...)
}
