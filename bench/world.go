package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds every single wait for a process. It is no measure of speed.
const patience = 30 * time.Second

// prompt is what the measured user's shell shows when it is ready. No other output holds it.
const prompt = "bench-prompt> "

// world is what one run has made: the programs, an OS user with a shell of a known prompt, and
// whatever the parts start. end takes all of it away, the newest first.
type world struct {
	dir    string
	scrier string // the binary under test
	root   string // of the repository
	login  string // the OS user
	home   string // the OS user's
	undo   []func() error

	running map[string]*daemon // by name, also those that have ended

	// What opening a session takes on loopback, if that was measured already: the work, without
	// the network.
	openWork struct{ ours, theirs time.Duration }
}

// later keeps what undoes the step before it.
func (w *world) later(undo func() error) { w.undo = append(w.undo, undo) }

// end undoes everything but the first keep steps, also when some of it fails.
func (w *world) end(keep int) error {
	var errs []error
	for i := len(w.undo) - 1; i >= keep; i-- {
		errs = append(errs, w.undo[i]())
	}
	w.undo = w.undo[:min(keep, len(w.undo))]
	return errors.Join(errs...)
}

// room is a world within this one, with files and daemons of its own, for what runs beside others. It ends with this one.
func (w *world) room(name string) (*world, error) {
	r := &world{dir: filepath.Join(w.dir, name), scrier: w.scrier, root: w.root, login: w.login, home: w.home}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return nil, err
	}
	w.later(func() error { return r.end(0) })
	return r, os.Symlink(filepath.Join(w.dir, "operator"), filepath.Join(r.dir, "operator"))
}

// newWorld builds and makes what all parts need. The world must be ended also after an error.
func newWorld(ctx context.Context, o options) (*world, error) {
	w := new(world)
	if os.Getuid() != 0 {
		return w, errors.New("it makes an OS user and network namespaces and runs sshd for them: run it as root")
	}
	for _, program := range []string{"ssh", "ssh-keygen", "/usr/sbin/sshd", "useradd", "userdel", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			return w, fmt.Errorf("%s is missing: ./scripts/parts installs it", program)
		}
	}
	var err error
	if w.root, err = repository(ctx); err != nil {
		return w, err
	}
	if slices.Contains(o.run, "wan") || slices.Contains(o.run, "wancommand") || slices.Contains(o.run, "page") || slices.Contains(o.run, "roads") || o.lags("link") || o.lags("page") {
		if err := findNetem(w.root); err != nil {
			return w, err
		}
	}
	if w.dir, err = os.MkdirTemp("", "scrier-bench-"); err != nil {
		return w, err
	}
	w.later(func() error {
		if o.keep {
			fmt.Fprintln(o.say, "kept", w.dir)
			return nil
		}
		return os.RemoveAll(w.dir)
	})
	if err := os.Chmod(w.dir, 0o755); err != nil { // the OS user's home is in there
		return w, err
	}
	if slices.Contains(o.run, "desktop") {
		if err := findDesktops(); err != nil {
			return w, err
		}
	}
	if o.lags("link") {
		if err := findMosh(); err != nil {
			return w, err
		}
	}
	if slices.Contains(o.run, "page") || slices.Contains(o.run, "desktop") || o.lags("page") {
		fmt.Fprintln(o.say, "building the pages")
		if err := buildPages(ctx, w.root); err != nil {
			return w, err
		}
	}
	fmt.Fprintln(o.say, "building scrier")
	w.scrier = filepath.Join(w.dir, "scrier")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", w.scrier, ".")
	build.Dir = w.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := runIt(build); err != nil {
		return w, err
	}
	if err := w.operatorKey(ctx); err != nil {
		return w, err
	}
	return w, w.makeUser(ctx)
}

// repository is the folder that this program belongs to; it must run somewhere in there.
func repository(ctx context.Context) (string, error) {
	out, err := runIt(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Dir}}"))
	if err != nil {
		return "", err
	}
	module, dir, _ := strings.Cut(strings.TrimSpace(out), " ")
	if module != "scrier" || dir == "" {
		return "", errors.New("run it in the repository")
	}
	return dir, nil
}

// operatorKey makes the SSH key that plain ssh and the operator's login both use.
func (w *world) operatorKey(ctx context.Context) error {
	dir := filepath.Join(w.dir, "operator", ".ssh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, err := runIt(exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", filepath.Join(dir, "id_ed25519")))
	return err
}

// key is the operator's private SSH key.
func (w *world) key() string { return filepath.Join(w.dir, "operator", ".ssh", "id_ed25519") }

// makeUser makes the OS user that both log in as: a shell that starts fast and alike each time.
func (w *world) makeUser(ctx context.Context) error {
	var b [4]byte
	rand.Read(b[:])
	w.login, w.home = "scr"+hex.EncodeToString(b[:]), filepath.Join(w.dir, "home")
	// With UsePAM no, sshd takes an account without a password ("!") for a locked one.
	_, err := runIt(exec.CommandContext(ctx, "useradd", "--create-home", "--home-dir", w.home, "--shell", "/bin/sh", "--password", "*", w.login))
	w.later(func() error { return removeUser(w.login) })
	if err != nil {
		return err
	}
	public, err := os.ReadFile(w.key() + ".pub")
	if err != nil {
		return err
	}
	u, err := user.Lookup(w.login)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	ssh := filepath.Join(w.home, ".ssh")
	keys := filepath.Join(ssh, "authorized_keys")
	return errors.Join(
		os.WriteFile(filepath.Join(w.home, ".profile"), []byte("PS1='"+prompt+"'\n"), 0o644),
		os.Mkdir(ssh, 0o700), os.WriteFile(keys, public, 0o600),
		os.Chown(w.home, uid, gid), os.Chown(ssh, uid, gid), os.Chown(keys, uid, gid),
	)
}

// removeUser ends the user's last processes and removes the user. An sshd session whose
// connection was in a namespace that is gone never learns of its end.
func removeUser(name string) (err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil
	}
	if err := endProcesses(u.Uid); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, lerr := user.Lookup(name); lerr != nil {
			return nil
		}
		if _, err = runIt(exec.Command("userdel", "-f", name)); err == nil {
			return nil
		}
	}
	return err
}

// endProcesses kills what runs as uid; the user was made by this program, so it is all its own.
func endProcesses(uid string) error {
	stats, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return err
	}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, ids, _ := strings.Cut(string(data), "\nUid:\t")
		if first, _, _ := strings.Cut(ids, "\t"); first != uid {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// runIt runs a command to its end and returns what it prints; an error holds what it complains
// about.
func runIt(c *exec.Cmd) (string, error) {
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w: %s", filepath.Base(c.Path), err, strings.TrimSpace(stderr.String()+string(out)))
	}
	return string(out), nil
}
