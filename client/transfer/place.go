package transfer

import (
	"context"
	"io"
	"io/fs"
	"time"
)

// Entry is what a place says of a file or folder.
type Entry struct {
	Name          string
	Size          int64       // in bytes
	Mode          fs.FileMode // type and permissions
	Changed, Read time.Time   // to the second, or finer
	UID, GID      int         // -1: nobody says
}

// A Place has files. Paths are written as the place writes them. All methods may be called at the same time.
type Place interface {
	// Stat follows symbolic links, Lstat does not.
	Stat(path string) (Entry, error)
	Lstat(path string) (Entry, error)
	// List gives what is in a folder, links as such, and what they take of budget, in bytes. More than that is an error.
	List(path string, budget int64) ([]Entry, int64, error)
	// Real is the absolute path without symbolic links.
	Real(path string) (string, error)
	Join(folder, name string) string
	// Split parts a path before its last element, which is "." where there is none to speak of.
	Split(path string) (folder, name string)
	// Open opens a regular file to be read.
	Open(path string) (Reading, error)
	// Below is the place seen from a folder. Its paths are relative to it, and no name that [Place.Check] takes leads out
	// of it. Close ends its use.
	Below(folder string) (Folder, error)
	// Sum is the SHA-256 of the first n bytes of a file, if the place can tell without sending them: else [errors.ErrUnsupported].
	Sum(ctx context.Context, path string, n int64) ([]byte, error)
	// Direct opens what is no regular file, such as a device, to be written. It may wait for whoever reads it.
	Direct(path string) (Writing, error)
	// Lost is why nothing more can be had from here; nil: it can. End ends it, with whatever is under way.
	Lost() error
	End(err error)
	// Show is a path with the place in front of it, for people. It may have any bytes.
	Show(path string) string
}

// A Folder is where something is written to.
type Folder interface {
	Place
	// Where is the path of the folder in a place; ok is false if it is not in that one.
	Where(in Place) (path string, ok bool)
	// Check says whether a file may have this name here. It has no path.
	Check(name string) error
	// Same is what two names have in common that mean the same file here.
	Same(name string) string
	// Create makes a file, which must not be there yet. It has the mode from its beginning on, without what the place keeps from
	// new files (umask); its owner can write it.
	Create(path string, mode fs.FileMode) (Writing, error)
	// Reopen opens a file of one's own that is there, to be written.
	Reopen(path string) (Writing, error)
	// Writable says whether a file that is there, as an Entry says, may be written.
	Writable(path string, is Entry) error
	// Mkdir makes a folder, with its mode as that of Create; its owner can use it.
	Mkdir(path string, mode fs.FileMode) error
	Chmod(path string, mode fs.FileMode) error
	Chtimes(path string, read, changed time.Time) error
	Rename(from, to string) error
	Remove(path string) error
	// Ahead is how much of a file's end may be there before what stands in front of it, in bytes, when a connection was lost.
	Ahead() int64
	// Room is how many bytes there is room for; ok is false if nobody knows.
	Room(path string) (free int64, ok bool)
	Close() error
}

// Reading is an open file.
type Reading interface {
	// SendTo writes n bytes from an offset on, in order. n below 0 is all there are. It gives how many it wrote; fewer than n without
	// an error are all there are.
	SendTo(w io.Writer, from, n int64) (int64, error)
	// Reader gives the same as a reader; nil: only SendTo can.
	Reader(from, n int64) io.Reader
	Close() error
}

// Writing is an open file, at whose end Finish and Close stand.
type Writing interface {
	// TakeFrom writes what r has, n bytes at most, from an offset on, in order; n below 0: up to its end.
	TakeFrom(r io.Reader, from, n int64) (int64, error)
	// Writer gives the same as a writer; nil: only TakeFrom can.
	Writer(from int64) io.Writer
	Truncate(size int64) error
	// Finish sets what the file is to have, and has it lie on the disk for good where that can be asked for.
	Finish(f Finish) error
	Close() error
}

// Finish is what a file has in the end.
type Finish struct {
	Mode          fs.FileMode // permissions
	Exact         bool        // just these; else the file keeps what it was made with, if the owner is to have that
	Read, Changed time.Time   // zero: as they are
	UID, GID      int         // -1: as they are; whoever may not change them leaves them
}

// of is what becomes of the mode that a file has.
func (f Finish) of(has fs.FileMode) fs.FileMode {
	if f.Exact {
		return f.Mode.Perm()
	}
	return has.Perm() &^ (0o700 &^ f.Mode.Perm())
}
