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

// quietTime is how long another program may keep a file open for writing, or keep others from opening it so.
const quietTime = 500 * time.Millisecond

// errRedo says that another program has changed the file. Nothing is lost, and the work starts anew.
var errRedo = errors.New("file changed")

// replace is the first way of clean: it puts a new file without the lines in the place of the old
// one, and returns how many lines went.
//
// The exchange shows which file it has swapped out. If that is a new one of another program's, it is
// put back. A program that opened the old file before the exchange may still write to it. So when
// nobody has it open for writing any more, it is read again, and what was added is appended to the
// new file.
func (w Worker) replace(q Request, p *place, c line.Cleaning) (int, error) {
	f, err := p.open()
	if err != nil {
		return 0, err
	}
	defer f.close()
	content, err := f.settle() // not while another program writes
	if err != nil {
		return 0, err
	}
	f.unlease()
	next, removed := c.Apply(content)
	if removed == 0 {
		return 0, nil
	}
	if f.st.Uid != p.uid {
		return 0, wire.Errorf(wire.KeyfilePermissions, "%s belongs to uid %d", p.real, f.st.Uid)
	}
	// If our line was the last and had no newline, the line before it has none now. What is appended
	// from now on must not continue that line.
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
		return 0, fmt.Errorf("exchange %s: %w", p.real, err)
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
	// A program that had looked up the old file but not opened it yet now waits until the lease is
	// given up. The lease shows that: it is being broken.
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

func (p *place) unlink(name string) { _ = unix.Unlinkat(p.dir, name, 0) } // if it fails, a sweep removes the file

// undo exchanges the files back, and appends to the old one what another program has appended to the
// new one meanwhile.
func (w Worker) undo(p *place, t *temp) error {
	if err := p.exchange(t); err != nil {
		return fmt.Errorf("exchange %s back: %w", p.real, err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(p.dir, t.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || !same(&st, &t.st) {
		return errRedo // another program's file, which stays
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
			return errRedo // another program has rewritten our new file; it stays, under its temporary name
		}
		if err := w.forward(p, content[len(t.content):], true); err != nil {
			return err
		}
	}
	p.unlink(t.name)
	return errRedo
}

// rename does what replace does, on file systems that cannot exchange files: it looks once more
// whether the file is unchanged, and renames the new one over it.
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
		return fmt.Errorf("rename over %s: %w", p.real, err)
	}
	if after, err := f.settle(); err == nil && bytes.HasPrefix(after, content) {
		return w.forward(p, after[len(content):], repair)
	}
	return nil
}

// settle waits until nobody has the file open for writing, and reads it. The kernel grants a lease
// just then. Where there are no leases (NFS) it reads until two readings are the same.
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

// unlease gives the lease up, so that other programs can open the file for writing again.
func (f *file) unlease() {
	if f.leased {
		_, _ = unix.FcntlInt(uintptr(f.fd), unix.F_SETLEASE, unix.F_UNLCK)
		f.leased = false
	}
}
