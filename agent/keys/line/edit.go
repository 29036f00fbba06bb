package line

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

// Addition is what one append must write to insert line into a file that ends in a newline
// (or is empty), or does not.
func Addition(line string, newline bool) []byte {
	if newline {
		return []byte(line + "\n")
	}
	return []byte("\n" + line)
}

// EndsInNewline says whether file does, or is empty.
func EndsInNewline(file []byte) bool { return len(file) == 0 || file[len(file)-1] == '\n' }

// Insert is the pure form of what the worker does by appending.
func Insert(file []byte, line string) []byte {
	return append(bytes.Clone(file), Addition(line, EndsInNewline(file))...)
}

// Cleaning says which lines go.
type Cleaning struct {
	Lines []string // these, whole or disabled, wherever they stand
	Torn  []Torn   // what a crash may have left of an append
	Sweep *Sweep
}

// Torn is an append that may have ended early.
type Torn struct {
	Size int64 // of the file before it
	Text []byte
}

// ends says whether file ends in an incomplete append. A lone newline does not count: it may as
// well be what an editor has made of the file since.
func (t Torn) ends(file []byte) bool {
	if t.Size < 0 || t.Size >= int64(len(file)) {
		return false
	}
	rest := file[t.Size:]
	return len(rest) > 1 && len(rest) < len(t.Text) && bytes.HasPrefix(t.Text, rest)
}

// Sweep takes ephemeral lines out by their grammar.
type Sweep struct {
	Agent    wire.EnvoyID
	Sessions map[wire.SessionID]bool // of this agent, known to be over
	Now      time.Time
	Zone     Zone
}

// foreignGrace is how long after its expiry another agent's line stays: that agent may share the
// home, have a clock of its own, and be about to take it away by itself.
const foreignGrace = 5 * time.Minute

// over says whether the line of e has no use any more.
func (s Sweep) over(e Ephemeral) bool {
	if e.Agent == s.Agent {
		return s.Sessions[e.Session] || s.Now.After(e.Expiry)
	}
	return s.Now.After(e.Expiry.Add(foreignGrace))
}

// Apply returns the file without those lines, and how many went. All other bytes stay.
func (c Cleaning) Apply(file []byte) ([]byte, int) {
	removed := 0
	for _, t := range c.Torn {
		if t.ends(file) {
			file = file[:t.Size]
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
func (c Cleaning) strip(part []byte) (rest []byte, gone bool) {
	for _, line := range c.Lines {
		if len(part) < len(line) || !bytes.Equal(part[1:len(line)], []byte(line[1:])) {
			continue
		}
		if part[0] == line[0] || part[0] == '#' {
			return part[len(line):], true
		}
	}
	if c.Sweep != nil && bytes.Contains(part, []byte(Marker)) {
		if e, ok := ParseEphemeral(string(part), c.Sweep.Zone); ok && c.Sweep.over(e) {
			return nil, true
		}
	}
	return part, false
}

// Offsets returns where the lines begin of lines that go and are still in force.
func (c Cleaning) Offsets(file []byte) []int64 {
	var found []int64
	for _, t := range c.Torn { // may hold the whole key already
		if t.ends(file) {
			found = append(found, t.Size+int64(bytes.IndexByte(t.Text, Head[0])))
			file = file[:t.Size]
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
