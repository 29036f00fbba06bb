package guac

import (
	"bytes"
	"slices"
	"sync"

	"scrier/wire"
)

// FromViewer judges what one viewer sends to guacd. Its methods may be called at the same time.
type FromViewer struct {
	policy Policy

	mu       sync.Mutex
	guacd    *FromGuacd // what guacd sends to the same viewer; may be nil
	lender   *FromGuacd // what guacd sends to another user, who lends its file systems; may be nil
	required []string   // parameters that guacd asked for and did not get yet
	streams  streams
	held     held
}

// NewFromViewer is for a viewer that just attached.
func NewFromViewer(p Policy) *FromViewer { return &FromViewer{policy: p} }

// Follow connects f with what goes to the same viewer: only file systems that guacd has shown
// there can be used, and streams that the viewer refuses are over. Without it no file passes.
func (f *FromViewer) Follow(g *FromGuacd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.guacd = g
}

// Borrow lets f use the file systems that guacd has shown to another user, and take the streams that come
// from there, with [Lent] added to their indexes.
func (f *FromViewer) Borrow(g *FromGuacd) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lender = g
}

// Required says that guacd asked for these parameters, see [RequiredNames]. An argv stream for
// each of them is let through, once.
func (f *FromViewer) Required(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		if credential([]byte(name)) && !slices.Contains(f.required, name) {
			f.required = append(f.required, name)
		}
	}
}

// Release appends instructions that release every key, button and finger that the viewer holds,
// and forgets them. It is for a viewer that is lost.
func (f *FromViewer) Release(dst []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held.release(dst)
}

// The ranges of what a viewer sends. With those of names and paths no instruction is longer than
// 9 KiB; guacd's parser gives up at 32.
const (
	maxKeysym  = 0x1fffffff // X11's have 29 bits
	maxButtons = 0xff       // a mask: left, middle, right, wheel up and down, back, forward
	maxScreen  = 8192       // pixels a side, guacd's own bound
	maxTouch   = 1<<31 - 1  // browsers number fingers as they like
	maxMessage = 1024       // bytes of an ack's text
)

// Check says whether an instruction may be passed on to guacd: nil, or a [*wire.Error] of code
// [wire.Forbidden] (the policy does not allow it) or [wire.Protocol] (no page sends this). Either
// ends the viewer.
func (f *FromViewer) Check(i *Instruction) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch string(i.Opcode()) {
	case "sync":
		return check(i, i.Len() == 1 && digits(i.Arg(0), 19))
	case "nop", "disconnect":
		return check(i, i.Len() == 0)
	case "ack":
		return f.ack(i)
	case "key":
		return f.input(i, f.key)
	case "mouse":
		return f.input(i, f.mouse)
	case "touch":
		return f.input(i, f.touch)
	case "size":
		return f.input(i, size)
	case "clipboard":
		return f.open(i, 0, f.policy.ToEnvoy, i.Len() == 2 && label(i.Arg(1), maxMimetype))
	case "argv":
		return f.argv(i)
	case "put":
		ok := i.Len() == 4 && label(i.Arg(2), maxMimetype) && path(i.Arg(3))
		return f.open(i, 1, f.policy.Upload && f.shown(i.Arg(0)), ok)
	case "get":
		return f.allow(i, f.policy.files() && f.shown(i.Arg(0)), i.Len() == 2 && path(i.Arg(1)))
	case "blob":
		return f.follow(i, i.Len() == 2 && base64(i.Arg(1)))
	case "end":
		return f.follow(i, i.Len() == 1)
	}
	return forbidden(i)
}

// input judges what a person does, by the function for its kind.
func (f *FromViewer) input(i *Instruction, kind func(*Instruction) bool) error {
	if f.policy.View {
		return forbidden(i)
	}
	return check(i, kind(i))
}

func (f *FromViewer) key(i *Instruction) bool {
	keysym, ok := between(i.Arg(0), 0, maxKeysym)
	pressed, okPressed := between(i.Arg(1), 0, 1)
	return i.Len() == 2 && ok && okPressed && f.held.key(keysym, pressed == 1)
}

func (f *FromViewer) mouse(i *Instruction) bool {
	x, okX := between(i.Arg(0), -maxCoordinate, maxCoordinate)
	y, okY := between(i.Arg(1), -maxCoordinate, maxCoordinate)
	mask, ok := between(i.Arg(2), 0, maxButtons)
	if i.Len() != 3 || !okX || !okY || !ok {
		return false
	}
	f.held.mouse = touch{mask, x, y}
	return true
}

// touch is touch,id,x,y,radius,radius,angle,force; a force of 0 is the finger's end.
func (f *FromViewer) touch(i *Instruction) bool {
	id, ok := between(i.Arg(0), 0, maxTouch)
	x, okX := between(i.Arg(1), -maxCoordinate, maxCoordinate)
	y, okY := between(i.Arg(2), -maxCoordinate, maxCoordinate)
	_, okWidth := between(i.Arg(3), 0, maxCoordinate)
	_, okHeight := between(i.Arg(4), 0, maxCoordinate)
	force := i.Arg(6)
	if i.Len() != 7 || !ok || !okX || !okY || !okWidth || !okHeight || !decimal(i.Arg(5)) || !decimal(force) {
		return false
	}
	return f.held.touch(touch{id, x, y}, len(bytes.Trim(force, "-0.")) > 0)
}

func size(i *Instruction) bool {
	_, okWidth := between(i.Arg(0), 1, maxScreen)
	_, okHeight := between(i.Arg(1), 1, maxScreen)
	return i.Len() == 2 && okWidth && okHeight
}

// ack answers a blob of guacd's. From a status of 0x0100 on it is a refusal.
func (f *FromViewer) ack(i *Instruction) error {
	index, ok := between(i.Arg(0), 0, Lent+streamIndexes-1)
	status, okStatus := between(i.Arg(2), 0, 0xffff)
	if i.Len() != 3 || !ok || !okStatus || !label(i.Arg(1), maxMessage) || index >= Lent && f.lender == nil {
		return check(i, false)
	}
	from := f.guacd
	if index >= Lent {
		from, index = f.lender, index-Lent
	}
	if status >= 0x0100 && from != nil {
		from.Refused(index)
	}
	return nil
}

// argv answers a required parameter: argv,stream,mimetype,name.
func (f *FromViewer) argv(i *Instruction) error {
	n := slices.IndexFunc(f.required, func(name string) bool { return name == string(i.Arg(2)) })
	err := f.open(i, 0, n >= 0, i.Len() == 3 && label(i.Arg(1), maxMimetype))
	if err == nil {
		f.required = slices.Delete(f.required, n, n+1)
	}
	return err
}

// open judges an instruction that opens a stream, whose index is argument n.
func (f *FromViewer) open(i *Instruction, n int, allowed, wellFormed bool) error {
	index, ok := stream(i.Arg(n))
	if err := f.allow(i, allowed, wellFormed && ok); err != nil {
		return err
	}
	if !f.streams.set(index, passed) {
		return wire.Errorf(wire.Protocol, "the viewer opens more than %d streams", maxOpen)
	}
	return nil
}

// follow judges a blob or an end by its stream.
func (f *FromViewer) follow(i *Instruction, wellFormed bool) error {
	if f.policy.View {
		return forbidden(i)
	}
	index, ok := stream(i.Arg(0))
	if !ok || !wellFormed || f.streams.fates[index] != passed {
		return check(i, false)
	}
	if i.Is("end") {
		f.streams.set(index, closed)
	}
	return nil
}

func (f *FromViewer) allow(i *Instruction, allowed, wellFormed bool) error {
	if f.policy.View || !allowed {
		return forbidden(i)
	}
	return check(i, wellFormed)
}

// shown says whether guacd has shown this file system to the viewer, or to who lends it.
func (f *FromViewer) shown(object []byte) bool {
	n, ok := between(object, 0, maxObjects-1)
	return ok && (f.guacd != nil && f.guacd.shown(n) || f.lender != nil && f.lender.shown(n))
}

// path says whether b is a path on the drive that does not lead out of it.
func path(b []byte) bool {
	if !label(b, maxPath) {
		return false
	}
	for rest := b; ; {
		n := bytes.IndexAny(rest, `/\`)
		if n < 0 {
			return string(rest) != ".."
		}
		if string(rest[:n]) == ".." {
			return false
		}
		rest = rest[n+1:]
	}
}

func check(i *Instruction, ok bool) error {
	if ok {
		return nil
	}
	return odd(i)
}

func forbidden(i *Instruction) error {
	opcode := i.Opcode()
	return wire.Errorf(wire.Forbidden, "%q may not be sent to this desktop", opcode[:min(len(opcode), 32)])
}
