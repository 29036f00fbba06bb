package builtin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"scrier/wire"
)

// lookupTime bounds the questions to getent and id; a directory service may be slow.
const lookupTime = 10 * time.Second

// An Account is a login of this machine as the name service switch knows it.
type Account struct {
	Name        string
	UID, GID    uint32
	Groups      []uint32 // supplementary ones; only looked up by root
	Home, Shell string
}

// findAccount looks name up, and refuses what may not be served. An empty name means the account
// that the process runs as.
func findAccount(ctx context.Context, name string) (Account, error) {
	asRoot := os.Geteuid() == 0
	key := name
	if name == "" {
		if asRoot {
			return Account{}, errRoot("no login is set")
		}
		key = strconv.Itoa(os.Geteuid())
	}
	if strings.HasPrefix(key, "-") || strings.ContainsAny(key, ":/\x00\n") || len(key) > 256 {
		return Account{}, wire.Errorf(wire.AccountNotLoginable, "%q is not a login", wire.Printable(key))
	}
	line, err := ask(ctx, "getent", "passwd", "--", key)
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 2 {
			return Account{}, wire.Errorf(wire.AccountNotLoginable, "there is no login %q", wire.Printable(key))
		}
		return Account{}, fmt.Errorf("look up login %q: %w", wire.Printable(key), err)
	}
	a, err := parsePasswd(line)
	if err != nil {
		return Account{}, fmt.Errorf("look up login %q: %w", wire.Printable(key), err)
	}
	// getent takes numbers too ("0", "00", "4294967296"), and several names may have uid 0: the
	// uid that it answers with decides, not the spelling.
	switch {
	case a.UID == 0:
		return Account{}, errRoot(fmt.Sprintf("%q is uid 0", wire.Printable(key)))
	case name != "" && a.Name != name:
		return Account{}, wire.Errorf(wire.AccountNotLoginable, "%q is not a login's name; ssh.run_as takes %s", wire.Printable(name), wire.Printable(a.Name))
	case !asRoot && int64(a.UID) != int64(os.Geteuid()):
		return Account{}, wire.Errorf(wire.AccountNotLoginable, "the agent runs as uid %d and can serve no login but its own, so not %q", os.Geteuid(), wire.Printable(a.Name))
	}
	if asRoot {
		if a.Groups, err = findGroups(ctx, a.Name); err != nil {
			return Account{}, err
		}
	}
	return a, nil
}

func errRoot(what string) error {
	return wire.Errorf(wire.AccountNotLoginable, "%s: the built-in SSH server never serves root; set ssh.run_as in agent.yaml to an ordinary user", what)
}

// check says whether somebody can log in to the account.
func (a Account) check() error {
	switch filepath.Base(a.Shell) {
	case "nologin", "false":
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %s", wire.Printable(a.Name), wire.Printable(a.Shell))
	}
	info, err := os.Stat(a.Shell)
	if err != nil || !filepath.IsAbs(a.Shell) || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return wire.Errorf(wire.AccountNotLoginable, "%s has the shell %s, which is not a program", wire.Printable(a.Name), wire.Printable(a.Shell))
	}
	return nil
}

// parsePasswd reads one line of passwd(5).
func parsePasswd(out []byte) (Account, error) {
	line, rest, _ := bytes.Cut(out, []byte("\n"))
	f := strings.Split(string(line), ":")
	if len(f) != 7 || len(rest) != 0 || f[0] == "" {
		return Account{}, errors.New("getent's answer is not one passwd line")
	}
	uid, err := parseID(f[2])
	if err != nil {
		return Account{}, fmt.Errorf("parse uid: %w", err)
	}
	gid, err := parseID(f[3])
	if err != nil {
		return Account{}, fmt.Errorf("parse gid: %w", err)
	}
	a := Account{Name: f[0], UID: uid, GID: gid, Home: f[5], Shell: f[6]}
	if a.Home == "" {
		a.Home = "/"
	}
	if a.Shell == "" {
		a.Shell = "/bin/sh" // what passwd(5) says of an empty field
	}
	return a, nil
}

// parseID reads a uid or gid. The highest number means "leave it alone" to setuid(2), which
// would leave it root's.
func parseID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, err
	}
	if id == math.MaxUint32 {
		return 0, errors.New("reserved number")
	}
	return uint32(id), nil
}

func findGroups(ctx context.Context, name string) ([]uint32, error) {
	out, err := ask(ctx, "id", "-G", "--", name)
	if err != nil {
		return nil, fmt.Errorf("look up groups of %q: %w", wire.Printable(name), err)
	}
	var groups []uint32
	for _, f := range strings.Fields(string(out)) {
		gid, err := parseID(f)
		if err != nil {
			return nil, fmt.Errorf("look up groups of %q: %w", wire.Printable(name), err)
		}
		groups = append(groups, gid)
	}
	return groups, nil
}

// ttyGroup is the group that terminals belong to; 0 where there is none.
func ttyGroup(ctx context.Context) uint32 {
	out, err := ask(ctx, "getent", "group", "--", "tty")
	if err != nil {
		return 0
	}
	f := strings.Split(strings.TrimSpace(string(out)), ":")
	if len(f) != 4 {
		return 0
	}
	gid, err := parseID(f[2])
	if err != nil {
		return 0
	}
	return gid
}

// ask runs a program that answers on one line. WaitDelay keeps a hung child of it from holding
// the answer back.
func ask(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	return cmd.Output()
}
