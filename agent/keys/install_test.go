package keys

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// world is a host with one login that holds the operator's key.
type world struct {
	*host
	u   *keystest.User
	key ssh.PublicKey
	cfg Config
	k   *Keys
}

func newWorld(t testing.TB, env ...string) *world {
	t.Helper()
	h := newHost(t)
	key, _ := keystest.NewKey(t)
	w := &world{host: h, u: h.User("scralice"), key: key, cfg: h.config()}
	h.PutKeys(w.u, keystest.Text(key)+" me\n")
	w.k = h.open(w.cfg, env...)
	return w
}

func (w *world) find() Match {
	w.T.Helper()
	m, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}, Source: netip.MustParseAddr("192.0.2.7")}, "")
	w.Must(err)
	return m
}

func (w *world) install() (*Installed, error) {
	w.T.Helper()
	eph, _ := keystest.NewKey(w.T)
	return w.k.Install(context.Background(), w.find(), wire.NewSessionID(), eph)
}

// roundTrip installs and removes and demands the same bytes.
func (w *world) roundTrip() {
	w.T.Helper()
	before := w.Read(w.u.File())
	in, err := w.install()
	w.Must(err)
	if n := len(keystest.Usable(w.Read(w.u.File()))); n != 1 {
		w.T.Fatalf("%d ephemeral lines", n)
	}
	w.Must(in.Remove(context.Background()))
	if got := w.Read(w.u.File()); got != before {
		w.T.Fatalf("file is %q, was %q", got, before)
	}
	w.tidy()
}

// tidy fails if anything is left beside the file or in the journal.
func (w *world) tidy() {
	w.T.Helper()
	keystest.OnlyKeys(w.T, w.u)
	left, err := os.ReadDir(w.k.journal.dir)
	w.Must(err)
	if len(left) != 0 {
		w.T.Fatalf("left in the journal: %v", left)
	}
}

// TestBytesStay installs and removes in files of all kinds, and demands the same bytes (H6, H7, I10).
func TestBytesStay(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{nil, {renameEnv, openatEnv}} {
		bytesStay(t, newWorld(t, env...))
	}
}

func bytesStay(t *testing.T, w *world) {
	t.Helper()
	w.Must(os.Chmod(w.u.Home, 0o700)) // the work must not need to enter it as root (H5)
	key := keystest.Text(w.key)
	for _, content := range []string{
		key, key + "\n", key + "\r\n", "\n\n" + key + "\n\n\n", "\xef\xbb\xbf# BOM\n" + key, "\x00\xff\xfe\n" + key + "\n\x00", key + "\n# no end",
		key + "\n" + strings.Repeat("x", 256<<10+5) + "\n", key + "\n" + strings.Repeat("# many\n", 20_000), "#" + key + "\r" + key + "\n" + key,
	} {
		w.PutKeys(w.u, content)
		w.roundTrip()
	}
}

// TestAttributesStay: the new file has the mode, owner, group, ACL and extended attributes of the old
// one (H11).
func TestAttributesStay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const group = 64242 // the user's supplementary group
	var acl bytes.Buffer
	binary.Write(&acl, binary.LittleEndian, uint32(2))
	for _, e := range [][3]uint32{{0x01, 6, ^uint32(0)}, {0x02, 4, 12345}, {0x04, 0, ^uint32(0)}, {0x10, 4, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		binary.Write(&acl, binary.LittleEndian, uint16(e[0]))
		binary.Write(&acl, binary.LittleEndian, uint16(e[1]))
		binary.Write(&acl, binary.LittleEndian, e[2])
	}
	h := w.host
	h.Must(os.Chown(w.u.File(), w.u.UID, group))
	h.Must(unix.Setxattr(w.u.File(), "user.note", []byte("mine\x00\x01"), 0))
	h.Must(unix.Setxattr(w.u.File(), "user.empty", nil, 0))
	h.Must(unix.Setxattr(w.u.File(), "system.posix_acl_access", acl.Bytes(), 0))
	// A default ACL of the folder, which a new file would inherit.
	h.Must(unix.Setxattr(w.u.SSH(""), "system.posix_acl_default", acl.Bytes(), 0))
	state := func() string {
		var st unix.Stat_t
		h.Must(unix.Stat(w.u.File(), &st))
		text := fmt.Sprintf("%o %d %d", st.Mode, st.Uid, st.Gid)
		list := make([]byte, 4096)
		n, err := unix.Listxattr(w.u.File(), list)
		h.Must(err)
		for _, name := range slices.Sorted(strings.SplitSeq(string(list[:n]), "\x00")) {
			if name != "" {
				value := make([]byte, 4096)
				n, err := unix.Getxattr(w.u.File(), name, value)
				h.Must(err)
				text += fmt.Sprintf(" %s %q", name, value[:n])
			}
		}
		return text
	}
	before := state()
	w.roundTrip()
	if got := state(); got != before {
		t.Errorf("is  %s\nwas %s", got, before)
	}

	// With StrictModes off a file may be open to everybody; it is not afterwards. Its group stays what it is.
	w.k.cfg.AuthorizedKeysFile = nil
	w.k.cfg.SSHD = h.Script("sshd", "[ $1 = -V ] && { echo OpenSSH_9.2; exit; }\nprintf 'authorizedkeysfile .ssh/authorized_keys\\nstrictmodes no\\n'\n")
	h.Must(unix.Removexattr(w.u.File(), "system.posix_acl_access"))
	h.Must(os.Chmod(w.u.File(), 0o666))
	w.roundTrip()
	var st unix.Stat_t
	h.Must(unix.Stat(w.u.File(), &st))
	if st.Mode&0o7777 != 0o664 {
		t.Errorf("mode %#o", st.Mode)
	}
}

// TestForeignGroup: a group that the user cannot give to a new file, and that may read what others may not. The line
// is made a comment.
func TestForeignGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in, err := w.install()
	w.Must(err)
	w.Must(os.Chown(w.u.File(), w.u.UID, 64999))
	w.Must(os.Chmod(w.u.File(), 0o640))
	w.Must(in.Remove(context.Background()))
	if got := w.Read(w.u.File()); !in.neutralised.Load() || len(keystest.Usable(got)) != 0 || !strings.Contains(got, "\n#estrict,tunnel") {
		t.Fatalf("%v %q", in.neutralised.Load(), got)
	}
	w.Must(os.Chown(w.u.File(), w.u.UID, w.u.UID))
	w.roundTripAfterNeutralised()
}

// TestIdleGroup: root has made the file, so its group is root's, which may do no more than everybody. Nothing stays in it.
func TestIdleGroup(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o600, 0o644} {
		w := newWorld(t)
		w.Must(os.Chown(w.u.File(), w.u.UID, 0))
		w.Must(os.Chmod(w.u.File(), mode))
		before := w.Read(w.u.File())
		in, err := w.install()
		w.Must(err)
		w.Must(in.Remove(context.Background()))
		if got := w.Read(w.u.File()); got != before {
			t.Errorf("%#o: %q", mode, got)
		}
		w.tidy()
	}
}

// roundTripAfterNeutralised checks that the next removal also takes out the line that was disabled.
func (w *world) roundTripAfterNeutralised() {
	w.T.Helper()
	in, err := w.install()
	w.Must(err)
	w.Must(in.Remove(context.Background()))
	if got := w.Read(w.u.File()); strings.Contains(got, keystest.Marker) {
		w.T.Fatalf("still there: %q", got)
	}
	w.tidy()
}

// TestLifetime: the line never outlives the operator's own, nor 120 seconds, and lets in the machine
// itself alone, whomever the operator's lets in.
func TestLifetime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	soon := time.Now().Add(30 * time.Second).Truncate(time.Second)
	w.PutKeys(w.u, `from="192.0.2.0/24",expiry-time="`+soon.UTC().Format("20060102150405Z")+`" `+keystest.Text(w.key)+"\n")
	in, err := w.install()
	w.Must(err)
	if !in.rec.Expiry.Equal(soon) {
		t.Errorf("expires %v, not %v", in.rec.Expiry, soon)
	}
	if lines := keystest.Usable(w.Read(w.u.File())); len(lines) != 1 || !strings.HasPrefix(lines[0], keystest.ShellOptions+`,from="127.0.0.1,::1",expiry-time="`+soon.UTC().Format("20060102150405Z")+`" ssh-ed25519 `) {
		t.Errorf("%q", lines)
	}
	w.Must(in.Remove(context.Background()))
	cfg := w.cfg
	cfg.Lifetime = 2 * time.Minute
	if _, err := New(cfg); err != nil {
		t.Error(err)
	}
	for _, d := range []time.Duration{121 * time.Second, time.Millisecond, -1} {
		cfg.Lifetime = d
		_, err := New(cfg)
		keystest.WantCode(t, err, wire.BadConfig)
	}
}

// TestInstallTwice: a session's second key is refused and changes nothing; the first one can still be taken
// back, and after a crash a sweep takes it (15).
func TestInstallTwice(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Home, Dropin} {
		w := newWorld(t)
		if mode == Dropin {
			w, _ = newDropinWorld(t)
		}
		m, id := w.find(), wire.NewSessionID()
		first, _ := keystest.NewKey(t)
		in, err := w.k.Install(context.Background(), m, id, first)
		w.Must(err)
		entry, file := w.k.journal.path(id), in.rec.File
		journalled, lines := w.Read(entry), w.Read(file)
		for range 2 {
			second, _ := keystest.NewKey(t)
			_, err = w.k.Install(context.Background(), m, id, second)
			keystest.WantCode(t, err, wire.Conflict)
			if w.Read(entry) != journalled || w.Read(file) != lines {
				t.Errorf("%s: a refused key has left\n%s\n%s", mode, w.Read(entry), w.Read(file))
			}
		}
		in.rec.release() // as if the agent had died
		if swept, err := w.k.Sweep(context.Background()); err != nil || swept.Removed != 1 {
			t.Errorf("%s: %+v, %v", mode, swept, err)
		}
		w.tidy()
		// The id is free again.
		again, _ := keystest.NewKey(t)
		in, err = w.k.Install(context.Background(), m, id, again)
		w.Must(err)
		w.Must(in.Remove(context.Background()))
		w.tidy()
	}
}

// Another program may have a lease on the file, which keeps all others from opening it for writing: for a moment that is waited for, and
// then it is said what is wrong.
func TestInstallUnderALease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, err := os.Open(w.u.File())
	w.Must(err)
	defer f.Close()
	lease := func(kind int) {
		t.Helper()
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, kind); err != nil {
			t.Error(err)
		}
	}
	m := w.find()
	eph, _ := keystest.NewKey(t)
	lease(unix.F_RDLCK)
	_, err = w.k.Install(context.Background(), m, wire.NewSessionID(), eph)
	keystest.WantCode(t, err, wire.KeyfileChanged)
	var let sync.WaitGroup
	let.Go(func() {
		time.Sleep(200 * time.Millisecond)
		lease(unix.F_UNLCK)
	})
	in, err := w.k.Install(context.Background(), m, wire.NewSessionID(), eph)
	let.Wait()
	w.Must(err)
	w.Must(in.Remove(context.Background()))
	w.tidy()
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eph, _ := keystest.NewKey(t)
	_, err := w.k.Install(context.Background(), Match{}, wire.NewSessionID(), eph)
	keystest.WantCode(t, err, wire.Internal)
	_, err = w.k.Install(context.Background(), w.find(), wire.NewSessionID(), keystest.RSAKey(t, 8192)) // its line would be too long
	keystest.WantCode(t, err, wire.KeyUnusable)
	_, err = w.k.Install(context.Background(), w.find(), wire.NewSessionID(), nil)
	keystest.WantCode(t, err, wire.KeyUnusable)
	m := w.find()
	w.Must(os.Remove(w.u.File()))
	_, err = w.k.Install(context.Background(), m, wire.NewSessionID(), eph)
	keystest.WantCode(t, err, wire.KeyfileChanged)
	if _, err := os.Stat(w.u.File()); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file was created") // H29
	}
	w.Must(os.Remove(w.u.SSH("")))
	_, err = w.k.Install(context.Background(), m, wire.NewSessionID(), eph)
	keystest.WantCode(t, err, wire.KeyfileChanged)
	if _, err := os.Stat(w.u.SSH("")); !errors.Is(err, os.ErrNotExist) {
		t.Error(".ssh was created")
	}
	entries, err := os.ReadDir(w.k.journal.dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("journal: %v %v", entries, err)
	}
}
