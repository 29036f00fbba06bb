package transfer

import (
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// nonBlock is for opening what may be a FIFO, which no file here is.
const nonBlock = 0

// ownership has nothing to add: this system has other owners.
func ownership(fs.FileInfo, *Entry) {}

// room is how many bytes there is room for where a path leads.
func room(p string) (int64, bool) {
	name, err := windows.UTF16PtrFromString(p)
	if err != nil {
		return 0, false
	}
	var free uint64
	if windows.GetDiskFreeSpaceEx(name, &free, nil, nil) != nil {
		return 0, false
	}
	return int64(min(free, 1<<62)), true
}

func setTimes(f *os.File, read, changed time.Time) error {
	r, c := windows.NsecToFiletime(read.UnixNano()), windows.NsecToFiletime(changed.UnixNano())
	return windows.SetFileTime(windows.Handle(f.Fd()), nil, &r, &c)
}

// What says that there is no room: on the disk, and for the account.
const (
	errDisk  = windows.ERROR_DISK_FULL
	errQuota = windows.ERROR_DISK_QUOTA_EXCEEDED
)
