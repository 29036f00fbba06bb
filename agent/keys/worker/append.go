package worker

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/keys/line"
	"scrier/wire"
)

// install appends one line by a single write, so that it cannot get mixed with what another program
// appends. The size of the file and its last byte must be as in the journal. If they are not, nothing
// is written, and the answer says what they are now: the agent writes that to its journal first.
func (w Worker) install(q Request, p *place) (Result, error) {
	f, err := p.open()
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	if err := p.fit(f); err != nil {
		return Result{}, err
	}
	tail, err := f.tail()
	if err != nil {
		return Result{}, err
	}
	a := Result{Size: f.st.Size, Tail: tail}
	if a.Size != q.Size || a.Tail != q.Tail {
		a.Changed = true
		return a, nil
	}
	text := line.Addition(q.Line, a.Tail)
	if a.Size+int64(len(text)) > line.MaxFile {
		return a, wire.Errorf(wire.KeyfileTooBig, "%s has %d bytes", p.real, a.Size)
	}
	w.reach("opened")
	if err := w.append(p, f, text); err != nil {
		return a, err
	}
	w.reach("appended")
	// An editor may have renamed its own file over the one that was opened: then the line went
	// into a file that has no name any more.
	var now unix.Stat_t
	if err := unix.Fstatat(p.dir, p.name, &now, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return a, fmt.Errorf("stat %s: %w", p.real, err)
	}
	if !same(&now, &f.st) {
		a.Changed, a.Size, a.Tail = true, now.Size, true // Tail is a guess; the next try corrects it
	}
	return a, nil
}

// append writes text at the end of f. When the disk is full, it writes nothing of it.
func (w Worker) append(p *place, f *file, text []byte) error {
	fd, err := p.openToWrite(unix.O_APPEND)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || !same(&st, &f.st) {
		unix.Close(fd)
		return wire.Errorf(wire.KeyfileChanged, "%s was replaced", p.real)
	}
	w.reach("writing")
	n, err := writeOnce(fd, text)
	if n < len(text) {
		if n > 0 {
			w.reach("torn")
			truncateTorn(fd, text[:n])
		}
		unix.Close(fd)
		if err == nil {
			err = unix.ENOSPC
		}
		return fmt.Errorf("append to %s: %w", p.real, err)
	}
	if err := unix.Close(fd); err != nil { // on NFS it is here that a full disk shows
		return fmt.Errorf("close %s: %w", p.real, err)
	}
	return nil
}

// writeOnce does one write. It tries again only if a signal came before the first byte was written.
func writeOnce(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Write(fd, b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// truncateTorn takes an incomplete append back, if the file still ends in it.
func truncateTorn(fd int, torn []byte) {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Size < int64(len(torn)) {
		return
	}
	end := make([]byte, len(torn))
	if n, err := unix.Pread(fd, end, st.Size-int64(len(torn))); err == nil && n == len(torn) && bytes.Equal(end, torn) {
		_ = unix.Ftruncate(fd, st.Size-int64(len(torn))) // if this fails, the next sweep tries again
	}
}

// tail says whether the file is empty or ends in a newline. Another program may be writing to it, and
// a large write appears page by page. So a file that does not end in a newline is looked at again
// until it has stopped growing.
func (f *file) tail() (bool, error) {
	for {
		if f.st.Size == 0 {
			return true, nil
		}
		var last [1]byte
		n, err := unix.Pread(f.fd, last[:], f.st.Size-1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("read: %w", err)
		}
		if n == 1 && last[0] == '\n' {
			return true, nil
		}
		time.Sleep(time.Millisecond)
		size := f.st.Size
		if err := unix.Fstat(f.fd, &f.st); err != nil {
			return false, fmt.Errorf("stat: %w", err)
		}
		if f.st.Size == size {
			return false, nil
		}
		if f.st.Size > line.MaxFile {
			return false, wire.Errorf(wire.KeyfileTooBig, "it has %d bytes", f.st.Size)
		}
	}
}

// fit refuses a file from which a line could not be taken out again later.
func (p *place) fit(f *file) error {
	if f.st.Uid != p.uid {
		return wire.Errorf(wire.KeyfilePermissions, "%s belongs to uid %d, so the account cannot write it; keys: dropin writes no home", p.real, f.st.Uid)
	}
	for fd, name := range map[int]string{f.fd: p.real, p.dir: "the folder of " + p.real} {
		var st unix.Statx_t
		err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st)
		if err == nil && st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0 {
			return wire.Errorf(wire.KeyfileImmutable, "%s is immutable or append-only", name)
		}
	}
	if err := unix.Faccessat(p.dir, p.name, unix.W_OK, 0); err != nil {
		return fmt.Errorf("write %s, which keys: dropin does not do: %w", p.real, err)
	}
	if err := unix.Faccessat(p.dir, ".", unix.W_OK|unix.X_OK, 0); err != nil {
		return fmt.Errorf("write the folder of %s, which keys: dropin does not do: %w", p.real, err)
	}
	return nil
}

// forward appends to the new file what another program has appended to the old one meanwhile. With
// repair it begins a new line; without, it continues the last line.
func (w Worker) forward(p *place, suffix []byte, repair bool) error {
	if len(suffix) == 0 {
		return nil
	}
	f, err := p.open()
	if err != nil {
		return err
	}
	defer f.close()
	if repair && suffix[0] != '\n' {
		newline, err := f.tail()
		if err != nil {
			return err
		}
		if !newline {
			suffix = append([]byte{'\n'}, suffix...)
		}
	}
	return w.append(p, f, suffix)
}
