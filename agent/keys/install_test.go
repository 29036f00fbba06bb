package keys

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// world is a host with one login that holds the operator's key.
type world struct {
	*host
	u   *user
	key ssh.PublicKey
	cfg Config
	k   *Keys
}

func newWorld(t testing.TB, env ...string) *world {
	t.Helper()
	h := newHost(t)
	key, _ := newKey(t)
	w := &world{host: h, u: h.user("scralice"), key: key, cfg: h.config()}
	h.keys(w.u, text(key)+" me\n")
	w.k = h.open(w.cfg, env...)
	return w
}

func (w *world) find() Match {
	w.t.Helper()
	m, err := w.k.Find(context.Background(), []ssh.PublicKey{w.key}, "")
	w.must(err)
	return m
}

func (w *world) install() (*Installed, error) {
	w.t.Helper()
	eph, _ := newKey(w.t)
	return w.k.Install(context.Background(), w.find(), wire.NewSessionID(), eph)
}

// roundTrip installs and removes and demands the same bytes.
func (w *world) roundTrip() {
	w.t.Helper()
	before := w.read(w.u.file())
	in, err := w.install()
	w.must(err)
	if n := len(usable(w.read(w.u.file()))); n != 1 {
		w.t.Fatalf("%d ephemeral lines", n)
	}
	w.must(in.Remove(context.Background()))
	if got := w.read(w.u.file()); got != before {
		w.t.Fatalf("file is %q, was %q", got, before)
	}
	w.tidy()
}

// tidy: nothing is left beside the file or in the journal.
func (w *world) tidy() {
	w.t.Helper()
	onlyKeys(w.t, w.u)
	left, err := os.ReadDir(w.k.journal.dir)
	w.must(err)
	if len(left) != 0 {
		w.t.Fatalf("left in the journal: %v", left)
	}
}

// TestBytesStay runs the real thing over files of all kinds (H6, H7, I10).
func TestBytesStay(t *testing.T) {
	t.Parallel()
	for _, env := range [][]string{nil, {renameEnv, openatEnv}} {
		bytesStay(t, newWorld(t, env...))
	}
}

func bytesStay(t *testing.T, w *world) {
	t.Helper()
	w.must(os.Chmod(w.u.home, 0o700)) // not even root may need to enter (H5)
	key := text(w.key)
	for _, content := range []string{
		key, key + "\n", key + "\r\n", "\n\n" + key + "\n\n\n", "\xef\xbb\xbf# BOM\n" + key, "\x00\xff\xfe\n" + key + "\n\x00", key + "\n# no end",
		key + "\n" + strings.Repeat("x", maxLine+5) + "\n", key + "\n" + strings.Repeat("# many\n", 20_000), "#" + key + "\r" + key + "\n" + key,
	} {
		w.keys(w.u, content)
		w.roundTrip()
	}
}

// TestAttributesStay: mode, owner, group, ACL and extended attributes outlive the exchange (H11).
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
	h.must(os.Chown(w.u.file(), w.u.uid, group))
	h.must(unix.Setxattr(w.u.file(), "user.note", []byte("mine\x00\x01"), 0))
	h.must(unix.Setxattr(w.u.file(), "user.empty", nil, 0))
	h.must(unix.Setxattr(w.u.file(), "system.posix_acl_access", acl.Bytes(), 0))
	// A default ACL of the folder, which a new file would inherit.
	h.must(unix.Setxattr(w.u.ssh(""), "system.posix_acl_default", acl.Bytes(), 0))
	state := func() string {
		var st unix.Stat_t
		h.must(unix.Stat(w.u.file(), &st))
		fd, err := unix.Open(w.u.file(), unix.O_RDONLY, 0)
		h.must(err)
		defer unix.Close(fd)
		all, err := attributes(fd)
		h.must(err)
		return fmt.Sprintf("%o %d %d %q", st.Mode, st.Uid, st.Gid, all)
	}
	before := state()
	w.roundTrip()
	if got := state(); got != before {
		t.Errorf("is  %s\nwas %s", got, before)
	}

	// With StrictModes off a file may be open to others; it is not afterwards.
	w.k.cfg.AuthorizedKeysFile = nil
	w.k.cfg.SSHD = h.script("sshd", "[ $1 = -V ] && { echo OpenSSH_9.2; exit; }\nprintf 'authorizedkeysfile .ssh/authorized_keys\\nstrictmodes no\\n'\n")
	h.must(unix.Removexattr(w.u.file(), "system.posix_acl_access"))
	h.must(os.Chmod(w.u.file(), 0o666))
	w.roundTrip()
	var st unix.Stat_t
	h.must(unix.Stat(w.u.file(), &st))
	if st.Mode&0o7777 != 0o644 {
		t.Errorf("mode %#o", st.Mode)
	}
}

// TestForeignGroup: a group that the user cannot give to a new file. The line is made a comment.
func TestForeignGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in, err := w.install()
	w.must(err)
	w.must(os.Chown(w.u.file(), w.u.uid, 64999))
	w.must(in.Remove(context.Background()))
	if got := w.read(w.u.file()); !in.Neutralised() || len(usable(got)) != 0 || !strings.Contains(got, "\n#estrict,pty") {
		t.Fatalf("%v %q", in.Neutralised(), got)
	}
	w.must(os.Chown(w.u.file(), w.u.uid, w.u.uid))
	w.roundTripAfterNeutralised()
}

// roundTripAfterNeutralised: the next removal takes the comment along.
func (w *world) roundTripAfterNeutralised() {
	w.t.Helper()
	in, err := w.install()
	w.must(err)
	w.must(in.Remove(context.Background()))
	if got := w.read(w.u.file()); strings.Contains(got, marker) {
		w.t.Fatalf("still there: %q", got)
	}
	w.tidy()
}

// TestLifetime: the line never outlives the operator's own, nor 120 seconds, nor grants other
// sources.
func TestLifetime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	soon := time.Now().Add(30 * time.Second).Truncate(time.Second)
	w.keys(w.u, `from="127.0.0.0/8",expiry-time="`+soon.UTC().Format(timeUTC)+`" `+text(w.key)+"\n")
	in, err := w.install()
	w.must(err)
	if !in.Expires().Equal(soon) {
		t.Errorf("expires %v, not %v", in.Expires(), soon)
	}
	if lines := usable(w.read(w.u.file())); len(lines) != 1 || !strings.HasPrefix(lines[0], `restrict,pty,from="127.0.0.1",expiry-time="`+soon.UTC().Format(timeUTC)+`" ssh-ed25519 `) {
		t.Errorf("%q", lines)
	}
	w.must(in.Remove(context.Background()))
	cfg := w.cfg
	cfg.Lifetime = 2 * time.Minute
	if _, err := New(cfg); err != nil {
		t.Error(err)
	}
	for _, d := range []time.Duration{121 * time.Second, time.Millisecond, -1} {
		cfg.Lifetime = d
		_, err := New(cfg)
		wantCode(t, err, wire.BadConfig)
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	eph, _ := newKey(t)
	_, err := w.k.Install(context.Background(), Match{}, wire.NewSessionID(), eph)
	wantCode(t, err, wire.Internal)
	_, err = w.k.Install(context.Background(), w.find(), wire.NewSessionID(), rsaKey(t, 2048))
	wantCode(t, err, wire.KeyUnusable)
	_, err = w.k.Install(context.Background(), w.find(), wire.NewSessionID(), nil)
	wantCode(t, err, wire.KeyUnusable)
	m := w.find()
	w.must(os.Remove(w.u.file()))
	_, err = w.k.Install(context.Background(), m, wire.NewSessionID(), eph)
	wantCode(t, err, wire.KeyfileChanged)
	if _, err := os.Stat(w.u.file()); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file was created") // H29
	}
	w.must(os.Remove(w.u.ssh("")))
	_, err = w.k.Install(context.Background(), m, wire.NewSessionID(), eph)
	wantCode(t, err, wire.KeyfileChanged)
	if _, err := os.Stat(w.u.ssh("")); !errors.Is(err, os.ErrNotExist) {
		t.Error(".ssh was created")
	}
	entries, err := os.ReadDir(w.k.journal.dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("journal: %v %v", entries, err)
	}
}
