package transfer_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"scrier/client/transfer"
	"scrier/wire"
)

// site has a folder for this machine and one for the other.
type site struct {
	t           *testing.T
	here, there string
	local       *transfer.Local
	remote      *transfer.Remote
	told        *told
}

func newSite(t *testing.T) *site {
	base := t.TempDir()
	s := &site{t: t, here: filepath.Join(base, "here"), there: filepath.Join(base, "there"), local: transfer.NewLocal(), told: &told{}}
	for _, dir := range []string{s.here, s.there} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.remote = remote(t, s.there)
	t.Cleanup(func() { noParts(t, base) })
	return s
}

func (s *site) up(o transfer.Options, to string, from ...string) transfer.Summary {
	s.t.Helper()
	var sources []transfer.Source
	for _, f := range from {
		sources = append(sources, transfer.Source{Place: s.local, Path: s.here + "/" + f})
	}
	return run(s.t, s.told, sources, s.remote, to, o)
}

func (s *site) down(o transfer.Options, to string, from ...string) transfer.Summary {
	s.t.Helper()
	var sources []transfer.Source
	for _, f := range from {
		sources = append(sources, transfer.Source{Place: s.remote, Path: f, Pattern: true})
	}
	return run(s.t, s.told, sources, s.local, filepath.Join(s.here, to), o)
}

func (s *site) wants(root, path, text string) {
	s.t.Helper()
	if got := read(s.t, filepath.Join(root, path)); got != text {
		s.t.Errorf("%s has %q, expected %q", path, got, text)
	}
}

var tree = transfer.Options{Recursive: true}

// What goes where, as scp has it.
func TestTargets(t *testing.T) {
	s := newSite(t)
	write(t, filepath.Join(s.here, "a b"), "one")
	write(t, filepath.Join(s.here, "dir/x"), "x")
	write(t, filepath.Join(s.here, "dir/sub/y"), "")
	if err := os.Mkdir(filepath.Join(s.there, "to"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.up(tree, "new", "a b")        // a new name
	s.up(tree, ".", "a b")          // into the home
	s.up(tree, "to/", "a b", "dir") // several, into a folder
	s.up(tree, "tree", "dir")       // a folder under a new name
	s.up(tree, "tree2/", "dir")     // the same
	s.up(tree, "tree", "dir")       // and into it, now that it is there
	s.up(tree, "to", "dir/.")       // what is in a folder
	s.up(tree, filepath.Join(s.there, "abs"), "a b")
	for path, text := range map[string]string{
		"new": "one", "a b": "one", "to/a b": "one", "to/dir/x": "x", "to/dir/sub/y": "", "tree/x": "x", "tree2/sub/y": "", "tree/dir/x": "x", "to/x": "x", "abs": "one",
	} {
		s.wants(s.there, path, text)
	}
	s.down(tree, "back", "to")
	s.wants(s.here, "back/a b", "one")
	for _, line := range s.told.sorted() {
		if !strings.HasPrefix(line, "copied ") {
			t.Error(line)
		}
	}
}

// What cannot be copied is told, and the rest is copied.
func TestTheRestGoesOn(t *testing.T) {
	s := newSite(t)
	for _, f := range []string{"a", "b/a", "file", "folder/in it"} {
		write(t, filepath.Join(s.here, f), "text of "+f)
	}
	if err := syscall.Mkfifo(filepath.Join(s.here, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.here, "folder/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.here, "folder/.x.scrier-part"), "left")
	if err := os.Symlink("nowhere", filepath.Join(s.here, "folder/dangling")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(s.here, "folder/loop")); err != nil {
		t.Fatal(err)
	}
	for _, loop := range []string{"one", "two"} {
		if err := os.Symlink(".", filepath.Join(s.here, "folder", loop)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("self", filepath.Join(s.here, "folder/self")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.there, "folder"), "a file")
	write(t, filepath.Join(s.there, "file/in it"), "")
	sum := s.up(transfer.Options{}, ".", "a", "b/a", "fifo", "none", "b", "file")
	s.told.wants(t, "copied "+s.here+"/a", "failed "+s.here+"/b/a: another of the sources has the same name", "failed "+s.here+"/fifo: it is no regular file",
		"failed "+s.here+"/none: there is no such file", "failed "+s.here+"/b: it is a folder", "failed "+s.here+"/file: web1:file: a folder has this name already")
	if sum.Copied != 1 || sum.Failed != 5 {
		t.Errorf("the sum is %+v", sum)
	}
	s.told = &told{}
	s.up(tree, ".", "folder")
	s.told.wants(t, "failed web1:folder: a file has this name already")
	s.told = &told{}
	sum = s.up(tree, "new", "folder")
	s.told.wants(t, "copied "+s.here+"/folder/in it", "left_out "+s.here+"/folder/fifo: it is no regular", "left_out "+s.here+"/folder/.x.scrier-part: it is the part",
		"failed "+s.here+"/folder/dangling: it is a symbolic link that leads nowhere", "failed "+s.here+"/folder/one: it is a symbolic link to a folder above",
		"failed "+s.here+"/folder/two: it is a symbolic link to a folder above", "failed "+s.here+"/folder/self: it is a symbolic link to", "copied "+s.here+"/folder/loop/a",
		"copied "+s.here+"/folder/loop/b/a", "copied "+s.here+"/folder/loop/file", "left_out "+s.here+"/folder/loop/fifo", "failed "+s.here+"/folder/loop/folder")
	_ = os.Remove(filepath.Join(s.here, "folder/.x.scrier-part"))
	_ = os.RemoveAll(filepath.Join(s.there, "new"))
}

// A copy that has nowhere to go ends with an error.
func TestNoTarget(t *testing.T) {
	s := newSite(t)
	write(t, filepath.Join(s.here, "a"), "a")
	write(t, filepath.Join(s.here, "b"), "b")
	write(t, filepath.Join(s.there, "file"), "old")
	sources := []transfer.Source{{Place: s.local, Path: filepath.Join(s.here, "a")}, {Place: s.local, Path: filepath.Join(s.here, "b")}}
	for _, to := range []string{"file", "none"} {
		if _, err := transfer.Run(t.Context(), sources, s.remote, to, transfer.Options{Progress: s.told}); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("several files to %s: %v", to, err)
		}
	}
	s.up(tree, "none/x", "a")
	s.up(tree, "none/", "a")
	s.up(tree, "file", ".")
	s.told.wants(t, "failed "+s.here+"/a: web1:none/x: there is no such", "failed web1:none/: there is no such", "failed web1:file: a file has this name")
	s.wants(s.there, "file", "old")
	// Nothing is copied into itself.
	s.told = &told{}
	write(t, filepath.Join(s.there, "d/e/f"), "f")
	for _, to := range []string{"d/e", "d/new", "d", "d/e/new"} {
		run(t, s.told, []transfer.Source{{Place: s.remote, Path: "d"}}, s.remote, to, tree)
	}
	for _, line := range s.told.sorted() {
		if !strings.HasSuffix(line, "the target is inside the source") {
			t.Error(line)
		}
	}
	s.told = &told{}
	run(t, s.told, []transfer.Source{{Place: s.remote, Path: "d/e"}}, s.remote, "d-e", tree) // beside it, with the same beginning
	s.wants(s.there, "d-e/f", "f")
}

// A file that is there keeps its mode, and the link that led to it.
func TestReplaces(t *testing.T) {
	for _, way := range []string{"up", "down"} {
		t.Run(way, func(t *testing.T) {
			s := newSite(t)
			src, dst := s.here, s.there
			if way == "down" {
				src, dst = s.there, s.here
			}
			copies := func(o transfer.Options, to string, from ...string) {
				t.Helper()
				if way == "up" {
					s.up(o, to, from...)
				} else {
					s.down(o, to, from...)
				}
			}
			write(t, filepath.Join(src, "f"), "new")
			write(t, filepath.Join(dst, "old"), "something longer")
			if err := os.Chmod(filepath.Join(dst, "old"), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(filepath.Join(dst, "old"), filepath.Join(dst, "hard")); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dst, "deep/target"), "linked")
			for name, to := range map[string]string{"link": "deep/target", "dangling": "none", "dir": "deep"} {
				if err := os.Symlink(to, filepath.Join(dst, name)); err != nil {
					t.Fatal(err)
				}
			}
			copies(transfer.Options{}, "old", "f")
			copies(transfer.Options{}, "link", "f")
			copies(transfer.Options{}, "dir", "f")
			s.wants(dst, "old", "new")
			s.wants(dst, "hard", "something longer")
			s.wants(dst, "deep/target", "new")
			s.wants(dst, "deep/f", "new")
			if info, err := os.Stat(filepath.Join(dst, "old")); err != nil || info.Mode() != 0o640 {
				t.Errorf("the mode is %v, %v", info.Mode(), err)
			}
			if to, err := os.Readlink(filepath.Join(dst, "link")); err != nil || to != "deep/target" {
				t.Errorf("the link leads to %s, %v", to, err)
			}
			s.told = &told{}
			copies(transfer.Options{}, "dangling", "f")
			if lines := s.told.sorted(); len(lines) != 1 || !strings.Contains(lines[0], "leads nowhere") {
				t.Errorf("told was %q", lines)
			}
			// With -p the mode of the source counts.
			if err := os.Chmod(filepath.Join(src, "f"), 0o604); err != nil {
				t.Fatal(err)
			}
			copies(transfer.Options{Preserve: true}, "old", "f")
			if info, err := os.Stat(filepath.Join(dst, "old")); err != nil || info.Mode() != 0o604 {
				t.Errorf("the mode is %v, %v", info.Mode(), err)
			}
		})
	}
}

// What is new has the mode of the source without what the umask takes; a private file is private from its beginning on.
func TestModes(t *testing.T) {
	mask := syscall.Umask(0o027)
	defer syscall.Umask(mask)
	s := newSite(t)
	for name, mode := range map[string]os.FileMode{"private": 0o600, "open": 0o666, "run": 0o777, "read": 0o444, "s": 0o755 | os.ModeSetuid} {
		write(t, filepath.Join(s.here, "d/"+name), strings.Repeat(name, 100_000))
		if err := os.Chmod(filepath.Join(s.here, "d/"+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"d/closed": 0o500, "d/wide": 0o777} {
		if err := os.Mkdir(filepath.Join(s.here, name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(s.here, name, "f"), "f")
		if err := os.Chmod(filepath.Join(s.here, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	check := func(root string) {
		t.Helper()
		for name, want := range map[string]os.FileMode{"private": 0o600, "open": 0o640, "run": 0o750, "read": 0o440, "s": 0o750, "closed": 0o500 | os.ModeDir, "wide": 0o750 | os.ModeDir} {
			if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode() != want {
				t.Errorf("%s/%s has %v, %v; expected %v", root, name, info.Mode(), err, want)
			}
		}
	}
	s.told.on = func(f *transfer.File, offset int64) {
		if info, err := os.Stat(filepath.Join(s.there, "up", ".private.scrier-part")); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others can read the part at %d: %v", offset, info.Mode())
		}
	}
	s.up(tree, "up", "d")
	check(filepath.Join(s.there, "up"))
	s.down(tree, "down", "up")
	check(filepath.Join(s.here, "down"))
}

// A pipe gets the bytes, and no part file.
func TestToPipe(t *testing.T) {
	s := newSite(t)
	write(t, filepath.Join(s.there, "f"), strings.Repeat("text ", 100_000))
	pipe := filepath.Join(s.here, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		data, err := os.ReadFile(pipe)
		if err != nil {
			t.Error(err)
		}
		got <- string(data)
	}()
	s.down(transfer.Options{}, "pipe", "f")
	if text := <-got; text != strings.Repeat("text ", 100_000) {
		t.Errorf("%d bytes came", len(text))
	}
	if info, err := os.Stat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe is %v, %v", info, err)
	}
	// A device of the machine, too; a pipe there would have its server wait.
	write(t, filepath.Join(s.here, "x"), "x")
	s.told = &told{}
	s.up(transfer.Options{}, "/dev/null", "x")
	if err := syscall.Mkfifo(filepath.Join(s.there, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.up(transfer.Options{}, "pipe", "x")
	s.told.wants(t, "copied "+s.here+"/x", "failed "+s.here+"/x: web1:pipe: it is no regular file")
}

// A pattern is looked up on the machine, and a name with the signs of one is found too.
func TestPatterns(t *testing.T) {
	s := newSite(t)
	for _, f := range []string{"a1", "a2", "b1", ".a3", "d1/x.jar", "d2/x.jar", "d2/y", "e [1]", "e\xff", "star*", "a[b"} {
		write(t, filepath.Join(s.there, f), f)
	}
	for i, c := range []struct {
		pattern string
		want    []string
	}{
		{"a?", []string{"a1", "a2"}},
		{"[!b]1", []string{"a1"}},
		{"[a-b][12]", []string{"a1", "a2", "b1"}},
		{".a*", []string{".a3"}},
		{"d2/*", []string{"x.jar", "y"}},
		{"d*/y", []string{"y"}},
		{"e [1]", []string{"e [1]"}},
		{`star\*`, []string{"star*"}},
		{"e?", []string{"e\xff"}},
		{"a[b", []string{"a[b"}},
		{"./*1", []string{"a1", "b1"}},
		{filepath.Join(s.there, "b*"), []string{"b1"}},
	} {
		to := filepath.Join("to", string(rune('a'+i)))
		if err := os.MkdirAll(filepath.Join(s.here, to), 0o755); err != nil {
			t.Fatal(err)
		}
		s.down(transfer.Options{}, to, c.pattern)
		entries, err := os.ReadDir(filepath.Join(s.here, to))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s gave %q, expected %q", c.pattern, got, c.want)
		}
	}
	s.told = &told{}
	s.down(transfer.Options{}, "to", "none*")
	s.told.wants(t, "failed web1:none*: there is no such file")
}
