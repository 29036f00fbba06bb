package keys

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

func newDropinWorld(t testing.TB) (*world, string) {
	t.Helper()
	w := newWorld(t)
	dir := filepath.Join(w.Dir, "run", "keys")
	w.cfg.Mode, w.cfg.DropinDir = Dropin, dir
	w.cfg.AuthorizedKeysFile = []string{".ssh/authorized_keys", dir + "/%u"}
	w.k = w.open(w.cfg)
	return w, dir
}

func TestDropin(t *testing.T) {
	t.Parallel()
	w, dir := newDropinWorld(t)
	var st, home unix.Stat_t
	w.Must(unix.Stat(w.u.File(), &home))
	m := w.find()
	if m.File != w.u.File() {
		t.Errorf("found in %s", m.File)
	}
	first, err := w.install()
	w.Must(err)
	second, err := w.install()
	w.Must(err)
	file := filepath.Join(dir, w.u.Login)
	w.Must(unix.Stat(file, &st))
	if n := len(keystest.Usable(w.Read(file))); n != 2 || st.Mode != unix.S_IFREG|0o644 || st.Uid != 0 || st.Gid != 0 {
		t.Errorf("%d lines, mode %o, %d:%d", n, st.Mode, st.Uid, st.Gid)
	}
	w.Must(unix.Stat(dir, &st))
	if st.Mode != unix.S_IFDIR|0o755 || st.Uid != 0 {
		t.Errorf("mode %o", st.Mode)
	}
	w.Must(first.Remove(context.Background()))
	if n := len(keystest.Usable(w.Read(file))); n != 1 {
		t.Errorf("%d lines", n)
	}
	w.Must(second.Remove(context.Background()))
	w.Must(second.Remove(context.Background()))
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty file stays: %v", err)
	}
	var now unix.Stat_t
	w.Must(unix.Stat(w.u.File(), &now))
	if now != home && (now.Ino != home.Ino || now.Mtim != home.Mtim || now.Ctim != home.Ctim) {
		t.Error("the home was changed")
	}
	w.tidy()
}

// The operator's own file must be safe to read, as ever. But as nothing is written to it, it may be
// one that the user cannot write.
func TestDropinServesWhatHomeCannot(t *testing.T) {
	t.Parallel()
	w, dir := newDropinWorld(t)
	w.Must(os.Chown(w.u.File(), 0, 0))
	w.Must(os.Chmod(w.u.File(), 0o644))
	in, err := w.install()
	w.Must(err)
	w.Must(in.Remove(context.Background()))
	for config, code := range map[string]wire.Code{
		".ssh/authorized_keys": wire.KeyfileUnsupported, // sshd does not read the drop-ins
		"none":                 wire.KeyfileUnsupported,
		dir + "/%u":            0, // the operator's keys come from a command, say
	} {
		cfg := w.cfg
		cfg.AuthorizedKeysFile = nil
		cfg.SSHD = w.Script("sshd", "[ $1 = -V ] && { echo OpenSSH_9.2; exit; }\necho 'authorizedkeysfile "+config+"'\n")
		_, err := w.open(cfg).Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "")
		if got := wire.CodeOf(err); got != code {
			t.Errorf("%s: %v", config, err)
		}
	}
	cfg := w.cfg
	w.Must(os.Chmod(dir, 0o777))
	_, err = w.install()
	keystest.WantCode(t, err, wire.BadConfig)
	w.Must(os.Chmod(dir, 0o755))
	cfg.Mode = "both"
	_, err = New(cfg)
	keystest.WantCode(t, err, wire.BadConfig)
}

func TestDropinParallelAndCrashes(t *testing.T) {
	t.Parallel()
	w, dir := newDropinWorld(t)
	foreign := keystest.NewLine(t, wire.NewEnvoyID(), time.Now().Add(time.Minute))
	file := filepath.Join(dir, w.u.Login)
	w.Must(os.MkdirAll(dir, 0o755))
	w.Must(os.WriteFile(file, []byte(foreign+"\n"), 0o644))
	var group errgroup.Group
	m := w.find()
	for range 32 {
		group.Go(func() error {
			eph, _ := keystest.NewKey(t)
			in, err := w.k.Install(context.Background(), m, wire.NewSessionID(), eph)
			if err != nil {
				return err
			}
			if !strings.Contains(w.Read(file), keystest.Text(eph)) {
				return errors.New("not there")
			}
			return in.Remove(context.Background())
		})
	}
	w.Must(group.Wait())
	for _, point := range []string{"journal", "journalled", "installed", "removing"} {
		job := w.job()
		job.Dropin, job.Crash = dir, point
		if killed, out := runAgent(t, job); !killed {
			t.Fatalf("%s: not killed: %s", point, out)
		}
		w.Must(os.WriteFile(filepath.Join(dir, ".-"+w.u.Login), []byte("half"), 0o644))
		_, err := w.k.Sweep(context.Background())
		w.Must(err)
		if got := w.Read(file); got != foreign+"\n" {
			t.Fatalf("%s: %q", point, got)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%s: %v %v", point, entries, err)
		}
		w.tidy()
	}
}

func TestDropinFullDisk(t *testing.T) {
	t.Parallel()
	w, dir := newDropinWorld(t)
	w.Must(os.MkdirAll(dir, 0o755))
	w.Must(unix.Mount("none", dir, "tmpfs", 0, "size=16k,mode=755"))
	defer func() { w.Must(unix.Unmount(dir, unix.MNT_DETACH)) }()
	first, err := w.install()
	w.Must(err)
	second, err := w.install()
	w.Must(err)
	w.Must(os.WriteFile(filepath.Join(dir, "full"), make([]byte, 12<<10), 0o600))
	_, err = w.install()
	keystest.WantCode(t, err, wire.KeyfileNoSpace)
	w.Must(second.Remove(context.Background()))
	if n := len(keystest.Usable(w.Read(filepath.Join(dir, w.u.Login)))); n != 1 {
		t.Errorf("%d lines", n)
	}
	w.Must(first.Remove(context.Background()))
	w.tidy()
}
