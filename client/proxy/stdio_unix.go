//go:build unix

package proxy

import (
	"os"
	"syscall"
)

// pollable is f as a file that Close frees from a Read, if it is a pipe or a socket, which nobody else reads or writes: the
// mode belongs to the open file and not to this process.
func pollable(f *os.File) *os.File {
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return f
	}
	fd := f.Fd() // which may make it block
	if syscall.SetNonblock(int(fd), true) != nil {
		return f
	}
	return os.NewFile(fd, f.Name())
}
