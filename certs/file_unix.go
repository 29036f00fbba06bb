//go:build unix

package certs

import (
	"io/fs"
	"os"
	"syscall"
)

const (
	hasModes = true
	nonBlock = syscall.O_NONBLOCK
)

// ownerOf is the uid that a file belongs to.
func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// syncDir makes durable what was renamed in a directory.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
