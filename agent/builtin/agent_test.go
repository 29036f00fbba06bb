package builtin

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// agentFolders are the folders of forwarded agents that are there now.
func agentFolders(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("/tmp/scrier-agent-*")
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, dir := range all {
		var st unix.Stat_t
		if unix.Lstat(dir, &st) == nil && st.Uid == serverAccount(t).UID {
			own = append(own, dir)
		}
	}
	return own
}

// A program that asked for it reaches the guest's agent, as long as the session lasts; nobody else does.
func TestAgentForwarding(t *testing.T) {
	l := serve(t, newServer(t))
	c := l.dial(t)
	keyring := agent.NewKeyring()
	private, key := newKey(t)
	if err := keyring.Add(agent.AddedKey{PrivateKey: private, Comment: "the guest's key"}); err != nil {
		t.Fatal(err)
	}
	if err := agent.ForwardToAgent(c, keyring); err != nil {
		t.Fatal(err)
	}
	s := newSession(t, c)
	if err := agent.RequestAgentForwarding(s); err != nil {
		t.Fatal(err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := newScreen()
	s.Stdout = out
	if err := s.Start(`echo "at $SSH_AUTH_SOCK:"; stat -c %a-%U $SSH_AUTH_SOCK $(dirname $SSH_AUTH_SOCK); ssh-add -l; echo done; cat`); err != nil {
		t.Fatal(err)
	}
	out.until(t, "at ")
	path := out.until(t, ":\n")
	if got, want := out.until(t, "done\n"), "600-"+testLogin+"\n700-"+testLogin+"\n256 "+ssh.FingerprintSHA256(key.PublicKey())+" the guest's key (ED25519)\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if b, err := newSession(t, c).Output("echo -n $SSH_AUTH_SOCK"); err != nil || len(b) > 0 {
		t.Errorf("a session that did not ask has %q, %v", b, err)
	}
	if again, err := s.SendRequest("auth-agent-req@openssh.com", true, nil); again || err != nil {
		t.Errorf("asked once more: %v, %v", again, err)
	}
	in.Close()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	eventually(t, "the socket goes with the session", func() bool {
		_, err := os.Lstat(filepath.Dir(path))
		return os.IsNotExist(err)
	})

	// The connection breaks while a program has the agent open.
	s = newSession(t, c)
	if err := agent.RequestAgentForwarding(s); err != nil {
		t.Fatal(err)
	}
	if len(agentFolders(t)) != 1 {
		t.Errorf("folders %v", agentFolders(t))
	}
	l.conn.Close()
	l.wait(t)
	if left := agentFolders(t); len(left) > 0 {
		t.Errorf("folders %v stay", left)
	}

	c = serveGuest(t, newServer(t), Guest{Rights: without(wire.MayAgent)}).dial(t)
	if err := agent.RequestAgentForwarding(newSession(t, c)); err == nil {
		t.Error("an agent without the right")
	}
	if left := agentFolders(t); len(left) > 0 {
		t.Errorf("folders %v are there without the right", left)
	}
}

// TestNativeAgent has OpenSSH's client forward OpenSSH's agent.
func TestNativeAgent(t *testing.T) {
	n := newNative(t, newServer(t), wire.Rights())
	socket := filepath.Join(n.dir, "agent")
	cmd := n.run("ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	eventually(t, "ssh-agent listens", func() bool { _, err := os.Stat(socket); return err == nil })
	with := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Env = append(cmd.Env, "SSH_AUTH_SOCK="+socket)
		return cmd
	}
	n.must(t, with(n.run("ssh-add", "-q", filepath.Join(n.dir, "key"))))
	here := n.must(t, with(n.run("ssh-add", "-l")))
	if there := n.must(t, with(n.ssh("-o", "IdentityAgent="+socket, "-A", "envoy", "ssh-add -l"))); there != here {
		t.Errorf("there %q, here %q", there, here)
	}
	n.ends(t, wire.None)
	if out, err := with(n.ssh("-o", "IdentityAgent="+socket, "envoy", "ssh-add -l")).CombinedOutput(); err == nil || strings.Contains(string(out), "SHA256") {
		t.Errorf("without -A: %s", out)
	}
	n.ends(t, wire.None)
	if left := agentFolders(t); len(left) > 0 {
		t.Errorf("folders %v stay", left)
	}
}

// serveArg makes the test binary an agent that serves one connection, on standard input.
const serveArg = "serve-under-test"

func serveOne() {
	ok := func(err error) {
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
	}
	host, err := ssh.ParsePrivateKey([]byte(os.Getenv("SCRIER_TEST_HOST_KEY")))
	ok(err)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(os.Getenv("SCRIER_TEST_GUEST")))
	ok(err)
	s, err := New(Config{User: os.Getenv("SCRIER_TEST_LOGIN"), HostKey: host})
	ok(err)
	s.workerEnv = []string{"GORACE=atexit_sleep_ms=0"}
	conn, err := net.FileConn(os.Stdin)
	ok(err)
	ok(s.Serve(context.Background(), conn, Guest{Key: key, Rights: wire.Rights()}))
}

// TestAgentIsKilled: what an agent that is killed leaves behind ends by itself.
func TestAgentIsKilled(t *testing.T) {
	private, hostKey := newKey(t)
	_, key := newKey(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	near, far := socketPair(t)
	farFile, err := far.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	defer near.Close()
	cmd := exec.Command("/proc/self/exe", serveArg)
	cmd.Stdin, cmd.Stderr = farFile, os.Stderr
	cmd.Env = append(os.Environ(), "SCRIER_TEST_HOST_KEY="+string(pemBytes(block)), "SCRIER_TEST_LOGIN="+testLogin,
		"SCRIER_TEST_GUEST="+string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	farFile.Close()
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	l := &link{server: &Server{hostKey: hostKey}, conn: near}
	client, err := l.tryDial(testLogin, key)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	dir := openDir(t)
	if _, err := client.ListenUnix(filepath.Join(dir, "socket")); err != nil {
		t.Fatal(err)
	}
	shell := startShell(t, client)
	s := newSession(t, client)
	if err := agent.RequestAgentForwarding(s); err != nil {
		t.Fatal(err)
	}
	// Programs without a terminal, for which the kernel does nothing: one with a child, and one that stays.
	var programs []int
	for _, command := range []string{"sleep 1000 & echo $!; echo $$; wait", "trap '' HUP; echo $$; while :; do sleep 1; done"} {
		x, out := newSession(t, client), newScreen()
		x.Stdout = out
		if err := x.Start(command + "; echo end"); err != nil {
			t.Fatal(err)
		}
		for range strings.Count(command, "echo") {
			pid, err := strconv.Atoi(out.until(t, "\n"))
			if err != nil {
				t.Fatal(err)
			}
			programs = append(programs, pid)
		}
	}
	f := sftpClient(t, client)
	w, err := f.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(w, bytes.NewReader(make([]byte, 64<<20))) }()
	pids := children(t, cmd.Process.Pid)
	if len(pids) != 6 { // for sockets, for files, the guard, the shell and two programs
		t.Errorf("children %v", pids)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(pids, append(programs, shell.pid)...) {
		eventually(t, "no process stays", func() bool { return !alive(pid) })
	}
	eventually(t, "no socket stays", func() bool {
		_, err := os.Lstat(filepath.Join(dir, "socket"))
		return os.IsNotExist(err) && len(agentFolders(t)) == 0
	})
}

// What a worker left that was killed goes when the next one of the same account needs such a place.
func TestAgentFolderIsSwept(t *testing.T) {
	c := serve(t, newServer(t)).dial(t)
	alive := newSession(t, c)
	if err := agent.RequestAgentForwarding(alive); err != nil {
		t.Fatal(err)
	}
	spare := workers(t)
	other := serve(t, newServer(t)).dial(t)
	if err := agent.RequestAgentForwarding(newSession(t, other)); err != nil {
		t.Fatal(err)
	}
	if n := len(agentFolders(t)); n != 2 {
		t.Fatalf("%d folders", n)
	}
	pids := workers(t)
	if len(pids) != 2 || len(spare) != 1 {
		t.Fatalf("workers %v, %v before", pids, spare)
	}
	for _, pid := range pids {
		if pid == spare[0] {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the next one sweeps, and spares the one that is in use", func() bool {
		s, err := other.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return agent.RequestAgentForwarding(s) == nil && len(agentFolders(t)) == 2
	})
	if text, err := alive.Output("test -S $SSH_AUTH_SOCK && echo there"); string(text) != "there\n" {
		t.Errorf("%q, %v", text, err)
	}
}
