package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// pageBench is the browser, and the link to it.
type pageBench struct {
	*site
	*link
	browser *browser
	program string
	remarks []string
}

// newPageBench starts them. env is more of the driver's environment.
func newPageBench(ctx context.Context, w *world, o options, env ...string) (*pageBench, error) {
	netem, err := buildNetem(ctx, w, o)
	if err != nil {
		return nil, err
	}
	p := &pageBench{program: filepath.Join(w.dir, "far")}
	if err := copyProgram(p.program); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("sb%dp", os.Getpid())
	if p.link, err = w.link(ctx, netem, name, "10.77.3", 0); err != nil {
		return nil, err
	}
	p.site, err = newSite(ctx, w, "page", network{
		operator: name + "-a", relay: name + "-b", envoy: name + "-b",
		relayForOperator: "10.77.3.2", relayIP: "127.0.0.1", envoyIP: "127.0.0.1",
	})
	if err != nil {
		return nil, err
	}
	link, err := p.signInLink(ctx)
	if err != nil {
		return nil, err
	}
	p.browser, err = newBrowser(ctx, p.site, pageDrive, append(env, "ORIGIN=https://"+p.relay, "LINK="+link, "PROMPT="+prompt)...)
	return p, err
}

// signInLink is one that signs a browser in as the operator.
func (s *site) signInLink(ctx context.Context) (string, error) {
	said, err := s.inNamespace(ctx, s.net.operator, "login", s.relay, "--browser")
	if err != nil {
		return "", err
	}
	link := regexp.MustCompile(`https://\S+/signin#\S+`).FindString(said)
	if link == "" {
		return "", fmt.Errorf("there is no link in %q", said)
	}
	return link, nil
}

// copyProgram puts this program where the OS user can run it.
func copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close(), os.Chmod(to, 0o755))
}
