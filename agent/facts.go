package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"scrier/wire"
)

// facts reads what an agent tells of its machine. What cannot be read is left empty: an agent that
// does not know everything connects all the same.
type facts struct {
	ssh       bool
	sshServer string
	sshAsked  time.Time

	desktops
	desktopsAsked time.Time
}

// desktops says which desktops of a machine a session could show.
type desktops struct {
	rdp, vnc bool
	console  string // who sits at the screen
}

func (f facts) read() wire.Facts {
	out := wire.Facts{
		OS: osName(), Arch: runtime.GOARCH, Version: wire.Version(),
		Users: loggedIn("/run/utmp"), SSH: f.ssh, SSHServer: f.sshServer,
		RDP: f.rdp, VNC: f.vnc, Console: f.console,
	}
	out.Hostname, _ = os.Hostname()
	out.Uptime = uint64(firstNumber("/proc/uptime"))
	out.Load = uint32(math.Round(100 * firstNumber("/proc/loadavg")))
	out.Disk = diskUsed("/")
	return out.Bounded()
}

// bootID is another one after each boot of the kernel. All containers of one host have the same.
func bootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// osName is os-release(5)'s PRETTY_NAME.
func osName() string {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
				return strings.Trim(v, `"'`)
			}
		}
	}
	return runtime.GOOS
}

func firstNumber(path string) float64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	word, _, _ := strings.Cut(string(data), " ")
	n, err := strconv.ParseFloat(word, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// diskUsed is the percentage that df prints: of the space that ordinary users may fill.
func diskUsed(path string) uint8 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0
	}
	used := s.Blocks - s.Bfree
	total := used + s.Bavail
	if total == 0 {
		return 0
	}
	return uint8(min(100, (used*100+total-1)/total))
}

// utmp(5) on Linux with glibc: records of 384 bytes, type at 0, user at 44, 32 bytes long.
const (
	utmpRecord  = 384
	utmpUser    = 44
	utmpUserLen = 32
	utmpMax     = 1 << 20 // bytes read at most
	userProcess = 7
)

// loggedIn lists who is logged in, each once.
func loggedIn(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, utmpMax))
	if err != nil {
		return nil
	}
	var users []string
	for rec := range slices.Chunk(data, utmpRecord) {
		if len(rec) < utmpRecord || binary.NativeEndian.Uint16(rec) != userProcess {
			continue
		}
		name, _, _ := bytes.Cut(rec[utmpUser:utmpUser+utmpUserLen], []byte{0})
		if len(name) > 0 && !slices.Contains(users, string(name)) {
			users = append(users, string(name))
		}
	}
	slices.Sort(users)
	return users
}

// askSSH reads an SSH server's first line. It is asked seldom, as servers log each question.
func askSSH(ctx context.Context, addr string) (server string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if conn.SetDeadline(deadline) != nil {
			return "", false
		}
	}
	line, err := bufio.NewReader(io.LimitReader(conn, 256)).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "SSH-") {
		return "", false
	}
	return strings.TrimSpace(line), true
}

// desktops looks which desktops a session could show. It makes no connection to any of them.
func (l *agentLink) desktops(ctx context.Context) (d desktops) {
	ctx, cancel := context.WithTimeout(ctx, desktopsTimeout)
	defer cancel()
	d.rdp, d.vnc = l.Config.serves(ctx, rdpPort), l.Config.serves(ctx, vncPort)
	if l.Config.Console.Enabled {
		d.console = l.console.Who(ctx)
	}
	return d
}

// serves says whether a session could reach a server at port.
func (c *Config) serves(ctx context.Context, port uint16) bool {
	if !slices.Contains(c.AllowedPorts, port) {
		return false
	}
	_, err := trustedListeners(ctx, port, c.trusts)
	return err == nil
}
