package keys

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"scrier/agent/keys/keystest"
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
		w.Must(err)
		defer f.Close()
		w.Must(unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags))
	}
	content := w.Read(w.u.File())
	for _, flags := range []int{immutable, appendOnly} {
		for _, name := range []string{w.u.File(), w.u.SSH("")} {
			set(name, flags)
			_, err := w.install()
			set(name, 0)
			keystest.WantCode(t, err, wire.KeyfileImmutable)
			if got := w.Read(w.u.File()); got != content {
				t.Fatalf("%q", got)
			}
			w.tidy()
		}
	}
	// Set between install and removal: the line stays until it expires, and a later try succeeds.
	in, err := w.install()
	w.Must(err)
	set(w.u.File(), immutable)
	keystest.WantCode(t, in.Remove(context.Background()), wire.KeyfilePermissions)
	set(w.u.File(), 0)
	w.Must(in.Remove(context.Background()))
	if got := w.Read(w.u.File()); got != content {
		t.Fatalf("%q", got)
	}
	w.tidy()

	w.Must(os.Chmod(w.u.SSH(""), 0o500))
	_, err = w.install()
	keystest.WantCode(t, err, wire.KeyfilePermissions)
	w.Must(os.Chmod(w.u.SSH(""), 0o700))
	w.Must(os.Chown(w.u.File(), 0, 0)) // sshd reads it, the user cannot change it
	w.Must(os.Chmod(w.u.File(), 0o644))
	_, err = w.install()
	keystest.WantCode(t, err, wire.KeyfilePermissions)
}

func TestReadOnlyMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	home := w.u.Home
	w.Must(unix.Mount(home, home, "", unix.MS_BIND, ""))
	defer func() { w.Must(unix.Unmount(home, unix.MNT_DETACH)) }()
	w.Must(unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	_, err := w.install()
	keystest.WantCode(t, err, wire.KeyfileReadOnly)
	w.Must(unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	in, err := w.install()
	w.Must(err)
	w.Must(unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	keystest.WantCode(t, in.Remove(context.Background()), wire.KeyfileReadOnly)
	w.Must(unix.Mount("", home, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	w.Must(in.Remove(context.Background()))
	w.tidy()
}

// smallDisk puts the login's home on a small file system of its own.
func (w *world) smallDisk(kind string) {
	w.T.Helper()
	content := w.Read(w.u.File())
	switch kind {
	case "tmpfs":
		w.Must(unix.Mount("none", w.u.Home, "tmpfs", 0, "size=128k"))
	case "ext4":
		image := filepath.Join(w.Dir, "disk")
		w.Must(os.WriteFile(image, nil, 0o600))
		w.Must(os.Truncate(image, 2<<20))
		keystest.Run(w.T, "mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image)
		keystest.Run(w.T, "mount", "-o", "loop", image, w.u.Home)
	}
	w.T.Cleanup(func() { w.Must(unix.Unmount(w.u.Home, unix.MNT_DETACH)) })
	w.Must(os.Mkdir(w.u.SSH(""), 0o700))
	w.Own(w.u, w.u.Home, w.u.SSH(""))
	w.Must(os.Chmod(w.u.Home, 0o755))
	w.PutKeys(w.u, content)
}

// fill uses up all blocks of the disk. The function that it returns frees them.
func (w *world) fill() func() {
	w.T.Helper()
	name := filepath.Join(w.u.Home, "full")
	f, err := os.Create(name)
	w.Must(err)
	for _, size := range []int{64 << 10, 4096, 512, 1} {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				if !errors.Is(err, unix.ENOSPC) {
					w.T.Fatal(err)
				}
				break
			}
		}
	}
	f.Close()
	return func() { w.Must(os.Remove(name)) }
}

// TestFullDisk fills real file systems: a line is written whole or not at all, and one that cannot be
// taken out is disabled (F6, H8, H9).
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"ext4", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.smallDisk(kind)

			// No block for the line at all, and one that takes only the first bytes of it.
			for _, size := range []int{4096, 4096 - 100, 8192 - 1} {
				content := keystest.Text(w.key) + "\n" + strings.Repeat("#", size-2-len(keystest.Text(w.key))) + "\n"
				w.PutKeys(w.u, content)
				free := w.fill()
				_, err := w.install()
				keystest.WantCode(t, err, wire.KeyfileNoSpace)
				if got := w.Read(w.u.File()); got != content {
					t.Fatalf("of %d bytes: %d bytes, ends in %q", len(content), len(got), got[max(0, len(got)-150):])
				}
				free()
				w.tidy()
				w.roundTrip()
			}

			// The disk fills between install and removal.
			content := keystest.Text(w.key) + " me\n"
			w.PutKeys(w.u, content)
			in, err := w.install()
			w.Must(err)
			free := w.fill()
			w.Must(in.Remove(context.Background()))
			if got := w.Read(w.u.File()); !in.neutralised.Load() || len(keystest.Usable(got)) != 0 || !strings.HasPrefix(got, content) {
				t.Fatalf("%v %q", in.neutralised.Load(), got)
			}
			w.Must(in.Remove(context.Background()))
			free()
			swept, err := w.k.Sweep(context.Background())
			w.Must(err)
			if got := w.Read(w.u.File()); swept.Removed != 1 || got != content {
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
	content := keystest.Text(w.key) + "\n" + strings.Repeat("#", 4096-102-len(keystest.Text(w.key))) + "\n"
	w.PutKeys(w.u, content)
	free := w.fill()
	job := w.job()
	job.Env = []string{crashAllEnv + "torn"}
	if killed, out := runAgent(t, job); !killed {
		t.Fatalf("not killed: %s", out)
	}
	if got := w.Read(w.u.File()); got == content || !strings.HasPrefix(got, content) {
		t.Fatalf("nothing torn: %d bytes", len(got))
	}
	free()
	_, err := w.k.Sweep(context.Background())
	w.Must(err)
	if got := w.Read(w.u.File()); got != content {
		t.Fatalf("%q", got[len(got)-200:])
	}
	w.tidy()
}
