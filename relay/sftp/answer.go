package sftp

import (
	"encoding/binary"
	"errors"
	"io"

	"scrier/wire"
)

// downward is the direction from the server to the client. It holds conn.writing, except while it waits for the server
// between two packets.
type downward struct {
	*conn
	flow
	inside bool // a packet is on its way
}

// Read reads from the server, and lets answers of our own go meanwhile.
func (d *downward) Read(b []byte) (int, error) {
	if !d.inside {
		d.writing.Unlock()
		defer d.writing.Lock()
	}
	n, err := d.server.Read(b)
	d.config.count(0, n)
	d.progress()
	return n, err
}

// carry ends with the server's stream, in order or not.
func (d *downward) carry() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.greet(); err != nil {
		return d.why(err)
	}
	for {
		kind, n, err := d.next()
		if err == nil {
			err = d.judge(kind, n)
		}
		if err != nil {
			return d.why(err)
		}
	}
}

func (d *downward) why(err error) error {
	_, own := errors.AsType[*wire.Error](err)
	_, read := errors.AsType[*readError](err)
	switch {
	case own:
		return err
	case errors.Is(err, errLength):
		return wire.Errorf(wire.Protocol, "the machine's SFTP server: %w", err)
	case errors.Is(err, errInside):
		return serverEnded(err)
	case read && errors.Is(err, io.EOF):
		return nil
	case read:
		return serverEnded(err)
	}
	return &wire.Error{Code: wire.ViewerLost, Err: err}
}

// serverEnded is the server's end before the client's.
func serverEnded(err error) error {
	return &wire.Error{Code: wire.TargetRefused, Detail: "the machine's SFTP server has ended", Err: err}
}

// greet passes on the server's version, and those of its extensions that pass.
func (d *downward) greet() error {
	kind, n, err := d.next()
	if (errors.Is(err, errLength) || errors.Is(err, errInside) || err == nil && (kind != versionPacket || n > maxVersion)) && d.end > d.at {
		return wire.Errorf(wire.TargetRefused, "what answers on the machine is no SFTP server: it begins with %q", d.buf[d.at:min(d.end, d.at+80)]).
			Advise("the login's start files must print nothing when there is no terminal")
	}
	if err != nil {
		return err
	}
	if err := d.fill(header + n); err != nil {
		return inside(err)
	}
	answer, err := announced(d.buf[d.at+header:d.at+header+n], d.rights)
	if err != nil {
		return err
	}
	if err := d.skip(header + n); err != nil {
		return err
	}
	if err := d.put(answer); err != nil {
		return err
	}
	d.greeted = true
	return d.putAll(d.table.ready())
}

// judge passes an answer on, if somebody waits for it. n bytes follow its type.
func (d *downward) judge(kind packet, n int) error {
	if n < 4 {
		return wrong(kind)
	}
	if err := d.fill(header + 4); err != nil {
		return inside(err)
	}
	d.inside = true // what stands behind it must not overtake it
	defer func() { d.inside = false }()
	r, ready := d.table.answered(binary.BigEndian.Uint32(d.buf[d.at+header:]))
	if r == nil || kind != r.answer && kind != statusPacket {
		return wrong(kind)
	}
	err := d.answer(kind, r, n)
	if err == nil {
		err = d.putAll(ready)
	}
	return err
}

// wrong is an answer that nobody asked for.
func wrong(kind packet) error {
	return wire.Errorf(wire.Protocol, "the machine's SFTP server gave an answer of type %d for which nobody asked", kind)
}

// answer passes on what came for a request. What it tells of is on its way to be recorded by then.
func (d *downward) answer(kind packet, r *request, n int) error {
	switch {
	case kind == dataPacket:
		return d.data(r, n)
	case kind == statusPacket:
		if n < 8 {
			return wrong(kind)
		}
		if err := d.fill(header + 8); err != nil {
			return inside(err)
		}
		if len(d.unwritten) == cap(d.unwritten) { // what the client may know goes before it waits for the disk
			if err := d.flush(); err != nil {
				return err
			}
		}
		d.settle(r, Status(binary.BigEndian.Uint32(d.buf[d.at+header+4:])))
	case kind == handlePacket:
		if n < 8 || n > 8+maxHandle {
			return wrong(kind)
		}
		if err := d.fill(header + n); err != nil {
			return inside(err)
		}
		f := fields{rest: d.buf[d.at+header+4 : d.at+header+n]}
		name := f.string()
		if f.bad {
			return wrong(kind)
		}
		if err := d.table.open(name, r.opened); err != nil {
			return err
		}
	case kind == namePacket && r.handle != nil:
		if n < 8 {
			return wrong(kind)
		}
		if err := d.fill(header + 8); err != nil {
			return inside(err)
		}
		r.handle.names.Add(int64(binary.BigEndian.Uint32(d.buf[d.at+header+4:])))
		r.handle.listed.Add(int64(n))
	case r.limits && n <= maxRequest:
		if err := d.fill(header + n); err != nil {
			return inside(err)
		}
		answer := append([]byte{}, d.buf[d.at:d.at+header+4]...)
		answer = append(answer, capped(d.buf[d.at+header+4:d.at+header+n])...)
		if err := d.skip(header + n); err != nil {
			return err
		}
		return d.put(answer)
	}
	return d.pass(header+n, nil)
}

// data passes on the content that a READ asked for.
func (d *downward) data(r *request, n int) error {
	const head = header + 8
	if n < 8 {
		return wrong(dataPacket)
	}
	if err := d.fill(head); err != nil {
		return inside(err)
	}
	length := binary.BigEndian.Uint32(d.buf[d.at+header+4:])
	if int64(length) != int64(n-8) || length > r.length {
		return wire.Errorf(wire.Protocol, "the machine's SFTP server gave %d bytes of content in an answer of %d, where %d were asked for", length, n, r.length)
	}
	d.at += head
	offset := r.offset
	return d.pass(int(length), func(b []byte) {
		r.handle.down.add(offset, b)
		offset += uint64(len(b))
		d.received.Add(uint64(len(b)))
	})
}

// settle records what a request has done.
func (d *downward) settle(r *request, s Status) {
	if r.handle != nil && s != OK {
		r.handle.fail(s)
	}
	if r.handle != nil && r.attrs != "" && s == OK {
		r.handle.set(r.attrs)
	}
	switch {
	case r.close && !r.handle.folder:
		d.file(r.handle.file())
	case r.change != nil:
		r.change.Status = s
		d.change(*r.change)
	}
}

func (d *downward) putAll(packets [][]byte) error {
	for _, p := range packets {
		if err := d.put(p); err != nil {
			return err
		}
	}
	return nil
}
