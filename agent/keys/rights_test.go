package keys

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// client is OpenSSH's own, with a session's key.
type client struct {
	t                       testing.TB
	dir, login, port, agent string // agent is a socket
}

// command is one of ssh's programs; it ends with the test, and after a time in which it must have done its work.
func (c *client) command(program string, args ...string) (*exec.Cmd, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	options := []string{"-F", "none", "-i", filepath.Join(c.dir, "key"), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=ERROR", "-o", "Port=" + c.port}
	cmd := exec.CommandContext(ctx, program, append(options, args...)...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+c.agent)
	return cmd, cancel
}

// run is what a program prints, with nothing on its standard input but that.
func (c *client) run(stdin, program string, args ...string) string {
	cmd, cancel := c.command(program, args...)
	defer cancel()
	cmd.Stdin = strings.NewReader(stdin)
	out, _ := cmd.CombinedOutput() // a refusal is what is looked for
	return string(out)
}

// listens says whether ssh could listen at the machine, and a connection there comes back.
func (c *client) listens(at, echo string) bool {
	cmd, cancel := c.command("ssh", "-v", "-N", "-R", at+":"+echo, c.login+"@127.0.0.1")
	defer cancel()
	out, err := cmd.StderrPipe()
	if err != nil {
		c.t.Error(err)
		return false
	}
	if err := cmd.Start(); err != nil {
		c.t.Error(err)
		return false
	}
	works := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var port int
		text := lines.Text()
		if i := strings.Index(text, "Allocated port "); i >= 0 {
			_, _ = fmt.Sscanf(text[i:], "Allocated port %d", &port)
			works = greets("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		} else if strings.Contains(text, "remote forward success") && filepath.IsAbs(at) {
			works = greets("unix", at)
		} else {
			continue
		}
		break
	}
	cancel()
	_ = cmd.Wait()
	return works
}

func greets(network, addr string) bool {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	hello, _ := io.ReadAll(conn)
	return string(hello) == "hello\n"
}

// works is what the key is good for. echo is a server at two addresses of loopback.
func (c *client) works(home, echo, other string) (all []string) {
	at := c.login + "@127.0.0.1"
	tries := map[string]func() bool{
		"shell":     func() bool { return strings.Contains(c.run("tty; exit\n", "ssh", "-tt", at), "/dev/pts/") },
		"exec":      func() bool { return strings.Contains(c.run("", "ssh", "-T", at, "echo scrier-$((40+2))"), "scrier-42") },
		"subsystem": func() bool { return strings.Contains(c.run("", "ssh", "-s", at, "other"), "other subsystem") },
		"upload": func() bool {
			c.run("put "+filepath.Join(c.dir, "key")+" up\n", "sftp", "-b", "-", at)
			_, err := os.Stat(filepath.Join(home, "up"))
			return err == nil
		},
		"download": func() bool {
			down := filepath.Join(c.dir, "down")
			c.run("get there "+down+"\n", "sftp", "-b", "-", at)
			text, _ := os.ReadFile(down)
			return string(text) == "there\n"
		},
		"forward":   func() bool { return c.run("", "ssh", "-W", echo, at) == "hello\n" },
		"elsewhere": func() bool { return c.run("", "ssh", "-W", other, at) == "hello\n" },
		"nowhere": func() bool {
			return !strings.Contains(c.run("", "ssh", "-W", "255.255.255.255:1", at), "stdio forwarding failed")
		},
		"reverse": func() bool { return c.listens("0", echo) },
		"reverse at 1": func() bool {
			return !strings.Contains(c.run("", "ssh", "-N", "-R", "255.255.255.255:1:"+echo, at), "remote port forwarding failed")
		},
		"sockets": func() bool { return c.listens(filepath.Join(home, "socket"), echo) },
		"agent":   func() bool { return strings.Contains(c.run("", "ssh", "-A", at, "ssh-add -l"), "the operator's agent") },
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, try := range tries {
		wg.Go(func() {
			if try() {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, name)
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"up", "socket"} {
		_ = os.Remove(filepath.Join(home, name))
	}
	_ = os.Remove(filepath.Join(c.dir, "down"))
	slices.Sort(all)
	return all
}

// hello is a server that greets, at two addresses of loopback.
func hello(t testing.TB) (echo, other string) {
	t.Helper()
	serve := func(addr string) string {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "hello\n")
				conn.Close()
			}
		}()
		return l.Addr().String()
	}
	echo = serve("127.0.0.1:0")
	_, port, _ := net.SplitHostPort(echo)
	return echo, serve("127.0.0.2:" + port)
}

// TestRights: with OpenSSH's client and a real sshd, what was granted works with a session's key, and nothing else
// does.
func TestRights(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login = "scrrights"
	uid, home := keystest.RealUser(t, h.Dir, login)
	file := filepath.Join(home, ".ssh", "authorized_keys")
	h.Must(os.Mkdir(filepath.Dir(file), 0o700))
	h.Must(os.Chown(filepath.Dir(file), uid, uid))
	h.Must(os.WriteFile(filepath.Join(home, "there"), []byte("there\n"), 0o644))
	echo, other := hello(t)
	_, echoPort, _ := net.SplitHostPort(echo)

	// An agent for the operator, with one key whose comment tells it.
	agent := filepath.Join(h.Dir, "agent")
	cmd := exec.Command("ssh-agent", "-D", "-a", agent)
	h.Must(cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	keystest.Eventually(t, "the agent listens", func() bool { _, err := os.Stat(agent); return err == nil })
	keystest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the operator's agent", "-f", filepath.Join(h.Dir, "operator"))
	add := exec.Command("ssh-add", "-q", filepath.Join(h.Dir, "operator"))
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+agent)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	script := h.Script("subsystem", "echo other subsystem\n")
	key, _ := keystest.NewKey(t)
	const shell, files = "exec shell", "download upload"
	for _, server := range []struct {
		name   string
		config []string
		cases  []rightsCase
	}{
		{"sftp-server", []string{"Subsystem sftp /usr/lib/openssh/sftp-server", "Subsystem other " + script}, []rightsCase{
			{needs: "", want: shell + " " + files + " subsystem"},
			{needs: "shell", want: shell + " " + files + " subsystem"},
			{needs: "exec", want: "exec " + files + " subsystem"},
			{needs: "upload download", want: files},
			{needs: "download", want: "download"},
			{needs: "upload", want: "upload"},
			{needs: "forward", want: "forward sockets"},
			{needs: "reverse", want: "reverse sockets"},
			{needs: "forward reverse", want: "forward reverse sockets"},
			{needs: "forward download", want: "download forward sockets"},
			{needs: "exec agent_forwarding", want: "agent exec " + files + " subsystem"},
			{needs: "agent_forwarding", want: ""},
			{needs: "exec forward", open: "127.0.0.2:*", want: "elsewhere exec " + files + " sockets subsystem"},
			{needs: "forward", open: "*:1", want: "sockets"},
			// The operator's own line.
			{options: "no-pty", needs: "", refused: "no-pty"},
			{options: "no-pty", needs: "exec", likes: "shell", want: "exec " + files + " subsystem"},
			{options: "restrict", needs: "upload download", want: files},
			{options: "restrict", needs: "exec", likes: "forward reverse agent_forwarding", want: "exec " + files + " subsystem"},
			{options: "restrict", needs: "exec forward", refused: "no-port-forwarding"},
			{options: "restrict,pty", needs: "shell reverse", refused: "no-port-forwarding"},
			{options: "no-agent-forwarding", needs: "exec agent_forwarding", refused: "no-agent-forwarding"},
			{options: `command="/bin/true"`, needs: "exec", refused: "command="},
			{options: `command="/bin/true"`, needs: "download", refused: "command="},
			{options: `command="/bin/true"`, needs: "forward", want: "forward sockets"},
			{options: `command="internal-sftp"`, needs: "download", likes: "exec shell", want: "download"},
			{options: `command="internal-sftp -R"`, needs: "upload", refused: "command="},
			{options: `permitopen="127.0.0.2:*"`, needs: "forward", open: "*:*", want: "elsewhere sockets"},
			{options: `permitopen="127.0.0.2:*"`, needs: "forward", refused: "permitopen="},
			{options: `permitopen="127.0.0.1:1"`, needs: "forward", want: "sockets"},
			{options: `permitlisten="1"`, needs: "reverse", want: "sockets"},
			{options: `permitlisten="localhost:*"`, needs: "reverse", want: "reverse sockets"},
		}},
		{"internal-sftp", []string{"Subsystem sftp internal-sftp", "AllowStreamLocalForwarding no"}, []rightsCase{
			{needs: "download", want: "download"},
			{needs: "upload", want: "upload"},
			{needs: "upload download", want: files},
			{needs: "forward", want: "forward"},
			{needs: "reverse", want: "reverse"},
		}},
		{"nothing", []string{"DisableForwarding yes", "PermitTTY no"}, []rightsCase{
			{needs: "shell", refused: "PermitTTY"},
			{needs: "download", refused: "Subsystem sftp"},
			{needs: "forward", refused: "AllowTcpForwarding"},
			{needs: "reverse", refused: "AllowTcpForwarding"},
			{needs: "exec agent_forwarding", refused: "AllowAgentForwarding"},
			{needs: "exec", likes: "shell download forward reverse agent_forwarding", want: "exec"},
		}},
		{"one way", []string{"AllowTcpForwarding remote", "AllowStreamLocalForwarding no", "ForceCommand /bin/true"}, []rightsCase{
			{needs: "exec", refused: "ForceCommand"},
			{needs: "forward", refused: "AllowTcpForwarding"},
			{needs: "reverse", likes: "forward exec", want: "reverse"},
		}},
	} {
		sshd := keystest.StartSSHD(t, h.Dir, server.config...)
		cfg := h.config()
		cfg.StateDir = filepath.Join(h.Dir, filepath.Base(sshd.Config)+"-state")
		cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.AllowedLogins = nil, sshd.Config, []string{login}
		k := h.open(cfg)
		k.database = account.System()
		for i, c := range server.cases {
			name := fmt.Sprintf("%s: %q for %s, and perhaps %s, within %s", server.name, c.options, c.needs, c.likes, c.open)
			h.Must(os.WriteFile(file, []byte(strings.TrimLeft(c.options+" ", " ")+keystest.Text(key)+"\n"), 0o600))
			h.Must(os.Chown(file, uid, uid))
			use := Use{Needs: rightsOf(c.needs), Likes: rightsOf(c.likes)}
			if c.open == "" {
				c.open = "127.0.0.1:*"
			}
			p, ok := line.ParsePermit(c.open)
			if use.Open = []line.Permit{p}; !ok {
				t.Fatalf("%s: %s", name, c.open)
			}
			m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}, Use: use}, "")
			if c.refused != "" {
				keystest.WantCode(t, err, wire.KeyRestricted)
				if !strings.Contains(wire.DetailOf(err), c.refused) {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			dir := filepath.Join(h.Dir, fmt.Sprintf("client%s%d", echoPort, i))
			h.Must(os.MkdirAll(dir, 0o700))
			public, private, err := ed25519.GenerateKey(rand.Reader)
			h.Must(err)
			block, err := ssh.MarshalPrivateKey(private, "")
			h.Must(err)
			h.Must(os.WriteFile(filepath.Join(dir, "key"), pem.EncodeToMemory(block), 0o600))
			session, err := ssh.NewPublicKey(public)
			h.Must(err)
			in, err := k.Install(context.Background(), m, wire.NewSessionID(), session)
			h.Must(err)
			_, port, _ := net.SplitHostPort(sshd.Addr)
			ssh := &client{t, dir, login, port, agent}
			want := strings.Fields(c.want)
			slices.Sort(want)
			if got := ssh.works(home, echo, other); !slices.Equal(got, want) {
				t.Errorf("%s: %q works, not %q\n%s", name, got, want, in.rec.Line)
			}
			h.Must(in.Remove(context.Background()))
		}
	}
}

// rightsCase is a line of authorized_keys with options, and a session for some rights.
type rightsCase struct {
	options, needs, likes, open string
	want                        string // what works
	refused                     string // what the refusal says
}

func rightsOf(words string) (all []wire.Right) {
	for _, r := range strings.Fields(words) {
		all = append(all, wire.Right(r))
	}
	return all
}

// TestNoTunnel: a tunnel that sshd_config allows, to a device of the login's own, is out of reach of a session.
func TestNoTunnel(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login, device = "scrtunnel", "tun4321"
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Fatal("this machine has no tunnels: ", err)
	}
	uid, home := keystest.RealUser(t, h.Dir, login)
	persist := func(on int) {
		tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		h.Must(err)
		defer tun.Close()
		request, err := unix.NewIfreq(device)
		h.Must(err)
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		keystest.Eventually(t, "nobody has the device", func() bool { // an sshd of the test may just be ending
			err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, request)
			if err != nil && !errors.Is(err, unix.EBUSY) {
				t.Fatal(err)
			}
			return err == nil
		})
		h.Must(unix.IoctlSetInt(int(tun.Fd()), unix.TUNSETOWNER, uid))
		h.Must(unix.IoctlSetInt(int(tun.Fd()), unix.TUNSETPERSIST, on))
	}
	persist(1)
	t.Cleanup(func() { persist(0) })
	sshd := keystest.StartSSHD(t, h.Dir, "PermitTunnel yes")
	file := filepath.Join(home, ".ssh", "authorized_keys")
	key, signer := keystest.NewKey(t)
	h.Must(os.Mkdir(filepath.Dir(file), 0o700))
	h.Must(os.WriteFile(file, []byte(`tunnel="0" `+keystest.Text(key)+"\n"), 0o600))
	h.Must(os.Chown(filepath.Dir(file), uid, uid))
	h.Must(os.Chown(file, uid, uid))
	cfg := h.config()
	cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.AllowedLogins = nil, sshd.Config, []string{login}
	k := h.open(cfg)
	k.database = account.System()
	tunnel := func(signer ssh.Signer) error {
		c, err := sshd.Dial(login, ssh.PublicKeys(signer))
		h.Must(err)
		defer c.Close()
		channel, requests, err := c.OpenChannel("tun@openssh.com", ssh.Marshal(struct{ Mode, Unit uint32 }{1, 4321}))
		if err == nil {
			go ssh.DiscardRequests(requests)
			_ = channel.Close()
		}
		return err
	}
	m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}}, "")
	h.Must(err)
	eph, session := keystest.NewKey(t)
	in, err := k.Install(context.Background(), m, wire.NewSessionID(), eph)
	h.Must(err)
	if err := tunnel(session); err == nil {
		t.Error("a session has a tunnel")
	}
	h.Must(in.Remove(context.Background()))
	// Without tunnel= the same key has one: the device is there.
	h.Must(os.WriteFile(file, []byte("restrict "+keystest.Text(key)+"\n"), 0o600))
	if err := tunnel(signer); err != nil {
		t.Errorf("the device is no use: %v", err)
	}
}

// TestFilesPastAShell: files alone are served without the login's shell, so a shell that may allow less than they are keeps
// them away, unless the line itself gives them so.
func TestFilesPastAShell(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login = "scrpast"
	shell := h.Script("git-shell", "echo unrecognized command\n")
	uid, home := keystest.RealUser(t, h.Dir, login, "--shell", shell)
	file := filepath.Join(home, ".ssh", "authorized_keys")
	h.Must(os.Mkdir(filepath.Dir(file), 0o700))
	h.Must(os.Chown(filepath.Dir(file), uid, uid))
	key, _ := keystest.NewKey(t)
	find := func(use Use, config ...string) (Match, error) {
		sshd := keystest.StartSSHD(t, h.Dir, config...)
		cfg := h.config()
		cfg.StateDir = filepath.Join(h.Dir, filepath.Base(sshd.Config)+"-state")
		cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.AllowedLogins = nil, sshd.Config, []string{login}
		k := h.open(cfg)
		k.database = account.System()
		return k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{key}, Use: use}, "")
	}
	for _, c := range []struct{ options, needs, likes, want, refused string }{
		{needs: "upload", refused: "git-shell"},
		{needs: "download", likes: "forward", refused: "git-shell"},
		{likes: "upload download", refused: "git-shell"},
		{needs: "forward", likes: "upload download", want: "forward"},
		{needs: "exec", likes: "upload download", want: "exec upload download"}, // by the shell
		{options: `command="internal-sftp" `, needs: "upload", want: "upload"},
	} {
		h.Must(os.WriteFile(file, []byte(c.options+keystest.Text(key)+"\n"), 0o600))
		h.Must(os.Chown(file, uid, uid))
		p, _ := line.ParsePermit("127.0.0.1:*")
		use := Use{Needs: rightsOf(c.needs), Likes: rightsOf(c.likes), Open: []line.Permit{p}}
		m, err := find(use, "Subsystem sftp /usr/lib/openssh/sftp-server")
		if c.refused != "" {
			if keystest.WantCode(t, err, wire.KeyRestricted); !strings.Contains(wire.DetailOf(err), c.refused) {
				t.Errorf("%+v: %v", c, err)
			}
		} else if err != nil || !slices.Equal(m.Grant.Rights, rightsOf(c.want)) {
			t.Errorf("%+v: %v, %v", c, m.Grant.Rights, err)
		}
	}
	h.Must(os.WriteFile(file, []byte(keystest.Text(key)+"\n"), 0o600))
	h.Must(os.Chown(file, uid, uid))
	upload := Use{Needs: []wire.Right{wire.MayUpload}}
	if m, err := find(upload, "Subsystem sftp internal-sftp"); err != nil || !m.Grant.Has(wire.MayUpload) {
		t.Errorf("where sshd asks no shell: %v", err)
	}
	_, err := find(upload, "Subsystem sftp internal-sftp -R")
	keystest.WantCode(t, err, wire.KeyRestricted)

	given, d := line.Grant{Rights: wire.Rights()[:4]}, daemon{sftp: true, terminal: true}
	if _, why := upload.grant(given, d, "/bin/sh"); why != "" {
		t.Errorf("a shell that can write: %s", why)
	}
	d.chroot = true
	if _, why := upload.grant(given, d, "/bin/sh"); !strings.Contains(why, "ChrootDirectory") {
		t.Errorf("a shell that may not be there: %s", why)
	}
	d.plainSFTP = true
	if _, why := upload.grant(given, d, "/bin/sh"); why != "" {
		t.Errorf("where none is needed: %s", why)
	}
}
