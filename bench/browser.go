package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	chromium  = "/usr/bin/chromium"
	pageDir   = "static"         // of the repository
	pageDrive = "bench/page.mjs" // in there: what drives the browser of the part page
)

// browserPatience is longer than any wait of the driver's own, which can say what it waited for.
const browserPatience = 3 * time.Minute

// buildPages makes the pages that are built into scrier, out of their sources as they are now.
func buildPages(ctx context.Context, root string) error {
	dir := filepath.Join(root, pageDir)
	for _, needed := range []string{chromium, filepath.Join(dir, "node_modules", "playwright-core"), filepath.Join(dir, "node_modules", "esbuild")} {
		if _, err := os.Stat(needed); err != nil {
			return fmt.Errorf("%w: the parts page and desktop need Chromium and `./just web`; leave them out with -skip page,desktop", err)
		}
	}
	c := exec.CommandContext(ctx, "node", "build.mjs")
	c.Dir = dir
	_, err := runIt(c)
	return err
}

// browser is a Chromium with a page for each of what is compared: one that reaches the relay by
// WebTransport alone, one by WebSocket alone.
type browser struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	replies chan reply
	log     string
	version string
}

// command is a line to the driver; static/bench/page.mjs and desktop.mjs say what they do.
type command struct {
	Over  string `json:"over"`
	Do    string `json:"do"`
	Run   string `json:"run,omitempty"`
	Limit int64  `json:"limit,omitempty"` // ms
	Seat  int    `json:"seat,omitempty"`  // which desktop
}

// keystroke is what became of a key.
type keystroke struct {
	Seen    float64  `json:"seen"`    // ms
	Arrived *float64 `json:"arrived"` // ms; missing when its bytes came in two pieces
}

// reply is the answer to any command.
type reply struct {
	Error       string      `json:"error"`
	Version     string      `json:"version"`
	Took        *float64    `json:"took"`  // ms; missing when it was not over
	Since       float64     `json:"since"` // ms, then
	Bytes       int         `json:"bytes"`
	Keys        []keystroke `json:"keys"`
	Connections int         `json:"connections"` // since the page was opened
	Frames      int         `json:"frames"`      // of a desktop
	Session     string      `json:"session"`
	Carried     string      `json:"carried"` // what the status line says
}

// newBrowser starts one at the site's operator, who has signed in when it returns. The driver is
// told by its environment where and how.
func newBrowser(ctx context.Context, s *site, driver string, env ...string) (*browser, error) {
	b := &browser{log: filepath.Join(s.dir, s.name+"-browser.log"), replies: make(chan reply, 1)}
	log, err := os.Create(b.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	dir := filepath.Join(s.root, pageDir)
	b.cmd = exec.Command("node", filepath.Join(dir, driver))
	b.cmd.Dir, b.cmd.Stderr = dir, log
	// The profile goes into our own directory, and with it.
	b.cmd.Env = append(append(s.environ(), "TMPDIR="+s.dir), env...)
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := within(s.net.operator, b.cmd.Start); err != nil {
		return nil, fmt.Errorf("start the browser: %w", err)
	}
	go func() {
		defer close(b.replies)
		for lines := bufio.NewReader(stdout); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			var r reply
			if err := json.Unmarshal(line, &r); err != nil {
				r.Error = fmt.Sprintf("the driver says %q: %v", line, err)
			}
			b.replies <- r // one for each command, and at most one is not read
		}
	}()
	s.later(b.close)
	first, err := b.answer(ctx)
	b.version = first.Version
	return b, err
}

// ask gives a command and waits for its answer.
func (b *browser) ask(ctx context.Context, c command) (reply, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return reply{}, err
	}
	if _, err := b.stdin.Write(append(line, '\n')); err != nil {
		return reply{}, b.failed(err)
	}
	return b.answer(ctx)
}

func (b *browser) answer(ctx context.Context) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, browserPatience)
	defer cancel()
	select {
	case r, ok := <-b.replies:
		if !ok {
			return r, b.failed(errors.New("it has ended"))
		}
		if r.Error != "" {
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, b.failed(context.Cause(ctx))
	}
}

func (b *browser) failed(err error) error {
	said, rerr := os.ReadFile(b.log)
	return errors.Join(fmt.Errorf("drive the browser: %w: %s", err, tail(said)), rerr)
}

// close ends the driver by the end of its input, and that the browser.
func (b *browser) close() error {
	err := b.stdin.Close()
	kill := time.AfterFunc(patience/2, func() { _ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) })
	defer kill.Stop()
	for range b.replies { // until its output ends
	}
	if werr := b.cmd.Wait(); werr != nil {
		err = errors.Join(err, b.failed(werr))
	}
	return err
}
