package keys

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

// TestImmutable and read-only homes are told apart, and never changed (H10).
func TestImmutable(t *testing.T) {
	t.Parallel()
	const immutable, appendOnly = 0x10, 0x20
	w := newWorld(t)
	set := func(name string, flags int) {
		t.Helper()
		f, err := os.Open(name)
		w.must(err)
		defer f.Close()
		w.must(unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags))
	}
	content := w.read(w.u.file())
	for _, flags := range []int{immutable, appendOnly} {
		for _, name := range []string{w.u.file(), w.u.ssh("")} {
			set(name, flags)
			_, err := w.install()
			set(name, 0)
			wantCode(t, err, wire.KeyfileImmutable)
			if got := w.read(w.u.file()); got != content {
				t.Fatalf("%q", got)
			}
			w.tidy()
		}
	}
	// Set between install and removal: the line stays until it expires, and a later try succeeds.
	in, err := w.install()
	w.must(err)
	set(w.u.file(), immutable)
	wantCode(t, in.Remove(context.Background()), wire.KeyfilePermissions)
	set(w.u.file(), 0)
	w.must(in.Remove(context.Background()))
	if got := w.read(w.u.file()); got != content {
		t.Fatalf("%q", got)
	}
	w.tidy()

	w.must(os.Chmod(w.u.ssh(""), 0o500))
	_, err = w.install()
	wantCode(t, err, wire.KeyfilePermissions)
	w.must(os.Chmod(w.u.ssh(""), 0o700))
	w.must(os.Chown(w.u.file(), 0, 0)) // sshd reads it, the user cannot change it
	w.must(os.Chmod(w.u.file(), 0o644))
	_, err = w.install()
	wantCode(t, err, wire.KeyfilePermissions)
}

func TestReadOnlyMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	home := w.u.home
	w.must(unix.Mount(home, home, "", unix.MS_BIND, ""))
	defer func() { w.must(unix.Unmount(home, unix.MNT_DETACH)) }()
	w.must(unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	_, err := w.install()
	wantCode(t, err, wire.KeyfileReadOnly)
	w.must(unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	in, err := w.install()
	w.must(err)
	w.must(unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	wantCode(t, in.Remove(context.Background()), wire.KeyfileReadOnly)
	w.must(unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	w.must(in.Remove(context.Background()))
	w.tidy()
}

// smallDisk puts the login's home on a small file system of its own.
func (w *world) smallDisk(kind string) {
	w.t.Helper()
	content := w.read(w.u.file())
	switch kind {
	case "tmpfs":
		w.must(unix.Mount("none", w.u.home, "tmpfs", 0, "size=128k"))
	case "ext4":
		image := filepath.Join(w.dir, "disk")
		w.must(os.WriteFile(image, nil, 0o600))
		w.must(os.Truncate(image, 2<<20))
		run(w.t, "mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image)
		run(w.t, "mount", "-o", "loop", image, w.u.home)
	}
	w.t.Cleanup(func() { w.must(unix.Unmount(w.u.home, unix.MNT_DETACH)) })
	w.must(os.Mkdir(w.u.ssh(""), 0o700))
	w.own(w.u, w.u.home, w.u.ssh(""))
	w.must(os.Chmod(w.u.home, 0o755))
	w.keys(w.u, content)
}

// fill leaves no block to the user; the returned function gives them back.
func (w *world) fill() func() {
	w.t.Helper()
	name := filepath.Join(w.u.home, "full")
	f, err := os.Create(name)
	w.must(err)
	for _, size := range []int{64 << 10, 4096, 512, 1} {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				if !errors.Is(err, unix.ENOSPC) {
					w.t.Fatal(err)
				}
				break
			}
		}
	}
	f.Close()
	return func() { w.must(os.Remove(name)) }
}

// TestFullDisk is F6, H8 and H9 on real full file systems.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ext4", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.smallDisk(kind)

			// No block for the line at all, and one that takes only the first bytes of it.
			for _, size := range []int{4096, 4096 - 100, 8192 - 1} {
				content := text(w.key) + "\n" + strings.Repeat("#", size-2-len(text(w.key))) + "\n"
				w.keys(w.u, content)
				free := w.fill()
				_, err := w.install()
				wantCode(t, err, wire.KeyfileNoSpace)
				if got := w.read(w.u.file()); got != content {
					t.Fatalf("of %d bytes: %d bytes, ends in %q", len(content), len(got), got[max(0, len(got)-150):])
				}
				free()
				w.tidy()
				w.roundTrip()
			}

			// The disk fills between install and removal.
			content := text(w.key) + " me\n"
			w.keys(w.u, content)
			in, err := w.install()
			w.must(err)
			free := w.fill()
			w.must(in.Remove(context.Background()))
			if got := w.read(w.u.file()); !in.Neutralised() || len(usable(got)) != 0 || !strings.HasPrefix(got, content) {
				t.Fatalf("%v %q", in.Neutralised(), got)
			}
			w.must(in.Remove(context.Background()))
			free()
			swept, err := w.k.Sweep(context.Background())
			w.must(err)
			if got := w.read(w.u.file()); swept.Removed != 1 || got != content {
				t.Fatalf("%+v %q", swept, got)
			}
			w.tidy()
		})
	}
}

// TestTornOnFullDisk: killed between the short write and its truncation; the sweep takes the
// rest away.
func TestTornOnFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.smallDisk("ext4")
	content := text(w.key) + "\n" + strings.Repeat("#", 4096-102-len(text(w.key))) + "\n"
	w.keys(w.u, content)
	free := w.fill()
	job := w.job()
	job.Env = []string{crashAllEnv + "torn"}
	if killed, out := runAgent(t, job); !killed {
		t.Fatalf("not killed: %s", out)
	}
	if got := w.read(w.u.file()); got == content || !strings.HasPrefix(got, content) {
		t.Fatalf("nothing torn: %d bytes", len(got))
	}
	free()
	_, err := w.k.Sweep(context.Background())
	w.must(err)
	if got := w.read(w.u.file()); got != content {
		t.Fatalf("%q", got[len(got)-200:])
	}
	w.tidy()
}
