package agent

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"scrier/wire"
)

const (
	nobody        = 65534 // what the kernel shows for users that it does not know, too
	firstUser     = 1000  // UID_MIN where login.defs has none
	maxLoginDefs  = 1 << 20
	maxPasswdLine = 64 << 10
	getentTimeout = 3 * time.Second
)

// trusts says why a user's desktop server may not be reached, if it may not: root's, system
// accounts' and those of desktop.listeners may. An agent that is not root is the user's own
// affair, and so are that user's servers.
func (c *Config) trusts(ctx context.Context, uid uint32) error {
	return c.trustsFor(ctx, uid, uint32(os.Geteuid()))
}

func (c *Config) trustsFor(ctx context.Context, uid, own uint32) error {
	if uid == nobody {
		return wire.Errorf(wire.ListenerUntrusted, "nobody (uid %d) listens there, or a user whom this machine does not know", uid)
	}
	if uid == own || uid < uidMin("/etc/login.defs") {
		return nil
	}
	for _, name := range c.Desktop.Listeners {
		if _, id, ok := passwd(ctx, name); ok && id == uid {
			return nil
		}
	}
	name, _, ok := passwd(ctx, strconv.FormatUint(uint64(uid), 10))
	if !ok {
		return wire.Errorf(wire.ListenerUntrusted, "uid %d listens there, which is no user of this machine", uid)
	}
	return wire.Errorf(wire.ListenerUntrusted, "user %s listens there, who is neither root nor a system account; if that is right, add %[1]s to desktop.listeners in this machine's agent.yaml", wire.Printable(name))
}

// only trusts one user and nobody else.
func only(uid uint32) func(context.Context, uint32) error {
	return func(_ context.Context, who uint32) error {
		if who != uid {
			return wire.Errorf(wire.ListenerUntrusted, "uid %d listens there, not uid %d", who, uid)
		}
		return nil
	}
}

// uidMin is where regular users begin (login.defs(5)).
func uidMin(path string) uint32 {
	f, err := os.Open(path)
	if err != nil {
		return firstUser
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxLoginDefs))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 2 && f[0] == "UID_MIN" {
			if n, err := strconv.ParseUint(f[1], 10, 32); err == nil && n > 0 {
				return uint32(n)
			}
		}
	}
	return firstUser
}

// passwd finds a user by name, or by uid if key is a number: with getent, which knows those of a directory too, or
// where there is none in /etc/passwd, which is then all that there is.
func passwd(ctx context.Context, key string) (name string, uid uint32, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, getentTimeout)
	defer cancel()
	for _, getent := range []string{"/usr/bin/getent", "/bin/getent"} {
		if _, err := os.Stat(getent); err != nil {
			continue
		}
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, getent, "passwd", key)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
		cmd.Dir = "/"
		cmd.WaitDelay = time.Second
		cmd.Stdout = &out
		if cmd.Run() != nil {
			return "", 0, false
		}
		return findPasswd(&out, key)
	}
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return "", 0, false
	}
	defer f.Close()
	return findPasswd(f, key)
}

// findPasswd looks through lines of passwd(5). What getent found need not be what was asked for:
// some directories do not tell A from a.
func findPasswd(r io.Reader, key string) (name string, uid uint32, ok bool) {
	field := 0
	if isNumber(key) {
		field = 2
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxPasswdLine)
	for lines.Scan() {
		f := strings.Split(lines.Text(), ":")
		if len(f) < 7 || f[0] == "" || f[field] != key {
			continue
		}
		if n, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			return f[0], uint32(n), true
		}
	}
	return "", 0, false
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}
