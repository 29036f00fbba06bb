package keys

import (
	"bytes"
	"time"

	"scrier/wire"
)

// A file is seen as the parts between its newlines; a file that ends in a newline has an empty
// last part. Installing inserts one part, removing deletes it, so the two are inverse on any
// bytes, in any order of several sessions, and no note of the missing newline is needed:
//
//	"a\n" -> a,""  -> a,L,"" -> "a\nL\n"
//	"a"   -> a     -> a,L    -> "a\nL"
//	""    -> ""    -> L,""   -> "L\n"

// addition is what one append must write to insert line into a file that ends in a newline
// (or is empty), or does not.
func addition(line string, newline bool) []byte {
	if newline {
		return []byte(line + "\n")
	}
	return []byte("\n" + line)
}

func endsInNewline(file []byte) bool { return len(file) == 0 || file[len(file)-1] == '\n' }

// insert is the pure form of what the worker does by appending.
func insert(file []byte, line string) []byte {
	return append(bytes.Clone(file), addition(line, endsInNewline(file))...)
}

// cleaning says which lines go.
type cleaning struct {
	lines []string // these, whole or disabled, wherever they stand
	torn  []torn   // what a crash may have left of an append
	sweep *sweeping
}

// torn is an append that may have ended early.
type torn struct {
	size int64 // of the file before it
	text []byte
}

// ends says whether file ends in an incomplete append. A lone newline does not count: it may as
// well be what an editor has made of the file since.
func (t torn) ends(file []byte) bool {
	if t.size < 0 || t.size >= int64(len(file)) {
		return false
	}
	rest := file[t.size:]
	return len(rest) > 1 && len(rest) < len(t.text) && bytes.HasPrefix(t.text, rest)
}

// sweeping takes ephemeral lines out by their grammar.
type sweeping struct {
	agent    wire.EnvoyID
	sessions map[wire.SessionID]bool // of this agent, known to be over
	now      time.Time
	zone     zone
}

// foreignGrace is how long after its expiry another agent's line stays: that agent may share the
// home, have a clock of its own, and be about to take it away by itself.
const foreignGrace = 5 * time.Minute

// over says whether the line of e has no use any more.
func (s sweeping) over(e ephemeral) bool {
	if e.agent == s.agent {
		return s.sessions[e.session] || s.now.After(e.expiry)
	}
	return s.now.After(e.expiry.Add(foreignGrace))
}

// apply returns the file without those lines, and how many went. All other bytes stay.
func (c cleaning) apply(file []byte) ([]byte, int) {
	removed := 0
	for _, t := range c.torn {
		if t.ends(file) {
			file = file[:t.size]
			removed++
		}
	}
	out := make([]byte, 0, len(file))
	first := true
	for more := true; more; {
		var part []byte
		part, file, more = bytes.Cut(file, []byte{'\n'})
		rest, gone := c.strip(part)
		if gone {
			removed++
			if len(rest) == 0 {
				continue
			}
		}
		if !first {
			out = append(out, '\n')
		}
		out, first = append(out, rest...), false
	}
	return out, removed
}

// strip takes our line out of one part. What a program that does not mind newlines has appended
// to it is a line of its own from then on.
func (c cleaning) strip(part []byte) (rest []byte, gone bool) {
	for _, line := range c.lines {
		if len(part) < len(line) || !bytes.Equal(part[1:len(line)], []byte(line[1:])) {
			continue
		}
		if part[0] == line[0] || part[0] == '#' {
			return part[len(line):], true
		}
	}
	if c.sweep != nil && bytes.Contains(part, []byte(marker)) {
		if e, ok := parseEphemeral(string(part), c.sweep.zone); ok && c.sweep.over(e) {
			return nil, true
		}
	}
	return part, false
}

// offsets returns where the lines begin of lines that go and are still in force.
func (c cleaning) offsets(file []byte) []int64 {
	var found []int64
	for _, t := range c.torn { // may hold the whole key already
		if t.ends(file) {
			found = append(found, t.size+int64(bytes.IndexByte(t.text, lineHead[0])))
			file = file[:t.size]
		}
	}
	at := 0
	for more := true; more; {
		var part []byte
		part, file, more = bytes.Cut(file, []byte{'\n'})
		if _, gone := c.strip(part); gone && part[0] != '#' {
			found = append(found, int64(at))
		}
		at += len(part) + 1
	}
	return found
}
