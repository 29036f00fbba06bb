package files

import (
	"context"
	"errors"
	"io/fs"
	"path"

	client "github.com/pkg/sftp"

	"scrier/wire"
)

// aim is what was to be done with a file.
type aim struct {
	what  string // in words, behind "may not"
	right wire.Right
}

var (
	toList   = aim{"list it", wire.MayDownload}
	toRead   = aim{"read it", wire.MayDownload}
	toWrite  = aim{"write it", wire.MayUpload}
	toMake   = aim{"make it", wire.MayUpload}
	toRename = aim{"rename it", wire.MayUpload}
	toRemove = aim{"remove it", wire.MayUpload}
)

// statuses of version 3 that package sftp of the client does not name as errors.
const (
	failure     = 4
	badMessage  = 5
	unsupported = 8
)

// fault is what the API says of an error of the machine's.
func (m *Machine) fault(err error, to aim, name string) error {
	if err == nil {
		return nil
	}
	if _, coded := errors.AsType[*wire.Error](err); coded {
		return err
	}
	name = wire.Printable(name)
	status, _ := errors.AsType[*client.StatusError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.Errorf(wire.NotFound, "%s: there is no such file or folder", name).Advise("look at the folder again")
	case errors.Is(err, fs.ErrPermission) && !m.may(to.right):
		return wire.Errorf(wire.ChannelNotAllowed, "%s: this session does not allow %s", name, to.right)
	case errors.Is(err, fs.ErrPermission):
		return wire.Errorf(wire.FileDenied, "%s: the login may not %s", name, to.what)
	case errors.Is(err, context.Canceled):
		return &wire.Error{Code: wire.Cancelled, Err: err}
	case status != nil && status.Code == badMessage:
		return wire.Errorf(wire.BadRequest, "%s: the machine takes no such name", name)
	case status != nil && status.Code == unsupported:
		return wire.Errorf(wire.FileFailed, "%s: the machine's SFTP server cannot do this", name)
	case status != nil:
		return wire.Errorf(wire.FileFailed, "%s: the machine could not %s", name, to.what)
	}
	if why := m.channel.broken(err); why != nil {
		return why
	}
	return &wire.Error{Code: wire.FileFailed, Detail: name + ": the machine could not " + to.what, Err: err}
}

func (m *Machine) may(r wire.Right) bool {
	if r == wire.MayUpload {
		return m.channel.rights.Upload
	}
	return m.channel.rights.Download
}

// plenty is how much free space says that a disk is not full, in bytes: a write that failed was not larger.
const plenty = 1 << 20

// unwritten is fault for what a file did not take. Version 3 has no word for a disk that is full, so the machine is asked how
// much is free.
func (m *Machine) unwritten(err error, name string) error {
	if status, ok := errors.AsType[*client.StatusError](err); !ok || status.Code != failure {
		return m.fault(err, toWrite, name)
	}
	printable := wire.Printable(name)
	disk, serr := m.StatVFS(path.Dir(name))
	switch {
	case serr != nil:
		return wire.Errorf(wire.FileNoSpace, "%s: the machine took no more of it: the disk or the login's quota may be full", printable)
	case disk.Bavail*disk.Frsize < plenty || disk.Files > 0 && disk.Favail == 0:
		return wire.Errorf(wire.FileNoSpace, "%s: the machine's disk is full", printable)
	}
	return wire.Errorf(wire.FileNoSpace, "%s: the machine took no more of it, and its disk has %d MiB free: the login's quota may be used up, or the file is larger than it may be",
		printable, disk.Bavail*disk.Frsize>>20)
}
