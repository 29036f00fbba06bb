package sftp

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// The codes of SSH_FXP_STATUS.
const (
	fxOK               = 0
	fxEOF              = 1
	fxNoSuchFile       = 2
	fxPermissionDenied = 3
	fxFailure          = 4
	fxBadMessage       = 5
	fxUnsupported      = 8
)

// errUnsupported is for what this server does not know.
var errUnsupported = unix.ENOSYS

// status is the code of an error, as sftp-server chooses it, and its text. Version 3 has one code, "failure", for a
// full disk, a folder that is not empty and much else: the text says which.
func status(err error) (code uint32, text string) {
	var errno unix.Errno
	switch {
	case err == nil:
		return fxOK, "Success"
	case errors.Is(err, io.EOF):
		return fxEOF, "End of file"
	case !errors.As(err, &errno):
		return fxFailure, err.Error()
	}
	text = errno.Error()
	switch errno {
	case unix.ENOENT, unix.ENOTDIR, unix.EBADF, unix.ELOOP:
		return fxNoSuchFile, text
	case unix.EPERM, unix.EACCES, unix.EFAULT:
		return fxPermissionDenied, text
	case unix.ENAMETOOLONG, unix.EINVAL:
		return fxBadMessage, text
	case unix.ENOSYS:
		return fxUnsupported, "operation unsupported"
	}
	return fxFailure, text
}
