package guac

import "scrier/wire"

// drawing lists the opcodes that draw, each with the arguments that it has at least. guacd of
// another version may add some behind them, which the page does not look at.
//
//	l  a layer or buffer          x  a coordinate, or a length that may be negative
//	s  a width or height          m  a channel mask       b  a byte
//	t  a transfer function        f  a decimal fraction   n  any number
var drawing = map[string]string{
	"arc":       "lxxxffn",
	"cfill":     "mlbbbb",
	"clip":      "l",
	"close":     "l",
	"copy":      "lxxssmlxx",
	"cstroke":   "mlnnxbbbb",
	"cursor":    "xxlxxss",
	"curve":     "lxxxxxx",
	"dispose":   "l",
	"distort":   "lffffff",
	"identity":  "l",
	"lfill":     "mll",
	"line":      "lxx",
	"lstroke":   "mllnxl", // the third is a cap (0-2), which the page takes for the source
	"mouse":     "xx",
	"move":      "llxxn",
	"pop":       "l",
	"push":      "l",
	"rect":      "lxxss",
	"reset":     "l",
	"shade":     "lb",
	"size":      "lss",
	"start":     "lxx",
	"transfer":  "lxxsstlxx",
	"transform": "lffffff",
}

// maxDrawing is the length of the longest of them.
const maxDrawing = 9

// draw checks an instruction of [drawing] and keeps account of what it draws on.
func (c *canvases) drawn(i *Instruction, shape string) error {
	var v [maxDrawing]int
	for n := range len(shape) {
		arg, ok := i.Arg(n), false
		switch shape[n] {
		case 'l':
			if v[n], ok = between(arg, -maxIndex, maxIndex); ok {
				if err := c.use(v[n]); err != nil {
					return err
				}
			}
		case 'x':
			v[n], ok = between(arg, -maxCoordinate, maxCoordinate)
		case 's':
			v[n], ok = between(arg, 0, 2*maxCoordinate)
		case 'm', 't':
			v[n], ok = between(arg, 0, 15)
		case 'b':
			v[n], ok = between(arg, 0, 255)
		case 'f':
			ok = decimal(arg)
		case 'n':
			v[n], ok = number(arg)
		}
		if !ok {
			return odd(i)
		}
	}
	switch string(i.Opcode()) {
	case "size":
		return c.resize(v[0], extent{v[1], v[2]})
	case "copy", "transfer":
		return c.draw(v[6], v[7]+v[3], v[8]+v[4])
	case "rect":
		return c.draw(v[0], v[1]+v[3], v[2]+v[4])
	case "line", "start":
		return c.draw(v[0], v[1], v[2])
	case "curve":
		return c.draw(v[0], max(v[1], v[3], v[5]), max(v[2], v[4], v[6]))
	case "arc":
		return c.draw(v[0], v[1]+v[3], v[2]+v[3])
	case "dispose":
		c.dispose(v[0])
	case "push":
		if c.pushed++; c.pushed > maxPushed {
			return wire.Errorf(wire.Protocol, "guacd pushes more than %d states", maxPushed)
		}
	case "pop":
		c.pushed = max(c.pushed-1, 0)
	}
	return nil
}

// odd is an argument out of its range, or missing.
func odd(i *Instruction) error {
	opcode := i.Opcode()
	return wire.Errorf(wire.Protocol, "the arguments of %q are not what they should be", opcode[:min(len(opcode), 32)])
}
