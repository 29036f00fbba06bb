package worker

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/keys/line"
	"scrier/wire"
)

// quietTime is how long another program may keep a file open for writing.
const quietTime = 500 * time.Millisecond

// errRedo: another program changed the file, and nothing is lost; start over.
var errRedo = errors.New("file changed")

// replace is the first rung.
//
// The exchange is only the detector of other programs: whoever opened the old file before it may
// still write there. So the old file is looked at when nobody has it open for writing any more,
// and what was added to it is added to the new one.
func (w Worker) replace(q Request, p *place, c line.Cleaning) (int, error) {
	f, err := p.open()
	if err != nil {
		return 0, err
	}
	defer f.close()
	content, err := f.settle() // not in the middle of a write
	if err != nil {
		return 0, err
	}
	f.unlease()
	next, removed := c.Apply(content)
	if removed == 0 {
		return 0, nil
	}
	if f.st.Uid != p.uid {
		return 0, wire.Errorf(wire.KeyfilePermissions, "%s belongs to uid %d", p.name, f.st.Uid)
	}
	// With our line gone from the end, what comes next must not join the line before.
	repair := !line.EndsInNewline(content) && !bytes.HasSuffix(next, content[bytes.LastIndexByte(content, '\n')+1:])
	w.reach("read")
	t, err := w.temp(q, p, f, next)
	if err != nil {
		return 0, err
	}
	w.reach("written")
	err = p.exchange(t)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return removed, w.rename(p, f, t, content, repair)
	}
	if err != nil {
		p.unlink(t.name)
		return 0, fmt.Errorf("exchange %s: %w", p.name, err)
	}
	w.reach("exchanged")
	var out unix.Stat_t
	if err := unix.Fstatat(p.dir, t.name, &out, unix.AT_SYMLINK_NOFOLLOW); err != nil || !same(&out, &f.st) {
		return 0, w.undo(p, t) // another program's file was swapped out
	}
	after, err := f.settle()
	if err != nil || !bytes.HasPrefix(after, content) {
		return 0, w.undo(p, t)
	}
	if err := w.forward(p, after[len(content):], repair); err != nil {
		return 0, errors.Join(err, w.undo(p, t))
	}
	w.reach("compared")
	p.unlink(t.name)
	w.reach("unlinked")
	// A writer that had found the old file but not opened it yet waits for the lease; it shows
	// in the lease being broken.
	if lease, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETLEASE, 0); f.leased && err == nil && lease != unix.F_RDLCK {
		f.unlease()
		if last, err := f.settle(); err == nil && bytes.HasPrefix(last, after) {
			return removed, w.forward(p, last[len(after):], repair)
		}
	}
	return removed, nil
}

func (p *place) exchange(t *temp) error {
	if p.w.NoExchange {
		return unix.EINVAL
	}
	return unix.Renameat2(p.dir, t.name, p.dir, p.name, unix.RENAME_EXCHANGE)
}

func (p *place) unlink(name string) { _ = unix.Unlinkat(p.dir, name, 0) } // a sweep finds it

// undo gives the name back to what the exchange swapped out, and keeps what was added to the new
// file in between.
func (w Worker) undo(p *place, t *temp) error {
	if err := p.exchange(t); err != nil {
		return fmt.Errorf("exchange %s back: %w", p.name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(p.dir, t.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || !same(&st, &t.st) {
		return errRedo // not ours: whoever put it there keeps it
	}
	fd, err := w.openBeneath(p.dir, t.name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return errRedo
	}
	f := &file{fd: fd, st: st}
	defer f.close()
	content, err := f.settle()
	if err == nil && !bytes.Equal(content, t.content) {
		if !bytes.HasPrefix(content, t.content) {
			return errRedo // rewritten by another program meanwhile: its file stays beside
		}
		if err := w.forward(p, content[len(t.content):], true); err != nil {
			return err
		}
	}
	p.unlink(t.name)
	return errRedo
}

// rename is the first rung on file systems without an exchange: look once more, then replace.
func (w Worker) rename(p *place, f *file, t *temp, content []byte, repair bool) error {
	var now unix.Stat_t
	again, err := f.read()
	if err == nil {
		err = unix.Fstatat(p.dir, p.name, &now, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil || !same(&now, &f.st) || !bytes.HasPrefix(again, content) {
		p.unlink(t.name)
		return errRedo
	}
	if err := unix.Renameat(p.dir, t.name, p.dir, p.name); err != nil {
		p.unlink(t.name)
		return fmt.Errorf("rename over %s: %w", p.name, err)
	}
	if after, err := f.settle(); err == nil && bytes.HasPrefix(after, content) {
		return w.forward(p, after[len(content):], repair)
	}
	return nil
}

// settle waits until nobody has the file open for writing, which is when the kernel grants a
// lease on it, and reads it. Where there are no leases (NFS) it reads twice.
func (f *file) settle() ([]byte, error) {
	for end := time.Now().Add(quietTime); ; time.Sleep(time.Millisecond) {
		_, err := unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_RDLCK)
		if err == nil {
			f.leased = true
			return f.read()
		}
		if (err != unix.EAGAIN && err != unix.EINTR) || time.Now().After(end) {
			break
		}
	}
	first, err := f.read()
	for range 10 {
		if err != nil {
			return nil, err
		}
		time.Sleep(2 * time.Millisecond)
		var second []byte
		if second, err = f.read(); err == nil && bytes.Equal(first, second) {
			return first, nil
		}
		first = second
	}
	return first, err
}

// unlease lets writers in again.
func (f *file) unlease() {
	if f.leased {
		_, _ = unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_UNLCK)
		f.leased = false
	}
}
