package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"scrier/agent/account"
	"scrier/wire"
)

const (
	patience  = 30 * time.Second
	listenArg = "agent-listener-under-test"
)

// listenAs is a process of a user that listens and accepts, until its input ends.
func listenAs(uid string, addrs []string) int {
	id, err := strconv.Atoi(uid)
	if err == nil {
		err = syscall.Setgid(id)
	}
	if err == nil {
		err = syscall.Setuid(id)
	}
	for _, addr := range addrs {
		var l net.Listener
		if err == nil {
			network, at, _ := strings.Cut(addr, "!")
			l, err = net.Listen(network, at)
		}
		if err == nil {
			fmt.Println(l.Addr())
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
				}
			}()
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// stranger listens as another user, at NETWORK!HOST:PORT, and returns the port. stop ends it.
func stranger(t *testing.T, uid uint32, addr string) (port uint16, stop func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", listenArg, strconv.FormatUint(uint64(uid), 10), addr)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the listener: %v", err)
		}
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at, err := netip.ParseAddrPort(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(line)
	}
	return at.Port(), stop
}

// realUser makes a login of this machine and removes it again.
func realUser(t *testing.T, login string) uint32 {
	t.Helper()
	accounts(t, "useradd", "--no-create-home", "--shell", "/bin/sh", "--password", "*", login)
	t.Cleanup(func() { accounts(t, "userdel", "--force", login) })
	u, err := osuser.Lookup(login)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil || uid < uint64(account.System().UIDMin()) {
		t.Fatalf("uid %s: %v", u.Uid, err)
	}
	return uint32(uid)
}

// accounts runs a command on the account files, which have one lock for the whole machine.
func accounts(t *testing.T, argv ...string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || !strings.Contains(string(out), "try again later") && !strings.Contains(string(out), "cannot lock") {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
}

func listen(t *testing.T, network, addr string) (*net.TCPListener, uint16) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener), l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// Real sockets of real users (F14).
func TestWhoListens(t *testing.T) {
	alice := realUser(t, "scrlistener")
	c := DefaultConfig()
	named := DefaultConfig()
	named.Desktop.Listeners = []string{"scrnobodyatall", "scrlistener"}
	dial := func(c *Config, port uint16) wire.Code {
		conn, err := dialListener(t.Context(), port, c.trusts)
		if err == nil {
			err = conn.Close()
		}
		return wire.CodeOf(err)
	}
	for _, at := range []string{"tcp4!127.0.0.1:0", "tcp4!0.0.0.0:0", "tcp!:0", "tcp6![::1]:0", "tcp6![::]:0"} {
		port, stop := stranger(t, alice, at)
		conn, err := dialListener(t.Context(), port, c.trusts)
		if wire.CodeOf(err) != wire.ListenerUntrusted || conn != nil {
			t.Errorf("%s: %v", at, err)
		}
		for _, says := range []string{"scrlistener", "desktop: {listeners: [scrlistener]}", fmt.Sprint(port)} {
			if !strings.Contains(wire.DetailOf(err), says) {
				t.Errorf("%s: %q does not say %q", at, wire.DetailOf(err), says)
			}
		}
		if got := dial(&named, port); got != wire.None {
			t.Errorf("%s, in desktop.listeners: %s", at, got)
		}
		if conn, err := dialOwned(t.Context(), port, alice); err != nil {
			t.Errorf("%s, by uid: %v", at, err)
		} else if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if conn, err := dialOwned(t.Context(), port, alice+1); wire.CodeOf(err) != wire.ListenerUntrusted || conn != nil {
			t.Errorf("%s, by another uid: %v", at, err)
		}
		stop()
		if got := dial(&named, port); got != wire.TargetRefused {
			t.Errorf("%s, gone: %s", at, got)
		}
	}
	for _, at := range []string{"tcp4!127.0.0.1:0", "tcp4!0.0.0.0:0", "tcp!:0", "tcp6![::1]:0"} {
		network, addr, _ := strings.Cut(at, "!")
		_, port := listen(t, network, addr)
		if got := dial(&c, port); got != wire.None {
			t.Errorf("%s of root: %s", at, got)
		}
	}
	// A system account's, and what the kernel shows for users it does not know.
	for uid, want := range map[uint32]wire.Code{100: wire.ListenerUntrusted, account.Nobody: wire.ListenerUntrusted, 3999999999: wire.ListenerUntrusted} {
		port, _ := stranger(t, uid, "tcp4!127.0.0.1:0")
		if got := dial(&c, port); got != want {
			t.Errorf("uid %d: %s", uid, got)
		}
	}
	// Root and a stranger both listen: the kernel may give the connection to either of them.
	_, port := listen(t, "tcp6", "[::1]:0")
	stranger(t, alice, fmt.Sprintf("tcp4!127.0.0.1:%d", port))
	if got := dial(&c, port); got != wire.ListenerUntrusted {
		t.Errorf("IPv4 of a stranger, IPv6 of root: %s", got)
	}
	// The stranger at IPv6 does not shut out the server at IPv4.
	_, port = listen(t, "tcp4", "127.0.0.1:0")
	stranger(t, alice, fmt.Sprintf("tcp6![::1]:%d", port))
	if got := dial(&c, port); got != wire.None {
		t.Errorf("IPv4 of root, IPv6 of a stranger: %s", got)
	}
}

// Only the accounts of known desktop servers are trusted besides root, if they are system accounts, and
// whom agent.yaml names. A refusal says who listens, and the line that would allow it.
func TestTrustedAccounts(t *testing.T) {
	etc := t.TempDir()
	for name, text := range map[string]string{
		"login.defs": "UID_MIN 1000\n",
		"passwd": "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nxrdp:x:112:121::/run/xrdp:/usr/sbin/nologin\n" +
			"libvirt-qemu:x:64055:994::/var/lib/libvirt:/usr/sbin/nologin\nann:x:1000:1000::/home/ann:/bin/sh\ngnome-remote-desktop:x:1001:1001::/home/g:/bin/sh\n" +
			"systemd-network:x:998:998::/:/usr/sbin/nologin\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	db := account.Database{Etc: etc}
	plain, named := DefaultConfig(), DefaultConfig()
	named.Desktop.Listeners = []string{"libvirt-qemu", "ann"}
	for _, x := range []struct {
		config *Config
		uid    uint32
		who    string // who listens, as the refusal says; empty: trusted
	}{
		{&plain, 0, ""}, {&plain, 112, ""},
		{&plain, 33, "www-data"}, {&plain, 998, "systemd-network"}, {&plain, 64055, "libvirt-qemu"}, {&plain, 1000, "ann"},
		{&plain, 1001, "gnome-remote-desktop"}, // a person of that name
		{&plain, 999, "uid 999"}, {&plain, 101, "uid 101"}, {&plain, account.Nobody, "nobody"},
		{&named, 64055, ""}, {&named, 1000, ""}, {&named, 33, "www-data"}, {&named, 999, "uid 999"},
	} {
		err := x.config.trustsFor(t.Context(), db, x.uid, 0)
		if x.who == "" {
			if err != nil {
				t.Errorf("uid %d: %v", x.uid, err)
			}
			continue
		}
		if d := wire.DetailOf(err); wire.CodeOf(err) != wire.ListenerUntrusted || !strings.Contains(d, x.who) {
			t.Errorf("uid %d: %v", x.uid, err)
		} else if known := !strings.HasPrefix(x.who, "uid") && x.who != "nobody"; known {
			var c Config
			_, example, _ := strings.Cut(d, "put ")
			line, _, _ := strings.Cut(example, " into")
			path := filepath.Join(t.TempDir(), "agent.yaml")
			if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if c, err = LoadConfig(path, true); err != nil || c.trustsFor(t.Context(), db, x.uid, 0) != nil {
				t.Errorf("%q does not allow it: %v", line, err)
			}
		}
	}
}

// An agent of an ordinary user reaches what that user serves.
func TestTrustOfAnOrdinaryAgent(t *testing.T) {
	var c Config
	for _, x := range []struct {
		uid, own uint32
		want     wire.Code
	}{
		{1500, 1500, wire.None}, {0, 1500, wire.None}, {1501, 1500, wire.ListenerUntrusted}, {account.Nobody, account.Nobody, wire.ListenerUntrusted}, {1500, 0, wire.ListenerUntrusted},
	} {
		if err := c.trustsFor(t.Context(), account.System(), x.uid, x.own); wire.CodeOf(err) != x.want {
			t.Errorf("%+v: %v", x, err)
		}
	}
}

// If another server takes the place of the one that was looked at, the connection is not used.
func TestSwappedListener(t *testing.T) {
	old, port := listen(t, "tcp4", "127.0.0.1:0")
	swap := func(context.Context, uint32) error {
		if err := old.Close(); err != nil {
			return err
		}
		listen(t, "tcp4", fmt.Sprintf("127.0.0.1:%d", port)) // of root too, but another
		return nil
	}
	if conn, err := dialListener(t.Context(), port, swap); wire.CodeOf(err) != wire.ListenerUntrusted || conn != nil {
		t.Errorf("%v, %v", conn, err)
	}
}
