package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	client "github.com/pkg/sftp"

	"scrier/wire"
)

// Content is a file that is read. It implements [io.ReadSeeker]; what is read in one go is asked for ahead.
type Content struct {
	Name     string // without folders
	Size     int64
	Modified time.Time

	machine *Machine
	file    *client.File
	at      int64
	ahead   *io.PipeReader // nil: nothing is asked for
	done    chan struct{}  // closed when nothing is asked for any more
	err     error
}

// Content opens a file for reading, to be closed.
func (m *Machine) Content(name string) (*Content, error) {
	name, err := check(name)
	if err != nil {
		return nil, err
	}
	file, info, err := m.open(name)
	if err != nil {
		return nil, err
	}
	return &Content{Name: path.Base(name), Size: info.Size(), Modified: info.ModTime().UTC(), machine: m, file: file}, nil
}

// open opens a regular file for reading: others may never answer.
func (m *Machine) open(name string) (*client.File, fs.FileInfo, error) {
	info, err := m.Stat(name)
	if err != nil {
		return nil, nil, m.fault(err, toRead, name)
	}
	if err := regular(info, name); err != nil {
		return nil, nil, err
	}
	file, err := m.Client.Open(name)
	if err != nil {
		return nil, nil, m.fault(err, toRead, name)
	}
	if info, err = file.Stat(); err == nil {
		err = regular(info, name) // it may be another one by now
	}
	if err != nil {
		_ = file.Close() // nothing was read
		return nil, nil, m.fault(err, toRead, name)
	}
	return file, info, nil
}

func regular(info fs.FileInfo, name string) error {
	switch {
	case info.IsDir():
		return wire.Errorf(wire.BadRequest, "%s is a folder", wire.Printable(name)).Advise("get it as an archive")
	case !info.Mode().IsRegular():
		return wire.Errorf(wire.BadRequest, "%s is no file with content: it is a device, a pipe or a socket", wire.Printable(name))
	}
	return nil
}

// ETag tells this content from others of the file, by its size and when it was changed.
func (c *Content) ETag() string { return fmt.Sprintf(`"%x-%x"`, c.Size, c.Modified.Unix()) }

// Read implements [io.Reader].
func (c *Content) Read(b []byte) (int, error) {
	if c.ahead == nil {
		if _, err := c.file.Seek(c.at, io.SeekStart); err != nil {
			return 0, err
		}
		r, w := io.Pipe()
		done := make(chan struct{})
		c.ahead, c.done = r, done
		go func() {
			defer close(done)
			err := c.machine.files.Panics.Contain("files", func() error {
				_, err := c.file.WriteTo(w)
				return err
			})
			_ = w.CloseWithError(err) // nil is the end
		}()
	}
	n, err := c.ahead.Read(b)
	c.at += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.machine.fault(err, toRead, c.Name)
		c.err = err
	}
	return n, err
}

// Seek implements [io.Seeker].
func (c *Content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.Size
	}
	if offset < 0 {
		return 0, wire.Errorf(wire.BadRequest, "nothing is before a file's begin")
	}
	if offset != c.at {
		c.stop()
		c.at = offset
	}
	return offset, nil
}

// Err is why reading broke off; nil: it did not.
func (c *Content) Err() error { return c.err }

// stop asks for nothing more.
func (c *Content) stop() {
	if c.ahead != nil {
		_ = c.ahead.Close() // gives no error
		<-c.done
		c.ahead = nil
	}
}

// Close ends reading.
func (c *Content) Close() error {
	c.stop()
	return c.file.Close()
}
