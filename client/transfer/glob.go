package transfer

import (
	"strings"
	"unicode/utf8"
)

// hasPattern says whether a path names files by a pattern.
func hasPattern(p string) bool { return strings.ContainsAny(p, `*?[\`) }

// expand gives the paths that a pattern stands for, as scp has it: * ? [a-z] [!a-z] and \ before a character that stands
// for itself. A pattern that nothing matches is the name of a file. The names come from the place, and are taken only if they match.
func expand(at Place, pattern string, budget int64) ([]string, error) {
	if !hasPattern(pattern) {
		return []string{pattern}, nil
	}
	found := []string{""}
	if strings.HasPrefix(pattern, "/") {
		found[0] = "/"
	}
	parts := strings.FieldsFunc(pattern, func(r rune) bool { return r == '/' })
	for i, part := range parts {
		var next []string
		for _, folder := range found {
			if !hasPattern(part) {
				next = append(next, joinFound(at, folder, part))
				continue
			}
			in := folder
			if in == "" {
				in = "."
			}
			entries, size, err := at.List(in, budget)
			if at.Lost() != nil || err == errTooMany {
				return nil, err
			}
			budget -= size
			for _, e := range sortEntries(entries) { // one that cannot be read has nothing that matches
				hidden := strings.HasPrefix(e.Name, ".") && !strings.HasPrefix(part, ".")
				if hidden || e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, "/\x00") || !match(part, e.Name) {
					continue
				}
				if i < len(parts)-1 && !e.Mode.IsDir() && e.Mode.IsRegular() {
					continue
				}
				next = append(next, joinFound(at, folder, e.Name))
			}
		}
		found = next
	}
	// Behind a pattern there may be names that are only here and there.
	if last := parts[len(parts)-1]; len(parts) > 1 && !hasPattern(last) {
		var there []string
		for _, p := range found {
			if _, err := at.Lstat(p); err == nil {
				there = append(there, p)
			}
		}
		found = there
	}
	if len(found) == 0 {
		return []string{pattern}, nil
	}
	return found, nil
}

func joinFound(at Place, folder, name string) string {
	if folder == "" {
		return name
	}
	return at.Join(folder, name)
}

// match says whether a name matches a pattern without slashes. It takes at most the product of their lengths.
func match(pattern, name string) bool {
	star, from := -1, 0 // where to go on when what follows the last * does not match
	p, n := 0, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, from = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if width, size, ok := matchOne(pattern[p:], name[n:]); ok {
				p += width
				n += size
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, n = star+1, from
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches the first element of a pattern, which is no *, and says how long it and what it matches are.
func matchOne(pattern, name string) (width, size int, ok bool) {
	r, size := utf8.DecodeRuneInString(name)
	switch pattern[0] {
	case '?':
		return 1, size, true
	case '[':
		if width, in := matchSet(pattern, r, name[:size]); width > 0 {
			return width, size, in
		}
	case '\\':
		if len(pattern) > 1 {
			return 2, 1, pattern[1] == name[0]
		}
	}
	return 1, 1, pattern[0] == name[0]
}

// matchSet matches [a-z]. A width of 0 says that it is none.
func matchSet(pattern string, r rune, as string) (width int, in bool) {
	i := 1
	not := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if not {
		i++
	}
	for first := true; i < len(pattern); first = false {
		if pattern[i] == ']' && !first {
			return i + 1, in != not
		}
		lo, n, byteLo := element(pattern[i:])
		i += n
		hi := lo
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			var n int
			hi, n, _ = element(pattern[i+1:])
			i += 1 + n
		}
		if byteLo != "" { // a byte that is no UTF-8 stands for itself alone
			in = in || byteLo == as
		} else if r != utf8.RuneError || len(as) > 1 {
			in = in || lo <= r && r <= hi
		}
	}
	return 0, false
}

// element is a character of a set.
func element(pattern string) (r rune, n int, raw string) {
	escaped := 0
	if pattern[0] == '\\' && len(pattern) > 1 {
		escaped = 1
	}
	r, n = utf8.DecodeRuneInString(pattern[escaped:])
	if r == utf8.RuneError && n == 1 {
		raw = pattern[escaped : escaped+1]
	}
	return r, escaped + n, raw
}
