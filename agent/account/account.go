package account

import (
	"path"
	"strconv"
	"strings"

	"scrier/wire"
)

// Account is a login of this machine.
type Account struct {
	Login    string
	UID, GID uint32
	Groups   []uint32 // supplementary; filled in by [Database.AddGroups]
	Home     string   // absolute and clean
	Shell    string   // "/bin/sh" where the entry has none
}

const (
	// Nobody is what the kernel shows for users that it does not know, too.
	Nobody = 65534

	nobodyNFS = 4294967294 // -2 in 32 bits, which NFS uses for nobody
	lastID    = 4294967294 // -1 means "no change" to setuid and setgid

	maxLogin = 256 // what Linux allows for a login's name, in bytes
	maxPath  = 1024
)

// Regular says whether uid can be a person's: not root's, nobody's, or a system account's. least
// is where regular users begin, see [Database.UIDMin].
func Regular(uid, least uint32) bool {
	return uid != 0 && uid >= least && uid != Nobody && uid < nobodyNFS
}

// ValidLogin says whether s can be a login's name, and is also safe as a name in a path and as an
// argument of a program.
func ValidLogin(s string) bool {
	return s != "" && s[0] != '-' && s != "." && s != ".." && !strings.ContainsAny(s, "/: ") && plain(s, maxLogin)
}

// parsePasswd reads one entry of passwd(5), without its newline.
func parsePasswd(line string) (Account, bool) {
	f := strings.Split(line, ":")
	if len(f) != 7 || !ValidLogin(f[0]) {
		return Account{}, false
	}
	uid, ok1 := parseID(f[2])
	gid, ok2 := parseID(f[3])
	a := Account{Login: f[0], UID: uid, GID: gid, Home: path.Clean(f[5]), Shell: f[6]}
	if a.Shell == "" {
		a.Shell = "/bin/sh" // what passwd(5) says of an empty field
	}
	return a, ok1 && ok2 && path.IsAbs(f[5]) && plain(f[5], maxPath) && plain(a.Shell, maxPath)
}

// parseID reads a uid or gid in its canonical form.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n <= lastID && strconv.FormatUint(n, 10) == s
}

// plain says whether s is at most n bytes of text that a terminal shows as it is.
func plain(s string, n int) bool { return len(s) <= n && wire.Printable(s) == s }
