package builtin

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/builtin/worker"
	"scrier/wire"
)

// sftpClient is the library's client over one connection.
func sftpClient(t *testing.T, c *ssh.Client) *sftp.Client {
	t.Helper()
	f, err := sftp.NewClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Files are touched as the account, never as the agent.
func TestFilesAreTheAccounts(t *testing.T) {
	needRoot(t)
	f := sftpClient(t, serve(t, newServer(t)).dial(t))
	a := serverAccount(t)
	if wd, err := f.Getwd(); err != nil || wd != a.Home {
		t.Errorf("it starts in %s: %v", wd, err)
	}
	dir := openDir(t)
	secret := filepath.Join(dir, "secret")
	writeFile(t, secret, "root's own")
	for what, try := range map[string]func() error{
		"read root's file": func() error { _, err := f.Open(secret); return err },
		"read shadow":      func() error { _, err := f.Open("/etc/shadow"); return err },
		"write in /etc":    func() error { _, err := f.Create("/etc/scrier-test"); return err },
		"chmod":            func() error { return f.Chmod(secret, 0o777) },
		"chown":            func() error { return f.Chown(secret, int(a.UID), int(a.GID)) },
		"through a link": func() error {
			if err := f.Symlink(secret, filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			_, err := f.Open(filepath.Join(dir, "link"))
			return err
		},
		"through dots":    func() error { _, err := f.Open(dir + "/../../etc/../etc/shadow"); return err },
		"through /proc/1": func() error { _, err := f.Open("/proc/1/root/etc/shadow"); return err },
	} {
		if err := try(); !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s: %v", what, err)
		}
	}
	own := filepath.Join(dir, "own")
	w, err := f.Create(own)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	var st unix.Stat_t
	if err := unix.Stat(own, &st); err != nil || st.Uid != a.UID || st.Gid != a.GID {
		t.Errorf("a new file is of %d:%d, not %d:%d (%v)", st.Uid, st.Gid, a.UID, a.GID, err)
	}
}

func TestRightsOfFiles(t *testing.T) {
	s := newServer(t)
	if _, err := sftp.NewClient(serveGuest(t, s, Guest{Rights: without(wire.MayUpload, wire.MayDownload)}).dial(t)); err == nil {
		t.Error("sftp with neither right")
	}
	file := filepath.Join(openDir(t), "file")
	up := sftpClient(t, serveGuest(t, s, Guest{Rights: []wire.Right{wire.MayUpload}}).dial(t))
	w, err := up.OpenFile(file, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("text")); err != nil {
		t.Error(err)
	}
	w.Close()
	if _, err := up.Open(file); !errors.Is(err, os.ErrPermission) {
		t.Errorf("read without download: %v", err)
	}
	down := sftpClient(t, serveGuest(t, s, Guest{Rights: []wire.Right{wire.MayDownload}}).dial(t))
	r, err := down.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	if err := down.Remove(file); !errors.Is(err, os.ErrPermission) {
		t.Errorf("remove without upload: %v", err)
	}
}

// files makes a tree with what copies get wrong: empty files, spaces, bytes that are no text, links, modes, times.
func files(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "sub dir", "deep"), 0o755))
	must(os.Mkdir(filepath.Join(dir, "empty"), 0o755))
	big := make([]byte, 3<<20+17)
	_, _ = rand.Read(big)
	past := time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, c := range map[string]struct {
		data []byte
		mode os.FileMode
	}{
		"big": {big, 0o644}, "nothing": {nil, 0o600}, "sub dir/deep/run me": {[]byte("#!/bin/sh\n"), 0o755}, "sub dir/\xfc\xf6 nicht UTF-8": {[]byte("x"), 0o640}, "-dash": {[]byte("y"), 0o644},
	} {
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, c.data, c.mode))
		must(os.Chmod(path, c.mode))
		must(os.Chtimes(path, past, past))
	}
	must(os.Symlink("big", filepath.Join(dir, "link")))
}

// alike compares two trees by what is in them; with exact also by mode and time.
func alike(t *testing.T, got, want string, exact bool) {
	t.Helper()
	list := func(dir string) map[string]string {
		all := map[string]string{}
		err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err != nil {
				return err
			}
			text := "folder"
			switch {
			case info.Mode()&os.ModeSymlink != 0:
				if text, err = os.Readlink(path); err != nil {
					return err
				}
			case info.Mode().IsRegular():
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				text = string(b)
				if exact {
					text += info.Mode().String() + info.ModTime().UTC().String()
				}
			}
			all[strings.TrimPrefix(path, dir)] = text
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	a, b := list(got), list(want)
	for name, text := range b {
		if a[name] != text {
			t.Errorf("%q in %s differs: %.60q, want %.60q (%d and %d bytes)", name, got, a[name], text, len(a[name]), len(text))
		}
		delete(a, name)
	}
	for name := range a {
		t.Errorf("%q is in %s in addition", name, got)
	}
}

// TestNativeFiles has the tools that people use carry trees to the machine and back.
func TestNativeFiles(t *testing.T) {
	n := newNative(t, newServer(t), wire.Rights())
	here, there := t.TempDir(), openDir(t)
	files(t, here)
	back := func(name string) string { return filepath.Join(t.TempDir(), name) }

	t.Run("scp", func(t *testing.T) {
		to := back("tree")
		if err := os.Remove(filepath.Join(here, "link")); err != nil { // scp follows links
			t.Fatal(err)
		}
		defer func() { _ = os.Symlink("big", filepath.Join(here, "link")) }()
		n.must(t, n.run("scp", "-F", n.config, "-r", "-p", here, "envoy:"+there+"/scp"))
		n.must(t, n.run("scp", "-F", n.config, "-r", "-p", "envoy:"+there+"/scp", to))
		alike(t, to, here, true)
		n.must(t, n.run("scp", "-F", n.config, "-O", here+"/big", "envoy:"+there+"/by-exec")) // the old protocol
		n.must(t, n.run("scp", "-F", n.config, here+"/big", "envoy:~/by-home"))
		if _, err := os.Stat(filepath.Join(serverAccount(t).Home, "by-home")); err != nil {
			t.Error(err)
		}
	})
	t.Run("sftp", func(t *testing.T) {
		to := back("tree")
		cmd := n.run("sftp", "-F", n.config, "-b", "-", "envoy")
		cmd.Stdin = strings.NewReader("mkdir " + there + "/sftp\nput -rp \"" + here + "/sub dir\" " + there + "/sftp\nget -rp " + there + "/sftp " + to +
			"\ncd " + there + "/sftp\nsymlink nowhere dangling\nls -la\nrename dangling moved\nln -s moved again\nrm again\nrm moved\ndf\nchmod 700 \"sub dir\"\n")
		if out := n.must(t, cmd); !strings.Contains(out, "lrwxrwxrwx") {
			t.Errorf("no link in the list: %s", out)
		}
		alike(t, to+"/sub dir", here+"/sub dir", true)
	})
	t.Run("sftp errors", func(t *testing.T) {
		cmd := n.run("sftp", "-F", n.config, "-b", "-", "envoy")
		cmd.Stdin = strings.NewReader("-get /etc/shadow-not-there\n-rmdir " + there + "\n-mkdir /proc/x\n-put " + here + "/big /etc/scrier-not-here\n")
		out := n.must(t, cmd)
		for _, want := range []string{"not found", "Permission denied"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
	})
	t.Run("rsync", func(t *testing.T) {
		need(t, "rsync")
		shell, to := "ssh -F "+n.config, back("tree")
		n.must(t, n.run("rsync", "-a", "--no-owner", "--no-group", "-e", shell, here+"/", "envoy:"+there+"/rsync/"))
		n.must(t, n.run("rsync", "-a", "-e", shell, "envoy:"+there+"/rsync/", to+"/"))
		alike(t, to, here, true)
	})
	t.Run("git", func(t *testing.T) {
		need(t, "git")
		work := back("work")
		git := func(args ...string) string {
			cmd := n.run("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
			cmd.Env = append(cmd.Env, "GIT_SSH_COMMAND=ssh -F "+n.config)
			return n.must(t, cmd)
		}
		n.must(t, n.ssh("envoy", "git init -q --bare "+there+"/repo.git"))
		git("clone", "-q", "envoy:"+there+"/repo.git", work)
		data, err := os.ReadFile(filepath.Join(here, "big"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, "big"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		git("-C", work, "add", ".")
		git("-C", work, "commit", "-q", "-m", "first")
		git("-C", work, "push", "-q", "origin", "HEAD")
		again := back("again")
		git("clone", "-q", "ssh://envoy"+there+"/repo.git", again)
		alike(t, filepath.Join(again, "big"), filepath.Join(work, "big"), false)
	})
	t.Run("sshfs", func(t *testing.T) {
		need(t, "sshfs")
		if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
			t.Fatalf("sshfs needs fuse: %v", err)
		} else {
			f.Close()
		}
		mount := t.TempDir()
		n.must(t, n.run("sshfs", "-F", n.config, "envoy:"+there, mount))
		mounted := true
		unmount := func() {
			if mounted {
				mounted = false
				if out, err := exec.Command("fusermount3", "-u", mount).CombinedOutput(); err != nil {
					t.Errorf("unmount: %v: %s", err, out)
				}
			}
		}
		defer unmount()
		randomAccess(t, filepath.Join(mount, "random"))
		if err := os.Rename(filepath.Join(mount, "random"), filepath.Join(mount, "renamed")); err != nil {
			t.Error(err)
		}
		writeFile(t, filepath.Join(mount, "other"), "other")
		if err := os.Rename(filepath.Join(mount, "other"), filepath.Join(mount, "renamed")); err != nil { // onto one that exists
			t.Error(err)
		}
		if err := os.Symlink("renamed", filepath.Join(mount, "a link")); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(filepath.Join(mount, "a link")); err != nil || string(b) != "other" {
			t.Errorf("%q, %v", b, err)
		}
		if err := os.Chmod(filepath.Join(mount, "renamed"), 0o640); err != nil {
			t.Error(err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(mount, &st); err != nil || st.Blocks == 0 {
			t.Errorf("%d blocks, %v", st.Blocks, err)
		}
		if list, err := os.ReadDir(mount); err != nil || len(list) < 3 {
			t.Errorf("%v, %v", list, err)
		}
		unmount()
	})
}

func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("apt-get install %s: %v", program, err)
	}
}

// randomAccess writes and reads a file here and there, and holds it against one in memory.
func randomAccess(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 1 << 20
	want := make([]byte, size)
	if _, err := f.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	seed := make([]byte, 8)
	for i := range 100 {
		_, _ = rand.Read(seed)
		at := (int(seed[0])<<16 | int(seed[1])<<8 | int(seed[2])) % (size - 5000)
		piece := bytes.Repeat(seed[3:], 1+int(seed[4])*3)
		copy(want[at:], piece)
		if _, err := f.WriteAt(piece, int64(at)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			got := make([]byte, 5000)
			if _, err := f.ReadAt(got, int64(at)); err != nil || !bytes.Equal(got, want[at:at+5000]) {
				t.Fatalf("other bytes at %d: %v", at, err)
			}
		}
	}
	if err := f.Truncate(size / 2); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want[:size/2]) {
		t.Errorf("%d bytes, or others: %v", len(got), err)
	}
}

// A worker ends with its channel and its connection, whatever it is doing.
func TestFilesEndWithTheConnection(t *testing.T) {
	for name, cut := range map[string]func(*link, *ssh.Client, *ssh.Session){
		"transport": func(l *link, _ *ssh.Client, _ *ssh.Session) { l.conn.Close() },
		"context":   func(l *link, _ *ssh.Client, _ *ssh.Session) { l.cancel(wire.Errorf(wire.Revoked, "test")) },
		"channel":   func(_ *link, _ *ssh.Client, s *ssh.Session) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			l := serve(t, newServer(t))
			c := l.dial(t)
			fifo := filepath.Join(openDir(t), "fifo")
			if err := unix.Mkfifo(fifo, 0o666); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(fifo, 0o666); err != nil {
				t.Fatal(err)
			}
			s := newSession(t, c)
			in, err := s.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.RequestSubsystem("sftp"); err != nil {
				t.Fatal(err)
			}
			// init, and an open that waits for a writer for ever
			open := append([]byte{3, 0, 0, 0, 1, 0, 0, 0, byte(len(fifo))}, fifo...)
			open = append(open, 0, 0, 0, 1, 0, 0, 0, 0)
			packet := append([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3, 0, 0, 0, byte(len(open))}, open...)
			if _, err := in.Write(packet); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a worker waits", func() bool { return len(workers(t)) > 0 })
			cut(l, c, s)
			if name != "channel" {
				l.wait(t)
			}
			eventually(t, "no worker is left", func() bool { return len(workers(t)) == 0 })
		})
	}
}

// Bytes that are no SFTP end that channel, and nothing else.
func TestFilesHostile(t *testing.T) {
	l := serve(t, newServer(t))
	c := l.dial(t)
	good := sftpClient(t, c)
	for what, packet := range map[string][]byte{
		"a huge packet":     {0xff, 0xff, 0xff, 0xff, 1},
		"an empty packet":   {0, 0, 0, 0},
		"no init":           {0, 0, 0, 9, 17, 0, 0, 0, 1, 0, 0, 0, 0},
		"half a request":    {0, 0, 0, 5, 1, 0, 0, 0, 3, 0, 0, 0, 9, 17, 0, 0},
		"a shell's command": []byte("cat /etc/passwd\n"),
	} {
		ch, requests, err := c.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(subsystemRequest{"sftp"})); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, err := ch.Write(packet); err != nil {
			t.Fatal(err)
		}
		_ = ch.CloseWrite() // fails if it has ended already
		var status exitStatus
		for r := range requests {
			if r.Type == "exit-status" {
				status, _ = parse[exitStatus](r.Payload)
			}
		}
		if status.Status != 1 {
			t.Errorf("%s: exit status %d", what, status.Status)
		}
	}
	if _, err := good.Getwd(); err != nil {
		t.Errorf("another channel: %v", err)
	}
	s := newSession(t, c)
	requestPTY(t, s) // its bytes would not stay what they are
	if err := s.RequestSubsystem("sftp"); err == nil {
		t.Error("sftp in a terminal")
	}
	eventually(t, "one worker is left", func() bool { return len(workers(t)) == 1 })
}

// workers are the pids of this process's workers, without guards.
func workers(t *testing.T) (pids []int) {
	t.Helper()
	for _, pid := range children(t, os.Getpid()) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if bytes.Contains(text, []byte("\x00"+worker.Command+"\x00")) && !bytes.Contains(text, []byte("\x00"+worker.Guard+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, after, ok := bytes.Cut(stat, []byte(") "))
		if f := bytes.Fields(after); ok && len(f) > 1 && string(f[1]) == strconv.Itoa(parent) && string(f[0]) != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}
