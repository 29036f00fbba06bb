package keys

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"scrier/wire"
)

// account is a login of this machine.
type account struct {
	login    string
	uid, gid uint32
	groups   []uint32 // supplementary; filled in before a worker runs
	home     string
	shell    string
}

const (
	maxPasswd   = 16 << 20 // 50,000 users of a directory have about 4 MiB
	maxHomes    = 2000     // of one scan
	maxLogin    = 256
	nobody      = 65534
	nobodyNFS   = 4294967294
	lastUID     = 4294967294 // (uid_t)-1 means "no change" to setuid and is nobody's
	defaultMin  = 1000       // UID_MIN where login.defs has none
	maxDefsSize = 1 << 20
)

// accounts returns who may be looked at: the named login, or all regular users. others are
// loginable accounts that are not, whose files must not be shared with the former.
func (k *Keys) accounts(ctx context.Context, login string) (found, others []account, err error) {
	switch {
	case !k.root:
		all, err := k.passwd(ctx, strconv.FormatUint(uint64(k.uid), 10))
		if err != nil {
			return nil, nil, err
		}
		for _, a := range all {
			if a.uid == k.uid && a.uid != 0 && (login == "" || a.login == login) && k.allowed(a.login) {
				return []account{a}, nil, nil
			}
		}
		return nil, nil, wire.Errorf(wire.LoginNotAllowed, "this agent runs as uid %d and serves only its own login", k.uid)
	case login != "":
		if !validLogin(login) {
			return nil, nil, wire.Errorf(wire.BadRequest, "%q is no login name", wire.Printable(login))
		}
		all, err := k.passwd(ctx, login)
		if err != nil {
			return nil, nil, err
		}
		for _, a := range all {
			if a.login != login {
				continue // getent also takes numbers
			}
			if !k.served(a, uidMin()) {
				return nil, nil, wire.Errorf(wire.LoginNotAllowed, "%s is not a login that this agent serves", wire.Printable(login))
			}
			return []account{a}, nil, nil
		}
		return nil, nil, wire.Errorf(wire.PubkeyNotAuthorized, "there is no login %s", wire.Printable(login))
	}
	var all []account
	if len(k.cfg.AllowedLogins) > 0 {
		for _, name := range k.cfg.AllowedLogins { // may not be enumerable
			if !validLogin(name) {
				continue
			}
			some, err := k.passwd(ctx, name)
			if err != nil {
				return nil, nil, err
			}
			for _, a := range some {
				if a.login == name {
					all = append(all, a)
				}
			}
		}
	}
	every, err := k.passwd(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	all = append(all, every...)
	least := uidMin()
	seen := map[string]bool{}
	for _, a := range all {
		if seen[a.login] {
			continue
		}
		seen[a.login] = true
		if k.served(a, least) {
			found = append(found, a)
		} else {
			others = append(others, a)
		}
	}
	return found, others, nil
}

func (k *Keys) allowed(login string) bool {
	return len(k.cfg.AllowedLogins) == 0 || slices.Contains(k.cfg.AllowedLogins, login)
}

// served: never uid 0 whatever its name; others by the list, or by being regular users.
func (k *Keys) served(a account, least uint32) bool {
	if a.uid == 0 {
		return false
	}
	if len(k.cfg.AllowedLogins) > 0 {
		return slices.Contains(k.cfg.AllowedLogins, a.login)
	}
	return a.uid >= least && a.uid != nobody && a.uid != nobodyNFS && a.login != "nobody"
}

// passwd asks NSS for one entry, or with an empty key for all that it enumerates.
func (k *Keys) passwd(ctx context.Context, key string) ([]account, error) {
	out, err := k.database(ctx, "passwd", key)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	var all []account
	for len(out) > 0 {
		var line []byte
		line, out, _ = bytes.Cut(out, []byte{'\n'})
		if a, ok := parsePasswd(string(line)); ok {
			all = append(all, a)
		}
	}
	return all, nil
}

// database is getent. Where there is none, the file in /etc is all that NSS would have read.
func (k *Keys) database(ctx context.Context, name, key string) ([]byte, error) {
	if k.getent == "" {
		f, err := os.Open("/etc/" + name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		all, err := io.ReadAll(io.LimitReader(f, maxPasswd))
		if err != nil || key == "" {
			return all, err
		}
		var some []byte
		for line := range bytes.Lines(all) {
			fields := strings.Split(string(line), ":")
			if fields[0] == key || (name == "passwd" && len(fields) > 2 && fields[2] == key) {
				some = append(some, line...)
			}
		}
		return some, nil
	}
	argv := []string{k.getent, name}
	if key != "" {
		argv = append(argv, key) // never begins with a dash
	}
	out, _, status, err := output(ctx, maxPasswd, argv...)
	if err != nil {
		return nil, err
	}
	if status != 0 && status != 2 { // 2: no such key
		return nil, fmt.Errorf("%s ends with status %d", k.getent, status)
	}
	return out, nil
}

// parsePasswd reads one entry. Numbers are canonical decimals, so that no other spelling of 0
// passes for a user.
func parsePasswd(line string) (account, bool) {
	f := strings.Split(line, ":")
	if len(f) != 7 || !validLogin(f[0]) {
		return account{}, false
	}
	a := account{login: f[0], home: path.Clean(f[5]), shell: f[6]}
	uid, ok1 := parseID(f[2])
	gid, ok2 := parseID(f[3])
	a.uid, a.gid = uid, gid
	return a, ok1 && ok2 && path.IsAbs(f[5]) && plain(f[5]) && len(f[5]) < 4096 && plain(a.shell)
}

func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n <= lastUID && strconv.FormatUint(n, 10) == s
}

// validLogin: a name that is also a name in a path and an argument.
func validLogin(s string) bool {
	return s != "" && len(s) <= maxLogin && s[0] != '-' && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t") && plain(s)
}

func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return true
}

// uidMin is where regular users begin.
func uidMin() uint32 {
	f, err := os.Open("/etc/login.defs")
	if err != nil {
		return defaultMin
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxDefsSize))
	for lines.Scan() {
		if f := strings.Fields(lines.Text()); len(f) == 2 && f[0] == "UID_MIN" {
			if n, ok := parseID(f[1]); ok && n > 0 {
				return n
			}
		}
	}
	return defaultMin
}

// supplementary fills in the groups of accounts, which the worker gets like a login of theirs.
// Where getent cannot tell (musl), the primary group has to do.
func (k *Keys) supplementary(ctx context.Context, accounts []account) {
	const batch = 200
	if k.getent == "" || !k.root {
		return
	}
	for some := range slices.Chunk(accounts, batch) {
		argv := []string{k.getent, "initgroups"}
		for _, a := range some {
			argv = append(argv, a.login)
		}
		out, _, _, err := output(ctx, maxPasswd, argv...)
		if err != nil {
			k.cfg.Log.Debug("supplementary groups are not known", "err", err)
			return
		}
		for line := range strings.Lines(string(out)) {
			f := strings.Fields(line)
			if len(f) < 2 {
				continue
			}
			for i := range some {
				if some[i].login == f[0] && some[i].groups == nil {
					some[i].groups = parseGroups(f[1:])
				}
			}
		}
	}
}

func parseGroups(fields []string) []uint32 {
	var groups []uint32
	for _, s := range fields[:min(len(fields), 1024)] {
		if gid, ok := parseID(s); ok && gid != 0 { // root's group is no part of the user's own work
			groups = append(groups, gid)
		}
	}
	return groups
}
