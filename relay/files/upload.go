package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"time"
	"unicode/utf8"

	client "github.com/pkg/sftp"

	"scrier/wire"
)

// Upload says which file is to come.
type Upload struct {
	Path      string
	Size      int64 // of the whole file, in bytes
	Offset    int64 // at which the bytes begin that come now
	Modified  time.Time
	Overwrite bool // the file that is there
}

// Progress is how far an upload is.
type Progress struct {
	Offset int64 `json:"offset"` // up to which the machine has the file, in bytes
	Whole  bool  `json:"whole"`  // it is all there, under its own name
}

// ahead is how much of a part file may be under way in no order when an upload breaks, in bytes: as many requests as a
// client sends at a time. So much of it is sent again.
const ahead = 64 * 32 << 10

// partEnd ends the names of part files.
const partEnd = ".scrier-part"

// maxPartName bounds the part of a target's name that its part file's has, in bytes: file systems take 255 in all.
const maxPartName = 200

// partOf is where a file is while it is not whole: beside its target, so that it can take its name. The size tells it from
// other files of that name.
func partOf(target string, size int64) string {
	folder, base := path.Split(target)
	sum := sha256.Sum256([]byte(base + "\x00" + strconv.FormatInt(size, 10)))
	if len(base) > maxPartName {
		base = base[:maxPartName]
		for len(base) > 0 && !utf8.RuneStart(target[len(folder)+len(base)]) {
			base = base[:len(base)-1]
		}
	}
	return folder + "." + base + "." + hex.EncodeToString(sum[:4]) + partEnd
}

// target is where a file is to come. A link that is there is followed.
func (m *Machine) target(name string) (string, fs.FileInfo, error) {
	name, err := check(name)
	if err != nil {
		return "", nil, err
	}
	switch base := path.Base(name); base {
	case ".", "..", "/":
		return "", nil, wire.Errorf(wire.BadRequest, "%s is no name for a file", wire.Printable(name))
	}
	info, err := m.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name, nil, nil
	case err == nil && kindOf(info.Mode()) == Link:
		if info, err = m.Stat(name); errors.Is(err, fs.ErrNotExist) {
			return "", nil, wire.Errorf(wire.Conflict, "%s is a link that leads nowhere", wire.Printable(name)).Advise("remove it first")
		}
		if err == nil {
			name, err = m.RealPath(name)
		}
	}
	if err != nil {
		return "", nil, m.fault(err, toWrite, name)
	}
	return name, info, nil
}

// Uploaded says how much of a broken upload is there.
func (m *Machine) Uploaded(name string, size int64) (Progress, error) {
	target, _, err := m.target(name)
	if err != nil {
		return Progress{}, err
	}
	info, err := m.Lstat(partOf(target, size))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Progress{}, nil
	case err != nil:
		return Progress{}, m.fault(err, toWrite, name)
	case !info.Mode().IsRegular() || info.Size() > size:
		return Progress{}, nil
	}
	return Progress{Offset: max(0, info.Size()-ahead)}, nil
}

// GiveUp removes what is there of a broken upload.
func (m *Machine) GiveUp(name string, size int64) error {
	target, _, err := m.target(name)
	if err != nil {
		return err
	}
	part := partOf(target, size)
	done, err := m.claim(part, name)
	if err != nil {
		return err
	}
	defer done()
	return m.clear(part)
}

// clear removes a part file, if there is one.
func (m *Machine) clear(part string) error {
	_, err := m.Lstat(part)
	if err == nil {
		err = m.Client.Remove(part)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return m.fault(err, toRemove, part)
}

// claim makes a part file one request's.
func (m *Machine) claim(part, name string) (done func(), err error) {
	m.files.mu.Lock()
	defer m.files.mu.Unlock()
	parts := m.channel.parts // as many as requests run
	if parts[part] {
		return nil, wire.Errorf(wire.Conflict, "%s is being uploaded already", wire.Printable(name)).Advise("wait for it, or cancel it")
	}
	parts[part] = true
	return func() {
		m.files.mu.Lock()
		defer m.files.mu.Unlock()
		delete(parts, part)
	}, nil
}

// Put writes the bytes that come into the part file of an upload. When the file is whole, it gets its name. What has come
// when body breaks off stays for the next time.
func (m *Machine) Put(ctx context.Context, u Upload, body io.Reader) (Progress, error) {
	if u.Size < 0 || u.Offset < 0 || u.Offset > u.Size {
		return Progress{}, wire.Errorf(wire.BadRequest, "offset is from 0 to size")
	}
	target, there, err := m.target(u.Path)
	if err != nil {
		return Progress{}, err
	}
	if there != nil {
		if there.IsDir() || !u.Overwrite {
			return Progress{}, taken(target, there)
		}
		if !there.Mode().IsRegular() {
			return Progress{}, wire.Errorf(wire.Conflict, "%s is there already, and is no file", wire.Printable(target)).Advise("take another name")
		}
	}
	part := partOf(target, u.Size)
	done, err := m.claim(part, u.Path)
	if err != nil {
		return Progress{}, err
	}
	defer done()
	file, err := m.openPart(part, target, u.Offset)
	if err != nil {
		return Progress{}, err
	}
	defer file.Close() // once more does nothing
	reached, err := m.fill(file, target, u, body)
	if err != nil || reached < u.Size {
		return Progress{Offset: reached}, err
	}
	if err := ctx.Err(); err != nil {
		return Progress{}, wire.Cause(ctx, wire.Cancelled)
	}
	if err := m.finish(file, part, target, u, there); err != nil {
		return Progress{}, err
	}
	return Progress{Offset: u.Size, Whole: true}, nil
}

// openPart opens a part file, which is as long as what is there of the upload.
func (m *Machine) openPart(part, target string, offset int64) (*client.File, error) {
	if offset == 0 {
		if err := m.clear(part); err != nil {
			return nil, err
		}
		file, err := m.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL) // nobody has laid a link there
		if errors.Is(err, fs.ErrNotExist) {
			return nil, m.fault(err, toWrite, path.Dir(target))
		}
		if err != nil {
			return nil, m.unwritten(err, target)
		}
		return file, nil
	}
	gone := wire.Errorf(wire.Conflict, "%s: so much of it is not there", wire.Printable(target)).Advise("ask how much is, and go on there")
	info, err := m.Lstat(part)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() < offset) {
		return nil, gone
	}
	if err != nil {
		return nil, m.fault(err, toWrite, target)
	}
	file, err := m.OpenFile(part, os.O_WRONLY)
	if err != nil {
		return nil, m.fault(err, toWrite, target)
	}
	if err := file.Truncate(offset); err != nil {
		_ = file.Close() // nothing was written
		return nil, m.unwritten(err, target)
	}
	return file, nil
}

// fill writes what comes, and says how far the file is then.
func (m *Machine) fill(file *client.File, target string, u Upload, body io.Reader) (int64, error) {
	if _, err := file.Seek(u.Offset, io.SeekStart); err != nil {
		return 0, m.fault(err, toWrite, target)
	}
	in := &coming{r: io.LimitReader(body, u.Size-u.Offset)}
	n, err := file.ReadFromWithConcurrency(in, 0)
	reached := u.Offset + n
	switch {
	case in.err != nil:
		return reached, &wire.Error{Code: wire.ViewerLost, Detail: wire.Printable(target) + ": the rest of it did not come", Err: in.err}
	case err != nil:
		fault := m.unwritten(err, target)
		if whole, serr := file.Seek(0, io.SeekCurrent); serr == nil {
			_ = file.Truncate(whole) // behind it may be holes; if it cannot be, so much is sent again, see ahead
		}
		return 0, fault
	}
	if n, err := body.Read(make([]byte, 1)); n > 0 || err == nil {
		return reached, wire.Errorf(wire.BadRequest, "%s: more came than its size says", wire.Printable(target))
	}
	return reached, nil
}

// coming tells errors of what comes from those of writing.
type coming struct {
	r   io.Reader
	err error
}

func (c *coming) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

const (
	fsyncExtension  = "fsync@openssh.com"
	renameExtension = "posix-rename@openssh.com"
)

// finish gives a whole file its name, with what is to be kept of the one that it replaces.
func (m *Machine) finish(file *client.File, part, target string, u Upload, there fs.FileInfo) error {
	if _, ok := m.HasExtension(fsyncExtension); ok {
		if err := file.Sync(); err != nil {
			return m.unwritten(err, target)
		}
	}
	info, err := file.Stat()
	if err != nil {
		return m.fault(err, toWrite, target)
	}
	if info.Size() != u.Size {
		return wire.Errorf(wire.Conflict, "%s: somebody else writes it as well", wire.Printable(target)).Advise("begin again")
	}
	if there != nil {
		if err := file.Chmod(there.Mode().Perm()); err != nil {
			return m.fault(err, toWrite, target)
		}
	}
	if err := file.Close(); err != nil {
		return m.unwritten(err, target)
	}
	if !u.Modified.IsZero() {
		if err := m.Chtimes(part, u.Modified, u.Modified); err != nil {
			return m.fault(err, toWrite, target)
		}
	}
	_, atomic := m.HasExtension(renameExtension)
	switch {
	case u.Overwrite && atomic:
		err = m.PosixRename(part, target)
	case u.Overwrite && there != nil:
		if err = m.Client.Remove(target); err == nil {
			err = m.Client.Rename(part, target)
		}
	default:
		err = m.Client.Rename(part, target)
	}
	if err != nil && !u.Overwrite {
		if there := m.exists(target); there != nil { // meanwhile
			return there
		}
	}
	return m.fault(err, toWrite, target)
}
