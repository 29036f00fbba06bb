package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"scrier/wire"
)

const (
	sshConfigTime = 10 * time.Second // `ssh -G` may run commands (Match exec) and ask the DNS
	maxSSHConfig  = 64 << 10         // of its output, which has some KiB
)

// SSHSettings are what ssh_config(5) says of the keys for one host.
type SSHSettings struct {
	Agent string   // the ssh-agent's socket; empty: none is asked
	Files []string // IdentityFile, in order; nil: none is named, and the usual ones count
	Only  bool     // IdentitiesOnly: keys of the agent count if they are those of the files
}

// An sshConfig is where ssh is asked.
type sshConfig struct {
	host, user string   // user may be empty
	args       []string // before the host
	home       string   // what ssh takes for ~
	getenv     func(string) string
}

// SSHConfig is a function that asks the installed ssh what its configuration says for a host: `ssh -G`. Only ssh knows what
// Match, Include and canonical names come to, in the version that is installed. It is asked when a key is looked for,
// and once. user is whom one would be there, for Match and %r. Where there is no ssh, or the host's name is none that ssh would take, the
// environment's ssh-agent and the usual files count.
func SSHConfig(host, remote string) func(context.Context) (SSHSettings, error) {
	c := sshConfig{host: host, user: remote, getenv: os.Getenv}
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil { // ssh goes by this, and not by $HOME
		c.home = u.HomeDir
	} else if home, err := os.UserHomeDir(); err == nil {
		c.home = home
	}
	return c.once()
}

// once is c.ask, which is called once.
func (c sshConfig) once() func(context.Context) (SSHSettings, error) {
	var once sync.Once
	var s SSHSettings
	var err error
	return func(ctx context.Context) (SSHSettings, error) {
		once.Do(func() { s, err = c.ask(ctx) })
		return s, err
	}
}

// sshName fits what goes to ssh as a host or a user: it may end up in a command line of theirs (Match exec).
var sshName = regexp.MustCompile(`^[A-Za-z0-9_:][A-Za-z0-9._:@%+-]*$`)

func (c sshConfig) ask(ctx context.Context) (SSHSettings, error) {
	usual := SSHSettings{Agent: c.getenv("SSH_AUTH_SOCK")}
	program, err := exec.LookPath("ssh")
	if err != nil || !sshName.MatchString(c.host) || c.user != "" && !sshName.MatchString(c.user) {
		return usual, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, sshConfigTime, wire.Errorf(wire.KeyUnusable, "`ssh -G %s` did not end within %s", c.host, sshConfigTime))
	defer cancel()
	args := append(slices.Clone(c.args), "-G")
	if c.user != "" {
		args = append(args, "-l", c.user)
	}
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, program, append(args, "--", c.host)...)
	cmd.Stdout, cmd.Stderr = &capped{w: &out, left: maxSSHConfig}, &capped{w: &complaint, left: maxSSHConfig}
	cmd.WaitDelay = time.Second // a command that Match exec has started may hold the pipes
	err = cmd.Run()
	if ctx.Err() != nil {
		return usual, wire.Cause(ctx, wire.Cancelled)
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) { // ssh itself has said all and succeeded by then
		return usual, wire.Errorf(wire.KeyUnusable, "ssh does not read its configuration: %s", wire.Printable(cmp.Or(firstLine(complaint.String()), err.Error()))).
			Advise("mend it; `ssh -G %s` shows the error", c.host)
	}
	return c.read(out.String())
}

// read reads the output of ssh -G.
func (c sshConfig) read(text string) (SSHSettings, error) {
	s := SSHSettings{Agent: c.getenv("SSH_AUTH_SOCK")}
	host := map[string]string{}
	var files []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		switch key {
		case "identityfile":
			files = append(files, value)
		default:
			host[key] = value
		}
	}
	s.Only = host["identitiesonly"] == "yes"
	if agent, ok := host["identityagent"]; ok {
		var err error
		if s.Agent, err = c.agent(agent, host); err != nil {
			return s, err
		}
	}
	if isUsual(files) {
		return s, nil
	}
	s.Files = []string{}
	for _, f := range files {
		if f == "none" {
			continue
		}
		path, err := c.expand(f, host)
		if err != nil {
			return s, err
		}
		s.Files = append(s.Files, path)
	}
	return s, lines.Err()
}

// agent is the socket that IdentityAgent names.
func (c sshConfig) agent(value string, host map[string]string) (string, error) {
	switch {
	case value == "none":
		return "", nil
	case value == "SSH_AUTH_SOCK":
		return c.getenv("SSH_AUTH_SOCK"), nil
	case len(value) > 1 && value[0] == '$' && value[1] != '{':
		return c.getenv(value[1:]), nil
	}
	return c.expand(value, host)
}

// isUsual says whether files are what ssh has where nothing is configured: a list of names that differs by version.
func isUsual(files []string) bool {
	usual := []string{"id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss"}
	return len(files) >= 4 && !slices.ContainsFunc(files, func(f string) bool {
		name, ok := strings.CutPrefix(f, "~/.ssh/")
		return !ok || !slices.Contains(usual, name)
	})
}

// variable fits what stands for an environment variable in a path.
var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ~, ${VAR} and the tokens of ssh_config(5) in a path.
func (c sshConfig) expand(path string, host map[string]string) (string, error) {
	if rest, ok := strings.CutPrefix(path, "~"); ok {
		name, rest, _ := strings.Cut(rest, "/")
		home := c.home
		if name != "" {
			u, err := user.Lookup(name)
			if err != nil {
				return "", wire.Errorf(wire.KeyUnusable, "%s in ssh's configuration: there is no user %s", path, name)
			}
			home = u.HomeDir
		}
		path = filepath.Join(home, rest)
	}
	var missing string
	path = variable.ReplaceAllStringFunc(path, func(v string) string {
		value := c.getenv(v[2 : len(v)-1])
		if value == "" {
			missing = v
		}
		return value
	})
	if missing != "" {
		return "", wire.Errorf(wire.KeyUnusable, "%s in ssh's configuration: the environment has no %s", path, missing)
	}
	local, _ := os.Hostname()
	short, _, _ := strings.Cut(local, ".")
	me, _ := user.LookupId(strconv.Itoa(os.Getuid()))
	if me == nil {
		me = &user.User{Username: c.getenv("USER")}
	}
	tokens := map[byte]string{
		'%': "%", 'd': c.home, 'h': cmp.Or(host["hostname"], c.host), 'n': c.host, 'k': cmp.Or(host["hostkeyalias"], c.host), 'p': cmp.Or(host["port"], "22"),
		'r': cmp.Or(host["user"], me.Username), 'u': me.Username, 'i': strconv.Itoa(os.Getuid()), 'l': local, 'L': short,
	}
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			out.WriteByte(path[i])
			continue
		}
		if i++; i == len(path) {
			return "", wire.Errorf(wire.KeyUnusable, "%s in ssh's configuration ends with %%", path)
		}
		value, ok := tokens[path[i]]
		if !ok {
			return "", wire.Errorf(wire.KeyUnusable, "%s in ssh's configuration: scrier does not know %%%c", path, path[i])
		}
		out.WriteString(value)
	}
	return out.String(), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSpace(line)
}

// capped passes so many bytes on, and drops the rest.
type capped struct {
	w    io.Writer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// settings are those of c: what ssh is configured for, or the usual.
func (c SSHKeyConfig) settings(ctx context.Context) (SSHSettings, error) {
	if c.Settings == nil {
		return SSHSettings{Agent: c.Agent}, nil
	}
	s, err := c.Settings(ctx)
	if err != nil && c.KeyFile != "" { // the key is named, and a broken configuration does not matter
		return SSHSettings{Agent: c.Agent}, nil
	}
	return s, err
}
