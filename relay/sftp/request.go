package sftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"scrier/wire"
)

// upward is the direction from the client to the server.
type upward struct {
	*conn
	flow
	denied int // requests that were refused for want of a right, and recorded
}

// carry ends with the client's stream, in order or not.
func (u *upward) carry() error {
	if err := u.greet(); err != nil {
		return u.why(err)
	}
	for {
		kind, n, err := u.next()
		if err == nil {
			err = u.judge(kind, n)
		}
		if err != nil {
			return u.why(err)
		}
	}
}

// why is how the direction ended: nil is in order.
func (u *upward) why(err error) error {
	_, own := errors.AsType[*wire.Error](err)
	_, read := errors.AsType[*readError](err)
	switch {
	case own:
		return err
	case errors.Is(err, errLength), errors.Is(err, errInside):
		return wire.Errorf(wire.Protocol, "the SFTP client: %w", err)
	case read && errors.Is(err, io.EOF):
		return nil
	case read:
		return &wire.Error{Code: wire.ViewerLost, Err: err}
	}
	return &deafError{err}
}

// deafError is a server that takes no more.
type deafError struct{ error }

// greet has the server greeted for the only version that passes, whichever the client speaks besides.
func (u *upward) greet() error {
	kind, n, err := u.next()
	if err != nil {
		return err
	}
	if kind != initPacket || n < 4 || n > maxRequest {
		return wire.Errorf(wire.Protocol, "the SFTP client did not begin with INIT")
	}
	if err := u.skip(header + n); err != nil {
		return err
	}
	return u.put(appendPacket(nil, initPacket, func(b []byte) []byte { return append(b, 0, 0, 0, version) }))
}

// malformed is a request that does not have its fields.
func malformed(kind packet) error {
	return wire.Errorf(wire.Protocol, "the SFTP client sent a request of type %d that is not whole", kind)
}

// judge lets a request pass, or answers it. n bytes follow its type.
func (u *upward) judge(kind packet, n int) error {
	switch {
	case n < 4 || kind == initPacket:
		return malformed(kind)
	case kind == writePacket:
		return u.write(n)
	}
	held := min(n, maxRequest)
	if err := u.fill(header + held); err != nil {
		return inside(err)
	}
	f := fields{rest: u.buf[u.at+header : u.at+header+held]}
	r := &request{id: f.uint32()}
	if kind == openPacket {
		return u.open(r, &f, n)
	}
	e, known := requests[kind]
	name := ""
	if kind == extendedPacket {
		name = string(f.string())
		e, known = extensions[name]
		if f.bad {
			return malformed(kind)
		}
	}
	if !known {
		return u.refuse(r.id, n, Unsupported, "Scrier: this request is not known here")
	}
	if held < n && e.shape != shapeless {
		return u.refuse(r.id, n, BadMessage, "Scrier: the request is too long")
	}
	r.answer, r.limits, r.close = e.answer, name == limitsName, kind == closePacket
	if kind == opendirPacket {
		r.opened = u.handle(nil)
		r.opened.folder = true
	}
	return u.known(kind, e, r, &f, n)
}

// known lets a request of the tables pass, or answers it.
func (u *upward) known(kind packet, e extension, r *request, f *fields, n int) error {
	var change *Change
	size := noSize
	var paths [2][]byte
	var names [2][]byte // handles
	switch e.shape {
	case ofHandle:
		names[0] = f.string()
	case ofPath:
		paths[0] = f.string()
	case ofPaths:
		paths[0], paths[1] = f.string(), f.string()
	case ofAttrs:
		paths[0] = f.string()
		change = &Change{}
		change.Attributes, _ = attributes(f)
	case ofHandleAttrs:
		names[0] = f.string()
		r.attrs, size = attributes(f)
	case ofCopy:
		names[0] = f.string()
		f.take(16)
		names[1] = f.string()
		f.uint64()
	}
	if kind == readPacket {
		r.offset, r.length = f.uint64(), f.uint32()
	}
	if f.bad {
		return malformed(kind)
	}
	if right := u.rights.missing(e.need); right != "" {
		return u.deny(r.id, n, right, Change{Op: e.op, Path: paths[0], To: paths[1]})
	}
	if bytes.IndexByte(paths[0], 0) >= 0 || bytes.IndexByte(paths[1], 0) >= 0 {
		return u.refuse(r.id, n, BadMessage, "Scrier: the name holds a NUL byte")
	}
	var handles [2]*handle
	for i, name := range names {
		if name == nil {
			continue
		}
		if handles[i] = u.table.find(name); handles[i] == nil {
			return u.refuse(r.id, n, Failure, "Scrier: this handle is not open")
		}
	}
	if e.op != "" && e.shape != ofHandleAttrs {
		if change == nil {
			change = &Change{}
		}
		change.Op = e.op
		change.Path = bounded(paths[0])
		if e.shape == ofPaths {
			change.To = bounded(paths[1])
		}
		r.change = change
	}
	switch r.handle = handles[0]; {
	case kind == readdirPacket && u.config.long(r.handle):
		return u.refuse(r.id, n, EOF, "Scrier: the folder has more than can be listed")
	case kind == readPacket:
		r.handle.asked = true
	case size != noSize && size != r.handle.up.next:
		r.handle.up.spoil()
	case e.shape == ofCopy:
		change.Path, change.To = handles[0].path, handles[1].path
		handles[1].up.spoil()
		r.handle = nil
	case r.opened != nil:
		if !u.table.roomy() {
			return u.refuse(r.id, n, Failure, "Scrier: too many files are open")
		}
		r.opened.path = bounded(paths[0])
	}
	return u.forward(r, n)
}

// open judges an OPEN.
func (u *upward) open(r *request, f *fields, n int) error {
	path, flags := f.string(), f.uint32()
	if f.bad {
		if n > maxRequest {
			return u.refuse(r.id, n, BadMessage, "Scrier: the request is too long")
		}
		return malformed(openPacket)
	}
	if right := u.rights.missing(needOf(flags)); right != "" {
		return u.deny(r.id, n, right, Change{Op: Open, Path: path})
	}
	if bytes.IndexByte(path, 0) >= 0 {
		return u.refuse(r.id, n, BadMessage, "Scrier: the name holds a NUL byte")
	}
	if !u.table.roomy() {
		return u.refuse(r.id, n, Failure, "Scrier: too many files are open")
	}
	r.answer = handlePacket
	r.opened = u.handle(path)
	r.opened.writes = flags&openWrite != 0
	if flags&openAppend != 0 {
		r.opened.up.spoil() // the server decides where it goes
	}
	return u.forward(r, n)
}

// write judges a WRITE, whose data pass as they come. n bytes follow its type.
func (u *upward) write(n int) error {
	head := header + 8 // and the length of the handle
	if n < 8 {
		return malformed(writePacket)
	}
	if err := u.fill(head); err != nil {
		return inside(err)
	}
	name := int(min(binary.BigEndian.Uint32(u.buf[u.at+header+4:]), maxHandle+1))
	head += name + 12
	data := header + n - head
	if name > maxHandle || data < 0 {
		return malformed(writePacket)
	}
	if err := u.fill(head); err != nil {
		return inside(err)
	}
	f := fields{rest: u.buf[u.at+header : u.at+head]}
	r := &request{id: f.uint32(), answer: statusPacket}
	r.handle = u.table.find(f.string())
	offset := f.uint64()
	if int64(f.uint32()) != int64(data) {
		return malformed(writePacket)
	}
	if right := u.rights.missing(needWrite); right != "" {
		return u.deny(r.id, n, right, Change{})
	}
	if r.handle == nil || r.handle.folder {
		return u.refuse(r.id, n, Failure, "Scrier: this handle is not open")
	}
	if err := u.admit(r); err != nil {
		return err
	}
	u.at += head
	return u.pass(data, func(b []byte) {
		r.handle.up.add(offset, b)
		offset += uint64(len(b))
		u.sent.Add(uint64(len(b)))
	})
}

// forward lets a request pass.
func (u *upward) forward(r *request, n int) error {
	if err := u.admit(r); err != nil {
		return err
	}
	return u.pass(header+n, nil)
}

// admit has a request wait for its answer. What the server has to answer first must be with it.
func (u *upward) admit(r *request) error {
	if u.table.full() {
		if err := u.flush(); err != nil {
			return err
		}
	}
	return u.table.add(r)
}

// refuse answers a request in the server's place. n bytes follow its type.
func (u *upward) refuse(id uint32, n int, s Status, text string) error {
	if err := u.skip(header + n); err != nil {
		return err
	}
	u.table.addOwn(appendStatus(nil, id, s, text))
	return u.reply()
}

// deny refuses a request for want of a right, and tells of the first ones. Of what is no change a file's OPEN is told.
func (u *upward) deny(id uint32, n int, right wire.Right, c Change) error {
	u.refused.Add(1)
	if c.Op != "" && u.denied < maxDenied {
		u.denied++
		c.Path, c.Status, c.Refused = bounded(c.Path), PermissionDenied, right
		if c.To != nil {
			c.To = bounded(c.To)
		}
		u.change(c)
	}
	return u.refuse(id, n, PermissionDenied, denial(right))
}

// maxDenied is how many refusals of a connection are recorded one by one: who only tries must not fill the log.
const maxDenied = 100
