package relay

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"scrier/certs"
	"scrier/relay/boltfile"
	"scrier/wire"
)

// privateState are the files of a state directory that nobody else may read or write; ca.crt is no secret,
// and of no use without its key. wholeState are those that are all there once a relay has started.
func privateState() []string {
	return []string{"ca.key", "state.db", "audit.key", "audit.db", "audit.db.head"}
}
func wholeState() []string { return append(privateState(), "ca.crt") }

// firstStart is there while a relay makes its state. What a first start that did not come to its end has
// left may be made anew; a state that was whole once may not.
const firstStart = "first-start"

// MissingState is what a state directory lacks that held a whole state once. first says that it did not.
func MissingState(dir string) (missing []string, first bool) {
	for _, name := range wholeState() {
		if !holds(dir, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == len(wholeState()) || there(dir, firstStart) {
		return nil, true
	}
	return missing, false
}

func there(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return !errors.Is(err, fs.ErrNotExist)
}

// holds says that a file is there with something in it: an empty one is what a full disk leaves, and a store would begin
// anew in it.
func holds(dir, name string) bool {
	info, err := os.Lstat(filepath.Join(dir, name))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return info.Size() > 0
}

// checkState looks at a state directory before anything is written there: it must be private, and whole or
// empty. Of the audit log's files package audit says what is missing, as that may be accepted.
func checkState(dir string) (first bool, err error) {
	err = certs.CheckTrusted(dir)
	for _, name := range privateState() {
		err = errors.Join(err, unlessMissing(certs.CheckPrivate(filepath.Join(dir, name))))
	}
	err = errors.Join(err, unlessMissing(certs.CheckTrusted(filepath.Join(dir, "server.yaml"))))
	if err != nil {
		return false, err
	}
	missing, first := MissingState(dir)
	missing = slices.DeleteFunc(missing, func(name string) bool { return strings.HasPrefix(name, "audit.") })
	if len(missing) > 0 {
		return false, wire.Errorf(wire.BadConfig, "%s holds half a state: %s is missing or empty; put it back from a backup, or set the relay up anew with an empty directory", dir, strings.Join(missing, " and "))
	}
	return first, nil
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// beginState prepares the directory, and says whether the state in it is to be made.
func beginState(dir string) (first bool, err error) {
	if err := certs.MakeState(dir); err != nil {
		return false, err
	}
	if first, err = checkState(dir); err != nil || !first {
		return false, err
	}
	if there(dir, "enrolment.json") { // of an agent; a CA beside it would be nobody's intention
		return false, wire.Errorf(wire.BadConfig, "%s is the state of an agent, and not of a relay", dir).Advise("name another directory with --state")
	}
	if err := certs.WriteFile(filepath.Join(dir, firstStart), nil); err != nil {
		return false, &wire.Error{Code: wire.BadConfig, Detail: err.Error(), Err: err}
	}
	if !there(dir, "ca.key") { // of a CA that was being made there may be the other half, which nobody knows yet
		err = unlessMissing(os.Remove(filepath.Join(dir, "ca.crt")))
	}
	return true, err
}

// endState says that the state is whole now. It must not become a first start again after a power cut: what
// is missing by then would be made anew.
func endState(dir string) error {
	err := os.Remove(filepath.Join(dir, firstStart))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = boltfile.SyncDir(dir)
	}
	return err
}
