package stories

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"scrier/relay/guac/guactest"
)

// Each story is told on a machine of its own: the test program starts itself again in fresh
// namespaces, as process 1 there. What a story makes (accounts, homes, processes, mounts, listeners)
// is seen by no other, and ends with process 1.
//
// It shares with the host what it only reads: the kernel, /usr, /var and most of /dev. Its /tmp is a
// folder of the host's disk, because the rules for authorized_keys need a real file system.
const (
	storyEnv    = "SCRIER_STORY"          // which story a process tells
	stageEnv    = "SCRIER_STORY_STAGE"    // the folder that the machine is made in
	deadlineEnv = "SCRIER_STORY_DEADLINE" // RFC 3339
	programEnv  = "SCRIER_STORY_PROGRAM"  // the program under test; with .exe it is that for Windows, with -agent the one with the agent alone
	nodeEnv     = "SCRIER_STORY_NODE"     // Node.js, wherever the developer has it

	source   = "/run/story/source"   // the module's root, as a story sees it
	pictures = "/run/story/pictures" // what SCREENSHOTS names
	drawer   = "/run/story/guacd"    // what SCRIER_GUACD names
	path     = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// newMachine is the command that tells a story on a machine of its own, which is made in dir. The
// calling goroutine must keep its thread until the command has ended: the machine dies with it.
func newMachine(ctx context.Context, dir, name, program string, deadline time.Time) (*exec.Cmd, error) {
	for _, sub := range []string{"tmp", "stage"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky); err != nil {
		return nil, err
	}
	node, err := exec.LookPath("node")
	if err == nil {
		node, err = filepath.EvalSymlinks(node)
	}
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, "/proc/self/exe")
	c.Env = append(os.Environ(), storyEnv+"="+name, stageEnv+"="+dir, programEnv+"="+program, nodeEnv+"="+node, deadlineEnv+"="+deadline.Format(time.RFC3339))
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	return c, nil
}

// removeMachine removes the folder of a machine that has ended.
func removeMachine(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	// A story that was cut off may have left files that chattr nailed down.
	out, err := exec.Command("chattr", "-R", "-f", "-i", "-a", dir).CombinedOutput()
	if left := os.RemoveAll(dir); left != nil {
		return errors.Join(left, err, errors.New(string(out)))
	}
	return nil
}

// boot is process 1 of a machine: it makes the machine, tells the story in a child, and takes in the
// processes that have lost their parents until the story is over.
func boot() int {
	if err := furnish(os.Getenv(stageEnv)); err != nil {
		fmt.Fprintf(os.Stderr, "make the story's machine: %v\n", err)
		return 1
	}
	// Whoever runs the tests with nohup means the tests: what is caught here, and not ignored, has its
	// usual effect on the programs of the story.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	env := []string{"PATH=" + path}
	for _, v := range os.Environ() {
		key, _, _ := strings.Cut(v, "=")
		if !slices.Contains([]string{"PATH", "TMPDIR", "GOTMPDIR", "GOCOVERDIR", guactest.Prefix}, key) {
			env = append(env, v)
		}
	}
	if os.Getenv(guactest.Prefix) != "" {
		env = append(env, guactest.Prefix+"="+drawer)
	}
	story, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Dir: filepath.Join(source, "stories"), Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "tell the story: %v\n", err)
		return 1
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintf(os.Stderr, "wait for the story: %v\n", err)
			return 1
		case pid == story.Pid && status.Exited():
			return status.ExitStatus()
		case pid == story.Pid:
			fmt.Fprintf(os.Stderr, "the story was ended by %v\n", status.Signal())
			return 1
		}
	}
}

// furnish makes what a story has for itself, in the folder dir, and puts it in its place.
func furnish(dir string) error {
	stage := filepath.Join(dir, "stage")
	in := func(name string) string { return filepath.Join(stage, name) }
	root, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leave the host's mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", stage, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount the stage: %w", err)
	}
	for _, sub := range []string{"etc", "empty", "run/sshd", "run/lock", "run" + strings.TrimPrefix(source, "/run"), "run" + strings.TrimPrefix(pictures, "/run"), "run" + strings.TrimPrefix(drawer, "/run"), "bin"} {
		if err := os.MkdirAll(in(sub), 0o755); err != nil {
			return err
		}
	}
	for _, file := range []string{"bin/scrier", "bin/scrier.exe", "bin/scrier-agent", "bin/node"} {
		if err := os.WriteFile(in(file), nil, 0o755); err != nil {
			return err
		}
	}
	// The host's own useradd may be at work: its locks come and go, and are not for the copy. tar's status
	// is 1 then, for a file that changed; 2 is a failure.
	copyEtc := `{ tar --exclude='./*.lock' --ignore-failed-read --warning=none -C /etc -cf "$1.tar" . || [ $? = 1 ]; } && tar -C "$1" -xpf "$1.tar" && rm "$1.tar"`
	if out, err := exec.Command("sh", "-c", copyEtc, "sh", in("etc")).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w: %s", err, out)
	}
	if err := ownAccounts(in("etc")); err != nil {
		return fmt.Errorf("make an accounts database: %w", err)
	}
	mounts := [][2]string{
		{root, in("run/story/source")}, {os.Getenv(programEnv), in("bin/scrier")}, {os.Getenv(programEnv) + ".exe", in("bin/scrier.exe")}, {os.Getenv(programEnv) + "-agent", in("bin/scrier-agent")}, {os.Getenv(nodeEnv), in("bin/node")},
		{in("etc"), "/etc"}, {in("bin"), "/usr/local/bin"},
	}
	if to := os.Getenv("SCREENSHOTS"); to != "" {
		mounts = append(mounts, [2]string{to, in("run/story/pictures")})
	}
	if prefix := os.Getenv(guactest.Prefix); prefix != "" {
		mounts = append(mounts, [2]string{prefix, in("run/story/guacd")})
	}
	// Before /run and /tmp, which the folders may be in.
	mounts = append(mounts, [2]string{in("run"), "/run"}, [2]string{filepath.Join(dir, "tmp"), "/tmp"})
	for _, m := range mounts {
		if err := unix.Mount(m[0], m[1], "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m[0], m[1], err)
		}
	}
	for _, m := range [][3]string{
		{"/home", "tmpfs", "mode=755"}, {"/root", "tmpfs", "mode=700"}, {"/dev/shm", "tmpfs", "mode=1777"},
		{"/var/lib/xkb", "tmpfs", "mode=755"}, // X servers keep files there by the number of their display
		{"/proc", "proc", ""},
	} {
		if err := unix.Mount(m[1], m[0], m[1], 0, m[2]); err != nil && !(errors.Is(err, syscall.ENOENT) && m[1] == "tmpfs") {
			return fmt.Errorf("mount %s: %w", m[0], err)
		}
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("bring loopback up: %w: %s", err, out)
	}
	return nil
}

// ownAccounts leaves the system's accounts in a copy of /etc and takes the people out: an agent that
// looks through all accounts shall find the story's alone.
func ownAccounts(etc string) error {
	people := map[string]bool{}
	keep := func(name string, drop func(f []string) bool) error {
		file := filepath.Join(etc, name)
		old, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var left bytes.Buffer
		for line := range strings.Lines(string(old)) {
			if f := strings.Split(line, ":"); !drop(f) {
				left.WriteString(line)
			}
		}
		return os.WriteFile(file, left.Bytes(), 0o644) // the mode of a file that is there stays
	}
	return errors.Join(
		keep("passwd", func(f []string) bool {
			uid, err := strconv.Atoi(f[min(2, len(f)-1)])
			if person := err != nil || uid >= 1000 && uid != 65534; person {
				people[f[0]] = true
			}
			return people[f[0]]
		}),
		keep("shadow", func(f []string) bool { return people[f[0]] }),
		os.WriteFile(filepath.Join(etc, "nsswitch.conf"), []byte("passwd: files\ngroup: files\nshadow: files\nhosts: files\n"), 0o644),
	)
}
