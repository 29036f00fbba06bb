package worker

import (
	"errors"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

// isMissing says whether there is no such file or folder.
func isMissing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

// FileError gives an error of a system call the code that says most about it.
func FileError(err error) *wire.Error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	code := wire.Internal
	for c, errs := range map[wire.Code][]error{
		wire.KeyfileSymlink:     {unix.ELOOP, unix.EXDEV},
		wire.KeyfileNotRegular:  {unix.ENXIO, unix.EISDIR, unix.ENODEV},
		wire.KeyfileTooBig:      {unix.EFBIG},
		wire.KeyfileNoSpace:     {unix.ENOSPC, unix.EDQUOT},
		wire.KeyfileReadOnly:    {unix.EROFS},
		wire.KeyfileChanged:     {unix.EAGAIN}, // another program has a lease on it, as [file.settle] has
		wire.KeyfilePermissions: {unix.EACCES, unix.EPERM},
		wire.KeyfileTimeout:     {unix.EIO, unix.ESTALE, unix.ETIMEDOUT, unix.ENOTCONN, unix.EHOSTDOWN, unix.EHOSTUNREACH},
	} {
		for _, e := range errs {
			if errors.Is(err, e) {
				code = c
			}
		}
	}
	return wire.Errorf(code, "%w", err)
}
