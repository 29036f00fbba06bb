package screen

// row is one line's cells. Its operations take care of wide characters that they cut in two, and leave
// halves where xterm.js leaves them.
type row []cell

func (r row) fill(c cell) {
	if c == (cell{}) {
		clear(r)
		return
	}
	for i := range r {
		r[i] = c
	}
}

// insert moves what is at and behind pos to the right by n.
func (r row) insert(pos, n int, fill cell) {
	pos %= len(r)
	if pos > 0 && r[pos-1].width() == 2 {
		r[pos-1] = fill
	}
	n = min(n, len(r)-pos)
	copy(r[pos+n:], r[pos:])
	r[pos : pos+n].fill(fill)
	if last := len(r) - 1; r[last].width() == 2 {
		r[last] = fill
	}
}

// delete moves what is behind pos+n to the left by n.
func (r row) delete(pos, n int, fill cell) {
	pos %= len(r)
	n = min(n, len(r)-pos)
	copy(r[pos:], r[pos+n:])
	r[len(r)-n:].fill(fill)
	if pos > 0 && r[pos-1].width() == 2 {
		r[pos-1] = fill
	}
	if r[pos].width() == 0 && !r[pos].filled() {
		r[pos] = fill
	}
}

// replace puts fill into [from, to), which may go beyond the end.
func (r row) replace(from, to int, fill cell) {
	if from > 0 && r[from-1].width() == 2 {
		r[from-1] = fill
	}
	if to < len(r) && to > 0 && r[to-1].width() == 2 {
		r[to] = fill
	}
	if to = min(to, len(r)); from < to {
		r[from:to].fill(fill)
	}
}

// replaceUnprotected is replace for DECSEL and DECSED.
func (r row) replaceUnprotected(from, to int, fill cell) {
	if from > 0 && r[from-1].width() == 2 && !r[from-1].protected() {
		r[from-1] = fill
	}
	if to < len(r) && to > 0 && r[to-1].width() == 2 && !r[to].protected() {
		r[to] = fill
	}
	for i := from; i < min(to, len(r)); i++ {
		if !r[i].protected() {
			r[i] = fill
		}
	}
}

// trimmed is how long the line is without the empty cells at its end.
func (r row) trimmed() int {
	for i := len(r) - 1; i >= 0; i-- {
		if r[i].filled() {
			return i + r[i].width()
		}
	}
	return 0
}

// all says that the whole line is c.
func (r row) all(c cell) bool {
	for _, other := range r {
		if other != c {
			return false
		}
	}
	return true
}
