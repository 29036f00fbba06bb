package console

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"scrier/agent/become"
	"scrier/wire"
)

// person is a login of this machine whose screen may be shared.
type person struct {
	login string
	uid   uint32
	home  string
	who   *become.User // nil: the agent's own user
}

const (
	nobody     = 65534
	defaultMin = 1000    // UID_MIN where login.defs has none
	maxDefs    = 1 << 20 // bytes of login.defs
)

// begin starts cmd as p. The zero person is the agent itself.
func (c *Console) begin(cmd *exec.Cmd, p person) error {
	return become.Start(cmd, p.who)
}

// person looks up a uid.
func (c *Console) person(ctx context.Context, uid uint32) (person, error) {
	key := strconv.FormatUint(uint64(uid), 10)
	line := ""
	if getent := c.programs.find("getent"); getent != "" {
		out, status, err := c.output(ctx, person{}, c.plainEnv(), getent, "passwd", key)
		if err != nil {
			return person{}, err
		}
		if status == 0 {
			line, _, _ = strings.Cut(string(out), "\n")
		}
	} else {
		text, err := readUpTo("/etc/passwd", 1<<20)
		if err != nil {
			return person{}, err
		}
		for l := range strings.Lines(string(text)) {
			if f := strings.Split(l, ":"); len(f) == 7 && f[2] == key {
				line = strings.TrimSuffix(l, "\n")
				break
			}
		}
	}
	f := strings.Split(line, ":")
	if len(f) != 7 || f[2] != key || !plain(f[0], 256) || f[0] == "" || !path(f[5]) {
		return person{}, wire.Errorf(wire.ConsoleEmpty, "uid %s has no account", key)
	}
	p := person{login: f[0], uid: uid, home: f[5]}
	if !c.root {
		return p, nil
	}
	gid, ok := number(f[3])
	if !ok {
		return person{}, wire.Errorf(wire.ConsoleEmpty, "uid %s has no group", key)
	}
	p.who = &become.User{UID: uid, GID: gid}
	if getent := c.programs.find("getent"); getent != "" && f[0][0] != '-' {
		out, status, err := c.output(ctx, person{}, c.plainEnv(), getent, "initgroups", f[0])
		if err != nil || status != 0 {
			return p, nil // the primary group has to do (musl)
		}
		for i, s := range strings.Fields(string(out)) {
			if g, ok := number(s); ok && i > 0 && g != 0 && len(p.who.Groups) < 1024 { // root's group is no part of a desktop
				p.who.Groups = append(p.who.Groups, g)
			}
		}
	}
	return p, nil
}

// env is what a program on the person's screen gets, beside where the screen is.
func (c *Console) env(p person, more ...string) []string {
	return append([]string{
		c.programs.path(), "HOME=" + p.home, "USER=" + p.login, "LOGNAME=" + p.login, "SHELL=/bin/sh", "LANG=C.UTF-8",
	}, more...)
}

func (c *Console) plainEnv() []string { return []string{c.programs.path(), "LC_ALL=C"} }

// uidMin is where regular users begin.
func uidMin() uint32 {
	text, _ := readUpTo("/etc/login.defs", maxDefs) // without it the default holds
	for l := range strings.Lines(string(text)) {
		if f := strings.Fields(l); len(f) == 2 && f[0] == "UID_MIN" {
			if n, ok := number(f[1]); ok && n > 0 {
				return n
			}
		}
	}
	return defaultMin
}

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && strconv.FormatUint(n, 10) == s
}

// plain: text without control characters, of at most n bytes.
func plain(s string, n int) bool {
	if len(s) > n || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// path: an absolute path that is spelt in one way.
func path(s string) bool {
	return filepath.IsAbs(s) && filepath.Clean(s) == s && plain(s, 1024) && wire.Printable(s) == s
}

// readUpTo reads at most n bytes of a file of the system.
func readUpTo(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimit(f, n)
}
