package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/pkg/sftp"
)

var (
	errNotRegular = errors.New("it is no regular file")
	errIsFolder   = errors.New("it is a folder: -r copies folders")
	errFolderHere = errors.New("a folder has this name already")
	errFileHere   = errors.New("a file has this name already")
	errDangling   = errors.New("it is a symbolic link that leads nowhere")
	errLoop       = errors.New("it is a symbolic link to a folder above it")
	errDeep       = fmt.Errorf("folders lie more than %d deep in each other", maxDepth)
	errShorter    = errors.New("it became shorter while it was copied")
	errClash      = errors.New("another of the sources has the same name")
	errPart       = errors.New("it is the part that an unfinished copy left")
	errStolen     = errors.New("somebody else copies to the same file: try again when that has ended")
	errInside     = errors.New("the target is inside the source")
)

// sideError is an error of the source or the target, with its path.
type sideError struct {
	path   string
	err    error
	target bool
}

func (e *sideError) Error() string { return e.path + ": " + e.err.Error() }
func (e *sideError) Unwrap() error { return e.err }

// roomError says that a disk is full, or will be.
type roomError struct {
	needs, free int64
}

func (e *roomError) Error() string {
	return fmt.Sprintf("there is no room for it: %s are needed, and %s are free", Bytes(e.needs), Bytes(e.free))
}

// Reason is what an error means, for people. It may have bytes of the far side.
func Reason(err error) string {
	if e, ok := errors.AsType[*sideError](err); ok {
		return e.path + ": " + Reason(e.err)
	}
	switch {
	case errors.Is(err, errDisk):
		return "the disk is full"
	case errors.Is(err, errQuota):
		return "the disk quota is used up"
	case errors.Is(err, syscall.EROFS):
		return "the file system is read-only"
	case errors.Is(err, syscall.ENAMETOOLONG):
		return "the name is too long"
	case errors.Is(err, syscall.EFBIG):
		return "the file is too large for that place"
	case errors.Is(err, syscall.ELOOP):
		return errLoop.Error()
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file or folder"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	}
	if s, ok := errors.AsType[*sftp.StatusError](err); ok && s.Code == uint32(sftp.ErrSSHFxFailure) {
		return "the machine's SSH server says that it fails, and not why: a disk quota, a limit or its file system may be the reason"
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		if strings.Contains(e.Err.Error(), "escapes from parent") { // package os does not export it
			return "a symbolic link leads out of the target folder: name what it leads to as the target instead"
		}
		return e.Err.Error()
	}
	return err.Error()
}

// full says that there is no room left.
func full(err error) bool {
	_, ok := errors.AsType[*roomError](err)
	return ok || errors.Is(err, errDisk) || errors.Is(err, errQuota)
}

// Bytes is a size as people write it.
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, unit := float64(n)/(1<<10), 0
	for f >= 1000 && unit < len(units)-1 {
		f /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, units[unit])
}
