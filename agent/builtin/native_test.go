package builtin

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// A native runs OpenSSH's client programs, and what is built on them, against a server: each connection goes
// through a ProxyCommand that copies to a socket. The machine is called envoy.
type native struct {
	ctx    context.Context
	dir    string // the client's files
	config string // an ssh_config
	served chan error
}

func newNative(t *testing.T, s *Server, rights []wire.Right) *native {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	private, key := newKey(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, in("key"), string(pemBytes(block)))
	writeFile(t, in("hosts"), "envoy "+string(ssh.MarshalAuthorizedKey(s.HostKeys()[0])))
	writeFile(t, in("config"), fmt.Sprintf(`Host envoy
  User %s
  IdentityFile %s
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile %s
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  BatchMode yes
  ProxyCommand env %s=%s %s
`, testLogin, in("key"), in("hosts"), proxyEnv, in("s"), self))
	listener, err := net.Listen("unix", in("s"))
	if err != nil {
		t.Fatal(err)
	}
	n := &native{dir: dir, config: in("config"), served: make(chan error, 64)}
	accepting := make(chan struct{})
	var cancel context.CancelFunc
	n.ctx, cancel = context.WithCancel(context.Background())
	go func() {
		defer close(accepting)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { n.served <- s.Serve(n.ctx, c, Guest{Key: key.PublicKey(), Rights: rights}) }()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		cancel()
		<-accepting
	})
	return n
}

func (n *native) ssh(args ...string) *exec.Cmd {
	return n.run("ssh", append([]string{"-F", n.config}, args...)...)
}

// run is for a program that gets the configuration by an argument of its own.
func (n *native) run(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(n.ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "SHELL=/bin/sh", "HOME="+n.dir)
	cmd.WaitDelay = patience // the ProxyCommand has standard error too, and ends a little later
	return cmd
}

// must runs a program that has to succeed, and returns what it printed.
func (n *native) must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// ends waits for the end of one connection.
func (n *native) ends(t *testing.T, code wire.Code) {
	t.Helper()
	select {
	case err := <-n.served:
		if wire.CodeOf(err) != code {
			t.Errorf("Serve: %v, want %v", err, code)
		}
	case <-time.After(patience):
		t.Fatal("Serve does not return")
	}
}
