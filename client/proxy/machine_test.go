package proxy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// machine is a real sshd on loopback, and a configuration for ssh that goes there through a proxy.
type machine struct {
	t   testing.TB
	dir string
}

// newMachine starts sshd, which lets root in with a key.
func newMachine(t testing.TB) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("sshd lets in whom it runs as: run this test as root")
	}
	m := &machine{t, t.TempDir()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	m.must(err)
	port := l.Addr().(*net.TCPAddr).Port
	m.must(l.Close())
	m.key("host_key")
	m.write("authorized_keys", string(ssh.MarshalAuthorizedKey(m.key("user_key"))))
	proxyKey := m.key("proxy_key")
	m.write("addr", fmt.Sprintf("127.0.0.1:%d", port))
	m.write("sshd_config", fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s/host_key
AuthorizedKeysFile %[2]s/authorized_keys
PidFile %[2]s/pid
StrictModes no
UsePAM no
PermitRootLogin yes
MaxSessions 2000
MaxStartups 200
AcceptEnv LANG LC_*
StreamLocalBindUnlink yes
Subsystem sftp internal-sftp
Subsystem greet /bin/echo hello
`, port, m.dir))
	program, err := os.Executable()
	m.must(err)
	m.write("known_hosts", "scrier-proxy "+string(ssh.MarshalAuthorizedKey(proxyKey)))
	m.write("config", fmt.Sprintf(`Host *
  ProxyCommand env %s=%s '%s'
  HostKeyAlias scrier-proxy
  UserKnownHostsFile %[2]s/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  SendEnv LANG LC_*
  BatchMode yes
  IdentityFile none
  ControlPath %[2]s/ctl
`, proxyEnv, m.dir, program))
	m.must(os.MkdirAll("/run/sshd", 0o755))
	sshd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", m.path("sshd_config"))
	log := new(bytes.Buffer)
	sshd.Stderr, sshd.WaitDelay = log, time.Second // what it has started may live on for a moment
	m.must(sshd.Start())
	t.Cleanup(func() {
		_ = sshd.Process.Signal(syscall.SIGTERM)
		_ = sshd.Wait() // its status is that of the signal
		if t.Failed() {
			t.Logf("sshd said:\n%s", log)
		}
	})
	m.until("sshd listens", func() bool {
		c, err := net.Dial("tcp", m.addr())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return m
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) path(name string) string { return filepath.Join(m.dir, name) }
func (m *machine) addr() string            { return m.read("addr") }

func (m *machine) read(name string) string {
	m.t.Helper()
	data, err := os.ReadFile(m.path(name))
	m.must(err)
	return string(data)
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	m.must(os.WriteFile(m.path(name), []byte(text), 0o600))
}

func (m *machine) key(name string) ssh.PublicKey {
	m.t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	m.must(err)
	block, err := ssh.MarshalPrivateKey(private, "")
	m.must(err)
	m.write(name, string(pem.EncodeToMemory(block)))
	signer, err := ssh.NewSignerFromKey(private)
	m.must(err)
	return signer.PublicKey()
}

func (m *machine) until(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("it never happens that %s", what)
		}
	}
}

// openers is the Open of a [Config] for the machine of a folder.
func openers(dir string) func(context.Context, string, io.Writer) (Session, error) {
	return func(_ context.Context, user string, messages io.Writer) (Session, error) {
		if strings.HasPrefix(user, "no") {
			return nil, wire.Errorf(wire.NoSuchEnvoy, "no envoy has the name %s", user)
		}
		data, err := os.ReadFile(dir + "/addr")
		if err != nil {
			return nil, err
		}
		fmt.Fprint(messages, os.Getenv("SAY"))
		client, err := ssh.Dial("tcp", string(data), &ssh.ClientConfig{
			User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(readKey(dir + "/user_key"))}, HostKeyCallback: ssh.FixedHostKey(readKey(dir + "/host_key").PublicKey()),
		})
		if err != nil {
			return nil, err
		}
		refused, _ := os.ReadFile(dir + "/refused")
		return newDirect(client, func(r wire.Right) error {
			if strings.Contains(string(refused), string(r)) {
				return wire.Errorf(wire.ChannelNotAllowed, "web1 does not allow %s", r)
			}
			return nil
		}), nil
	}
}

// command is one of the tools, whose folder is the machine's. It ends with the test at the latest.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	m.t.Cleanup(cancel)
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = m.dir
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	c.WaitDelay = time.Second
	return c
}

// ssh is ssh through the proxy.
func (m *machine) ssh(args ...string) *exec.Cmd {
	return m.command("ssh", append([]string{"-F", m.path("config")}, args...)...)
}

// result is how a command ended.
type result struct {
	out, errs string
	status    int
}

func (m *machine) result(c *exec.Cmd) result {
	m.t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		m.t.Fatalf("%s: %v", c, err)
	}
	return result{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// fine is what a command prints that succeeds and complains of nothing.
func (m *machine) fine(c *exec.Cmd) string {
	m.t.Helper()
	r := m.result(c)
	if r.status != 0 {
		m.t.Fatalf("%s: exit status %d: %s%s", c, r.status, r.out, r.errs)
	}
	return r.out
}
