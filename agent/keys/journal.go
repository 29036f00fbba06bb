package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/account"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// record is what the journal knows of one ephemeral line: enough to take it away after a crash.
// It is written to disk before the line, and removed after the line.
type record struct {
	Session wire.SessionID `json:"session"`
	Login   string         `json:"login"`
	UID     uint32         `json:"uid"`
	File    string         `json:"file"`
	Mode    Mode           `json:"mode"`
	Time    time.Time      `json:"time"`
	Expiry  time.Time      `json:"expiry"`
	Line    string         `json:"line"`
	Size    int64          `json:"size"` // of the file before the line: an incomplete append begins there
	Tail    bool           `json:"tail"` // before the line the file ended in a newline, or was empty

	file *os.File // holds a flock while the session's process lives
}

// target is the file of a login.
type target struct {
	uid  uint32
	file string
}

func (r *record) target() target { return target{r.UID, r.File} }

// journal is a folder with one file for each record.
type journal struct{ dir string }

const maxRecord = 16 << 10

func openJournal(dir string) (journal, error) {
	if err := makeFolder(dir, 0o700); err != nil {
		return journal{}, fmt.Errorf("open journal: %w", err)
	}
	return journal{dir}, nil
}

func (j journal) path(id wire.SessionID) string { return filepath.Join(j.dir, id.String()+".json") }

// create puts a new record on disk and keeps its lock in r. A session that has a record already is
// refused: what that record knows would be lost, and with it the line.
func (j journal) create(r *record) error {
	err := j.put(r, os.O_EXCL, func(from, to string) error {
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot do that
			if _, err = os.Lstat(to); err == nil {
				return unix.EEXIST
			}
			return os.Rename(from, to)
		}
		return err
	})
	if errors.Is(err, os.ErrExist) {
		return wire.Errorf(wire.Conflict, "session %s has a key on this machine already", r.Session)
	}
	return journalError(err)
}

// write puts r on disk, in place of an earlier version, and keeps its lock in r.
func (j journal) write(r *record) error { return journalError(j.put(r, os.O_TRUNC, os.Rename)) }

func journalError(err error) error {
	if err != nil {
		return wire.Errorf(wire.Internal, "write journal: %w", err)
	}
	return nil
}

// put writes a new file, opened with flag too, and gives it its place.
func (j journal) put(r *record, flag int, place func(from, to string) error) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := filepath.Join(j.dir, "."+r.Session.String()+".new")
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|flag, 0o600)
	if err != nil {
		return err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_, err = file.Write(text)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = place(name, j.path(r.Session))
	}
	if err == nil {
		err = syncFolder(j.dir)
	}
	if err != nil {
		os.Remove(name)
		file.Close()
		return err
	}
	r.release()
	r.file = file
	return nil
}

// drop removes the record and its lock.
func (j journal) drop(r *record) error {
	defer r.release()
	if err := os.Remove(j.path(r.Session)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove journal entry: %w", err)
	}
	return nil
}

func (r *record) release() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// abandoned returns the records whose process is gone, and locks them. Records that cannot be read are
// counted in broken: nobody can act on them. They are removed when their lines have expired at now; until
// then they tell a sweep that it may have missed a file.
func (j journal) abandoned(now time.Time) (records []*record, broken int, err error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, 0, fmt.Errorf("read journal: %w", err)
	}
	end := time.Now().Add(dyingTime)
	for _, entry := range entries {
		full := filepath.Join(j.dir, entry.Name())
		file, err := os.OpenFile(full, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if !lockUntil(file, end) {
			file.Close()
			continue // its session lives, here or in another process
		}
		r, err := readRecord(file, strings.TrimSuffix(entry.Name(), ".json"))
		if err != nil {
			half := strings.HasSuffix(entry.Name(), ".new") // its line was never written
			if !half {
				broken++
			}
			if half || expired(file, now) {
				os.Remove(full)
			}
			file.Close()
			continue
		}
		r.file = file
		records = append(records, r)
	}
	return records, broken, nil
}

// expired says that the line of the record in file is over, whatever the record says.
func expired(file *os.File, now time.Time) bool {
	info, err := file.Stat()
	return err == nil && now.Sub(info.ModTime()) > maxLifetime
}

// files are the files that the journal has records of, whether their sessions live or not. unsure
// says that there are records that cannot be read.
func (j journal) files() (all map[target]bool, unsure bool, err error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, false, fmt.Errorf("read journal: %w", err)
	}
	all = map[target]bool{}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".new") {
			continue // its line is not written yet, or there is an older record of it
		}
		file, err := os.OpenFile(filepath.Join(j.dir, entry.Name()), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue // its session has just ended
		}
		if err != nil {
			unsure = true
			continue
		}
		r, err := readRecord(file, strings.TrimSuffix(entry.Name(), ".json"))
		file.Close()
		if err != nil {
			unsure = true
			continue
		}
		all[r.target()] = true
	}
	return all, unsure, nil
}

// dyingTime is how long to wait for the lock of a record. An agent that was killed while it started
// a worker ends, and gives up its locks, only when the worker has started.
const dyingTime = 250 * time.Millisecond

// lockUntil tries to take the flock until end, and at least once.
func lockUntil(file *os.File, end time.Time) bool {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func readRecord(file io.Reader, name string) (*record, error) {
	text, err := io.ReadAll(io.LimitReader(file, maxRecord+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxRecord {
		return nil, errors.New("too long")
	}
	var r record
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, err
	}
	e, ok := line.ParseEphemeral(r.Line, line.Zone{Local: time.Local, UTC: true})
	if !ok || e.Session != r.Session || r.Session.String() != name || !filepath.IsAbs(r.File) || !account.ValidLogin(r.Login) || r.Size < 0 {
		return nil, errors.New("not a record")
	}
	return &r, nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
