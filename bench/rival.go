package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"os/user"
	"strings"
	"time"
)

// rival is one of the programs that a lag is measured for.
type rival struct {
	name    string
	command func() *exec.Cmd
	diffs   bool // shows what has changed on a screen and not each byte

	at *terminal // nil: it is to be opened again
}

const (
	viaSSH     = "ssh"
	viaMosh    = "mosh"
	viaScrier  = "scrier"
	viaAllOfIt = "scrier --no-skip"
)

// rivals are all of them. A Scrier that cannot skip has one column.
func (s *site) rivals(ctx context.Context, mosh bool) ([]*rival, error) {
	out := []*rival{{name: viaSSH, command: s.viaSSH}}
	if mosh {
		out = append(out, &rival{name: viaMosh, command: s.viaMosh, diffs: true})
	}
	help, err := s.inNamespace(ctx, "", "ssh", "--help")
	if err != nil {
		return nil, err
	}
	if strings.Contains(help, "--no-skip") {
		out = append(out, &rival{name: viaAllOfIt, command: func() *exec.Cmd {
			c := s.viaScrier()
			c.Args = append(c.Args, "--no-skip")
			return c
		}})
	}
	return append(out, &rival{name: viaScrier, command: s.viaScrier}), nil
}

// findMosh says what is missing of it.
func findMosh() error {
	for _, program := range []string{"mosh", "mosh-server"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: ./scripts/parts installs it", program)
		}
	}
	return nil
}

// viaMosh starts its server by the ssh of [site.viaSSH]. Nothing is predicted: what is on the screen
// comes from the far end.
func (s *site) viaMosh() *exec.Cmd {
	ssh := s.viaSSH()
	// mosh asks for a terminal by itself, and names the host.
	args := strings.Join(ssh.Args[:len(ssh.Args)-1], " ")
	c := exec.Command("mosh", "--predict=never", "--experimental-remote-ip=local", "--ssh="+strings.Replace(args, " -tt", "", 1), ssh.Args[len(ssh.Args)-1])
	c.Env = append(s.environ(), "LC_ALL=C.UTF-8")
	return c
}

// ready brings a rival to its prompt.
func (s *site) ready(ctx context.Context, r *rival) error {
	if r.at != nil {
		return nil
	}
	t, err := openTerminal(s.net.operator, r.command())
	if err != nil {
		return err
	}
	if err := t.expect(ctx, prompt); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", r.name, err), t.close())
	}
	r.at = t
	return nil
}

// drop ends one that did not end in its time, with what it left at the far end, where a shell that
// prints may outlive its connection. The others of this site, which run as the same user, end too.
func (s *site) drop(all []*rival) error {
	for _, r := range all {
		if r.at != nil {
			_ = r.at.cmd.Process.Kill() // it may have ended
			_ = r.at.close()            // of one that was killed
			r.at = nil
		}
	}
	u, err := user.Lookup(s.login)
	if err != nil {
		return err
	}
	return endProcesses(u.Uid)
}

// leave ends all in order, as far as they are in order, and whatever is left of them.
func (s *site) leave(all []*rival) error {
	for _, r := range all {
		if r.at != nil && r.at.send("exit\r") == nil {
			select {
			case <-r.at.done:
			case <-time.After(patience / 10):
			}
		}
	}
	return s.drop(all)
}
