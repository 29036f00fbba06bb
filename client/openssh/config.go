// Package openssh writes what OpenSSH's client needs to go through `scrier proxy`: a file of settings, one of known hosts,
// and one line in ~/.ssh/config. It never changes what others have written.
package openssh

import (
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

const (
	// AnyUser is the user name that ssh sends where nobody has named one: whoever has the operator's key on the machine. ssh
	// has no other way to say that there was no name; it would send that of the local user.
	AnyUser = "whoever-has-my-key"

	// Suffix is behind the names of envoys unless something else is asked for.
	Suffix = ".scrier"

	// hostKeyAlias is the name that all envoys have among the known hosts: they are served by the same proxy.
	hostKeyAlias = "scrier-proxy"

	// maxNames is how many envoys are listed for those who complete names.
	maxNames = 5000
)

// Config says what the settings are for.
type Config struct {
	Dir     string        // where the files are
	Suffix  string        // behind the names of envoys, with its dot
	Program string        // the path of scrier
	Home    string        // SCRIER_HOME, if the program has to be told; empty: it finds it
	Relay   string        // host:port; empty: the current one
	HostKey ssh.PublicKey // of the proxy
	Names   []string      // of envoys, for those who complete names
}

var (
	suffixes = regexp.MustCompile(`^(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)
	names    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	// odd fits what ssh, or the shell that it starts the proxy with, may take for something else in a path. The rest is quoted.
	odd = regexp.MustCompile("[\\x00-\\x1f\\x7f'\"*?\\[\\]{}$`]")
)

// Check says what of c cannot be written into ssh's configuration.
func (c Config) Check() error {
	if !suffixes.MatchString(c.Suffix) {
		return wire.Errorf(wire.Usage, "--suffix: %q is no end of a name, such as .scrier or .lab.scrier", wire.Printable(c.Suffix))
	}
	for i, path := range []string{c.Dir, c.Program, c.Home, c.Relay} {
		if odd.MatchString(path) || runtime.GOOS != "windows" && strings.Contains(path, `\`) || i == 0 && strings.Contains(path, "%") {
			return wire.Errorf(wire.BadConfig, "%s has a character that ssh's configuration cannot have in a path", wire.Printable(path)).
				Advise("set SCRIER_HOME to another folder, or put the program into another one")
		}
	}
	return nil
}

// file is where the settings are.
func (c Config) file() string { return filepath.Join(c.Dir, c.Suffix[1:]+".conf") }

func (c Config) knownHostsFile() string { return filepath.Join(c.Dir, "known_hosts") }

// knownHosts is the content of that file.
func (c Config) knownHosts() string {
	return hostKeyAlias + " " + string(ssh.MarshalAuthorizedKey(c.HostKey))
}

// Text are the settings.
func (c Config) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Written by "scrier ssh-config", which replaces this file: change nothing here. What stands in ~/.ssh/config in front of
# the line Include goes before it.

# The second pattern keeps names with a quote away from the shell.
Host *%s "!*'*"
  ProxyCommand %s
  User %s
  Port 22
  HostKeyAlias %s
  HostKeyAlgorithms %s
  UserKnownHostsFile %s
  GlobalKnownHostsFile %[7]s
  StrictHostKeyChecking yes
  UpdateHostKeys no
  CheckHostIP no
  VerifyHostKeyDNS no
  CanonicalizeHostname no
  Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr
`, c.Suffix, c.proxyCommand(), AnyUser, hostKeyAlias, c.HostKey.Type(), quoted(c.knownHostsFile()), quoted(c.knownHostsFile()))
	known := slices.DeleteFunc(slices.Clone(c.Names), func(n string) bool { return !names.MatchString(n) })
	slices.Sort(known)
	known = slices.Compact(known)
	if known = known[:min(len(known), maxNames)]; len(known) > 0 {
		b.WriteString("\n# For those who complete names. Others work too.\n")
	}
	for _, n := range known {
		fmt.Fprintf(&b, "Host %s%s\n", n, c.Suffix)
	}
	return b.String()
}

// proxyCommand is what ssh gives to a shell, with % for what it fills in.
func (c Config) proxyCommand() string {
	quote := "'"
	if runtime.GOOS == "windows" {
		quote = `"`
	}
	word := func(s string) string { return quote + strings.ReplaceAll(s, "%", "%%") + quote }
	var argv []string
	if c.Home != "" && runtime.GOOS != "windows" {
		argv = append(argv, "env", word("SCRIER_HOME="+c.Home))
	}
	argv = append(argv, word(c.Program), "proxy", "--suffix", c.Suffix)
	if c.Relay != "" {
		argv = append(argv, "--relay", word(c.Relay))
	}
	return strings.Join(append(argv, quote+"%h"+quote, "%p"), " ")
}

// quoted is a path for ssh's configuration, with quotes only where they are needed: not everybody who reads it knows them.
func quoted(path string) string {
	path = filepath.ToSlash(path)
	if strings.ContainsAny(path, " #=,") {
		return `"` + path + `"`
	}
	return path
}

// Envoy is the envoy that a host's name stands for.
func Envoy(host, suffix string) string {
	if suffix == "" {
		return host
	}
	if name, ok := strings.CutSuffix(strings.ToLower(host), strings.ToLower(suffix)); ok && name != "" {
		return host[:len(name)]
	}
	return host
}

// Login is the login on the envoy for the user name that ssh sends; empty: whoever has the key.
func Login(user string) string {
	if user == AnyUser {
		return ""
	}
	return user
}
