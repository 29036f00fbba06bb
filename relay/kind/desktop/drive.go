package desktop

import (
	"strconv"

	"scrier/relay/guac"
	"scrier/wire"
)

// drive is what guacd tells the root alone, and whoever may type is to have: the file systems, what
// comes from them, and the streams that go there. Desktop.mu guards it.
//
//	viewer -- get, put and what follows --> numbered anew --> root -- guacd
//	viewer <-- filesystem, body, file, ack, ... numbered back -- root
//
// guacd numbers the streams of each user by itself, and the root outlives its viewers. So what a
// viewer opens on the root gets a number of the root's, and what guacd opens there is shown to a viewer
// who has joined with [guac.Lent] added.
type drive struct {
	holder *user          // who has it: who came last to type; nil: nobody
	shown  map[int]string // file systems: their names, by guacd's numbers
	up     [inputs]upload // streams to guacd, by the root's numbers
	last   int            // which of them was opened last
	down   map[int]*user  // streams of guacd's, and for whom
}

func newDrive() drive { return drive{shown: map[int]string{}, down: map[int]*user{}, last: inputs - 1} }

// inputs is how many streams the root may have open to guacd: it takes 64 (libguac, user-constants.h), and the last one is
// for the question whether it is there ([guac.Connection.Alive]), which would end whatever else has that number.
const inputs = 63

// upload is one stream to guacd.
type upload struct {
	user  *user
	index string // the viewer's number of it
	open  bool   // its end was not sent yet; an acknowledgement may still come behind that
}

// From refused on a status is an error; refusal is that of a stream that nobody takes (CLIENT_FORBIDDEN).
const (
	refused = 0x0100
	refusal = "771"
)

// hold makes u the one who has the drive, and gives what u is to be shown of it. What the one before had
// open is over.
func (d *Desktop) hold(u *user) (shown []byte) {
	d.mu.Lock()
	end := d.drive.dropLocked(d.drive.holder)
	d.drive.holder = u
	for n, name := range d.drive.shown {
		shown = guac.Append(shown, "filesystem", strconv.Itoa(n), name)
	}
	d.mu.Unlock()
	d.tellGuacd(end)
	return shown
}

// leave takes the drive from a viewer who has gone: guacd keeps files open as long as their streams are,
// and the root stays.
func (d *Desktop) leave(u *user) {
	d.mu.Lock()
	end := d.drive.dropLocked(u)
	if d.drive.holder == u {
		d.drive.holder = nil
	}
	d.mu.Unlock()
	d.tellGuacd(end)
}

func (d *Desktop) tellGuacd(b []byte) {
	if len(b) > 0 && d.root.write(b) != nil {
		d.Log.Debug("guacd does not hear of the end of transfers", "connection", d.id)
	}
}

// dropLocked ends all streams of a user's, and gives what guacd has to be told.
func (v *drive) dropLocked(u *user) (end []byte) {
	if u == nil {
		return nil
	}
	for n := range v.up {
		if v.up[n].user == u && v.up[n].open {
			end = guac.Append(end, "end", strconv.Itoa(n))
		}
		if v.up[n].user == u {
			v.up[n] = upload{}
		}
	}
	for n, to := range v.down {
		if to == u {
			end = guac.Append(end, "ack", strconv.Itoa(n), "the viewer has left", refusal)
			u.desktop.root.fromGuacd.Refused(n)
			delete(v.down, n)
		}
	}
	return end
}

// hasDrive says whether guacd has shown one.
func (d *Desktop) hasDrive() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.drive.shown) > 0
}

// holds says whether u has the drive.
func (d *Desktop) holds(u *user) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drive.holder == u
}

// lend looks at what guacd tells the root, and gives it to who has the drive. shown is what of it is for
// who reads the root; reply, if there is one, goes to guacd.
func (d *Desktop) lend(i *guac.Instruction) (shown, reply []byte, err error) {
	d.mu.Lock()
	to, b, reply := d.drive.lendLocked(i, d.root)
	d.mu.Unlock()
	switch to {
	case nil:
		return nil, reply, nil
	case d.root:
		return b, reply, nil
	}
	return nil, reply, to.post(b)
}

// lendLocked finds whom i is for, and how it is to be said there.
func (v *drive) lendLocked(i *guac.Instruction, root *user) (to *user, b, reply []byte) {
	lent := func(to *user, arg, n int) (*user, []byte, []byte) {
		if to == root {
			return root, i.Raw(), nil
		}
		return to, renumbered(i, arg, strconv.Itoa(n+guac.Lent)), nil
	}
	n := number(i.Arg(0))
	switch string(i.Opcode()) {
	case "filesystem":
		name := string(i.Arg(1))
		if was, ok := v.shown[n]; ok && was == name {
			return nil, nil, nil // said once more: nobody has to hear it
		}
		v.shown[n] = name
		return v.holder, i.Raw(), nil
	case "undefine":
		delete(v.shown, n)
		return v.holder, i.Raw(), nil
	case "body", "file":
		arg := 0
		if i.Is("body") {
			arg, n = 1, number(i.Arg(1))
		}
		if v.holder == nil {
			root.fromGuacd.Refused(n)
			return nil, nil, guac.Append(nil, "ack", strconv.Itoa(n), "nobody is here", refusal)
		}
		v.down[n] = v.holder
		return lent(v.holder, arg, n)
	case "img", "audio", "clipboard":
		delete(v.down, n) // guacd uses an index again that was refused
	case "blob", "end":
		to, ok := v.down[n]
		if !ok {
			return root, i.Raw(), nil // a picture's
		}
		if i.Is("end") {
			delete(v.down, n)
		}
		return lent(to, 0, n)
	case "ack":
		if n < 0 || n >= inputs || v.up[n].user == nil {
			return nil, nil, nil // of somebody who has gone
		}
		return v.up[n].user, renumbered(i, 0, v.up[n].index), nil
	}
	return root, i.Raw(), nil
}

// openLocked gives a stream of a viewer's a number of the root's. One whose end was acknowledged, or
// could be, comes last. An index that is used again is a new stream, and guacd ends the old one.
func (v *drive) openLocked(u *user, index string) (int, error) {
	if n, ok := v.ofLocked(u, index); ok {
		return n, nil
	}
	for k := 1; k <= inputs; k++ {
		n := (v.last + k) % inputs
		if !v.up[n].open {
			v.last = n
			v.up[n] = upload{user: u, index: index, open: true}
			return n, nil
		}
	}
	return 0, wire.Errorf(wire.Protocol, "the viewer opens more than %d streams", inputs)
}

// endLocked notes that a stream's end is on its way.
func (v *drive) endLocked(n int) { v.up[n].open = false }

// ofLocked finds the root's number of a stream that a viewer opened there, and still has.
func (v *drive) ofLocked(u *user, index string) (int, bool) {
	for n := range v.up {
		if v.up[n].user == u && v.up[n].open && v.up[n].index == index {
			return n, true
		}
	}
	return 0, false
}

// renumbered is i with another argument n.
func renumbered(i *guac.Instruction, n int, arg string) []byte {
	args := make([]string, i.Len())
	for k := range args {
		args[k] = string(i.Arg(k))
	}
	args[n] = arg
	return guac.Append(nil, string(i.Opcode()), args...)
}

// number is an index that package guac has looked at; -1: it is none.
func number(b []byte) int {
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return -1
	}
	return n
}
