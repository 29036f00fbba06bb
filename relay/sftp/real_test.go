package sftp_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	client "github.com/pkg/sftp"

	"scrier/relay/sftp"
)

// program runs a real client against the test's own program, which stands between it and the real server.
func program(t *testing.T, rights, records, stdin, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is not installed: ./just parts does it", name)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), rightsEnv+"="+rights, recordsEnv+"="+records)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// random are bytes that do not repeat.
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

func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func same(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes that are not the %d sent", path, len(got), len(want))
	}
}

// find gives the one record with this value.
func find(t *testing.T, records []map[string]string, key, value string) map[string]string {
	t.Helper()
	var found map[string]string
	for _, r := range records {
		if r[key] == value {
			if found != nil {
				t.Errorf("two records have %s %s: %v", key, value, records)
			}
			found = r
		}
	}
	if found == nil {
		t.Errorf("no record has %s %s: %v", key, value, records)
	}
	return found
}

func TestOpenSSHsSFTP(t *testing.T) {
	dir := t.TempDir()
	near, far := filepath.Join(dir, "near"), filepath.Join(dir, "far")
	for _, d := range []string{near, far} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	big, small := random(5<<20+77), []byte("small")
	odd := "a \"b\" \xff\xfe é"
	write(t, filepath.Join(near, "big"), big)
	write(t, filepath.Join(near, odd), small)
	write(t, filepath.Join(near, "empty"), nil)
	records := filepath.Join(dir, "records")
	out, err := program(t, "upload,download", records, strings.Join([]string{
		"cd " + far, "lcd " + near, "put -p *", "mkdir sub", "rename big sub/bigger", "ln -s sub/bigger link", "ln sub/bigger hard",
		"chmod 600 hard", "ls -l", "df", "get -p sub/bigger back", "rm link", "mkdir gone", "rmdir gone", "",
	}, "\n"), "sftp", "-b", "-", "-D", self(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	same(t, filepath.Join(far, "sub/bigger"), big)
	same(t, filepath.Join(near, "back"), big)
	same(t, filepath.Join(far, odd), small)
	got := recordsOf(t, records)
	up := find(t, got, "upload", strconv.Itoa(len(big)))
	if up["path"] != filepath.Join(far, "big") || up["upload_sha256"] != hexSum(big) || up["download"] != "" || !strings.Contains(up["attributes"], "mode 0640") {
		t.Errorf("the upload is recorded as %v", up)
	}
	if down := find(t, got, "download", strconv.Itoa(len(big))); down["download_sha256"] != hexSum(big) || down["path"] != filepath.Join(far, "sub/bigger") {
		t.Errorf("the download is recorded as %v", down)
	}
	if empty := find(t, got, "path", filepath.Join(far, "empty")); empty["upload"] != "0" || empty["upload_sha256"] != hexSum(nil) {
		t.Errorf("the empty file is recorded as %v", empty)
	}
	find(t, got, "path", filepath.Join(far, `a "b" \xff\xfe é`))
	for _, op := range []sftp.Op{sftp.Rename, sftp.Symlink, sftp.Link, sftp.Remove, sftp.Rmdir, sftp.Setstat} {
		find(t, got, "change", string(op))
	}
	if _, err := os.Lstat(filepath.Join(far, "link")); err == nil {
		t.Error("the link was not removed")
	}
}

func TestOpenSSHsSCP(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "sub/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	content := random(1<<20 + 1)
	write(t, filepath.Join(tree, "sub/deep/file"), content)
	records := filepath.Join(dir, "records")
	// scp starts "ssh" as SELF … host sftp; SELF does not care.
	out, err := program(t, "upload,download", records, "", "scp", "-s", "-r", "-p", "-S", self(t), tree, "host:"+filepath.Join(dir, "up"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err = program(t, "upload,download", records, "", "scp", "-s", "-r", "-p", "-S", self(t), "host:"+filepath.Join(dir, "up"), filepath.Join(dir, "down"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	same(t, filepath.Join(dir, "down/sub/deep/file"), content)
	got := recordsOf(t, records)
	if r := find(t, got, "upload_sha256", hexSum(content)); r["path"] != filepath.Join(dir, "up/sub/deep/file") {
		t.Errorf("recorded as %v", r)
	}
	find(t, got, "download_sha256", hexSum(content))
	if !slices.ContainsFunc(got, func(r map[string]string) bool {
		return r["change"] == "mkdir" && r["path"] == filepath.Join(dir, "up/sub")
	}) {
		t.Errorf("no folder is recorded: %v", got)
	}
}

func TestRightsWithOpenSSHsSFTP(t *testing.T) {
	dir := t.TempDir()
	content := random(100_000)
	file := write(t, filepath.Join(dir, "file"), content)
	for _, c := range []struct {
		rights  string
		passes  string
		refused []string
	}{
		{"download", "get " + file + " " + filepath.Join(dir, "got") + "\nls -l " + dir, []string{
			"put " + file + " " + filepath.Join(dir, "no1"), "rm " + file, "mkdir " + filepath.Join(dir, "no2"),
			"rename " + file + " " + filepath.Join(dir, "no3"), "chmod 777 " + file, "ln -s " + file + " " + filepath.Join(dir, "no4"),
		}},
		{"upload", "put " + file + " " + filepath.Join(dir, "put"), []string{"get " + file + " " + filepath.Join(dir, "no5")}},
	} {
		commands := c.passes + "\n-" + strings.Join(c.refused, "\n-") + "\n" // those with - may fail
		out, err := program(t, c.rights, filepath.Join(dir, "records"), commands, "sftp", "-b", "-", "-D", self(t))
		if err != nil || strings.Count(out, "ermission denied") != len(c.refused) {
			t.Errorf("with %s: %v\n%s", c.rights, err, out)
		}
	}
	if out, err := program(t, "none", filepath.Join(dir, "records"), "ls "+dir+"\n", "sftp", "-b", "-", "-D", self(t)); err == nil || !strings.Contains(out, "does not allow") {
		t.Errorf("without any right: %v\n%s", err, out)
	}
	same(t, filepath.Join(dir, "got"), content)
	same(t, filepath.Join(dir, "put"), content)
	same(t, file, content)
	if left, _ := filepath.Glob(filepath.Join(dir, "no*")); len(left) > 0 {
		for _, l := range left {
			if s, err := os.Stat(l); err == nil && (s.Size() > 0 || s.IsDir()) {
				t.Errorf("%s is there", l)
			}
		}
	}
	refused := 0
	for _, r := range recordsOf(t, filepath.Join(dir, "records")) {
		if r["refused"] != "" {
			refused++
			if r["status"] != "permission_denied" || r["path"] == "" {
				t.Errorf("recorded as %v", r)
			}
		}
	}
	if refused < 7 {
		t.Errorf("only %d refusals are recorded", refused)
	}
}

func TestSSHFS(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatal("no fuse here")
	}
	dir := t.TempDir()
	mount, far := filepath.Join(dir, "mount"), filepath.Join(dir, "far")
	for _, d := range []string{mount, far} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	records := filepath.Join(dir, "records")
	content := random(3 << 20)
	out, err := program(t, "upload,download", records, "", "sshfs", "-o", "ssh_command="+self(t), "host:"+far, mount)
	if err != nil {
		t.Fatalf("sshfs does not mount here: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("fusermount3", "-u", mount).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v\n%s", err, out)
		}
	})
	write(t, filepath.Join(mount, "file"), content)
	if err := os.MkdirAll(filepath.Join(mount, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(mount, "file"), filepath.Join(mount, "a/b/file")); err != nil {
		t.Fatal(err)
	}
	same(t, filepath.Join(far, "a/b/file"), content)
	same(t, filepath.Join(mount, "a/b/file"), content)
	if r := find(t, recordsOf(t, records), "change", "rename"); r["to"] != filepath.Join(far, "a/b/file") {
		t.Errorf("recorded as %v", r)
	}
}

// newClient is pkg/sftp's client on a Pass.
func (p *passing) newClient(options ...client.ClientOption) *client.Client {
	p.Helper()
	c, err := client.NewClientPipe(p.client, p.client, options...)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { c.Close() })
	return c
}

// pkg/sftp sends from several threads, and so blocks may overtake others.
func TestConcurrentTransfersAreInOrder(t *testing.T) {
	p := real(t, both)
	c := p.newClient(client.UseConcurrentWrites(true), client.UseConcurrentReads(true))
	content := random(9<<20 + 5)
	name := filepath.Join(t.TempDir(), "file")
	for range 3 {
		f, err := c.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadFromWithConcurrency(bytes.NewReader(content), 64); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f, err = c.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		if n, err := f.WriteTo(h); err != nil || n != int64(len(content)) {
			t.Fatal(n, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != hexSum(content) {
			t.Fatal("other bytes came back")
		}
	}
	files, _ := p.all()
	if len(files) != 6 {
		t.Fatalf("%d records", len(files))
	}
	for i, f := range files {
		transfer := f.Up
		if i%2 == 1 {
			transfer = f.Down
		}
		if transfer == nil || transfer.Bytes != uint64(len(content)) || hex.EncodeToString(transfer.SHA256) != hexSum(content) || f.Status != sftp.OK {
			t.Errorf("recorded as %v", f.Fields())
		}
	}
}

// Whatever a client does, it comes to the same with Pass between it and the server.
func TestThroughIsAsWithout(t *testing.T) {
	dir := t.TempDir()
	direct, wait, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wait)
	without, err := client.NewClientPipe(direct, direct)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { without.Close(); direct.Close() })
	p := real(t, both)
	through := p.newClient()
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c/d", "c", "e \xff", "c/" + strings.Repeat("x", 200), "nowhere/f", ""}
	for i := range 400 {
		op, one, two, size := r.IntN(14), names[r.IntN(len(names))], names[r.IntN(len(names))], r.IntN(1<<r.IntN(20))
		var said [2]string
		for side, c := range []*client.Client{without, through} {
			root := filepath.Join(dir, strconv.Itoa(side))
			if i == 0 {
				if err := os.Mkdir(root, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			said[side] = strings.ReplaceAll(step(c, op, root+"/"+one, root+"/"+two, size), root, "")
		}
		if said[0] != said[1] {
			t.Fatalf("step %d, operation %d of %q and %q:\nwithout: %s\nthrough: %s", i, op, one, two, said[0], said[1])
		}
	}
	if a, b := tree(t, filepath.Join(dir, "0")), tree(t, filepath.Join(dir, "1")); a != b {
		t.Errorf("the trees differ:\n%s\n%s", a, b)
	}
}

// step does one thing and says what came of it.
func step(c *client.Client, op int, one, two string, size int) string {
	say := func(err error) string {
		if err == nil {
			return "ok"
		}
		return err.Error()
	}
	switch op {
	case 0, 1, 2:
		f, err := c.Create(one)
		if err != nil {
			return say(err)
		}
		_, err = f.Write(random(size))
		return say(err) + say(f.Close())
	case 3, 4:
		f, err := c.Open(one)
		if err != nil {
			return say(err)
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		return hexSum(b) + say(err)
	case 5:
		return say(c.Mkdir(one))
	case 6:
		return say(c.Rename(one, two))
	case 7:
		return say(c.PosixRename(one, two))
	case 8:
		return say(c.Symlink("a", two))
	case 9:
		return say(c.Remove(one))
	case 10:
		return say(c.Chmod(one, fs.FileMode(0o600|size&0o77)))
	case 11:
		entries, err := c.ReadDir(one)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name()+e.Mode().String())
		}
		return strings.Join(names, "\n") + say(err)
	case 12:
		return say(c.Link(one, two))
	default:
		f, err := c.OpenFile(one, os.O_RDWR)
		if err != nil {
			return say(err)
		}
		defer f.Close()
		_, err = f.WriteAt(random(size%1000), int64(size))
		return say(err) + say(f.Truncate(int64(size/2)))
	}
}

func tree(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(strings.TrimPrefix(path, root) + " " + info.Mode().String())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.WriteString(" " + hexSum(content))
		}
		b.WriteString("\n")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
