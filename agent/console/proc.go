package console

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"scrier/wire"
)

const (
	maxPIDs    = 1 << 16  // processes that are looked at
	maxOfUser  = 2000     // of one user, so that no user can make the search slow for all
	maxEnviron = 64 << 10 // bytes of one process's environment that are read
	maxArgs    = 8 << 10  // and of its command line
	maxAuths   = 4        // files that are tried as XAUTHORITY
	maxPath    = 1024
)

// process is what is known of a process.
type process struct {
	pid  int
	uid  uint32
	name string // the last part of its first argument, or else the kernel's name of it
	args []string

	// From its environment. The user can write anything there, so what is not valid is left empty.
	display, authority string
	wayland, runtime   string
}

// processes lists the processes of those users for whom serve returns true. blind says that there
// were some whose environment this agent is not allowed to read.
func processes(ctx context.Context, serve func(uid uint32) bool) (all []process, blind bool) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, true
	}
	defer d.Close()
	names, err := d.Readdirnames(maxPIDs)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, true
	}
	of := map[uint32]int{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return all, blind
		}
		i, err := os.Stat(filepath.Join("/proc", name))
		if err != nil {
			continue // it has ended
		}
		st, ok := i.Sys().(*syscall.Stat_t)
		if !ok || !serve(st.Uid) || of[st.Uid] >= maxOfUser {
			continue
		}
		of[st.Uid]++
		p := process{pid: pid, uid: st.Uid}
		p.identify()
		if err := p.readEnviron(); errors.Is(err, fs.ErrPermission) {
			blind = true
		}
		all = append(all, p)
	}
	return all, blind
}

func (p *process) file(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.pid), name)
}

func (p *process) identify() {
	if text, err := readUpTo(p.file("cmdline"), maxArgs); err == nil && len(text) > 0 {
		p.args = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
		p.name = filepath.Base(p.args[0])
		return
	}
	text, err := readUpTo(p.file("comm"), 64)
	if err == nil {
		p.name = strings.TrimSpace(string(text))
	}
}

func (p *process) readEnviron() error {
	text, err := readUpTo(p.file("environ"), maxEnviron)
	if err != nil {
		return err
	}
	for v := range strings.SplitSeq(string(text), "\x00") {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case name == "DISPLAY" && p.display == "" && validDisplay(value):
			p.display = number10(value)
		case name == "XAUTHORITY" && p.authority == "" && path(value):
			p.authority = value
		case name == "WAYLAND_DISPLAY" && p.wayland == "" && validWayland(value):
			p.wayland = value
		case name == "XDG_RUNTIME_DIR" && p.runtime == "" && path(value):
			p.runtime = value
		}
	}
	return nil
}

// validDisplay says whether s is a display of this machine, and not one that ssh forwards
// (localhost:10.0).
func validDisplay(s string) bool {
	s, ok := strings.CutPrefix(s, ":")
	if !ok {
		return false
	}
	s, screen, dot := strings.Cut(s, ".")
	digits := func(s string, most int) bool {
		return s != "" && len(s) <= most && strings.Trim(s, "0123456789") == ""
	}
	return digits(s, 5) && (!dot || digits(screen, 1))
}

// number10 is a valid display without its screen number: ":0.0" and ":0" are the same display.
func number10(display string) string {
	display, _, _ = strings.Cut(display, ".")
	n, _ := strconv.Atoi(display[1:])
	return ":" + strconv.Itoa(n)
}

func validWayland(s string) bool {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	return s != "" && len(s) <= 64 && s[0] != '.' && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool { return !ok(r) })
}

// most is the value that occurs most often, and how often. If several do, it is the first in order.
func most(values []string) (value string, n int) {
	count := map[string]int{}
	for _, v := range values {
		if v != "" {
			count[v]++
		}
	}
	for v, m := range count {
		if m > n || m == n && v < value {
			value, n = v, m
		}
	}
	return value, n
}

// xServer says whether an X server serves the display, and which files it may have been started with
// (-auth): that of the server that has the display in its arguments, and those of servers of uid
// that have none, as gdm starts them.
func xServer(display string, uid uint32) (there bool, auths []string) {
	socket := "/tmp/.X11-unix/X" + display[1:]
	if i, err := os.Lstat(socket); err == nil && i.Mode().Type() == fs.ModeSocket {
		there = true
	} else if text, err := readUpTo("/proc/net/unix", 8<<20); err == nil {
		there = slices.Contains(strings.Fields(string(text)), "@"+socket)
	}
	if !there {
		return false, nil
	}
	// The server may belong to root or to a display manager, so the processes of all users are looked
	// at.
	d, err := os.Open("/proc")
	if err != nil {
		return true, nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxPIDs)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		p := process{pid: pid}
		p.identify()
		i := slices.Index(p.args, "-auth")
		if !strings.HasPrefix(p.name, "X") || i < 0 || i+1 >= len(p.args) || !path(p.args[i+1]) || len(auths) >= maxAuths {
			continue
		}
		switch st, err := os.Stat(filepath.Join("/proc", name)); {
		case slices.Contains(p.args, display):
			auths = slices.Insert(auths, 0, p.args[i+1])
		case slices.ContainsFunc(p.args, validDisplay) || err != nil:
		default:
			if owner, ok := st.Sys().(*syscall.Stat_t); ok && owner.Uid == uid {
				auths = append(auths, p.args[i+1])
			}
		}
	}
	return true, auths
}

// path says whether s is an absolute path that is spelt in one way and holds nothing that a
// terminal would not show.
func path(s string) bool {
	return filepath.IsAbs(s) && filepath.Clean(s) == s && len(s) <= maxPath && wire.Printable(s) == s
}

// readUpTo reads at most n bytes of a file of the system.
func readUpTo(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}
