package account

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"scrier/agent/program"
	"scrier/wire"
)

const (
	maxEntry = 64 << 10 // one entry; a shell group of some thousand members fits
	maxList  = 16 << 20 // all entries; 50,000 users of a directory have about 4 MiB
	maxDefs  = 1 << 20  // login.defs

	noSuchKey = 2 // getent's status

	defaultUIDMin = 1000 // where login.defs has no UID_MIN
)

// Database is where accounts are looked up. Tests make their own; everybody else takes [System].
// It may be used at the same time.
type Database struct {
	Getent string // the program; empty: the files in Etc are read
	Etc    string // "/etc"
}

// System is the database of this machine.
func System() Database {
	return Database{
		Getent: program.Find("getent", "/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin", "/run/current-system/sw/bin"), // the last on NixOS
		Etc:    "/etc",
	}
}

// Login is the account with this name. ok is false where there is none, or its entry is not valid.
func (d Database) Login(ctx context.Context, name string) (a Account, ok bool, err error) {
	if !ValidLogin(name) {
		return Account{}, false, nil
	}
	line, err := d.entry(ctx, "passwd", 0, name)
	if err != nil {
		return Account{}, false, fmt.Errorf("look up login %s: %w", name, err)
	}
	a, ok = parsePasswd(line)
	if !ok || a.Login != name {
		return Account{}, false, nil
	}
	return a, true, nil
}

// UID is the account with this uid, the first where several share it.
func (d Database) UID(ctx context.Context, uid uint32) (a Account, ok bool, err error) {
	line, err := d.entry(ctx, "passwd", 2, strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return Account{}, false, fmt.Errorf("look up uid %d: %w", uid, err)
	}
	a, ok = parsePasswd(line)
	if !ok || a.UID != uid {
		return Account{}, false, nil
	}
	return a, true, nil
}

// All are the accounts that the machine lists, of each name the first. A directory may have more
// users than it lists; those are found by [Database.Login] alone.
func (d Database) All(ctx context.Context) ([]Account, error) {
	text, err := d.read(ctx, maxList, "passwd")
	if err != nil {
		return nil, fmt.Errorf("list logins: %w", err)
	}
	var all []Account
	seen := map[string]bool{}
	for line := range bytes.Lines(text) {
		if a, ok := parsePasswd(string(bytes.TrimSuffix(line, []byte{'\n'}))); ok && !seen[a.Login] {
			seen[a.Login] = true
			all = append(all, a)
		}
	}
	return all, nil
}

// Group is the gid of a group.
func (d Database) Group(ctx context.Context, name string) (gid uint32, ok bool, err error) {
	if !ValidLogin(name) {
		return 0, false, nil
	}
	line, err := d.entry(ctx, "group", 0, name)
	if err != nil {
		return 0, false, fmt.Errorf("look up group %s: %w", name, err)
	}
	f := strings.Split(line, ":")
	if len(f) != 4 || f[0] != name {
		return 0, false, nil
	}
	gid, ok = parseID(f[2])
	return gid, ok, nil
}

// UIDMin is where regular users begin: UID_MIN of login.defs(5).
func (d Database) UIDMin() uint32 {
	text, err := readFile(filepath.Join(d.Etc, "login.defs"), maxDefs)
	if err != nil {
		return defaultUIDMin
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "UID_MIN" {
			if n, ok := parseID(f[1]); ok && n > 0 {
				return n
			}
		}
	}
	return defaultUIDMin
}

// entry is the line of a database that has key in its field, and empty if none has. The caller
// checks that the entry is about the key.
func (d Database) entry(ctx context.Context, database string, field int, key string) (string, error) {
	if d.Getent == "" {
		text, err := readFile(filepath.Join(d.Etc, database), maxList)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSuffix(line, "\n")
			if f := strings.Split(line, ":"); len(f) > field && f[field] == key && len(line) <= maxEntry {
				return line, nil
			}
		}
		return "", nil
	}
	text, err := d.read(ctx, maxEntry, database, key)
	if err != nil {
		return "", err
	}
	line, more, _ := bytes.Cut(text, []byte{'\n'})
	if len(more) > 0 {
		return "", errors.New("getent answers with more than one entry")
	}
	return string(line), nil
}

// read is what getent prints, or without getent the file in /etc. keys must not begin with a dash.
func (d Database) read(ctx context.Context, limit int64, database string, keys ...string) ([]byte, error) {
	if d.Getent == "" {
		return readFile(filepath.Join(d.Etc, database), limit)
	}
	a, err := program.Ask(ctx, limit, append([]string{d.Getent, database}, keys...)...)
	if err != nil {
		return nil, err
	}
	switch a.Status {
	case 0:
		return a.Stdout, nil
	case noSuchKey:
		return nil, nil
	}
	return nil, statusError(a.Status)
}

// statusError is a status of getent that is no answer.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("getent ends with status %d", int(e)) }

// readFile reads a file of the system of at most limit bytes. It never waits for a FIFO.
func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", wire.Printable(name), limit)
	}
	return text, nil
}
