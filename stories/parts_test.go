package stories

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"scrier/certs"
)

// cmdUser makes an OS user.
func cmdUser(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: user NAME [SHELL]")
	}
	login := "scr" + args[0]
	home := filepath.Join(ts.MkAbs("."), "home-"+args[0])
	shell := "/bin/sh"
	if len(args) == 2 {
		shell = args[1]
	}
	// With UsePAM no, sshd takes an account without a password ("!") for a locked one.
	out, err := exec.Command("useradd", "--create-home", "--home-dir", home, "--shell", shell, "--password", "*", login).CombinedOutput()
	if err != nil {
		ts.Fatalf("useradd: %v: %s", err, out)
	}
	ts.Check(os.Chmod(home, 0o755))
	ts.Check(chowned(login, filepath.Join(home, ".ssh"), func(p string) error { return os.Mkdir(p, 0o700) }))
	ts.Setenv(args[0], login)
	ts.Setenv(args[0]+"_home", home)
}

// chowned makes a file or folder and gives it to a user.
func chowned(login, path string, mk func(string) error) error {
	if err := mk(path); err != nil {
		return err
	}
	u, err := user.Lookup(login)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

// cmdAuthorize appends a public key, with whatever options stand before it, to authorized_keys.
func cmdAuthorize(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: authorize USER KEY.pub [OPTIONS]")
	}
	login := ts.Getenv(args[0])
	file := filepath.Join(ts.Getenv(args[0]+"_home"), ".ssh", "authorized_keys")
	line := ts.ReadFile(args[1])
	if len(args) > 2 {
		line = strings.Join(args[2:], " ") + " " + line
	}
	ts.Check(chowned(login, file, func(p string) error {
		f, err := os.OpenFile(p, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(line)
		return errors.Join(err, f.Close())
	}))
}

// cmdSSHD starts a real sshd on $SSHD; one that runs goes first, its sessions stay.
func cmdSSHD(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: sshd [LINE…]")
	}
	w := worldOf(ts)
	if p := w.find("sshd"); p != nil && !p.ended() {
		ts.Check(syscall.Kill(p.cmd.Process.Pid, syscall.SIGTERM))
		waitFor(ts, p)
	}
	dir := ts.MkAbs("sshd")
	conf, key := filepath.Join(dir, "sshd_config"), filepath.Join(dir, "host_ed25519")
	ts.Check(os.MkdirAll(dir, 0o755))
	if _, err := os.Stat(key); err != nil {
		ts.Check(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).Run())
	}
	host, port, err := net.SplitHostPort(w.sshd)
	ts.Check(err)
	lines := append(args,
		"Port "+port, "ListenAddress "+host, "HostKey "+key, "PidFile none", "UsePAM no", "Subsystem sftp internal-sftp",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "LogLevel VERBOSE", "PrintMotd no", "PrintLastLog no")
	ts.Check(os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	path, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		ts.Fatalf("no sshd: install openssh-server (./scripts/parts does)")
	}
	p := w.start(ts, "sshd", path, "-D", "-e", "-f", conf)
	ts.Setenv("SSHD_CONFIG", conf)
	poll(ts, "sshd", func() error {
		if p.ended() {
			ts.Fatalf("sshd ended: %s", p.out)
		}
		c, err := net.Dial("tcp", w.sshd)
		if err == nil {
			return c.Close()
		}
		return err
	})
}

// cmdTomorrow issues a relay's CA anew, with the same key and valid from tomorrow: for whoever
// trusts the key, the relay's clock and their own are a day apart.
func cmdTomorrow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tomorrow NAME")
	}
	dir := ts.MkAbs(args[0])
	key, err := certs.LoadKey(filepath.Join(dir, "ca.key"))
	ts.Check(err)
	chain, err := certs.LoadChain(filepath.Join(dir, "ca.crt"))
	ts.Check(err)
	ca := chain[0]
	ca.NotBefore = time.Now().Add(24 * time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	ts.Check(err)
	ts.Check(certs.SaveChain(filepath.Join(dir, "ca.crt"), [][]byte{der}))
}

// cmdExpired gives a machine the same certificate again, as the script's relay would have made it 25 hours
// ago. It is of no use but to get a new one.
func cmdExpired(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expired NAME")
	}
	path := filepath.Join(ts.MkAbs(args[0]), "agent.pem")
	pair, err := certs.LoadPair(path)
	ts.Check(err)
	part := strings.Split(pair.Leaf.URIs[0].Path, "/") // /agent/ID/GENERATION
	generation, err := strconv.ParseUint(part[3], 10, 64)
	ts.Check(err)
	ca, err := certs.LoadOrMakeCA(ts.MkAbs("relay"), func() time.Time { return time.Now().Add(-certs.AgentLife - time.Hour) })
	ts.Check(err)
	key, err := certs.LoadKey(path)
	ts.Check(err)
	chain, err := ca.Issue(certs.Identity{Role: certs.RoleAgent, ID: part[2], Generation: generation}, key.Public())
	ts.Check(err)
	ts.Check(certs.SavePair(path, key, chain))
}
