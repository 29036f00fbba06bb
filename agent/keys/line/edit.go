package line

import (
	"bytes"
	"time"

	"scrier/wire"
)

// A file is taken as the parts between its newlines; if it ends in a newline, its last part is empty.
// Installing inserts one part, and removing deletes it. So after both any file is as it was, in
// whatever order several sessions do so, and nobody has to remember whether there was a newline at
// the end:
//
//	"a\n" -> a,""  -> a,L,"" -> "a\nL\n"
//	"a"   -> a     -> a,L    -> "a\nL"
//	""    -> ""    -> L,""   -> "L\n"

// Addition is what must be appended to a file to insert line. newline says that the file ends in a
// newline or is empty.
func Addition(line string, newline bool) []byte {
	if newline {
		return []byte(line + "\n")
	}
	return []byte("\n" + line)
}

// EndsInNewline says whether file does, or is empty.
func EndsInNewline(file []byte) bool { return len(file) == 0 || file[len(file)-1] == '\n' }

// Insert returns the file with the line inserted, as the worker does it by appending.
func Insert(file []byte, line string) []byte {
	return append(bytes.Clone(file), Addition(line, EndsInNewline(file))...)
}

// Cleaning says which lines go.
type Cleaning struct {
	Lines []string // exactly these, in force or disabled by a #
	Torn  []Torn   // appends that a crash may have cut short
	Sweep *Sweep   // if not nil: all that are recognised and are over
}

// Torn is an append that a crash may have cut short.
type Torn struct {
	Size int64 // of the file before it
	Text []byte
}

// ends says whether file ends in an incomplete append. A newline alone does not count: an editor may
// have added it.
func (t Torn) ends(file []byte) bool {
	if t.Size < 0 || t.Size >= int64(len(file)) {
		return false
	}
	rest := file[t.Size:]
	return len(rest) > 1 && len(rest) < len(t.Text) && bytes.HasPrefix(t.Text, rest)
}

// Sweep says which of the lines that [ParseEphemeral] recognises are over.
type Sweep struct {
	Agent    wire.EnvoyID
	Sessions map[wire.SessionID]bool // sessions of this agent that are over
	Now      time.Time
	Zone     Zone
}

// foreignGrace is how long another agent's line stays after it has expired. The home may be shared
// with that agent's machine, whose clock is a different one, and it may be about to take the line
// away itself.
const foreignGrace = 5 * time.Minute

// foreignZone is the same for a line whose time says no zone: that machine's may be another one, from 12 hours behind
// UTC to 14 before it.
const foreignZone = 26 * time.Hour

// over says whether the line of e is not needed any more.
func (s Sweep) over(e Ephemeral) bool {
	if e.Agent == s.Agent {
		return s.Sessions[e.Session] || s.Now.After(e.Expiry)
	}
	if e.local {
		return s.Now.After(e.Expiry.Add(foreignZone + foreignGrace))
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

// strip takes one of our lines out of a part. The rest of the part stays: a program that appends
// without looking for a newline at the end may have written it behind our line.
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

// Offsets returns where those of the lines begin that are still in force.
func (c Cleaning) Offsets(file []byte) []int64 {
	var found []int64
	for _, t := range c.Torn { // the whole key may be there already
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
