package builtin

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/account"
	"scrier/wire"
)

func TestUIDZeroIsNeverServed(t *testing.T) {
	_, host := newKey(t)
	for _, name := range []string{"root", "0", "00", "+0", "4294967296"} {
		_, err := New(Config{User: name, HostKey: host})
		wantCode(t, err, wire.AccountNotLoginable)
		if (name == "root" || name == "0") && !strings.Contains(wire.HintOf(err), "ssh.run_as") {
			t.Errorf("%q: the error does not say what to do: %v", name, err)
		}
	}
	if os.Geteuid() == 0 {
		_, err := New(Config{HostKey: host})
		wantCode(t, err, wire.AccountNotLoginable)
		if !strings.Contains(wire.HintOf(err), "ssh.run_as") {
			t.Errorf("no login: the error does not say what to do: %v", err)
		}
	}
	// Another login that has uid 0.
	_, err := findAccount(t.Context(), fakeGetent(t, "toor:x:0:1000::/root:/bin/bash"), "toor")
	wantCode(t, err, wire.AccountNotLoginable)
	if err != nil && !strings.Contains(err.Error(), "uid 0") {
		t.Errorf("refused for another reason: %v", err)
	}
}

// fakeGetent is a database whose getent answers every question with one line.
func fakeGetent(t *testing.T, line string) account.Database {
	t.Helper()
	getent := filepath.Join(t.TempDir(), "getent")
	if err := os.WriteFile(getent, []byte("#!/bin/sh\ncat <<'END'\n"+line+"\nEND\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return account.Database{Getent: getent, Etc: "/etc"}
}

func TestAccountsRefused(t *testing.T) {
	_, host := newKey(t)
	for _, name := range []string{"daemon", "scr-no-such-login", "-h", "a:b", "--help", "../x", "a\nb", strings.Repeat("x", 300), strconv.Itoa(int(serverAccount(t).UID))} {
		_, err := New(Config{User: name, HostKey: host})
		wantCode(t, err, wire.AccountNotLoginable)
	}
	for _, shell := range []string{"/usr/sbin/nologin", "/bin/false", "/nonexistent", "/etc/passwd", "/bin", "bash"} {
		_, err := New(Config{User: testLogin, HostKey: host, Shell: shell})
		wantCode(t, err, wire.AccountNotLoginable)
	}
	if _, err := New(Config{User: testLogin}); err == nil {
		t.Error("no host key")
	}
}

// TestBecomesTheUser: the server is root, and the session's process must be the user in every way.
func TestBecomesTheUser(t *testing.T) {
	needRoot(t)
	inherited, err := unix.Dup(0) // a file that sessions must not see
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	s := newServer(t)
	c := serve(t, s).dial(t)
	if s.Login() != testLogin || s.account.Home != "/home/"+testLogin {
		t.Errorf("%+v", s.account)
	}
	want, err := exec.Command("id", testLogin).Output()
	if err != nil || !strings.Contains(string(want), "games") {
		t.Fatalf("%s, %v", want, err)
	}
	output := func(tty bool, command string) string {
		t.Helper()
		session := newSession(t, c)
		if tty {
			requestPTY(t, session)
		}
		out, err := session.Output(command)
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return strings.TrimSpace(strings.ReplaceAll(string(out), "\r\n", "\n"))
	}
	for _, tty := range []bool{false, true} {
		if got := output(tty, "id"); got != strings.TrimSpace(string(want)) {
			t.Errorf("pty=%v: id says %s, not %s", tty, got, want)
		}
		// Real, effective, saved and file-system ids alike, and no capabilities.
		got := output(tty, "grep -E '^(Uid|Gid|CapPrm|CapEff|CapAmb)' /proc/self/status | tr -s '\\t' ' '")
		u, g := output(false, "id -u"), output(false, "id -g")
		for _, line := range []string{"Uid: " + strings.Repeat(u+" ", 3) + u, "Gid: " + strings.Repeat(g+" ", 3) + g,
			"CapPrm: 0000000000000000", "CapEff: 0000000000000000", "CapAmb: 0000000000000000"} {
			if !strings.Contains(got, line) {
				t.Errorf("pty=%v: no %q in %q", tty, line, got)
			}
		}
		if fds := output(tty, "exec ls /proc/self/fd"); fds != "0\n1\n2\n3" && fds != "0  1  2  3" { // 3 is ls reading
			t.Errorf("pty=%v: open files: %q", tty, fds)
		}
	}
	if got := output(true, "stat -c '%U:%G %a' $(tty)"); got != testLogin+":tty 620" {
		t.Errorf("the terminal is %s", got)
	}
	if got := output(true, "exec 3<>/dev/tty && echo opened"); got != "opened" {
		t.Errorf("the controlling terminal: %s", got)
	}
	// The process must not keep root's group.
	if got := output(false, "id -G"); strings.Contains(" "+got+" ", " 0 ") {
		t.Errorf("groups %s", got)
	}
}

func TestMissingHome(t *testing.T) {
	needRoot(t)
	s := newServer(t)
	for name, home := range map[string]string{"missing": "/nonexistent", "closed": closedDir(t)} {
		t.Run(name, func(t *testing.T) {
			other := *s
			other.account.Home = home
			session := newSession(t, serve(t, &other).dial(t))
			var errs bytes.Buffer
			session.Stderr = &errs
			out, err := session.Output("pwd")
			if err != nil || string(out) != "/\n" || !strings.Contains(errs.String(), "could not enter") {
				t.Errorf("%q, %q, %v", out, &errs, err)
			}
		})
	}
}

func closedDir(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOrdinaryUser runs the tests again as somebody who is not root.
func TestOrdinaryUser(t *testing.T) {
	needRoot(t)
	a := serverAccount(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	own := filepath.Join(dir, "builtin.test")
	if err := os.WriteFile(own, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), own, "-test.v", "-test.run", "^(TestExec|TestShell|TestOpenSSH|TestCutConnection|TestUIDZeroIsNeverServed|TestForeignLogin|TestHostKey|TestRightsOfFiles|TestForward|TestReverse|TestReverseSocket|TestAgentForwarding|TestAgentIsKilled)$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + a.Home, "TMPDIR=" + dir, "SHELL=/bin/sh"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.UID, Gid: a.GID}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"TestExec", "TestShell", "TestOpenSSH", "TestForeignLogin", "TestRightsOfFiles", "TestForward", "TestReverse", "TestReverseSocket", "TestAgentForwarding", "TestAgentIsKilled"} {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("%s did not run:\n%s", name, out)
		}
	}
}

// TestForeignLogin asks for a login that is not the process's own; as root it may have it.
func TestForeignLogin(t *testing.T) {
	_, host := newKey(t)
	s, err := New(Config{HostKey: host, User: testLogin})
	if err != nil || s.Login() != testLogin {
		t.Errorf("%v", err)
	}
	if os.Geteuid() == 0 {
		return
	}
	if s, err = New(Config{HostKey: host}); err != nil || s.Login() != testLogin {
		t.Errorf("no login: %v", err)
	}
	_, err = findAccount(t.Context(), fakeGetent(t, "other:x:54321:54321::/home/other:/bin/sh"), "other")
	wantCode(t, err, wire.AccountNotLoginable)
	if err != nil && !strings.Contains(err.Error(), "its own") {
		t.Errorf("refused for another reason: %v", err)
	}
}

func TestHostKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "hostkey")
	keys := make(chan ssh.Signer, 8)
	for range cap(keys) {
		go func() {
			k, err := LoadOrMakeHostKey(path)
			if err != nil {
				t.Error(err)
			}
			keys <- k
		}()
	}
	first := <-keys
	for range cap(keys) - 1 {
		if k := <-keys; first == nil || k == nil || string(k.PublicKey().Marshal()) != string(first.PublicKey().Marshal()) {
			t.Fatal("two starts, two keys")
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if out, err := exec.Command("ssh-keygen", "-y", "-P", "", "-f", path).Output(); err != nil || !strings.HasPrefix(string(ssh.MarshalAuthorizedKey(first.PublicKey())), strings.Join(strings.Fields(string(out))[:2], " ")) {
		t.Errorf("ssh-keygen reads %s, %v", out, err)
	}

	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := LoadOrMakeHostKey(path)
	wantCode(t, err, wire.BadConfig)
	link, fifo, rubbish, ecdsa := filepath.Join(dir, "link"), filepath.Join(dir, "fifo"), filepath.Join(dir, "rubbish"), filepath.Join(dir, "ecdsa")
	if err := errors.Join(os.Symlink(path, link), syscall.Mkfifo(fifo, 0o600), os.WriteFile(rubbish, []byte("rubbish"), 0o600),
		exec.Command("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", ecdsa).Run()); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{link, fifo, rubbish, ecdsa, filepath.Join(dir, "no", "such"), dir} {
		if _, err := LoadOrMakeHostKey(p); err == nil {
			t.Errorf("%s: accepted", p)
		}
	}
}
