package certs

import (
	"fmt"
	"io/fs"
	"os"

	"scrier/wire"
)

// CheckPrivate says why a file of the program's own state is not safe to use, by the rules of ssh for its
// keys: it belongs to root or to the user that this program runs as, and is nobody else's to read or write.
// The error is [wire.BadConfig] and has the command that mends it; of a file that is not there it is
// [fs.ErrNotExist].
func CheckPrivate(path string) error { return check(path, 0o077) }

// CheckTrusted is CheckPrivate for a directory, or a file without secrets: others may read it, but not put
// files there or write to it.
func CheckTrusted(path string) error { return check(path, 0o022) }

func check(path string, others fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return checkInfo(path, info, others)
}

// checkInfo says what of a file is not as it should be; others is what nobody else may have of its mode.
func checkInfo(path string, info fs.FileInfo, others fs.FileMode) error {
	mode := info.Mode()
	danger, mend := "others on this machine can change it", "chmod go-w"
	switch {
	case mode.IsDir() && others&0o044 != 0:
		return wire.Errorf(wire.BadConfig, "%s is a folder, where a file belongs: move it away, or put the file back from a backup", path)
	case mode.IsDir():
		danger, mend = "others on this machine can put their own files there", "chmod 700"
	case !mode.IsRegular():
		return wire.Errorf(wire.BadConfig, "%s is not a regular file", path)
	case others&0o044 != 0 && mode&0o022 == 0:
		danger, mend = "others on this machine can read it", "chmod 600"
	case others&0o044 != 0:
		danger, mend = "others on this machine can read or change it", "chmod 600"
	}
	if hasModes && mode.Perm()&others != 0 {
		return wire.Errorf(wire.BadConfig, "%s has mode %04o: %s; if you are sure that nobody did, run `%s %s`", path, mode.Perm(), danger, mend, path)
	}
	if owner, self := ownerOf(info), os.Geteuid(); owner != 0 && owner != self {
		return wire.Errorf(wire.BadConfig, "%s belongs to uid %d, and this runs as uid %d: run it as that user, or `chown %d %s`", path, owner, self, self, path)
	}
	return nil
}

// readPrivate reads a file that holds a private key.
func readPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonBlock, 0) // a FIFO of that name must not hold the program
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkInfo(path, info, 0o077); err != nil {
		return nil, err
	}
	if info.Size() > maxPEM {
		return nil, wire.Errorf(wire.BadConfig, "%s has %d bytes, which no key file has", path, info.Size())
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}
