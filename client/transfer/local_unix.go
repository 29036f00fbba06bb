//go:build unix

package transfer

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nonBlock is for opening what may be a FIFO.
const nonBlock = syscall.O_NONBLOCK

// ownership adds what only this system knows of a file.
func ownership(info fs.FileInfo, e *Entry) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		e.UID, e.GID, e.Read = int(st.Uid), int(st.Gid), lastRead(st)
	}
}

// room is how many bytes there is room for where a path leads.
func room(p string) (int64, bool) {
	var s unix.Statfs_t
	if unix.Statfs(p, &s) != nil || s.Blocks == 0 {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}

func setTimes(f *os.File, read, changed time.Time) error {
	return unix.Futimes(int(f.Fd()), []unix.Timeval{unix.NsecToTimeval(read.UnixNano()), unix.NsecToTimeval(changed.UnixNano())})
}

// What says that there is no room: on the disk, and for the account.
const (
	errDisk  = syscall.ENOSPC
	errQuota = syscall.EDQUOT
)
