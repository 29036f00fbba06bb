package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"scrier/relay"
)

const (
	littleSpace = 1 << 30   // bytes: below it there is a warning
	noSpace     = 128 << 20 // the audit log grows by a few MB a day; without room no session opens
)

// state looks at the relay's directory.
func (e *examiner) state(context.Context) []Finding {
	const name = "state directory"
	if e.far {
		return group(name, Finding{What: "directory", Status: Fail, Detail: e.State + " is the state of an agent, and not of a relay",
			Hint: "name the relay's state directory with --state, or a relay elsewhere with --relay; how the agent is, its log says, and `scrier envoys show` at its relay"})
	}
	if !e.here {
		f := Finding{What: "directory", Status: Skip, Detail: "there is no relay on this machine: no " + e.State}
		if e.Agent != "" {
			f.Detail += "; an agent's state is in " + e.Agent
		} else if e.Relay == "" {
			f.Status, f.Hint = Fail, "name the relay's state directory with --state, or a relay elsewhere with --relay"
		}
		return group(name, f)
	}
	dir, err := os.Stat(e.State)
	if err != nil || !dir.IsDir() {
		return group(name, Finding{What: "directory", Status: Fail, Detail: fmt.Sprintf("%s cannot be read: %v", e.State, err), Hint: "run this as root or as the relay's user"})
	}
	return group(name, e.modes(dir), e.whole(), e.space(), e.auditHead())
}

// agents says whether a directory is an agent's state, and no relay's.
func agents(dir string) bool {
	there := func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	}
	return (there("enrolment.json") || there("agent.yaml")) && !there("ca.crt") && !there("state.db") && !there("server.yaml")
}

// owner is who owns a file.
func owner(i os.FileInfo) uint32 { return i.Sys().(*syscall.Stat_t).Uid }

// modes checks that nobody else may read or write the state.
func (e *examiner) modes(dir os.FileInfo) Finding {
	f := Finding{What: "permissions", Status: OK, Detail: fmt.Sprintf("%s is %04o, owned by uid %d", e.State, dir.Mode().Perm(), owner(dir))}
	if dir.Mode().Perm()&0o077 != 0 {
		f.Status, f.Hint = Warn, "chmod 700 "+e.State
		if dir.Mode().Perm()&0o022 != 0 {
			f.Status = Fail
			f.Detail += ": others can put their own files there, so the relay does not start"
		}
	}
	for _, name := range []string{"ca.key", "audit.key", "state.db", "audit.db", "audit.db.head"} {
		path := filepath.Join(e.State, name)
		i, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // made at the first start
		case err != nil:
			return Finding{What: f.What, Status: Fail, Detail: err.Error(), Hint: "run this as root or as the relay's user"}
		case i.Mode().Perm()&0o077 != 0:
			return Finding{What: f.What, Status: Fail, Detail: fmt.Sprintf("%s is %04o: others on this machine can use it, so the relay does not start", path, i.Mode().Perm()),
				Hint: "chmod 600 " + path + "; if somebody may have read a key, set the relay up anew"}
		case owner(i) != owner(dir):
			return Finding{What: f.What, Status: Fail, Detail: fmt.Sprintf("%s belongs to uid %d, the directory to uid %d", path, owner(i), owner(dir)),
				Hint: "give all of it to the relay's user with chown; it happens when a relay is once started as root"}
		}
	}
	path := filepath.Join(e.State, "server.yaml")
	if i, err := os.Stat(path); err == nil && i.Mode().Perm()&0o022 != 0 {
		return Finding{What: f.What, Status: Fail, Detail: fmt.Sprintf("%s is %04o: others on this machine can change it, so the relay does not start", path, i.Mode().Perm()),
			Hint: "chmod go-w " + path}
	}
	return f
}

// whole checks that no part of the state is missing.
func (e *examiner) whole() Finding {
	f := Finding{What: "files", Status: OK, Detail: "all are there"}
	missing, first := relay.MissingState(e.State)
	switch {
	case first:
		f.Status, f.Detail = Skip, "there are none yet: they are made at the relay's first start"
	case len(missing) > 0:
		is, it := "is", "it"
		if len(missing) > 1 {
			is, it = "are", "them"
		}
		f.Status, f.Detail = Fail, strings.Join(missing, " and ")+" "+is+" missing or empty, so the relay does not start"
		f.Hint = "put " + it + " back from a backup; docs/audit.md says what to do when it is the audit log's"
	}
	return f
}

func (e *examiner) space() Finding {
	f := Finding{What: "free space", Status: OK}
	var fs unix.Statfs_t
	if err := unix.Statfs(e.State, &fs); err != nil {
		return Finding{What: f.What, Status: Warn, Detail: "cannot be told: " + err.Error()}
	}
	free := fs.Bavail * uint64(fs.Bsize)
	f.Detail = fmt.Sprintf("%.1f GiB", float64(free)/(1<<30))
	f.Status = spaceStatus(free, fs.Files, fs.Ffree)
	if fs.Files > 0 && fs.Ffree < fewFiles {
		f.Detail += fmt.Sprintf(", room for %d files", fs.Ffree)
	}
	if f.Status != OK {
		f.Hint = "make room: a relay that cannot write its audit log opens no session (audit_unavailable)"
	}
	return f
}

const fewFiles = 1000 // free inodes

func spaceStatus(free, files, freeFiles uint64) Status {
	switch {
	case free < noSpace || files > 0 && freeFiles < 10:
		return Fail
	case free < littleSpace || files > 0 && freeFiles < fewFiles:
		return Warn
	}
	return OK
}

// auditHead checks that the audit log is there with its anchor. `scrier audit verify` checks what is in
// it.
func (e *examiner) auditHead() Finding {
	f := Finding{What: "audit log", Status: OK, Detail: "there, with its head; `scrier audit verify` checks what is in it"}
	if _, err := os.Stat(filepath.Join(e.State, "audit.db")); errors.Is(err, fs.ErrNotExist) {
		if _, first := relay.MissingState(e.State); !first {
			return Finding{What: f.What, Status: Skip, Detail: "it is gone"} // the files say what to do
		}
		return Finding{What: f.What, Status: Skip, Detail: "there is none yet: it is made at the relay's first start"}
	}
	head, err := os.Open(filepath.Join(e.State, "audit.db.head"))
	if err == nil {
		defer head.Close()
		_, err = head.Read(make([]byte, 1))
	}
	if err != nil {
		f.Status, f.Detail = Fail, "its head cannot be read: "+err.Error()
		f.Hint = "without it nobody can tell whether the log is older than it was, so the relay does not start; put it back, or see docs/audit.md"
	}
	return f
}
