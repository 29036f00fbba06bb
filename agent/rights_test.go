package agent

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"scrier/agent/keys"
	"scrier/agent/keys/keystest"
	"scrier/wire"
)

const workerArg = "keys-worker-under-test"

// TestUse: what a relay asks for is held against this machine's policy.
func TestUse(t *testing.T) {
	all, some, builtin := DefaultConfig(), DefaultConfig(), DefaultConfig()
	all.Scrier.Allow.Raw, all.Scrier.Allow.AgentForwarding = true, true
	some.Scrier.Allow.Exec, some.Scrier.Allow.Forward = false, false
	builtin.SSH.Mode, builtin.Scrier.Allow.Raw = Builtin, true
	none := DefaultConfig()
	none.Scrier.Allow = Allow{}
	words := func(s string) (out []wire.Right) {
		for _, w := range strings.Fields(s) {
			out = append(out, wire.Right(w))
		}
		return out
	}
	const every = "shell exec upload download forward reverse agent_forwarding"
	many := strings.Repeat("shell ", wire.MaxRights)
	for _, c := range []struct {
		config       Config
		needs, likes string
		want         string // needs and likes that are left, or
		code         wire.Code
		says         string
	}{
		{all, "", "", "shell exec /", 0, ""}, // a relay from before there were rights
		{all, every, "", every + " /", 0, ""},
		{all, "exec", every, "exec / " + every, 0, ""},
		{all, "raw", "", "raw /", 0, ""},
		{all, "raw exec", "", "", wire.BadRequest, "nothing else"},
		{all, "raw", "exec", "", wire.BadRequest, "nothing else"},
		{all, "exec", "raw", "exec /", 0, ""},
		{all, "fly", "", "", wire.ChannelNotAllowed, `"fly": the machine's agent does not know`},
		{all, "\x1b[31m", "", "", wire.ChannelNotAllowed, `\x1b`},
		{all, "exec", "fly shell \x1b", "exec / shell", 0, ""},
		{all, "exec", "shell shell", "exec / shell", 0, ""},
		{all, many, "", many + "/", 0, ""},
		{all, many + "exec", "", "", wire.BadRequest, "at most 16"},
		{all, "exec", many + "exec", "", wire.BadRequest, "at most 16"},
		{some, "", "", "", wire.ChannelNotAllowed, "exec: scrier.allow of the machine's agent.yaml"},
		{some, "shell", every, "shell / shell upload download reverse", 0, ""},
		{some, "shell forward", "", "", wire.ChannelNotAllowed, "forward: scrier.allow"},
		{some, "agent_forwarding", "", "", wire.ChannelNotAllowed, "agent_forwarding: scrier.allow"},
		{some, "raw", "", "", wire.ChannelNotAllowed, "raw: scrier.allow"},
		{builtin, "raw", "", "", wire.ChannelNotAllowed, "builtin"},
		{none, "", every, "", wire.ChannelNotAllowed, "says no to all"},
		{none, "", "fly", "", wire.ChannelNotAllowed, "says no to all"},
	} {
		open := &wire.Open{Kind: wire.KindSSH, Needs: words(c.needs), Likes: words(c.likes)}
		u, err := c.config.use(open)
		if wire.CodeOf(err) != c.code || !strings.Contains(wire.DetailOf(err), c.says) {
			t.Errorf("needs %q, likes %q: %v", c.needs, c.likes, err)
		}
		if again := c.config.allow(open); wire.CodeOf(again) != c.code {
			t.Errorf("needs %q, likes %q: %v at first, %v", c.needs, c.likes, again, err)
		}
		needs, likes, _ := strings.Cut(c.want, "/")
		if err == nil && (!slices.Equal(u.Needs, words(needs)) || !slices.Equal(u.Likes, words(likes))) {
			t.Errorf("needs %q, likes %q: %v and %v", c.needs, c.likes, u.Needs, u.Likes)
		}
	}
	// Where forwards may go comes from agent.yaml alone.
	forwards := func(f Forward) (out []string) {
		for _, p := range f.permits() {
			out = append(out, p.String())
		}
		return out
	}
	for want, f := range map[string]Forward{
		"localhost:* 127.0.0.1:* [::1]:*":                 defaultScrier().Forward,
		"db1:22 db1:80 [2001:db8::1]:22 [2001:db8::1]:80": {Hosts: []string{"db1", "2001:db8::1"}, Ports: []uint16{22, 80}},
		"*:443": {Hosts: []string{"*"}, Ports: []uint16{443}},
		"":      {Hosts: []string{"db1", "*"}},
	} {
		if got := strings.Join(forwards(f), " "); got != want {
			t.Errorf("%+v: %s, want %s", f, got, want)
		}
	}
}

// FuzzUse: nothing that a relay asks for gets more than agent.yaml allows.
func FuzzUse(f *testing.F) {
	f.Add("shell exec", "raw fly", uint8(3))
	f.Add("raw", "", uint8(255))
	f.Fuzz(func(t *testing.T, needs, likes string, bits uint8) {
		c := DefaultConfig()
		has := func(i int) bool { return bits>>i&1 == 1 }
		c.Scrier.Allow = Allow{has(0), has(1), has(2), has(3), has(4), has(5), has(6), has(7)}
		var open wire.Open
		for _, w := range strings.Fields(needs) {
			open.Needs = append(open.Needs, wire.Right(w))
		}
		for _, w := range strings.Fields(likes) {
			open.Likes = append(open.Likes, wire.Right(w))
		}
		u, err := c.use(&open)
		if err != nil {
			return
		}
		if len(u.Needs)+len(u.Likes) == 0 || len(u.Needs) > wire.MaxRights || len(u.Likes) > wire.MaxRights {
			t.Fatalf("%v and %v", u.Needs, u.Likes)
		}
		for i, r := range append(slices.Clone(u.Needs), u.Likes...) {
			if at := slices.Index(wire.Rights(), r); at < 0 || !has(at) || r == wire.MayRaw && (i > 0 || len(u.Needs)+len(u.Likes) > 1) {
				t.Fatalf("%v and %v, of %08b", u.Needs, u.Likes, bits)
			}
		}
	})
}

// counted is a listener in front of a real sshd, which counts who comes.
func counted(t *testing.T, to string) (addr string, came *atomic.Int32) {
	came = new(atomic.Int32)
	return server(t, func(_ int32, c net.Conn) {
		came.Add(1)
		far, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		go func() {
			_, _ = io.Copy(far, c)
			_ = far.Close()
		}()
		_, _ = io.Copy(c, far)
	}), came
}

// TestSessionRights is an agent, a real sshd, and a relay that the test plays: what was granted is told and works, and
// what is refused is refused before anything is opened or installed.
func TestSessionRights(t *testing.T) {
	const name = "scrsessrights"
	signer := login(t, name)
	who, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(who.HomeDir, ".ssh", "authorized_keys")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sshd := keystest.StartSSHD(t, dir, "Subsystem sftp internal-sftp")
	addr, came := counted(t, sshd.Addr)
	_, echoPort := listen(t, "tcp4", "127.0.0.1:0")
	config := DefaultConfig()
	config.SSH.Addr, config.SSH.SSHDConfig, config.AllowedLogins = addr, sshd.Config, []string{name}
	config.Scrier.Allow.Raw, config.Scrier.Allow.Upload = true, false
	a := &Agent{Settings: Settings{State: State{t.TempDir()}, Config: config, Now: time.Now, Log: slog.New(slog.NewTextHandler(new(quiet), nil))}}
	if a.keys, err = keys.New(keys.Config{
		Agent: wire.NewEnvoyID(), StateDir: t.TempDir(), LockDir: t.TempDir(), Addr: addr, SSHDConfig: sshd.Config, AllowedLogins: []string{name},
		Worker: []string{"/proc/self/exe", workerArg},
	}); err != nil {
		t.Fatal(err)
	}
	l := &agentLink{Agent: a}
	ephemeral, session := keystest.NewKey(t)
	key := func(options string) {
		t.Helper()
		if err := os.WriteFile(file, append([]byte(options), text...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		options      string
		needs, likes []wire.Right
		want         []wire.Right
		code         wire.Code
		says         string
	}{
		{want: []wire.Right{wire.MayShell, wire.MayExec}},
		{needs: []wire.Right{wire.MayShell}, likes: wire.Rights(), want: []wire.Right{wire.MayShell, wire.MayExec, wire.MayDownload, wire.MayForward, wire.MayReverse}},
		{needs: []wire.Right{wire.MayDownload}, want: []wire.Right{wire.MayDownload}},
		{needs: []wire.Right{wire.MayExec, wire.MayUpload}, code: wire.ChannelNotAllowed, says: "upload: scrier.allow of the machine's agent.yaml"},
		{needs: []wire.Right{"fly"}, code: wire.ChannelNotAllowed, says: "fly"},
		{options: "no-pty ", needs: []wire.Right{wire.MayShell}, code: wire.KeyRestricted, says: "no-pty"},
		{options: "no-pty ", needs: []wire.Right{wire.MayForward}, likes: []wire.Right{wire.MayShell}, want: []wire.Right{wire.MayForward}},
		{options: "no-port-forwarding ", needs: []wire.Right{wire.MayShell, wire.MayReverse}, code: wire.KeyRestricted, says: "no-port-forwarding"},
		{options: `permitopen="192.0.2.1:80" `, needs: []wire.Right{wire.MayForward}, code: wire.KeyRestricted, says: "scrier.forward"},
		{options: "restrict ", needs: []wire.Right{wire.MayExec}, likes: wire.Rights(), want: []wire.Right{wire.MayExec, wire.MayDownload}},
		{options: "restrict ", likes: []wire.Right{wire.MayForward}, code: wire.KeyRestricted, says: "no-port-forwarding"},
	} {
		key(c.options)
		before := came.Load()
		stream, opened, err := asked(t, l, wire.Open{
			Kind: wire.KindSSH, Keys: [][]byte{signer.PublicKey().Marshal()}, Ephemeral: ephemeral.Marshal(), Needs: c.needs, Likes: c.likes, Source: "192.0.2.7",
		})
		if wire.CodeOf(err) != c.code || !strings.Contains(wire.DetailOf(err), c.says) {
			t.Fatalf("%q, needs %v: %v", c.options, c.needs, err)
		}
		if err != nil {
			if now, err := os.ReadFile(file); err != nil || string(now) != c.options+string(text) || came.Load() != before {
				t.Errorf("%q, needs %v: %d connections, and the file is %q (%v)", c.options, c.needs, came.Load()-before, now, err)
			}
			continue
		}
		if opened.Login != name || !cmp.Equal(opened.Rights, c.want) {
			t.Errorf("%q, needs %v: %+v", c.options, c.needs, opened)
		}
		client := overStream(t, stream, name, session)
		for right, works := range tryRights(t, client, echoPort) {
			if granted := slices.Contains(opened.Rights, right) || right == wire.MayDownload && slices.Contains(opened.Rights, wire.MayExec); works != granted {
				t.Errorf("%q, needs %v: %s works: %v", c.options, c.needs, right, works)
			}
		}
		_ = client.Close()
	}
	// The bytes of sshd itself: it greets, and knows the operator's own key alone.
	key("")
	stream, opened, err := asked(t, l, wire.Open{Kind: wire.KindSSH, Needs: []wire.Right{wire.MayRaw}})
	if err != nil {
		t.Fatal(err)
	}
	if opened.Login != "" || len(opened.HostKeys) != 1 || !cmp.Equal(opened.Rights, []wire.Right{wire.MayRaw}) {
		t.Errorf("%+v", opened)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != string(text) {
		t.Errorf("the file is %q (%v)", now, err)
	}
	client := overStream(t, stream, name, signer)
	if !tryRights(t, client, echoPort)[wire.MayShell] {
		t.Error("no shell through sshd's own bytes")
	}
	_ = client.Close()
	if stream, _, err = asked(t, l, wire.Open{Kind: wire.KindSSH, Needs: []wire.Right{wire.MayRaw}}); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(stream, head); err != nil || string(head) != "SSH-2.0-" {
		t.Errorf("sshd begins with %q, %v", head, err)
	}
	a.startups.mu.Lock()
	defer a.startups.mu.Unlock()
	if a.startups.held != 0 {
		t.Errorf("%d places are held", a.startups.held)
	}
}

// overStream logs in through a session's stream.
func overStream(t *testing.T, s wire.Stream, login string, signer ssh.Signer) *ssh.Client {
	t.Helper()
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	conn, channels, requests, err := ssh.NewClientConn(&wire.NetConn{Stream: s}, "", &ssh.ClientConfig{
		User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return ssh.NewClient(conn, channels, requests)
}

// tryRights says which rights work over a connection.
func tryRights(t *testing.T, c *ssh.Client, port uint16) map[wire.Right]bool {
	t.Helper()
	works := map[wire.Right]bool{}
	session := func(right wire.Right, try func(*ssh.Session) error) {
		s, err := c.NewSession()
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		works[right] = try(s) == nil
	}
	session(wire.MayShell, func(s *ssh.Session) error {
		if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
			return err
		}
		return s.Run("true")
	})
	session(wire.MayExec, func(s *ssh.Session) error { return s.Run("true") })
	session(wire.MayDownload, func(s *ssh.Session) error {
		out, err := s.StdoutPipe()
		if err != nil {
			return err
		}
		in, err := s.StdinPipe()
		if err != nil {
			return err
		}
		if err := s.RequestSubsystem("sftp"); err != nil {
			return err
		}
		if _, err := in.Write([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3}); err != nil { // SSH_FXP_INIT
			return err
		}
		answer := make([]byte, 5)
		if _, err := io.ReadFull(out, answer); err != nil || answer[4] != 2 {
			return errors.Join(err, errors.New("no SFTP"))
		}
		_, err = in.Write(slices.Concat([]byte{0, 0, 0, 10, 16, 0, 0, 0, 1, 0, 0, 0, 1}, []byte("."))) // SSH_FXP_REALPATH
		if err != nil {
			return err
		}
		rest := make([]byte, 64<<10)
		for n := 0; ; {
			m, err := out.Read(rest[n:])
			if n += m; err != nil {
				return err
			}
			if strings.Contains(string(rest[:n]), "/") && strings.Contains(string(rest[:n]), "scrsess") {
				return nil
			}
			if strings.Contains(string(rest[:n]), "denied") {
				return errors.New("denied")
			}
		}
	})
	conn, err := c.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback4, port)))
	if works[wire.MayForward] = err == nil; err == nil {
		_ = conn.Close()
	}
	l, err := c.ListenTCP(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if works[wire.MayReverse] = err == nil; err == nil {
		_ = l.Close()
	}
	return works
}
