//go:build unix

package client

import (
	"io/fs"
	"os"
	"syscall"
)

// nonBlock is for opening what may be a FIFO.
const nonBlock = syscall.O_NONBLOCK

// ownFile says whether a file is this user's own, so that its mode is for this user to mend.
func ownFile(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}

// askToEnd lets a program put its affairs in order.
func askToEnd(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// lockFile waits until no other process has the lock, which ends when f is closed.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX) }
