//go:build !agentonly

package main

import (
	"regexp"
	"strings"
)

// plain says whether a shell takes s for one word as it is, and for no option: of letters, digits and a few signs. What
// comes from a relay or a machine is put into a command line only if it is plain.
func plain(s string) bool {
	const signs = "._:@/+-"
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(signs, r)
	}
	return s != "" && s[0] != '-' && !strings.ContainsFunc(s, odd)
}

// pasted is what a relay says, in a line to paste. What is not plain is left for the person to fill in.
func pasted(said, otherwise string) string {
	if plain(said) {
		return said
	}
	return otherwise
}

// plainAddress says the same of host:port. The brackets of an IPv6 address are a pattern for shells, but one that does no
// harm.
func plainAddress(s string) bool { return plain(s) || bracketed.MatchString(s) }

var bracketed = regexp.MustCompile(`^\[[0-9a-f:.]+\]:[0-9]+$`)
