package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"scrier/agent/account"
	"scrier/agent/program"
	"scrier/wire"
)

// daemonCache keeps what `sshd -T` has said, until a configuration file changes. If no file has a
// Match block, the answer is the same for all logins and addresses, and is kept once.
type daemonCache struct {
	mu       sync.Mutex
	state    string
	byClient map[string]daemon // by login and address; "" if the answer is the same for all
	program  string
	version  [2]int
	debianOf string
	debian   bool
}

// daemonFor asks sshd about one login that connects from an address on loopback.
func (k *Keys) daemonFor(ctx context.Context, a account.Account, from netip.Addr) (daemon, error) {
	if len(k.cfg.AuthorizedKeysFile) > 0 {
		return daemon{files: k.cfg.AuthorizedKeysFile, strict: true, publicKeys: true, pam: true, terminal: true, local: true, remote: true, agent: true, sftp: true, environment: true, utc: true, pamService: "sshd", sourceStartups: "none"}, nil
	}
	sshd := k.sshd()
	if sshd == "" {
		return k.daemonDefault(errors.New("there is no sshd"), true)
	}
	state, matches := k.configState(sshd)
	key := ""
	if matches {
		key = a.Login + " " + from.String()
	}
	k.daemon.mu.Lock()
	d, ok := k.daemon.byClient[key]
	ok = ok && k.daemon.state == state
	k.daemon.mu.Unlock()
	if ok {
		return d, nil
	}
	version, err := k.sshdVersion(ctx, sshd)
	if err != nil {
		return k.daemonDefault(err, true)
	}
	utc := version[0] > 9 || (version[0] == 9 && version[1] >= 1)
	if version[0] < 7 || (version[0] == 7 && version[1] < 7) {
		return daemon{}, wire.Errorf(wire.KeyfileUnsupported, "OpenSSH %d.%d knows no expiry-time; 7.7 does", version[0], version[1])
	}
	d, err = k.askDaemon(ctx, sshd, a, from, from.String())
	if err == nil && d.dns {
		d, err = k.askDaemon(ctx, sshd, a, from, "localhost")
	}
	if err != nil {
		return k.daemonDefault(err, utc)
	}
	d.utc = utc
	d.together = version[0] == 7 && version[1] < 8
	d.commandFirst = version[0] < 8 || version[0] == 8 && version[1] < 9 // 7.9 does, 8.9 does not
	k.daemon.mu.Lock()
	defer k.daemon.mu.Unlock()
	if k.daemon.state != state || len(k.daemon.byClient) > 2*maxHomes {
		k.daemon.state, k.daemon.byClient = state, map[string]daemon{}
	}
	k.daemon.byClient[key] = d
	return d, nil
}

// sshd is the program; empty if there is none.
func (k *Keys) sshd() string {
	if k.cfg.SSHD != "" {
		return k.cfg.SSHD
	}
	return findProgram("sshd", "/usr/sbin", "/usr/local/sbin")
}

// daemonDefault is used when `sshd -T` fails, as it does when it may not read the host keys. If the
// agent is not root, OpenSSH's own defaults are taken; for one that is root that would be a guess
// about other users' files, so it is an error.
func (k *Keys) daemonDefault(err error, utc bool) (daemon, error) {
	if k.root {
		return daemon{}, wire.Errorf(wire.KeyfileUnsupported, "ask sshd for its configuration: %w", err)
	}
	k.cfg.Log.Debug("sshd does not tell its configuration; its defaults are taken", "err", err)
	return daemon{
		files: []string{".ssh/authorized_keys", ".ssh/authorized_keys2"}, strict: true, publicKeys: true, pam: true, terminal: true, local: true, remote: true, agent: true, sftp: true, utc: utc,
		environment: true, pamService: "sshd", sourceStartups: "none", // the first may be switched on
	}, nil
}

// askDaemon runs sshd -T. host is the client's name as sshd knows it, which is its address without UseDNS.
func (k *Keys) askDaemon(ctx context.Context, sshd string, a account.Account, from netip.Addr, host string) (daemon, error) {
	argv := []string{sshd, "-T", "-C", "user=" + a.Login + ",host=" + host + ",addr=" + from.String() + "," + k.local}
	if strings.Contains(a.Login, ",") {
		return daemon{}, fmt.Errorf("a login with a comma")
	}
	if k.cfg.SSHDConfig != "" {
		argv = append(argv, "-f", k.cfg.SSHDConfig)
	}
	answer, err := program.Ask(ctx, maxDaemonOutput, argv...)
	if err != nil {
		return daemon{}, err
	}
	if answer.Status != 0 {
		argv[1] = "-G" // since OpenSSH 9.3: prints the same, and needs neither host keys nor /run/sshd
		if again, err := program.Ask(ctx, maxDaemonOutput, argv...); err == nil && again.Status == 0 {
			return parseDaemon(again.Stdout)
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(answer.Stderr)), "\n")
		return daemon{}, fmt.Errorf("sshd -T: %s", wire.Printable(line))
	}
	return parseDaemon(answer.Stdout)
}

var versionText = regexp.MustCompile(`OpenSSH_(\d{1,3})\.(\d{1,3})`)

// sshdVersion reads the version from what `sshd -V` prints. Old versions do not know -V, but print
// their version with the usage.
func (k *Keys) sshdVersion(ctx context.Context, sshd string) ([2]int, error) {
	key := fileState(sshd)
	k.daemon.mu.Lock()
	version, known := k.daemon.version, k.daemon.program == key
	k.daemon.mu.Unlock()
	if known {
		return version, nil
	}
	answer, err := program.Ask(ctx, maxDaemonOutput, sshd, "-V")
	if err != nil {
		return version, err
	}
	m := versionText.FindSubmatch(append(answer.Stdout, answer.Stderr...))
	if m == nil {
		return version, fmt.Errorf("%s does not tell its version", sshd)
	}
	for i := range version {
		version[i], _ = strconv.Atoi(string(m[i+1]))
	}
	k.daemon.mu.Lock()
	defer k.daemon.mu.Unlock()
	k.daemon.program, k.daemon.version = key, version
	return version, nil
}

// configState returns a text that changes when a configuration file does (by name, size and time),
// and says whether the settings depend on the login. A file that cannot be read may have a Match
// block, so they do then.
func (k *Keys) configState(sshd string) (state string, matches bool) {
	main := k.cfg.SSHDConfig
	if main == "" {
		main = "/etc/ssh/sshd_config"
	}
	var b strings.Builder
	b.WriteString(fileState(sshd))
	seen := 0
	var walk func(file string, depth int)
	walk = func(file string, depth int) {
		seen++
		b.WriteString(fileState(file))
		st, err := os.Stat(file)
		if err != nil || !st.Mode().IsRegular() || st.Size() > maxConfig || depth > 16 || seen > maxConfigFiles {
			matches = true
			return
		}
		text, err := os.ReadFile(file)
		if err != nil {
			matches = true
			return
		}
		for line := range strings.Lines(string(text)) {
			f := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n\f\"=", r) })
			if len(f) == 0 {
				continue
			}
			switch strings.ToLower(f[0]) {
			case "match":
				matches = true
			case "include":
				for _, pattern := range f[1:] {
					if !filepath.IsAbs(pattern) {
						pattern = filepath.Join("/etc/ssh", pattern)
						matches = matches || k.cfg.SSHD != "" // another sshd may have been built with another folder
					}
					files, _ := filepath.Glob(pattern)
					for _, file := range files {
						walk(file, depth+1)
					}
				}
			}
		}
	}
	walk(main, 0)
	return b.String(), matches
}

func fileState(name string) string {
	st, err := os.Stat(name)
	if err != nil {
		return name + " " + strconv.FormatBool(errors.Is(err, fs.ErrNotExist)) + "\n"
	}
	return fmt.Sprintf("%s %d %s %v\n", name, st.Size(), st.ModTime().Format(time.RFC3339Nano), st.Mode())
}
