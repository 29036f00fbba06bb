package transfer_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"scrier/client/transfer"
)

// plainServer is OpenSSH's without its extensions, and one that does not listen to the modes that are asked for.
type plainServer struct {
	io.ReadWriteCloser
	deaf    bool
	greeted bool
	rest    []byte
}

func (p *plainServer) Read(b []byte) (int, error) {
	if !p.greeted {
		p.greeted = true
		var head [4]byte
		if _, err := io.ReadFull(p.ReadWriteCloser, head[:]); err != nil {
			return 0, err
		}
		if _, err := io.CopyN(io.Discard, p.ReadWriteCloser, int64(binary.BigEndian.Uint32(head[:]))); err != nil {
			return 0, err
		}
		p.rest = []byte{0, 0, 0, 5, 2, 0, 0, 0, 3}
	}
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	return p.ReadWriteCloser.Read(b)
}

func (p *plainServer) Write(b []byte) (int, error) {
	if p.deaf && len(b) > 13 && (b[4] == typeOpen || b[4] == 14) && bytes.HasSuffix(b[:len(b)-4], []byte{0, 0, 0, 4}) {
		cut := append([]byte(nil), b[:len(b)-8]...)
		cut = append(cut, 0, 0, 0, 0)
		binary.BigEndian.PutUint32(cut, uint32(len(cut)-4))
		_, err := p.ReadWriteCloser.Write(cut)
		return len(b), err
	}
	return p.ReadWriteCloser.Write(b)
}

// Servers without OpenSSH's extensions get what they can do: a file is replaced, if not in one step.
func TestPlainServer(t *testing.T) {
	s := newSite(t)
	s.remote = remoteOf(t, transfer.RemoteConfig{Name: "web1", Conn: &plainServer{ReadWriteCloser: server(t, s.there)}})
	write(t, filepath.Join(s.here, "f"), "new")
	write(t, filepath.Join(s.there, "f"), "something old")
	s.up(transfer.Options{}, "f", "f")
	s.wants(s.there, "f", "new")
	s.up(transfer.Options{}, "g", "f")
	s.wants(s.there, "g", "new")
}

// A server that gives each new thing the same mode is told afterwards, and nothing is written before.
func TestDeafServer(t *testing.T) {
	mask := syscall.Umask(0o022)
	defer syscall.Umask(mask)
	for _, first := range []string{"open", "private"} {
		s := newSite(t)
		s.remote = remoteOf(t, transfer.RemoteConfig{Name: "web1", Conn: &plainServer{ReadWriteCloser: server(t, s.there), deaf: true}})
		for name, mode := range map[string]os.FileMode{"d/private": 0o600, "d/open": 0o644, "d/run": 0o755, "d/sub/f": 0o640} {
			write(t, filepath.Join(s.here, name), name)
			if err := os.Chmod(filepath.Join(s.here, name), mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(s.here, "d/sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		s.told.on = func(f *transfer.File, offset int64) {
			if info, err := os.Stat(filepath.Join(s.there, "d/.private.scrier-part")); err == nil && info.Size() > 0 && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("others can read the part: %v", info.Mode())
			}
		}
		s.up(tree, "first", "d/"+first)
		s.up(tree, "d", "d")
		for name, want := range map[string]os.FileMode{"d/private": 0o600, "d/open": 0o644, "d/run": 0o755, "d/sub/f": 0o640, "d/sub": 0o700 | os.ModeDir, "d": 0o755 | os.ModeDir} {
			if info, err := os.Stat(filepath.Join(s.there, name)); err != nil || info.Mode() != want {
				t.Errorf("%s first: %s has %v, %v; expected %v", first, name, info.Mode(), err, want)
			}
		}
	}
}

// nobody runs OpenSSH's server as nobody.
func nobody(t *testing.T, folder string) io.ReadWriteCloser {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("only root can be somebody else")
	}
	const uid = 65534
	for dir := folder; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // the way there
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(folder, uid, uid); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/usr/lib/openssh/sftp-server")
	c.Dir = folder
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return start(t, c)
}

// Where a login may not write nothing is written, also not around a file that is read-only.
func TestPermissions(t *testing.T) {
	s := newSite(t)
	s.remote = remoteOf(t, transfer.RemoteConfig{Name: "web1", Conn: nobody(t, s.there)})
	write(t, filepath.Join(s.here, "d/f"), "new")
	write(t, filepath.Join(s.here, "d/g"), "new")
	for name, mode := range map[string]os.FileMode{"readonly": 0o444, "mine/f": 0o644, "others/f": 0o666, "secret": 0o600} {
		write(t, filepath.Join(s.there, name), "old")
		if err := os.Chmod(filepath.Join(s.there, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"readonly", "mine", "mine/f"} {
		if err := os.Chown(filepath.Join(s.there, name), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	s.up(tree, "readonly", "d/f")
	s.up(tree, "others", "d/f") // the file may be written, the folder not
	s.up(tree, "mine", "d/f", "d/g")
	s.down(tree, "x", "secret")
	s.told.wants(t, "failed "+s.here+"/d/f: web1:readonly: permission denied", "failed "+s.here+"/d/f: web1:others/f: permission denied",
		"copied "+s.here+"/d/f", "copied "+s.here+"/d/g", "failed web1:secret: web1:secret: permission denied")
	s.wants(s.there, "readonly", "old")
	s.wants(s.there, "others/f", "old")
	s.wants(s.there, "mine/f", "new")
	// A folder that may not be read is told, and what is beside it is copied.
	s.told = &told{}
	write(t, filepath.Join(s.there, "tree/closed/f"), "f")
	write(t, filepath.Join(s.there, "tree/open/f"), "f")
	if err := os.Chmod(filepath.Join(s.there, "tree/closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.down(tree, "t", "tree")
	s.told.wants(t, "failed web1:tree/closed: permission denied", "copied web1:tree/open/f")
}

// A part that somebody else has put there is not gone on with: they could change the file afterwards.
func TestPlantedPart(t *testing.T) {
	s := newSite(t)
	s.remote = remoteOf(t, transfer.RemoteConfig{Name: "web1", Conn: nobody(t, s.there)})
	text := string(random(300_000))
	write(t, filepath.Join(s.here, "f"), text)
	for _, root := range []string{s.here, s.there} {
		part := filepath.Join(root, transfer.PartName("new"))
		write(t, part, text[:200_000])
		if err := os.Chmod(part, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(part, 1234, 1234); err != nil {
			t.Fatal(err)
		}
	}
	s.up(transfer.Options{Continue: true}, "new", "f")
	s.down(transfer.Options{Continue: true}, "new", "new")
	for root, uid := range map[string]uint32{s.here: 0, s.there: 65534} {
		s.wants(root, "new", text)
		info, err := os.Stat(filepath.Join(root, "new"))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != uid {
			t.Errorf("%v, %v", info, err)
		}
	}
	// One's own is.
	write(t, filepath.Join(s.there, transfer.PartName("own")), text[:200_000])
	if err := os.Chown(filepath.Join(s.there, transfer.PartName("own")), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if sum := s.up(transfer.Options{Continue: true}, "own", "f"); sum.Moved != 100_000 {
		t.Errorf("%+v", sum)
	}
}

// Root keeps the owner of what is there.
func TestOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("only root can give files away")
	}
	s := newSite(t)
	for _, root := range []string{s.here, s.there} {
		write(t, filepath.Join(root, "old"), "old")
		write(t, filepath.Join(root, "new"), "new")
		if err := os.Chown(filepath.Join(root, "old"), 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	s.up(transfer.Options{}, "old", "new")
	s.down(transfer.Options{Preserve: true}, "old", "new")
	for _, root := range []string{s.here, s.there} {
		s.wants(root, "old", "new")
		info, err := os.Stat(filepath.Join(root, "old"))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 2345 {
			t.Errorf("%s is %d's and %d's", root, st.Uid, st.Gid)
		}
	}
}

// A name that is too long for its part gets a part with another name.
func TestPartNames(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"a", ".a", strings.Repeat("n", 255), strings.Repeat("n", 254) + "o", strings.Repeat("ä", 127), "\xff" + strings.Repeat("\xfe", 254)} {
		part := transfer.PartName(name)
		if len(part) > 255 || seen[part] || !strings.HasPrefix(part, ".") || !strings.HasSuffix(part, ".scrier-part") || strings.Contains(part, "/") {
			t.Errorf("the part of %q is %q", name, part)
		}
		seen[part] = true
	}
}
