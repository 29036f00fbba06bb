package guac

import (
	"strconv"
	"sync"

	"scrier/wire"
)

// FromGuacd judges what guacd sends to one viewer. One goroutine calls Pass.
type FromGuacd struct {
	policy   Policy
	canvases canvases

	// The viewer's side looks these up too, see [FromViewer.Follow].
	mu      sync.Mutex
	streams streams
	objects [maxObjects]bool // file systems that guacd has shown
}

// NewFromGuacd is for a guacd user that was just made.
func NewFromGuacd(p Policy) *FromGuacd {
	return &FromGuacd{policy: p, canvases: canvases{extents: map[int]extent{0: {}}}}
}

// Sized says whether the viewer was told how large the screen is.
func (f *FromGuacd) Sized() bool { return f.canvases.extents[0] != extent{} }

// clientForbidden is the status that tells guacd no (0x0303).
const clientForbidden = 771

// Pass says what becomes of an instruction: it is passed on or dropped. reply, if there is one,
// goes to guacd: it refuses a stream that the policy does not allow. An error means that guacd
// broke the rules, and is the end of the session.
//
// `error`, `disconnect`, `args` and `ready` are dropped, as they are for the caller to read, see
// [StatusOf]. Everything that is not known is dropped as well. A `disconnect` before the first picture
// is not an orderly end: guacd 1.3 loses an error that comes while the owner is still joining.
func (f *FromGuacd) Pass(i *Instruction) (pass bool, reply []byte, err error) {
	if shape, ok := drawing[string(i.Opcode())]; ok {
		if err := f.canvases.drawn(i, shape); err != nil {
			return false, nil, err
		}
		return true, nil, nil
	}
	switch string(i.Opcode()) {
	case "sync":
		// The timestamp, and from 1.5 on how many frames it stands for.
		if !digits(i.Arg(0), 19) || i.Len() > 1 && !digits(i.Arg(1), 10) {
			return false, nil, odd(i)
		}
		return true, nil, nil
	case "blob":
		return f.follow(i, i.Len() >= 2)
	case "end":
		return f.follow(i, i.Len() >= 1)
	case "img":
		return f.img(i)
	case "audio":
		return f.open(i, 0, i.Len() >= 2 && label(i.Arg(1), maxMimetype), f.policy.Audio)
	case "clipboard":
		return f.open(i, 0, i.Len() >= 2 && label(i.Arg(1), maxMimetype), f.policy.FromEnvoy)
	case "file":
		return f.open(i, 0, i.Len() >= 3 && label(i.Arg(1), maxMimetype) && label(i.Arg(2), maxPath), f.policy.Download)
	case "body":
		return f.body(i)
	case "video", "pipe", "argv":
		return f.open(i, 0, true, false)
	case "filesystem", "undefine":
		return f.object(i)
	case "ack":
		_, index := stream(i.Arg(0))
		_, status := between(i.Arg(2), 0, 0xffff)
		if !index || !status {
			return false, nil, odd(i)
		}
		return true, nil, nil
	case "required":
		return !f.policy.View && credentials(i), nil, nil
	case "set":
		return f.set(i)
	case "name":
		return i.Len() >= 1 && len(i.Arg(0)) <= maxPath, nil, nil
	case "msg":
		_, ok := number(i.Arg(0))
		return ok, nil, nil
	case "nop":
		return true, nil, nil
	}
	return false, nil, nil
}

// The longest names, in bytes: a mimetype with its parameters; a path, as Linux has it.
const (
	maxMimetype = 128
	maxPath     = 4096
)

// open judges an instruction that opens a stream, whose index is argument n. wellFormed is about
// its other arguments.
func (f *FromGuacd) open(i *Instruction, n int, wellFormed, allowed bool) (pass bool, reply []byte, err error) {
	index, ok := stream(i.Arg(n))
	if !ok || !wellFormed {
		return false, nil, odd(i)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !allowed {
		f.streams.set(index, refused)
		return false, Append(nil, "ack", strconv.Itoa(index), "forbidden", strconv.Itoa(clientForbidden)), nil
	}
	if !f.streams.set(index, passed) {
		return false, nil, wire.Errorf(wire.Protocol, "guacd opens more than %d streams", maxOpen)
	}
	return true, nil, nil
}

// follow judges a blob or an end by its stream.
func (f *FromGuacd) follow(i *Instruction, wellFormed bool) (pass bool, reply []byte, err error) {
	index, ok := stream(i.Arg(0))
	if !ok || !wellFormed {
		return false, nil, odd(i)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	pass = f.streams.fates[index] == passed
	if i.Is("end") {
		f.streams.set(index, closed)
	}
	return pass, nil, nil
}

// img opens a picture's stream: img,stream,mask,layer,mimetype,x,y.
func (f *FromGuacd) img(i *Instruction) (pass bool, reply []byte, err error) {
	_, mask := between(i.Arg(1), 0, 15)
	layer, ok := between(i.Arg(2), -maxIndex, maxIndex)
	x, okX := between(i.Arg(4), -maxCoordinate, maxCoordinate)
	y, okY := between(i.Arg(5), -maxCoordinate, maxCoordinate)
	if !mask || !ok || !okX || !okY {
		return false, nil, odd(i)
	}
	// The size of the picture is inside the picture; only its corner is known here.
	if err := f.canvases.use(layer); err != nil {
		return false, nil, err
	}
	if err := f.canvases.draw(layer, x, y); err != nil {
		return false, nil, err
	}
	switch string(i.Arg(3)) {
	case "image/png", "image/jpeg", "image/webp":
		return f.open(i, 0, true, true)
	}
	return f.open(i, 0, true, false)
}

// streamIndex is what a folder's listing is sent as.
const streamIndex = "application/vnd.glyptodon.guacamole.stream-index+json"

// body is the answer to a viewer's get: body,object,stream,mimetype,name. A viewer that may only put
// files may still see the names of those that are there.
func (f *FromGuacd) body(i *Instruction) (pass bool, reply []byte, err error) {
	object, ok := between(i.Arg(0), 0, maxObjects-1)
	wellFormed := ok && i.Len() >= 4 && label(i.Arg(2), maxMimetype) && label(i.Arg(3), maxPath)
	allowed := f.policy.Download || f.policy.Upload && string(i.Arg(2)) == streamIndex
	return f.open(i, 1, wellFormed, wellFormed && allowed && f.shown(object))
}

// object judges what shows a file system and takes it away.
func (f *FromGuacd) object(i *Instruction) (pass bool, reply []byte, err error) {
	object, ok := between(i.Arg(0), 0, maxObjects-1)
	shows := i.Is("filesystem")
	if !ok || shows && (i.Len() < 2 || !label(i.Arg(1), maxPath)) {
		return false, nil, odd(i)
	}
	if !f.policy.files() || f.policy.View {
		return false, nil, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	pass = shows || f.objects[object]
	f.objects[object] = shows
	return pass, nil, nil
}

// set gives a layer a property. The page knows two of them.
func (f *FromGuacd) set(i *Instruction) (pass bool, reply []byte, err error) {
	layer, ok := between(i.Arg(0), -maxIndex, maxIndex)
	if !ok || i.Len() < 3 {
		return false, nil, odd(i)
	}
	switch string(i.Arg(1)) {
	case "multi-touch", "miter-limit":
		return decimal(i.Arg(2)), nil, f.canvases.use(layer)
	}
	return false, nil, nil
}

// shown says whether there is such a file system.
func (f *FromGuacd) shown(object int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[object]
}

// Refused notes that a stream was refused: guacd sends no end for it.
func (f *FromGuacd) Refused(index int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams.fates[index] == passed {
		f.streams.set(index, closed)
	}
}
