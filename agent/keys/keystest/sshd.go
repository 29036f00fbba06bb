package keystest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/program"
)

// RealUser makes a login of this machine, for the tests with a real sshd, and removes it again.
func RealUser(t testing.TB, dir, login string, more ...string) (uid int, home string) {
	t.Helper()
	home = filepath.Join(dir, login)
	argv := append([]string{"useradd", "--create-home", "--home-dir", home, "--shell", "/bin/sh", "--password", "*"}, more...)
	retry(t, append(argv, login)...)
	t.Cleanup(func() { retry(t, "userdel", "--force", login) })
	u, err := osuser.Lookup(login)
	if err != nil {
		t.Fatal(err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil || uid == 0 {
		t.Fatalf("uid %q: %v", u.Uid, err)
	}
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	return uid, home
}

// retry runs a program until it gets the lock of the account files, of which the machine has one.
func retry(t testing.TB, argv ...string) {
	t.Helper()
	var out []byte
	Eventually(t, strings.Join(argv, " "), func() bool {
		var err error
		out, err = exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "try again later") && !strings.Contains(string(out), "cannot lock") {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
		return err == nil
	})
}

// SSHD is a real sshd on loopback.
type SSHD struct {
	Addr, Config string
	From         string // the address on loopback from which Dial comes; empty: any
	hostKey      ssh.PublicKey
}

// StartSSHD starts one with these lines of configuration. They take the place of its own defaults.
func StartSSHD(t testing.TB, dir string, config ...string) *SSHD {
	t.Helper()
	sshd := program.Find("sshd", "/usr/sbin", "/usr/local/sbin")
	if sshd == "" {
		t.Fatal("there is no sshd: apt-get install openssh-server")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	hostKey := filepath.Join(dir, "host_ed25519")
	if _, err := os.Stat(hostKey); err != nil {
		Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", hostKey)
	}
	private, err := os.ReadFile(hostKey)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	configFile := filepath.Join(dir, "sshd_config_"+port)
	text := []string{"Port " + port, "ListenAddress 127.0.0.1", "HostKey " + hostKey, "PidFile none"}
	for _, line := range []string{
		"UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "LoginGraceTime 0", "MaxAuthTries 1000000", "MaxStartups 1000",
	} {
		name, _, _ := strings.Cut(line, " ")
		if !slices.ContainsFunc(config, func(c string) bool { return strings.HasPrefix(c, name+" ") }) {
			text = append(text, line)
		}
	}
	text = append(text, config...)
	if err := os.WriteFile(configFile, []byte(strings.Join(text, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sshd, "-D", "-e", "-f", configFile)
	log, err := os.Create(filepath.Join(dir, "sshd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("sshd:\n%s", b[max(0, len(b)-3000):])
		}
	})
	Eventually(t, "sshd listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return &SSHD{Addr: addr, Config: configFile, hostKey: signer.PublicKey()}
}

// Dial logs in.
func (s *SSHD) Dial(login string, auth ssh.AuthMethod) (*ssh.Client, error) {
	d := net.Dialer{Timeout: time.Minute}
	if s.From != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(s.From)}
	}
	conn, err := d.Dial("tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, s.Addr, &ssh.ClientConfig{
		User: login, HostKeyCallback: ssh.FixedHostKey(s.hostKey), HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		Auth: []ssh.AuthMethod{auth},
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// probe is a key without its private half. sshd is asked whether it would accept the key; when it
// would, it gets a wrong signature.
type probe struct {
	key      ssh.PublicKey
	accepted bool
}

// PublicKey makes a probe an ssh.Signer.
func (p *probe) PublicKey() ssh.PublicKey { return p.key }

// Sign is called when sshd would take the key.
func (p *probe) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	p.accepted = true
	return &ssh.Signature{Format: p.key.Type(), Blob: make([]byte, 64)}, nil
}

// Ask asks sshd about n cases. prepare sets up case i and returns the key to ask for. One connection is
// used until a key is accepted, and then a new one: sshd would mix the options of all lines that it
// accepts in one connection.
func (s *SSHD) Ask(t testing.TB, login string, n int, prepare func(i int) ssh.PublicKey) []bool {
	t.Helper()
	accepted := make([]bool, 0, n)
	for len(accepted) < n {
		var p *probe
		before := len(accepted)
		_, err := s.Dial(login, ssh.RetryableAuthMethod(ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			if p != nil {
				accepted = append(accepted, p.accepted)
				if p.accepted || len(accepted) == n {
					return nil, errors.New("enough")
				}
			}
			p = &probe{key: prepare(len(accepted))}
			return []ssh.Signer{p}, nil
		}), 1_000_000))
		if len(accepted) == before {
			t.Fatalf("case %d was not answered: %v", before, err)
		}
	}
	return accepted
}

// Shell logs in, asks for a terminal, and runs a command. It returns an error if that does not work.
func (s *SSHD) Shell(login string, signers ...ssh.Signer) error {
	c, err := s.Dial(login, ssh.PublicKeys(signers...))
	if err != nil {
		return err
	}
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		return err
	}
	defer session.Close()
	if err := session.RequestPty("xterm", 24, 80, nil); err != nil {
		return err
	}
	out, err := session.Output("tty >/dev/null && echo scrier-$((40+2))")
	if err == nil && !strings.Contains(string(out), "scrier-42") {
		err = errors.New("not the command that was sent")
	}
	if err != nil {
		return fmt.Errorf("%w: %q", err, out)
	}
	return nil
}
