package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// The test binary is its own worker. What a worker of a test does beside its work is in its
// environment, which the agent leaves empty outside of tests.
const (
	workerArg = "keys-worker-under-test"
	crashEnv  = "SCRIER_TEST_CRASH=" // die here
	hangEnv   = "SCRIER_TEST_HANG="  // stop here until killed
	babbleEnv = "SCRIER_TEST_BABBLE" // answer this many bytes
	lieEnv    = "SCRIER_TEST_LIE="   // answer this file's bytes
	openatEnv = "SCRIER_TEST_NO_OPENAT2"
	renameEnv = "SCRIER_TEST_NO_EXCHANGE"
	agentArg  = "keys-agent-under-test"
	hammerArg = "keys-hammer-under-test"
	appendArg = "keys-appender-under-test"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case workerArg:
			os.Exit(testWorker())
		case agentArg:
			os.Exit(testAgent())
		case hammerArg:
			os.Exit(testHammer())
		case appendArg:
			os.Exit(testAppender())
		}
	}
	unix.Umask(0o022)
	goleak.VerifyTestMain(m)
}

func testWorker() int {
	var w worker
	crash, hang, all := "", "", ""
	hook := false
	for _, e := range os.Environ() {
		if v, ok := strings.CutPrefix(e, crashEnv); ok {
			crash, hook = v, true
		}
		if v, ok := strings.CutPrefix(e, crashAllEnv); ok {
			all, hook = v, true
		}
		if v, ok := strings.CutPrefix(e, hangEnv); ok {
			hang, hook = v, true
		}
		if e == openatEnv {
			w.noOpenat2, hook = true, true
		}
		if e == renameEnv {
			w.noExchange, hook = true, true
		}
		if v, ok := strings.CutPrefix(e, lieEnv); ok {
			b, _ := os.ReadFile(v)
			os.Stdout.Write(b)
			return 0
		}
		if e == babbleEnv {
			junk := bytes.Repeat([]byte{'x'}, 1<<20)
			for range 64 {
				if _, err := os.Stdout.Write(junk); err != nil {
					return 1
				}
			}
			return 0
		}
	}
	if !hook {
		return Work(os.Stdin, os.Stdout) // the real main
	}
	if harden() != nil {
		return 1
	}
	w.at = func(point string) {
		switch point {
		case all:
			// The agent of the test finds it stopped and kills itself, which kills it.
			unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
			unix.Kill(os.Getpid(), unix.SIGSTOP)
		case crash:
			unix.Kill(os.Getpid(), unix.SIGKILL)
		case hang:
		default:
			return
		}
		time.Sleep(time.Hour) // a signal takes a moment
	}
	return w.work(os.Stdin, os.Stdout)
}

// host is a machine of a test: logins that only its own getent knows, with real homes.
type host struct {
	t      testing.TB
	dir    string
	shadow string
	users  []*user
}

type user struct {
	login string
	uid   int
	home  string
	shell string
}

var nextUID atomic.Int64

func newHost(t testing.TB) *host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests become other users: run them as root")
	}
	dir, err := os.MkdirTemp("", "scrier-keys-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &host{t: t, dir: dir}
	h.must(os.Chmod(dir, 0o755))
	h.script("getent", `db=$1; shift
if [ $db = initgroups ]; then for u; do echo "$u 64242"; done; exit 0; fi
[ $# = 0 ] && exec cat `+dir+`/$db
grep "^$1:" `+dir+`/$db || exit 2
`)
	h.write()
	return h
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) script(name, text string) string {
	h.t.Helper()
	full := filepath.Join(h.dir, name)
	h.must(os.WriteFile(full, []byte("#!/bin/sh\n"+text), 0o755))
	return full
}

// write makes the databases of the host's getent.
func (h *host) write() {
	h.t.Helper()
	var b strings.Builder
	b.WriteString("root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534:sync:/bin:/bin/sync\n")
	for _, u := range h.users {
		fmt.Fprintf(&b, "%s:x:%d:%d::%s:%s\n", u.login, u.uid, u.uid, u.home, u.shell)
	}
	h.must(os.WriteFile(filepath.Join(h.dir, "passwd"), []byte(b.String()), 0o644))
	h.must(os.WriteFile(filepath.Join(h.dir, "shadow"), []byte(h.shadow), 0o600))
}

// user makes a login with a home and an empty .ssh.
func (h *host) user(login string) *user {
	h.t.Helper()
	u := &user{login: login, uid: 50000 + int(nextUID.Add(1)), home: filepath.Join(h.dir, "home", login), shell: "/bin/bash"}
	h.must(os.MkdirAll(u.ssh(""), 0o700))
	h.must(os.Chmod(filepath.Join(h.dir, "home"), 0o755))
	h.own(u, u.home, u.ssh(""))
	h.must(os.Chmod(u.home, 0o755))
	h.users = append(h.users, u)
	h.write()
	return u
}

func (h *host) own(u *user, paths ...string) {
	h.t.Helper()
	for _, p := range paths {
		h.must(os.Lchown(p, u.uid, u.uid))
	}
}

func (u *user) ssh(name string) string { return filepath.Join(u.home, ".ssh", name) }
func (u *user) file() string           { return u.ssh("authorized_keys") }

// keys writes the login's authorized_keys.
func (h *host) keys(u *user, content string) {
	h.t.Helper()
	h.must(os.WriteFile(u.file(), []byte(content), 0o600))
	h.own(u, u.file())
}

func (h *host) read(name string) string {
	h.t.Helper()
	b, err := os.ReadFile(name)
	h.must(err)
	return string(b)
}

func (h *host) config() Config {
	return Config{
		Agent: wire.NewEnvoyID(), StateDir: filepath.Join(h.dir, "state"), LockDir: filepath.Join(h.dir, "lock"),
		AuthorizedKeysFile: []string{"%h/.ssh/authorized_keys"},
		Worker:             []string{"/proc/self/exe", workerArg},
		Log:                slog.New(slog.NewTextHandler(testLog{h.t}, nil)),
	}
}

func (h *host) open(cfg Config, env ...string) *Keys {
	h.t.Helper()
	k, err := New(cfg)
	h.must(err)
	k.database.Getent, k.env = filepath.Join(h.dir, "getent"), env
	h.t.Cleanup(func() { h.must(k.Close()) })
	return k
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

func newKey(t testing.TB) (ssh.PublicKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s.PublicKey(), s
}

func fixedKey(t testing.TB, n byte) ssh.PublicKey {
	t.Helper()
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)).Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// text is a key as it stands on a line.
func text(key ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
}

func wantCode(t testing.TB, err error, code wire.Code) {
	t.Helper()
	if got := wire.CodeOf(err); got != code {
		t.Fatalf("code %v, want %v (%v)", got, code, err)
	}
}

func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// eventually polls, for what other processes do.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: not within 20 s", what)
}
