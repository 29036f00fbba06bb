package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// bulk measures files: one large one up and down, with the copying commands and through a command's standard input and output,
// and a thousand small ones.
func bulk(ctx context.Context, w *world, o options) (_ []figure, err error) {
	s, err := newSite(ctx, w, "bulk", loopback)
	if err != nil {
		return nil, err
	}
	big, back := filepath.Join(w.dir, "big"), filepath.Join(w.dir, "back")
	if err := random(big, o.bulk); err != nil {
		return nil, err
	}
	there := filepath.Join(w.home, "there")
	if err := s.own(there, func() error { return copyFile(big, there) }); err != nil {
		return nil, err
	}
	remote := s.login + "@" + s.net.envoyIP + ":"
	scp := func(from, to string, options ...string) func() *exec.Cmd {
		return func() *exec.Cmd {
			c := exec.Command("scp", append(append(append(s.plain(), "-q"), options...), from, to)...)
			c.Env = s.environ()
			return c
		}
	}
	cp := func(args ...string) func() *exec.Cmd {
		return func() *exec.Cmd { return s.scrierRun(append([]string{"cp"}, args...)...) }
	}
	// piped runs a command with a file as its standard input or output.
	piped := func(c *exec.Cmd, in, out string) *exec.Cmd {
		line := `exec "$@"`
		if in != "" {
			line += " <" + in
		}
		if out != "" {
			line += " >" + out
		}
		p := exec.Command("sh", append([]string{"-c", line, "sh"}, c.Args...)...)
		p.Env = c.Env
		return p
	}
	var figures []figure
	measure := func(name, base string, size int64, ours, theirs func() *exec.Cmd) error {
		got, err := s.inTurns(ctx, o.outputs, ours, theirs)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		f := figure{name: name, base: base, ratio: got[1].median().Seconds() / got[0].median().Seconds()}
		rate := func(d time.Duration) string { return fmt.Sprintf("%.0f MiB/s", float64(size)/(1<<20)/d.Seconds()) }
		f.theirs, f.ours = rate(got[1].median()), rate(got[0].median())
		if size == 0 {
			f.theirs, f.ours = short(got[1].median()), short(got[0].median())
		} else {
			f.aim = ">= 0.60"
		}
		if len(figures) == 0 {
			f.note = fmt.Sprintf("Medians of %d of each, in turns; here a higher ratio is better, of the small files too.", o.outputs)
		}
		figures = append(figures, f)
		return nil
	}
	size := fmt.Sprintf("%d MiB", o.bulk>>20)
	small := filepath.Join(w.dir, "small")
	if err := trees(small, 1000); err != nil {
		return nil, err
	}
	err = errors.Join(
		measure("copy "+size+" up", "scp", o.bulk, cp(big, "bench:there1"), scp(big, remote+"there2")),
		measure("copy "+size+" down", "scp", o.bulk, cp("bench:there", back), scp(remote+"there", back)),
		measure(size+" into a command", "ssh", o.bulk,
			func() *exec.Cmd { return piped(s.scrierRun("ssh", "bench", "cat >/dev/null"), big, "") },
			func() *exec.Cmd { return piped(s.sshRun(nil, "cat >/dev/null"), big, "") }),
		measure(size+" out of a command", "ssh", o.bulk,
			func() *exec.Cmd { return piped(s.scrierRun("ssh", "bench", "cat there"), "", "/dev/null") },
			func() *exec.Cmd { return piped(s.sshRun(nil, "cat there"), "", "/dev/null") }),
		measure(size+" out of ssh through scrier proxy", "ssh", o.bulk,
			func() *exec.Cmd { return piped(s.native("cat there"), "", "/dev/null") },
			func() *exec.Cmd { return piped(s.sshRun(nil, "cat there"), "", "/dev/null") }),
		measure("copy 1,000 small files up", "scp -r", 0, cp("-r", small, "bench:small1"), scp(small, remote+"small2", "-r")),
		measure("copy 1,000 small files down", "scp -r", 0, cp("-r", "bench:small1", filepath.Join(w.dir, "small3")), scp(remote+"small1", filepath.Join(w.dir, "small4"), "-r")),
	)
	return figures, err
}

// native is plain ssh through `scrier proxy`.
func (s *site) native(command string) *exec.Cmd {
	c := exec.Command("ssh", "-F", "none", "-o", "ProxyCommand="+s.scrier+" proxy bench", "-o", "BatchMode=yes", "-o", "ControlPath=none",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-l", s.login, "bench.scrier", command)
	c.Env = s.environ()
	return c
}

// own has the measured user own what make makes.
func (w *world) own(path string, make func() error) error {
	if err := make(); err != nil {
		return err
	}
	u, err := user.Lookup(w.login)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}

func random(path string, size int64) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyN(f, rand.Reader, size)
	return err
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// trees makes a folder with n files of 4 KiB, in ten folders.
func trees(dir string, n int) error {
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprint(i%10))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		if err := random(filepath.Join(sub, fmt.Sprint(i)), 4<<10); err != nil {
			return err
		}
	}
	return nil
}
