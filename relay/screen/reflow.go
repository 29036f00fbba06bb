package screen

import "slices"

// lengthOf is how much of a line of a wrapped group there is. A line that a wide character had no room at the
// end of is a cell shorter.
func (z *resizing) lengthOf(group []line, i int) int {
	r := group[i].cells
	if i == len(group)-1 {
		return r.trimmed()
	}
	if last := r[z.oldCols-1]; !last.filled() && last.width() == 1 && group[i+1].cells[0].width() == 2 {
		return z.oldCols - 1
	}
	return z.oldCols
}

// copyCells copies n cells, as far as both lines have them.
func copyCells(to row, at int, from row, start, n int) {
	if at < 0 || start < 0 || at > len(to) || start > len(from) || n <= 0 {
		return
	}
	copy(to[at:], from[start:min(start+n, len(from))])
}

// reflowLarger joins the lines that were wrapped, as there is more room now.
func (z *resizing) reflowLarger() {
	cursor := z.above + z.y
	removed := 0
	kept := make([]line, 0, len(z.lines))
	for y := 0; y < len(z.lines); {
		end := y + 1
		for end < len(z.lines) && z.lines[end].wrapped {
			end++
		}
		group := z.lines[y:end]
		if n := len(group); n > 1 && (cursor < y || cursor >= end) { // programs mend the cursor's line themselves
			group = group[:n-z.joinLines(group)]
			removed += n - len(group)
		}
		kept = append(kept, group...)
		y = end
	}
	if removed == 0 {
		return
	}
	z.lines = kept
	for range removed {
		if z.above+z.missing > 0 {
			z.down()
			continue
		}
		if z.y > 0 {
			z.y--
		}
		if len(z.lines) < z.newRows {
			z.lines = append(z.lines, z.blank())
		}
	}
	z.saved.y = max(z.saved.y-removed, 0)
}

// joinLines moves a group's cells up as far as there is room, and says how many lines are left over.
func (z *resizing) joinLines(group []line) (over int) {
	to, at := 0, z.lengthOf(group, 0)
	for from, start := 1, 0; from < len(group); {
		length := z.lengthOf(group, from)
		n := min(length-start, z.newCols-at)
		copyCells(group[to].cells, at, group[from].cells, start, n)
		at += n
		if at == z.newCols {
			to++
			at = 0
		}
		start += n
		if start == length {
			from++
			start = 0
		}
		if at == 0 && to > 0 {
			if above := group[to-1].cells; above[z.newCols-1].width() == 2 { // it goes to the next line whole
				copyCells(group[to].cells, at, above, z.newCols-1, 1)
				at++
				above[z.newCols-1] = cell{}
			}
		}
	}
	if to < len(group) {
		group[to].cells.replace(at, z.newCols, cell{})
	}
	for i := len(group) - 1; i > 0 && (i > to || group[i].cells.trimmed() == 0); i-- {
		over++
	}
	return over
}

// insertion is new lines that come before line at.
type insertion struct {
	at    int
	lines []line
}

// reflowSmaller wraps the lines that are too long now, from the last to the first.
func (z *resizing) reflowSmaller() {
	var insertions []insertion
	inserted := 0
	lines := z.lines // making room takes lines away, which xterm.js wraps nevertheless
	for y := len(lines) - 1; y >= 0; y-- {
		if l := lines[y]; !l.wrapped && l.cells.trimmed() <= z.newCols {
			continue
		}
		end := y + 1
		for lines[y].wrapped && y > 0 {
			y--
		}
		if cursor := z.above + z.y; cursor >= y && cursor < end { // programs mend the cursor's line themselves
			continue
		}
		group := slices.Clone(lines[y:end])
		lengths := z.wrapAt(group)
		more := len(lengths) - len(group)
		if more < 0 || len(lengths) == 0 {
			continue
		}
		last := group[len(group)-1].cells.trimmed()
		for range more {
			group = append(group, line{make(row, z.newCols), true})
		}
		z.spread(group, lengths, more, last)
		if more > 0 {
			insertions = append(insertions, insertion{end, group[len(group)-more:]})
			inserted += more
		}
		z.makeRoom(more, inserted)
		z.saved.y = min(z.saved.y+more, z.above+z.missing+z.newRows-1)
	}
	count := len(z.lines)
	for _, in := range insertions {
		z.lines = slices.Insert(z.lines, min(in.at, count), in.lines...)
	}
}

// wrapAt is how long the lines will be that a group is wrapped to.
func (z *resizing) wrapAt(group []line) (lengths []int) {
	needed := 0
	for i := range group {
		needed += z.lengthOf(group, i)
	}
	from, at := 0, 0
	for n := 0; n < needed; {
		if needed-n < z.newCols {
			return append(lengths, needed-n)
		}
		at += z.newCols
		if length := z.lengthOf(group, from); at > length {
			at -= length
			from++
		}
		length := z.newCols
		// a wide character that was cut at the line's end counts with both halves
		if from < len(group) && at > 0 && at <= len(group[from].cells) && group[from].cells[at-1].width() == 2 {
			at--
			length--
		}
		lengths = append(lengths, length)
		n += length
	}
	return lengths
}

// spread moves a group's cells down, from its end on. last is the length of the line that was its last.
func (z *resizing) spread(group []line, lengths []int, more, last int) {
	to := len(lengths) - 1
	at := lengths[to]
	from, end := len(group)-more-1, last
	for from >= 0 && to >= 0 {
		n := min(end, at)
		copyCells(group[to].cells, at-n, group[from].cells, end-n, n)
		if at -= n; at == 0 {
			if to--; to >= 0 {
				at = lengths[to]
			}
		}
		if end -= n; end == 0 {
			from--
			end = z.lengthOf(group, max(from, 0))
		}
	}
	for i, n := range lengths {
		if n < z.newCols {
			group[i].cells[n] = cell{}
		}
	}
}

// makeRoom moves the screen over the lines for more that a group has become.
func (z *resizing) makeRoom(more, inserted int) {
	count := len(z.lines) + z.missing
	over := count
	if z.above+z.missing == 0 && z.y != count-1 {
		over = z.y
	}
	for range more - max(0, over-z.keep+more) {
		switch {
		case z.above+z.missing > 0:
			if z.above+z.missing < min(z.keep, count+inserted)-z.newRows {
				z.above++
			}
		case z.y < z.newRows-1 && len(z.lines) > 0:
			z.y++
			z.lines = z.lines[:len(z.lines)-1]
		default:
			z.above++
		}
	}
}
