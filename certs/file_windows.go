package certs

import (
	"io/fs"
	"os"
)

// A Windows file has no mode and no uid but an access list, which a file in the user's profile inherits: the
// user, administrators and the system.
const (
	hasModes = false
	nonBlock = 0
)

func ownerOf(fs.FileInfo) int { return os.Geteuid() }

// syncDir has nothing to do: the system has no such call, and NTFS writes its own journal.
func syncDir(string) error { return nil }
