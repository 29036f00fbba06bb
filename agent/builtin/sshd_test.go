package builtin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// dialSSHD logs in to OpenSSH's own server, as the same account.
func dialSSHD(t *testing.T) *ssh.Client {
	t.Helper()
	dir := openDir(t)
	private, hostKey := newKey(t)
	_, key := newKey(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, in("host"), string(pemBytes(block)))
	writeFile(t, in("keys"), string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	if err := os.Chmod(in("keys"), 0o644); err != nil {
		t.Fatal(err)
	}
	writeFile(t, in("config"), "HostKey "+in("host")+"\nAuthorizedKeysFile "+in("keys")+"\nStrictModes no\nUsePAM no\nPidFile none\nLogLevel QUIET\nSubsystem sftp /usr/lib/openssh/sftp-server\n")
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	near, far := socketPair(t)
	file, err := far.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	cmd := exec.Command("/usr/sbin/sshd", "-i", "-f", in("config"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = file, file, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("apt-get install openssh-server: %v", err)
	}
	file.Close()
	t.Cleanup(func() {
		near.Close()
		_ = cmd.Wait()
	})
	l := &link{server: &Server{hostKey: hostKey}, key: key, conn: near}
	return l.dial(t)
}

// TestAsSSHD does the same with this server and with OpenSSH's, and sees the same.
func TestAsSSHD(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	taken := listen(t, "tcp", "127.0.0.1:0", echo)
	do := func(c *ssh.Client) (seen []string) {
		dir := openDir(t)
		in := func(name string) string { return filepath.Join(dir, name) }
		say := func(what string, result any) {
			seen = append(seen, strings.ReplaceAll(what+": "+fmt.Sprint(result), dir, "DIR"))
		}
		channel := func(what, kind string, payload any) {
			s, err := openChannel(c, kind, ssh.Marshal(payload))
			if err == nil {
				s.Close()
			}
			var refused *ssh.OpenChannelError
			switch {
			case !errors.As(err, &refused):
				say(what, err)
			case kind == "direct-tcpip":
				say(what, refused.Reason.String()+": "+refused.Message)
			default: // of sockets sshd says "open failed" and no more
				say(what, refused.Reason)
			}
		}
		request := func(what, kind string, payload any) []byte {
			ok, answer, err := c.SendRequest(kind, true, ssh.Marshal(payload))
			say(what, fmt.Sprint(ok, err))
			return answer
		}

		// Forwards.
		channel("a closed port", "direct-tcpip", dialTCP{Host: "127.0.0.1", Port: port(closed), Origin: "127.0.0.1"})
		channel("an open port", "direct-tcpip", dialTCP{Host: "localhost", Port: port(taken), Origin: "127.0.0.1"})
		listen(t, "unix", in("deaf"), echo)
		if err := os.Chmod(in("deaf"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{in("deaf"), in("missing"), dir} {
			channel("connect to "+path, "direct-streamlocal@openssh.com", dialUnix{Path: path})
		}
		request("a port that is taken", "tcpip-forward", listenTCP{"127.0.0.1", port(taken)})
		request("a port that needs root", "tcpip-forward", listenTCP{"localhost", 79})
		for _, host := range []string{"localhost", "", "0.0.0.0", "*", "127.0.0.1"} {
			answer, _ := parse[listenedTCP](request("listen at "+host, "tcpip-forward", listenTCP{host, 0}))
			at := strconv.Itoa(int(answer.Port))
			for _, address := range []string{"127.0.0.1", "127.0.0.2"} {
				x, err := net.Dial("tcp", net.JoinHostPort(address, at))
				if err == nil {
					x.Close()
				}
				say("connect at "+address, err == nil)
			}
			request("cancel "+host, "cancel-tcpip-forward", listenTCP{host, answer.Port})
			request("cancel again", "cancel-tcpip-forward", listenTCP{host, answer.Port})
		}
		writeFile(t, in("file"), "mine")
		for _, path := range []string{in("socket"), in("socket"), in("file"), in("no/folder"), "/proc/x"} {
			request("listen at "+path, "streamlocal-forward@openssh.com", listenUnix{path})
		}
		var st unix.Stat_t
		err := unix.Lstat(in("socket"), &st)
		say("the socket", fmt.Sprintf("%o of %d: %v", st.Mode, st.Uid, err))
		request("cancel it", "cancel-streamlocal-forward@openssh.com", listenUnix{in("socket")})
		request("no such request", "frobnicate@example.com", listenUnix{})
		for _, kind := range []string{"x11", "auth-agent@openssh.com", "forwarded-tcpip", "frobnicate@example.com"} {
			_, err := openChannel(c, kind, nil)
			say("channel "+kind, err != nil)
		}

		// Files.
		f, err := sftp.NewClient(c)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for name, text := range map[string]string{"a": "of a", "b": "of b"} {
			w, err := f.Create(in(name))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, text); err != nil {
				t.Fatal(err)
			}
			w.Close()
		}
		code := func(what string, err error) {
			var s *sftp.StatusError
			switch {
			case errors.As(err, &s):
				say(what, s.FxCode())
			case errors.Is(err, os.ErrNotExist):
				say(what, "not there")
			case errors.Is(err, os.ErrPermission):
				say(what, "not permitted")
			default:
				say(what, err)
			}
		}
		open := func(name string, flags int) error {
			x, err := f.OpenFile(name, flags)
			if err == nil {
				x.Close()
			}
			return err
		}
		code("rename onto one", f.Rename(in("a"), in("b")))
		code("rename over one", f.PosixRename(in("a"), in("b")))
		code("it is gone", func() error { _, err := f.Lstat(in("a")); return err }())
		b, err := os.ReadFile(in("b"))
		say("the other", fmt.Sprintf("%s %v", b, err))
		code("read shadow", open("/etc/shadow", os.O_RDONLY))
		code("write passwd", open("/etc/passwd", os.O_WRONLY))
		code("create in /", open("/scrier-not-here", os.O_WRONLY|os.O_CREATE))
		code("mkdir in /", f.Mkdir("/scrier-not-here"))
		code("remove passwd", f.Remove("/etc/passwd"))
		code("chmod passwd", f.Chmod("/etc/passwd", 0o777))
		code("chown own", f.Chown(in("b"), 0, 0))
		code("touch passwd", f.Chtimes("/etc/passwd", time.Unix(1, 0), time.Unix(1, 0)))
		code("truncate passwd", f.Truncate("/etc/passwd", 0))
		code("list /root", func() error { _, err := f.ReadDir("/root"); return err }())
		code("rmdir not empty", f.RemoveDirectory(dir))
		code("mkdir", f.Mkdir(in("made")))
		code("mkdir again", f.Mkdir(in("made")))
		code("open it for writing", open(in("made"), os.O_WRONLY))
		code("symlink", f.Symlink("made", in("link")))
		code("symlink again", f.Symlink("made", in("link")))
		to, err := f.ReadLink(in("link"))
		say("it leads to", fmt.Sprint(to, err))
		real, err := f.RealPath(in("link/../b"))
		say("its real path", fmt.Sprint(real, err))
		wd, err := f.Getwd()
		say("it starts in", fmt.Sprint(wd, err))
		for _, name := range []string{"b", "made", "link"} {
			info, err := f.Lstat(in(name))
			if err != nil {
				t.Error(err)
				continue
			}
			x := info.Sys().(*sftp.FileStat)
			say("attributes of "+name, fmt.Sprint(info.Mode(), x.UID, x.GID))
		}
		return seen
	}
	want, got := do(dialSSHD(t)), do(serve(t, newServer(t)).dial(t))
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("%s\n  sshd: %s", got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d, not %d", len(got), len(want))
	}
}
