package client

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// nonBlock is for opening what may be a FIFO, which no file here is.
const nonBlock = 0

// ownFile is false: a file has no mode here that could be wrong.
func ownFile(fs.FileInfo) bool { return false }

// askToEnd ends a program: it can't be asked.
func askToEnd(p *os.Process) error { return p.Kill() }

// lockFile waits until no other process has the lock, which ends when f is closed.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, new(windows.Overlapped))
}
