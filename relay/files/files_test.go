package files_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	client "github.com/pkg/sftp"

	"scrier/relay/files"
	"scrier/relay/sftp"
	"scrier/wire"
)

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b)
	return b
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes that are not the %d sent, %v", path, len(got), len(want), err)
	}
}

func TestList(t *testing.T) {
	w := start(t)
	at := time.Date(2024, 2, 29, 12, 30, 15, 0, time.UTC)
	w.write("file", []byte("12345"))
	odd := w.write("odd \xff\n", nil)
	must(t, os.Chmod(w.home+"/file", fs.ModeSetuid|0o751), os.Chtimes(w.home+"/file", at, at), os.Mkdir(w.home+"/folder", 0o700),
		os.Symlink("folder", w.home+"/link"), os.Symlink("file", w.home+"/link2"), os.Symlink("nowhere", w.home+"/lost"), syscall.Mkfifo(w.home+"/pipe", 0o600))
	var l, again files.Listing
	w.do(func(m *files.Machine) (err error) {
		l, err = m.List(t.Context(), "")
		return err
	})
	w.do(func(m *files.Machine) (err error) {
		again, err = m.List(t.Context(), w.home+"/link/..")
		return err
	})
	home, err := filepath.EvalSymlinks(w.home)
	must(t, err)
	if l.Path != home || again.Path != home || l.More || l.Raw != nil || len(l.Entries) != 7 || len(again.Entries) != 7 {
		t.Fatalf("listed is %+v", l)
	}
	var got []string
	for _, e := range l.Entries {
		got = append(got, fmt.Sprintf("%q %q %s>%s", e.Name, e.Raw, e.Kind, e.To))
	}
	want := []string{
		`"file" "" file>`, `"folder" "" dir>`, `"link" "" link>dir`, `"link2" "" link>file`, `"lost" "" link>`, `"odd ` + "\ufffd" + `\n" "odd \xff\n" file>`, `"pipe" "" other>`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("listed is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if e := l.Entries[0]; e.Size != 5 || e.Mode != "4751" || !e.Modified.Equal(at) || e.Modified.Location() != time.UTC {
		t.Errorf("the file is listed as %+v", e)
	}
	w.want(wire.NotFound, "/nowhere: there is no such", func(m *files.Machine) error {
		_, err := m.List(t.Context(), w.home+"/nowhere")
		return err
	})
	w.want(wire.BadRequest, "is no folder", func(m *files.Machine) error {
		_, err := m.List(t.Context(), odd)
		return err
	})
	for _, name := range []string{"a\x00b", strings.Repeat("x", 5000)} {
		w.want(wire.BadRequest, "a path", func(m *files.Machine) error {
			_, err := m.List(t.Context(), name)
			return err
		})
	}
}

func TestListsAreBounded(t *testing.T) {
	w := start(t)
	for i := range 10_001 {
		w.write(fmt.Sprintf("%06d", i), nil)
	}
	w.do(func(m *files.Machine) error {
		l, err := m.List(t.Context(), "")
		if !l.More || len(l.Entries) != 10_000 {
			t.Errorf("%d are listed, more: %v", len(l.Entries), l.More)
		}
		return err
	})
}

func TestContentIsSeekable(t *testing.T) {
	w := start(t)
	content := random(300_003)
	path := w.write("file", content)
	w.do(func(m *files.Machine) error {
		c, err := m.Content(path)
		if err != nil {
			return err
		}
		defer c.Close()
		if c.Size != int64(len(content)) || c.Name != "file" || !strings.HasPrefix(c.ETag(), `"`) {
			t.Errorf("it is %+v", c)
		}
		return iotest.TestReader(c, content)
	})
	must(t, os.Symlink("file", w.home+"/link"), syscall.Mkfifo(w.home+"/pipe", 0o600), syscall.Mknod(w.home+"/null", syscall.S_IFCHR|0o666, 0x103))
	for name, code := range map[string]wire.Code{"": wire.BadRequest, "pipe": wire.BadRequest, "null": wire.BadRequest, "nowhere": wire.NotFound, "file/x": wire.NotFound} {
		err := w.Do(t.Context(), w.id, func(m *files.Machine) error {
			_, err := m.Content(w.home + "/" + name)
			return err
		})
		if wire.CodeOf(err) != code {
			t.Errorf("%q: %v", name, err)
		}
	}
	w.do(func(m *files.Machine) error {
		c, err := m.Content("link")
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func TestArchive(t *testing.T) {
	w := start(t)
	at := time.Date(2024, 2, 29, 12, 30, 15, 0, time.UTC)
	content := random(700_000)
	must(t, os.MkdirAll(w.home+"/tree/sub/empty", 0o750), os.Symlink("../x", w.home+"/tree/link"), syscall.Mkfifo(w.home+"/tree/pipe", 0o600))
	w.write("tree/file", content)
	w.write("tree/sub/odd \xff", []byte("odd"))
	w.write(`tree/sub/a\b`, []byte("slash"))
	w.write("single", nil)
	must(t, os.Chmod(w.home+"/tree/file", 0o711), os.Chtimes(w.home+"/tree/file", at, at), os.Mkdir(w.home+"/other", 0o755))
	w.write("other/single", []byte("2"))
	var b bytes.Buffer
	w.do(func(m *files.Machine) error {
		a, err := m.Archive([]string{"tree/", w.home + "/single", "other/single"})
		if err != nil {
			return err
		}
		return a.Write(t.Context(), &b)
	})
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	must(t, err)
	got := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err, r.Close())
		if f.Name == "tree/file" {
			if hexSum(data) != hexSum(content) || f.Mode() != 0o711 || !f.Modified.Equal(at) {
				t.Errorf("the file is packed as %+v", f)
			}
			data = nil
		}
		got[f.Name] = f.Mode().Type().String() + string(data)
	}
	want := map[string]string{
		"tree/": "d---------", "tree/file": "----------", "tree/link": "L---------../x", "tree/sub/": "d---------", "tree/sub/empty/": "d---------", "tree/sub/odd \xff": "----------odd",
		"tree/sub/a_b": "----------slash", "single": "----------", "single (2)": "----------2",
		"NOT IN THIS ARCHIVE.txt": "----------tree/pipe: it is a device, a pipe or a socket\n",
	}
	for name, is := range want {
		if got[name] != is {
			t.Errorf("%q is %q, want %q", name, got[name], is)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("besides there are %q", got)
	}
	w.want(wire.NotFound, "nowhere", func(m *files.Machine) error {
		_, err := m.Archive([]string{"tree", "nowhere"})
		return err
	})
	w.want(wire.BadRequest, "1 to 1000", func(m *files.Machine) error {
		_, err := m.Archive(nil)
		return err
	})
	w.do(func(m *files.Machine) error {
		a, err := m.Archive([]string{"tree"})
		if err == nil && a.Name != "tree.zip" {
			t.Errorf("it is called %q", a.Name)
		}
		return err
	})
}

// Many small files are read ahead, and are what they are all the same.
func TestArchiveOfManyFiles(t *testing.T) {
	w := start(t)
	must(t, os.MkdirAll(w.home+"/tree/sub", 0o755))
	want := map[string]string{}
	for i := range 200 {
		content := random(i * i * 7) // up to twice of what is small
		name := fmt.Sprintf("tree/%03d", i)
		if i%3 == 0 {
			name = fmt.Sprintf("tree/sub/%03d", i)
		}
		w.write(name, content)
		want[name] = hexSum(content)
	}
	var b bytes.Buffer
	w.do(func(m *files.Machine) error {
		a, err := m.Archive([]string{"tree"})
		if err != nil {
			return err
		}
		return a.Write(t.Context(), &b)
	})
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	must(t, err)
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		if want[f.Name] != hexSum(data) {
			t.Errorf("%s has other bytes", f.Name)
		}
		delete(want, f.Name)
	}
	if len(want) > 0 {
		t.Errorf("%d are not there", len(want))
	}
	w.do(func(m *files.Machine) error { return m.Remove(t.Context(), "tree", true) })
	if left, err := os.ReadDir(w.home); err != nil || len(left) > 0 {
		t.Errorf("there are %v, %v", left, err)
	}
}

// put uploads in one go.
func (w *work) put(u files.Upload, content []byte) (p files.Progress, err error) {
	if u.Size == 0 {
		u.Size = u.Offset + int64(len(content))
	}
	err = w.Transfer(w.T.Context(), w.id, func(m *files.Machine) error {
		p, err = m.Put(w.T.Context(), u, bytes.NewReader(content))
		return err
	})
	return p, err
}

// parts are the part files in the home.
func (w *work) parts() []string {
	w.Helper()
	found, err := filepath.Glob(w.home + "/.*.scrier-part")
	must(w.T, err)
	return found
}

func TestUpload(t *testing.T) {
	w := start(t)
	at := time.Date(2024, 2, 29, 12, 30, 15, 0, time.UTC)
	content := random(6<<20 + 17)
	for _, name := range []string{"file", "odd \xff", strings.Repeat("é", 127) + "x"} {
		p, err := w.put(files.Upload{Path: w.home + "/" + name, Modified: at}, content)
		if err != nil || !p.Whole || p.Offset != int64(len(content)) {
			t.Fatalf("%q: %+v, %v", name, p, err)
		}
		same(t, w.home+"/"+name, content)
		if info, err := os.Stat(w.home + "/" + name); err != nil || !info.ModTime().Equal(at) {
			t.Errorf("it is %v, %v", info, err)
		}
	}
	if p, err := w.put(files.Upload{Path: w.home + "/empty"}, nil); err != nil || !p.Whole {
		t.Errorf("an empty file: %+v, %v", p, err)
	}
	same(t, w.home+"/empty", nil)
	if left := w.parts(); len(left) > 0 {
		t.Errorf("there are %q", left)
	}
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	if f := w.files[0]; f.Up == nil || hex.EncodeToString(f.Up.SHA256) != hexSum(content) || f.Status != sftp.OK || !strings.Contains(string(f.Path), "scrier-part") {
		t.Errorf("recorded is %v", f.Fields())
	}
	if c := w.changes[1]; len(w.changes) != 7 || w.changes[0].Op != sftp.Setstat || c.Op != sftp.Rename || string(c.To) != w.home+"/file" {
		t.Errorf("recorded is %v", c.Fields())
	}
}

func TestUploadNeedsAFreeName(t *testing.T) {
	w := start(t)
	path := w.write("file", []byte("old"))
	must(t, os.Chmod(path, 0o604), os.Mkdir(w.home+"/folder", 0o755), os.Symlink("file", w.home+"/link"), os.Symlink("nowhere", w.home+"/lost"))
	for _, c := range []struct {
		name      string
		overwrite bool
		code      wire.Code
	}{
		{"file", false, wire.Conflict}, {"folder", false, wire.Conflict}, {"folder", true, wire.Conflict}, {"link", false, wire.Conflict}, {"lost", true, wire.Conflict},
		{"nowhere/file", false, wire.NotFound}, {"..", true, wire.BadRequest}, {"a\x00b", false, wire.BadRequest},
	} {
		if _, err := w.put(files.Upload{Path: w.home + "/" + c.name, Overwrite: c.overwrite}, []byte("new")); wire.CodeOf(err) != c.code {
			t.Errorf("%q, %v: %v", c.name, c.overwrite, err)
		}
	}
	same(t, path, []byte("old"))
	if left := w.parts(); len(left) > 0 {
		t.Errorf("there are %q", left)
	}
	if p, err := w.put(files.Upload{Path: w.home + "/link", Overwrite: true}, []byte("new")); err != nil || !p.Whole {
		t.Errorf("overwritten: %+v, %v", p, err)
	}
	same(t, path, []byte("new"))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("it has %v, %v", info.Mode(), err)
	}
	if to, err := os.Readlink(w.home + "/link"); to != "file" {
		t.Errorf("the link is %q, %v", to, err)
	}
}

// An upload that broke off goes on with what is there, and comes to the same.
func TestUploadGoesOn(t *testing.T) {
	w := start(t)
	content := random(9 << 20)
	u := files.Upload{Path: w.home + "/file", Size: int64(len(content))}
	uploaded := func() (p files.Progress) {
		t.Helper()
		w.do(func(m *files.Machine) (err error) {
			p, err = m.Uploaded(u.Path, u.Size)
			return err
		})
		return p
	}
	if p := uploaded(); p.Offset != 0 || p.Whole {
		t.Errorf("before there is %+v", p)
	}
	err := w.Transfer(t.Context(), w.id, func(m *files.Machine) error {
		_, err := m.Put(t.Context(), u, io.MultiReader(bytes.NewReader(content[:5<<20]), iotest.ErrReader(errors.New("lost"))))
		return err
	})
	if wire.CodeOf(err) != wire.ViewerLost {
		t.Errorf("it broke off with %v", err)
	}
	p := uploaded()
	if p.Offset < 2<<20 || p.Offset > 5<<20 || p.Whole {
		t.Fatalf("there is %+v", p)
	}
	if _, err := os.Stat(u.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a file has its name: %v", err)
	}
	u.Offset = 7 << 20
	if _, err := w.put(u, content[7<<20:]); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("behind a hole: %v", err)
	}
	u.Offset = p.Offset // a part of the rest
	if p, err = w.put(u, content[u.Offset:8<<20]); err != nil || p.Offset != 8<<20 || p.Whole {
		t.Fatalf("%+v, %v", p, err)
	}
	u.Offset = p.Offset
	if _, err := w.put(u, append(bytes.Clone(content[u.Offset:]), 'x')); wire.CodeOf(err) != wire.BadRequest {
		t.Errorf("with more than there is: %v", err)
	}
	if p, err = w.put(u, content[u.Offset:]); err != nil || !p.Whole {
		t.Fatalf("%+v, %v", p, err)
	}
	same(t, u.Path, content)
	if left := w.parts(); len(left) > 0 {
		t.Errorf("there are %q", left)
	}
}

func TestUploadIsGivenUp(t *testing.T) {
	w := start(t)
	u := files.Upload{Path: w.home + "/file", Size: 10}
	if p, err := w.put(u, []byte("12345")); err != nil || p.Offset != 5 || p.Whole || len(w.parts()) != 1 {
		t.Fatalf("%+v, %v, %q", p, err, w.parts())
	}
	for range 2 { // once more does nothing
		w.do(func(m *files.Machine) error { return m.GiveUp(u.Path, u.Size) })
		if left := w.parts(); len(left) > 0 {
			t.Errorf("there are %q", left)
		}
	}
}

// One name has one upload at a time.
func TestUploadsOfOneFile(t *testing.T) {
	w := start(t)
	r, to := io.Pipe()
	done := make(chan error, 1)
	u := files.Upload{Path: w.home + "/file", Size: 100}
	go func() {
		done <- w.Transfer(t.Context(), w.id, func(m *files.Machine) error {
			_, err := m.Put(t.Context(), u, r)
			return err
		})
	}()
	_, err := to.Write([]byte("some")) // it is being read by now
	must(t, err)
	if _, err := w.put(u, random(100)); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("the second: %v", err)
	}
	w.want(wire.Conflict, "being uploaded", func(m *files.Machine) error { return m.GiveUp(u.Path, u.Size) })
	to.CloseWithError(errors.New("lost"))
	if err := <-done; wire.CodeOf(err) != wire.ViewerLost {
		t.Errorf("the first: %v", err)
	}
	if p, err := w.put(u, random(100)); err != nil || !p.Whole {
		t.Errorf("the third: %+v, %v", p, err)
	}
}

// A file that the machine does not take whole is no hole: what is there is its begin.
func TestUploadThatDoesNotFit(t *testing.T) {
	w := on(t, &machine{rights: sftp.Rights{Upload: true, Download: true}, shell: `trap "" XFSZ; ulimit -f 8192; exec "$0" -e -l QUIET`}, files.Config{}) // of 512 bytes
	content := random(9 << 20)
	u := files.Upload{Path: w.home + "/file"}
	if _, err := w.put(u, content); wire.CodeOf(err) != wire.FileNoSpace || !strings.Contains(err.Error(), u.Path) {
		t.Fatalf("it gave %v", err)
	}
	if _, err := os.Stat(u.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a file has its name: %v", err)
	}
	parts := w.parts()
	if len(parts) != 1 {
		t.Fatalf("there are %q", parts)
	}
	got, err := os.ReadFile(parts[0])
	if err != nil || len(got) < 2<<20 || !bytes.HasPrefix(content, got) {
		t.Errorf("the part has %d bytes, %v", len(got), err)
	}
}

func TestDiskThatIsFull(t *testing.T) {
	m := &machine{rights: sftp.Rights{Upload: true, Download: true}, home: t.TempDir()}
	if err := syscall.Mount("tmpfs", m.home, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatalf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(m.home, syscall.MNT_DETACH)) })
	w := on(t, m, files.Config{})
	if _, err := w.put(files.Upload{Path: w.home + "/file"}, random(3<<20)); wire.CodeOf(err) != wire.FileNoSpace || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("it gave %v", err)
	}
}

func TestChanges(t *testing.T) {
	w := start(t)
	w.do(func(m *files.Machine) error { return m.Mkdir("new/") })
	w.want(wire.Conflict, "is a folder", func(m *files.Machine) error { return m.Mkdir("new") })
	w.want(wire.NotFound, "a/b", func(m *files.Machine) error { return m.Mkdir("a/b") })
	w.write("file", []byte("1"))
	w.write("file2", []byte("2"))
	w.do(func(m *files.Machine) error { return m.Rename("file", "new/file \xff") })
	same(t, w.home+"/new/file \xff", []byte("1"))
	w.want(wire.Conflict, "file2 is there", func(m *files.Machine) error { return m.Rename("new/file \xff", "file2") })
	w.want(wire.Conflict, "is a folder", func(m *files.Machine) error { return m.Rename("file2", "new") })
	w.want(wire.NotFound, "nowhere", func(m *files.Machine) error { return m.Rename("nowhere", "x") })
	w.want(wire.NotFound, "nowhere", func(m *files.Machine) error { return m.Rename("file2", "nowhere/x") })
	same(t, w.home+"/file2", []byte("2"))
	w.do(func(m *files.Machine) error { return m.Remove(t.Context(), "file2", false) })
	w.want(wire.NotFound, "file2", func(m *files.Machine) error { return m.Remove(t.Context(), "file2", true) })
	w.want(wire.Conflict, "new is not empty", func(m *files.Machine) error { return m.Remove(t.Context(), "new", false) })
	for _, name := range []string{"", "/", "//", ".", "..", "new/..", "/.", "new/."} {
		w.want(wire.BadRequest, "", func(m *files.Machine) error { return m.Remove(t.Context(), name, true) })
	}
	must(t, os.MkdirAll(w.home+"/keep/inner", 0o755), os.MkdirAll(w.home+"/new/a/b/c", 0o755), os.Symlink("../../keep", w.home+"/new/a/link"), os.Symlink("keep", w.home+"/link"))
	w.write("keep/inner/file", []byte("kept"))
	w.do(func(m *files.Machine) error { return m.Remove(t.Context(), "new", true) })
	w.do(func(m *files.Machine) error { return m.Remove(t.Context(), "link/", true) })
	same(t, w.home+"/keep/inner/file", []byte("kept"))
	w.do(func(m *files.Machine) error { return m.Mkdir("bare") })
	w.do(func(m *files.Machine) error { return m.Remove(t.Context(), "bare", false) })
	if entries, err := os.ReadDir(w.home); err != nil || len(entries) != 1 {
		t.Errorf("there are %v, %v", entries, err)
	}
}

// What cannot be removed stays, and is named.
func TestRemoveWhatStays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root, to be somebody else")
	}
	w := on(t, &machine{rights: sftp.Rights{Upload: true, Download: true}, shell: `exec setpriv --reuid 65534 --regid 65534 --clear-groups "$0" -e`}, files.Config{})
	for dir := w.home; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	must(t, os.MkdirAll(w.home+"/tree/a", 0o755), os.MkdirAll(w.home+"/tree/mine", 0o755))
	w.write("tree/a/1", nil)
	w.write("tree/a/2", nil)
	w.write("tree/mine/3", nil)
	must(t, os.Chown(w.home+"/tree", 65534, 65534), os.Chown(w.home+"/tree/mine", 65534, 65534))
	w.want(wire.FileDenied, "2 things could not be removed; the first: tree/a/1", func(m *files.Machine) error { return m.Remove(t.Context(), "tree", true) })
	if _, err := os.Stat(w.home + "/tree/mine"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the rest is there: %v", err)
	}
	w.want(wire.FileDenied, "tree/a/1: the login may not read it", func(m *files.Machine) error {
		_, err := m.Content("tree/a/1")
		return err
	})
	if _, err := w.put(files.Upload{Path: w.home + "/new"}, nil); wire.CodeOf(err) != wire.FileDenied {
		t.Errorf("an upload: %v", err)
	}
	var b bytes.Buffer
	w.do(func(m *files.Machine) error {
		a, err := m.Archive([]string{"tree"})
		if err != nil {
			return err
		}
		return a.Write(t.Context(), &b)
	})
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	must(t, err)
	r, err := z.Open("NOT IN THIS ARCHIVE.txt")
	must(t, err)
	defer r.Close()
	if note, err := io.ReadAll(r); err != nil || strings.Count(string(note), "the login may not read it\n") != 2 {
		t.Errorf("the note is %q, %v", note, err)
	}
}

func TestRights(t *testing.T) {
	up := on(t, &machine{rights: sftp.Rights{Upload: true}}, files.Config{})
	path := up.write("file", []byte("1"))
	up.want(wire.ChannelNotAllowed, "does not allow download", func(m *files.Machine) error {
		_, err := m.Content(path)
		return err
	})
	if _, err := up.put(files.Upload{Path: up.home + "/new"}, []byte("new")); err != nil {
		t.Error(err)
	}
	up.Close()
	down := on(t, &machine{rights: sftp.Rights{Download: true}}, files.Config{})
	path = down.write("file", []byte("1"))
	for what, f := range map[string]func(*files.Machine) error{
		"mkdir": func(m *files.Machine) error { return m.Mkdir("new") }, "rename": func(m *files.Machine) error { return m.Rename("file", "new") },
		"remove": func(m *files.Machine) error { return m.Remove(t.Context(), "file", false) },
		"put": func(m *files.Machine) error {
			_, err := m.Put(t.Context(), files.Upload{Path: "new", Size: 1}, strings.NewReader("1"))
			return err
		},
	} {
		t.Log(what)
		down.want(wire.ChannelNotAllowed, "does not allow upload", f)
	}
	if entries, err := os.ReadDir(down.home); err != nil || len(entries) != 1 {
		t.Errorf("there are %v, %v", entries, err)
	}
	same(t, path, []byte("1"))
}

// All requests of a session have one channel, which ends when nobody needs it, and comes again.
func TestOneChannelASession(t *testing.T) {
	w := on(t, &machine{rights: sftp.Rights{Upload: true, Download: true}}, files.Config{Idle: 50 * time.Millisecond})
	for range 2 {
		var wg sync.WaitGroup
		hold := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				w.do(func(m *files.Machine) error {
					_, err := m.List(t.Context(), "")
					<-hold
					return err
				})
			})
		}
		w.until("it is open", func() bool { return w.now == 1 })
		close(hold)
		wg.Wait()
		w.until("it has ended", func() bool { return w.now == 0 })
	}
	if w.opened != 2 {
		t.Errorf("%d channels were opened", w.opened)
	}
}

// until waits for something of the machine's.
func (w *work) until(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		w.machine.mu.Lock()
		ok := is()
		w.machine.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("it does not come to be that %s", what)
		}
	}
}

func TestRequestsAreBounded(t *testing.T) {
	w := start(t)
	hold, running := make(chan struct{}), make(chan struct{}, 100)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			w.do(func(*files.Machine) error {
				running <- struct{}{}
				<-hold
				return nil
			})
		})
	}
	for range 8 {
		<-running
	}
	ctx, cancel := context.WithCancel(t.Context())
	codes := make(chan wire.Code, 100)
	for range 57 {
		wg.Go(func() {
			codes <- wire.CodeOf(w.Do(ctx, w.id, func(*files.Machine) error { t.Error("one more runs"); return nil }))
		})
	}
	if code := <-codes; code != wire.Busy { // the one that is too many
		t.Errorf("it gave %s", code)
	}
	cancel()
	for range 56 {
		if code := <-codes; code != wire.Cancelled {
			t.Errorf("one that waits got %s", code)
		}
	}
	close(hold)
	wg.Wait()
}

func TestServerThatDies(t *testing.T) {
	w := start(t)
	r, to := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- w.Transfer(t.Context(), w.id, func(m *files.Machine) error {
			_, err := m.Put(t.Context(), files.Upload{Path: w.home + "/file", Size: 1 << 30}, r)
			return err
		})
	}()
	go func() {
		for {
			if _, err := to.Write(random(1 << 20)); err != nil {
				return
			}
		}
	}()
	w.until("a part is there", func() bool {
		for _, part := range w.parts() {
			if info, err := os.Stat(part); err == nil && info.Size() > 0 {
				return true
			}
		}
		return false
	})
	must(t, w.last.Process.Kill())
	err := <-done
	r.Close()
	if wire.CodeOf(err) != wire.TargetRefused {
		t.Errorf("it gave %v", err)
	}
	w.until("its end is told", func() bool { return w.now == 0 })
	w.do(func(m *files.Machine) error { // on a new one
		_, err := m.List(t.Context(), "")
		return err
	})
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	if len(w.files) != 1 || w.files[0].Status != sftp.Unanswered || w.files[0].Up.Bytes == 0 {
		t.Errorf("recorded are %v", w.files)
	}
}

func TestServerThatIsSilent(t *testing.T) {
	w := on(t, &machine{rights: sftp.Rights{Upload: true, Download: true}, shell: `exec sleep 1000`}, files.Config{Silence: 200 * time.Millisecond})
	w.want(wire.TargetRefused, "did not answer", func(*files.Machine) error { return nil })
	w = on(t, &machine{rights: sftp.Rights{Upload: true, Download: true}, shell: `echo hello`}, files.Config{})
	w.want(wire.TargetRefused, `no SFTP server: it begins with "hello`, func(*files.Machine) error { return nil })
}

// liar is a server whose names are none. It implements [client.FileLister].
type liar struct{ client.Handlers }

func (liar) Filelist(r *client.Request) (client.ListerAt, error) {
	if r.Method != "List" {
		return entries{entry{path: "x", mode: fs.ModeDir | 0o755}}, nil
	}
	if r.Filepath != "/" {
		return entries{}, nil
	}
	return entries{
		entry{path: "../../evil", mode: 0o644}, entry{path: "/etc/passwd", mode: fs.ModeDir | 0o755}, entry{path: "..", mode: fs.ModeDir | 0o755}, entry{path: "/", mode: fs.ModeDir | 0o755},
		entry{path: `..\..\evil`, mode: fs.ModeDir | 0o755}, entry{path: "good", mode: fs.ModeDir | 0o755},
	}, nil
}

// endless is a server with folders in folders without end, a page of them in each.
type endless struct {
	client.Handlers
	folders entries
	deepest *atomic.Int64
}

func (e endless) Filelist(r *client.Request) (client.ListerAt, error) {
	if r.Method != "List" {
		return entries{entry{path: "x", mode: fs.ModeDir | 0o755}}, nil
	}
	e.deepest.Store(max(e.deepest.Load(), int64(strings.Count(r.Filepath, "/"))))
	return e.folders, nil
}

// Folders that wait while others are removed are bounded, of whatever depth.
func TestRemoveOfEndlessFolders(t *testing.T) {
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	var deepest atomic.Int64
	w := on(t, &machine{rights: sftp.Rights{Upload: true, Download: true}, other: func() sftp.End {
		near, far := duplex()
		e := endless{client.InMemHandler(), nil, &deepest}
		for i := range 10_000 {
			e.folders = append(e.folders, entry{path: fmt.Sprint("folder", i), mode: fs.ModeDir | 0o755})
		}
		e.FileList = e
		s := client.NewRequestServer(far, e.Handlers)
		wg.Go(func() { _ = s.Serve() })
		return near
	}}, files.Config{})
	err := w.Do(t.Context(), w.id, func(m *files.Machine) error {
		ctx, end := context.WithCancel(t.Context())
		wg.Go(func() {
			defer end()
			for begun := time.Now(); deepest.Load() < 12 && time.Since(begun) < 3*time.Second; time.Sleep(time.Millisecond) {
			}
		})
		return m.Remove(ctx, "/x", true)
	})
	if n := deepest.Load(); err == nil || n > 9 {
		t.Errorf("%d deep: %v", n, err)
	}
	w.Close()
}

type entries []fs.FileInfo

func (e entries) ListAt(out []fs.FileInfo, offset int64) (int, error) {
	if offset >= int64(len(e)) {
		return 0, io.EOF
	}
	return copy(out, e[offset:]), nil
}

type entry struct {
	path string
	mode fs.FileMode
}

func (e entry) Name() string       { return e.path }
func (e entry) Size() int64        { return 0 }
func (e entry) Mode() fs.FileMode  { return e.mode }
func (e entry) ModTime() time.Time { return time.Time{} }
func (e entry) IsDir() bool        { return e.mode.IsDir() }
func (e entry) Sys() any           { return nil }

func TestNamesThatAreNone(t *testing.T) {
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	w := on(t, &machine{rights: sftp.Rights{Upload: true, Download: true}, other: func() sftp.End {
		near, far := duplex()
		h := liar{client.InMemHandler()}
		h.FileList = h
		s := client.NewRequestServer(far, h.Handlers)
		wg.Go(func() { _ = s.Serve() })
		return near
	}}, files.Config{})
	w.do(func(m *files.Machine) error {
		l, err := m.List(t.Context(), "/")
		for _, e := range l.Entries {
			if strings.Contains(e.Name, "/") || e.Name == ".." || e.Name == "" {
				t.Errorf("listed is %q", e.Name)
			}
		}
		if len(l.Entries) < 3 {
			t.Errorf("listed is %+v", l.Entries)
		}
		return err
	})
	var b bytes.Buffer
	w.do(func(m *files.Machine) error {
		a, err := m.Archive([]string{"/"})
		if err != nil {
			return err
		}
		return a.Write(t.Context(), &b)
	})
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	must(t, err) // it refuses names that lead outside
	for _, f := range z.File {
		if strings.Contains(f.Name, `\`) || strings.Contains(f.Name, "..") && !strings.Contains(f.Name, ".._") {
			t.Errorf("packed is %q", f.Name)
		}
	}
	w.Close()
}

// duplex is a connection in memory.
func duplex() (near, far process) {
	ar, bw := io.Pipe()
	br, aw := io.Pipe()
	closed := func() { _, _, _, _ = ar.Close(), bw.Close(), br.Close(), aw.Close() }
	return process{ar, aw, closed}, process{br, bw, closed}
}

func TestCloseEndsAll(t *testing.T) {
	w := start(t)
	r, to := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- w.Transfer(t.Context(), w.id, func(m *files.Machine) error {
			_, err := m.Put(t.Context(), files.Upload{Path: w.home + "/file", Size: 100}, r)
			return err
		})
	}()
	_, err := to.Write([]byte("some"))
	must(t, err)
	w.Close()
	to.CloseWithError(errors.New("lost"))
	if err := <-done; err == nil {
		t.Error("it went well")
	}
	if err := w.Do(t.Context(), w.id, func(*files.Machine) error { return nil }); wire.CodeOf(err) != wire.RelayShutdown {
		t.Errorf("later: %v", err)
	}
}

// Who has many sessions and lets transfers stand still keeps nobody else from theirs.
func TestTransfersOfOneOwner(t *testing.T) {
	others := wire.NewSessionID()
	w := on(t, &machine{rights: sftp.Rights{Download: true}, owner: func(id wire.SessionID) string {
		if id == others {
			return "other"
		}
		return "one"
	}}, files.Config{})
	ctx, end := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	var run atomic.Int64
	for range 12 {
		id := wire.NewSessionID()
		for range 6 {
			wg.Go(func() {
				_ = w.Transfer(ctx, id, func(*files.Machine) error {
					run.Add(1)
					<-ctx.Done()
					return nil
				})
			})
		}
	}
	for before := int64(-1); run.Load() == 0 || run.Load() != before; time.Sleep(200 * time.Millisecond) {
		before = run.Load()
	}
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := w.Transfer(soon, others, func(*files.Machine) error { return nil }); err != nil {
		t.Errorf("with %d of one owner's: %v", run.Load(), err)
	}
}

// An archive of folders in folders, each with files that could be read ahead, holds those of one at a time.
func TestArchiveOfDeepFolders(t *testing.T) {
	const depth = 40
	w := start(t)
	folder := w.home + "/deep"
	for range depth {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range 16 {
			name := fmt.Sprintf("%s/b%d", folder, i)
			if err := errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, 128<<10)); err != nil {
				t.Fatal(err)
			}
		}
		folder += "/a"
	}
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := live(), uint64(0)
	w.do(func(m *files.Machine) error {
		a, err := m.Archive([]string{"deep"})
		if err != nil {
			return err
		}
		return a.Write(t.Context(), writerFunc(func(b []byte) (int, error) {
			most = max(most, live())
			return len(b), nil
		}))
	})
	if held := int64(most) - int64(before); held > 20<<20 {
		t.Errorf("%d bytes are held", held)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
