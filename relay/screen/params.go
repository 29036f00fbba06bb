package screen

import "math"

const maxParams = 32 // of a sequence, and as many sub-parameters; xterm.js stores no more

// params are a control sequence's. An absent parameter is 0, an absent sub-parameter -1.
type params struct {
	n, subs  int
	value    [maxParams]int32
	sub      [maxParams]int32
	from, to [maxParams]uint8 // the sub-parameters of each, in sub
	full     bool             // digits belong to a parameter that there was no room for
	subFull  bool
	inSub    bool
}

func (p *params) reset() {
	p.n, p.subs = 0, 0
	p.full, p.subFull, p.inSub = false, false, false
	p.next()
}

func (p *params) next() {
	p.inSub = false
	if p.n == maxParams {
		p.full = true
		return
	}
	p.from[p.n], p.to[p.n] = uint8(p.subs), uint8(p.subs)
	p.value[p.n] = 0
	p.n++
}

func (p *params) nextSub() {
	p.inSub = true
	if p.full || p.subs == maxParams {
		p.subFull = true
		return
	}
	p.sub[p.subs] = -1
	p.subs++
	p.to[p.n-1]++
}

func (p *params) digit(d int32) {
	if p.full || p.inSub && (p.subFull || p.subs == 0) {
		return
	}
	v := &p.value[p.n-1]
	if p.inSub {
		v = &p.sub[p.subs-1]
	}
	if *v < 0 {
		*v = d
		return
	}
	*v = int32(min(int64(*v)*10+int64(d), math.MaxInt32))
}

// put takes a digit, a semicolon or a colon.
func (p *params) put(c byte) {
	switch c {
	case ';':
		p.next()
	case ':':
		p.nextSub()
	default:
		p.digit(int32(c - '0'))
	}
}

// subsOf is the sub-parameters of a parameter.
func (p *params) subsOf(i int) []int32 { return p.sub[p.from[i]:p.to[i]] }

// count is the first parameter as a count, which is at least 1.
func (p *params) count() int { return max(int(p.value[0]), 1) }

// at is a parameter, 0 when there is none.
func (p *params) at(i int) int {
	if i >= p.n {
		return 0
	}
	return int(p.value[i])
}

// appendTo writes them as they could have come.
func (p *params) appendTo(buf []byte) []byte {
	for i := range p.n {
		if i > 0 {
			buf = append(buf, ';')
		}
		if p.value[i] != 0 {
			buf = appendInt(buf, int(p.value[i]))
		}
		for _, v := range p.subsOf(i) {
			buf = append(buf, ':')
			if v >= 0 {
				buf = appendInt(buf, int(v))
			}
		}
	}
	if p.full {
		buf = append(buf, ';')
	}
	return buf
}
