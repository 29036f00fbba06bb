package keys

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/account"
	"scrier/agent/become"
	"scrier/agent/keys/line"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

const (
	commandTime = 4 * time.Second // for one run of AuthorizedKeysCommand
	maxCommands = 64              // runs of one Find
)

// command is sshd's AuthorizedKeysCommand, which prints what could stand in an authorized_keys file.
type command struct {
	argv []string // with their tokens
	user string   // AuthorizedKeysCommandUser, with its own
}

// parseCommand splits a command as sshd's argv_split does.
func parseCommand(text string) (argv []string, ok bool) {
	for i := 0; i < len(text); i++ {
		if text[i] == ' ' || text[i] == '\t' {
			continue
		}
		var arg []byte
		quote := byte(0)
		for ; i < len(text); i++ {
			c := text[i]
			if c == '\\' && i+1 < len(text) && (strings.IndexByte(`'"\`, text[i+1]) >= 0 || quote == 0 && text[i+1] == ' ') {
				i++
				arg = append(arg, text[i])
				continue
			}
			if quote == 0 && (c == ' ' || c == '\t') {
				break
			}
			switch {
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case quote != 0 && c == quote:
				quote = 0
			default:
				arg = append(arg, c)
			}
		}
		if quote != 0 {
			return nil, false
		}
		argv = append(argv, string(arg))
	}
	return argv, len(argv) > 0
}

// aboutKey says whether the command is told the key. If not, one run is about all keys.
func (c *command) aboutKey() bool {
	return slices.ContainsFunc(c.argv[1:], func(arg string) bool {
		arg = strings.ReplaceAll(arg, "%%", "")
		return strings.Contains(arg, "%k") || strings.Contains(arg, "%f") || strings.Contains(arg, "%t")
	})
}

// expandWith replaces the tokens of s.
func expandWith(s string, tokens map[byte]string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("%q ends in %%", wire.Printable(s))
		}
		value, ok := tokens[s[i]]
		if !ok {
			return "", fmt.Errorf("%q has an unknown token", wire.Printable(s))
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// askCommand runs sshd's command for a login, and says what its output means for each of the keys. left is how many runs
// there may be. A run that fails says nothing of its keys, as for sshd; the first such error is returned beside what others
// have said.
func (k *Keys) askCommand(ctx context.Context, c *candidate, who Operator, left *atomic.Int32) ([]line.Finding, error) {
	var bad error
	all := make([]line.Finding, len(who.Keys))
	batches := [][]ssh.PublicKey{who.Keys}
	if c.daemon.command.aboutKey() {
		batches = slices.Collect(slices.Chunk(who.Keys, 1))
	}
	for i, keys := range batches {
		if !slices.ContainsFunc(keys, c.daemon.takes) {
			continue
		}
		if left.Add(-1) < 0 {
			return all, wire.Errorf(wire.KeyfileTimeout, "AuthorizedKeysCommand was not asked about %s: one search may ask it %d times", c.Login, maxCommands)
		}
		q := line.Query{
			Source: who.Source, DNS: c.daemon.dns, Environment: c.daemon.environment, Now: k.cfg.Now(),
			Zone: line.Zone{Local: time.Local, UTC: c.daemon.utc},
		}
		for _, key := range keys {
			known, _ := line.NewKey(key) // Find has left out all others
			q.Keys = append(q.Keys, known)
		}
		found, err := k.runCommand(ctx, c, keys[0], q)
		if err != nil && bad == nil {
			bad = commandError(c.Login, err)
		}
		if wire.CodeOf(err) == wire.KeyfileTimeout {
			break
		}
		copy(all[i:], found)
	}
	return all, bad
}

func commandError(login string, err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	return wire.Errorf(wire.KeyfileUnsupported, "sshd's AuthorizedKeysCommand for %s: %w", login, err)
}

// runCommand is one run. It is done as sshd does it: as AuthorizedKeysCommandUser, with a small environment, and only if
// the program is root's and nobody else can write it.
func (k *Keys) runCommand(ctx context.Context, c *candidate, key ssh.PublicKey, q line.Query) ([]line.Finding, error) {
	name, err := expandWith(c.daemon.command.user, map[byte]string{'%': "%", 'u': c.Login})
	if err != nil {
		return nil, err
	}
	as, ok, err := k.database.Login(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("there is no user %s, its AuthorizedKeysCommandUser", wire.Printable(name))
	case as.UID == 0:
		return nil, errors.New("its AuthorizedKeysCommandUser is root, as whom the agent runs no commands: name a user of its own")
	case !k.root && as.UID != k.uid:
		return nil, fmt.Errorf("only an agent that is root can run it as %s", as.Login)
	}
	one := []account.Account{as}
	k.supplementary(ctx, one)
	argv, err := k.commandLine(c, key)
	if err != nil {
		return nil, err
	}
	if err := safeProgram(argv[0]); err != nil {
		return nil, err
	}
	if err := k.pool.enter(ctx, one[0]); err != nil {
		return nil, err
	}
	defer func() { <-k.pool.slots }()
	ctx, cancel := budget(ctx, commandTime, "AuthorizedKeysCommand")
	defer cancel()

	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	process := &exec.Cmd{
		Path: argv[0], Args: argv, Stdout: in, SysProcAttr: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "USER=" + as.Login, "LOGNAME=" + as.Login, "HOME=" + as.Home},
	}
	err = become.Start(process, k.user(one[0]))
	in.Close()
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	k.pool.wg.Go(func() { ended <- process.Wait() })
	stop := context.AfterFunc(ctx, func() { _ = out.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	output := &io.LimitedReader{R: out, N: line.MaxFile + 1}
	found, err := q.Find(output)
	if err == nil {
		_, err = io.Copy(io.Discard, output) // it ends by itself, and not by a broken pipe
	}
	if err == nil && output.N <= 0 {
		err = fmt.Errorf("it prints more than %d bytes", line.MaxFile)
	}
	var exit error
	if err == nil {
		select {
		case exit = <-ended:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		// It has a process group of its own; what it has started and that has left the group is its own affair.
		_ = unix.Kill(-process.Process.Pid, unix.SIGKILL)
		_ = k.abandon(one[0], process, ended) // the error is that of the run
		if ctx.Err() != nil {
			return nil, wire.Cause(ctx, wire.KeyfileTimeout)
		}
		return nil, err
	}
	if exit != nil && slices.ContainsFunc(found, func(f line.Finding) bool { return f.Standing != line.Absent }) {
		return nil, fmt.Errorf("it prints the key, and ends with %w", exit) // else it is the command's way to know none
	}
	return found, nil
}

// commandLine is the command for one key, with its tokens replaced, as sshd does it.
func (k *Keys) commandLine(c *candidate, key ssh.PublicKey) ([]string, error) {
	fingerprint := ssh.FingerprintSHA256(key)
	if c.daemon.md5 {
		fingerprint = "MD5:" + ssh.FingerprintLegacyMD5(key)
	}
	host, port, _ := net.SplitHostPort(k.cfg.Addr) // New has split it already
	tokens := map[byte]string{
		'%': "%", 'C': strings.Join([]string{host, port, k.usual.String(), "0"}, " "), 'D': "", 'U': strconv.FormatUint(uint64(c.UID), 10),
		'u': c.Login, 'h': c.Home, 't': key.Type(), 'f': fingerprint, 'k': base64.StdEncoding.EncodeToString(key.Marshal()),
	}
	argv := []string{c.daemon.command.argv[0]}
	for _, arg := range c.daemon.command.argv[1:] {
		arg, err := expandWith(arg, tokens)
		if err != nil {
			return nil, err
		}
		argv = append(argv, arg)
	}
	if len(argv) == 1 {
		argv = append(argv, c.Login)
	}
	return argv, nil
}

// safeProgram does what sshd's safe_path does for a program: it and all folders above it must be root's, and nobody
// else may write there.
func safeProgram(name string) error {
	if !filepath.IsAbs(name) {
		return fmt.Errorf("%q is not an absolute path", wire.Printable(name))
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	for at := real; ; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return fmt.Errorf("stat %s: %w", at, err)
		}
		if st.Uid != 0 || st.Mode&0o022 != 0 || at == real && st.Mode&unix.S_IFMT != unix.S_IFREG {
			return fmt.Errorf("%s belongs to uid %d and has mode %#o: sshd runs only what nobody but root can write", at, st.Uid, st.Mode&0o7777)
		}
		if at == "/" {
			return nil
		}
	}
}

// commandHome is where the session's key goes when the operator's comes from the command: the first file of the user's
// that sshd reads and that is there.
func (c *candidate) commandHome(files []worker.Result) (at int, err *wire.Error) {
	for i, f := range files {
		if f.Code == wire.None && !f.Missing {
			return i, nil
		}
	}
	if len(c.files) == 0 {
		return 0, wire.Errorf(wire.KeyfileUnsupported,
			"the key of %s comes from AuthorizedKeysCommand, and sshd reads no file of theirs: use keys: dropin", c.Login)
	}
	return 0, wire.Errorf(wire.KeyfileUnsupported,
		"the key of %s comes from AuthorizedKeysCommand, and %s, where the session's could go, is not there or not usable: make an empty file, or use keys: dropin", c.Login, c.files[0])
}
