package ssh

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/relay/session/ssh/sshtest"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// bound is how long a server may hold a client up in one step: none has longer than the authentication.
const bound = authenticationTimeout + 5*time.Second

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// behind is a client's connection to a server that a test plays. The test ends when serve has.
func behind(t *testing.T, serve func(*sshtest.Server)) (*Client, error) {
	t.Helper()
	near, far := wiretest.Streams()
	host := newSigner(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		serve(sshtest.New(&wire.NetConn{Stream: far, End: func(s wire.Stream) { s.Reset(wire.None) }}, host))
	})
	t.Cleanup(func() {
		near.Reset(wire.None)
		wg.Wait()
	})
	_, _ = near.Write(Greeting) // the server may have gone already: Dial finds out
	return Dial(t.Context(), near, Config{Signer: newSigner(t), Login: "ann", HostKeys: [][]byte{host.PublicKey().Marshal()}, Authenticated: func() {}, Person: &obliging{T: t}})
}

// obliging is a person who answers whatever they are asked, and looks how.
type obliging struct {
	*testing.T
	said, asked int
}

func (o *obliging) Said(text string) { // it need not be clean
	if o.said += len(text); o.said > 100<<20 {
		o.Errorf("%d bytes were said", o.said)
	}
}

func (o *obliging) Ask(ctx context.Context, a *wire.Ask) (*wire.Answer, error) {
	if o.asked++; o.asked > maxAsks {
		o.Errorf("asked %d times", o.asked)
	}
	if b, err := wire.Marshal(a); err != nil || len(b) > wire.MaxControl-1024 || len(a.Questions) == 0 || len(a.Questions) > wire.MaxQuestions {
		o.Errorf("asked %d questions, %d bytes, %v", len(a.Questions), len(b), err)
	}
	for _, q := range append(a.Questions, wire.Question{Text: a.Text}) {
		if wire.Lines(q.Text, wire.MaxControl) != q.Text || strings.ContainsAny(q.Text, "\x1b\x07\r\x00\u202e") {
			o.Errorf("asked %.100q", q.Text)
		}
	}
	return &wire.Answer{Texts: make([][]byte, len(a.Questions))}, ctx.Err()
}

// Whatever a server does, a client that dials it, opens a shell and leaves is free in the end, by the limit of
// each step, has a bounded memory and leaves nothing behind (synctest and goleak look). What it reports
// has no control characters. Another session goes on.
func TestEvilServers(t *testing.T) {
	for _, b := range sshtest.Behaviours() {
		t.Run(b.Name, func(t *testing.T) {
			if b.Clogs {
				v := visit{T: t, Behaviour: b, stay: time.Second, bound: patience}
				v.run()
				return
			}
			synctest.Test(t, func(t *testing.T) {
				v := visit{T: t, Behaviour: b, stay: 20 * time.Second, bound: bound} // by the bubble's clock, which no load moves
				v.run()
			})
		})
	}
}

// visit is a client's with such a server.
type visit struct {
	*testing.T
	sshtest.Behaviour
	stay  time.Duration // with a shell that does not end by itself
	bound time.Duration // of each step
}

func (v *visit) step(what string, f func()) {
	v.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > v.bound {
		v.Errorf("%s took %s", what, took)
	}
}

func (v *visit) run() {
	t := v.T
	beside, err := behind(t, func(s *sshtest.Server) { _ = new(sshtest.Honest).Serve(s) })
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	other, err := beside.Start(t.Context(), Program{PTY: &PTY{Term: "xterm"}})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	before := heap()
	var c *Client
	v.step("dialling", func() { c, err = behind(t, v.Serve) })
	if (err != nil) != (v.At == sshtest.Dials) || err != nil && wire.CodeOf(err) != v.Code {
		t.Errorf("dialling: %v", err)
	}
	plain(t, err)
	if err == nil {
		v.shell(c)
		v.step("closing", c.Close)
	}
	if more := heap() - before; more > 8<<20 {
		t.Errorf("%d bytes more are in use", more)
	}
	if _, err := other.Write([]byte("still here")); err != nil {
		t.Error(err)
	}
	echo := make([]byte, len("still here"))
	if _, err := io.ReadFull(other, echo); err != nil || string(echo) != "still here" {
		t.Errorf("another session says %q, %v", echo, err)
	}
}

// shell opens a shell, types and reads for a while or up to the shell's end, and leaves.
func (v *visit) shell(c *Client) {
	t := v.T
	var sh *Process
	var err error
	v.step("opening a shell", func() { sh, err = c.Start(t.Context(), Program{PTY: &PTY{Term: "xterm"}}) })
	if (err != nil) != (v.At == sshtest.Opens) || err != nil && wire.CodeOf(err) != v.Code {
		t.Errorf("opening a shell: %v", err)
	}
	plain(t, err)
	if err != nil {
		return
	}
	start := heap()
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, sh)
	})
	wg.Go(func() { // as much as the server takes
		for typed := 0; typed < 8<<20; typed += 1 << 10 {
			if _, err := sh.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	})
	ended := false
	select {
	case <-over:
		ended = true
	case <-time.After(v.stay):
	}
	if ended != (v.At == sshtest.Ends) {
		t.Errorf("the shell has ended: %v", ended)
	}
	if more := heap() - start; more > 8<<20 {
		t.Errorf("the shell holds %d bytes more", more)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if e := sh.Wait(ctx); e != nil && (wire.Printable(e.Signal) != e.Signal || e.Status == 4) {
		t.Errorf("it ended with %+v", e)
	}
	v.step("leaving the shell", sh.Close)
	wg.Wait()
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// plain refuses an error whose detail is not one line of printable text: people see it.
func plain(t *testing.T, err error) {
	t.Helper()
	if d := wire.DetailOf(err); wire.Printable(d) != d || len(d) > 2048 {
		t.Errorf("the detail is %.300q", d)
	}
}

// The client asks for one shell and nothing else: no forwarding of ports, of an agent, or of X11, and of
// the viewer's environment only the language (H91).
func TestAsksForNothingElse(t *testing.T) {
	terminal := regexp.MustCompile(`^pty-req "(.*)"$`)
	for term, want := range map[string]string{
		"screen.xterm-256color": "screen.xterm-256color", "": "xterm-256color", "xterm\x1b[0m": "xterm-256color", "a b": "xterm-256color",
		"../../etc/passwd": "xterm-256color", strings.Repeat("x", 33): "xterm-256color", "xterm\n": "xterm-256color",
	} {
		var h sshtest.Honest
		c, err := behind(t, func(s *sshtest.Server) { _ = h.Serve(s) })
		if err != nil {
			t.Fatal(err)
		}
		env := map[string]string{
			"LANG": "de_DE.UTF-8", "LC_TIME": "C", "LC_ALL": "a b", "LD_PRELOAD": "x", "GLIBC_TUNABLES": "x", "PATH": "/tmp", "LANGUAGE": "de", "LC_x": "C",
			"DISPLAY": ":0", "SSH_AUTH_SOCK": "/tmp/agent", "LC_NUMERIC": "$(id)", "BASH_ENV": "/tmp/x", "TERM": "evil",
		}
		sh, err := c.Start(t.Context(), Program{PTY: &PTY{Term: term, Size: wire.Size{Cols: 80, Rows: 24}}, Env: Env(env)})
		if err != nil {
			t.Fatal(err)
		}
		if err := sh.Resize(wire.Size{Cols: 100, Rows: 30}); err != nil {
			t.Fatal(err)
		}
		if _, err := sh.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(sh, make([]byte, 1)); err != nil { // all before it was heard
			t.Fatal(err)
		}
		allowed := map[string]int{
			"auth none": 1, "auth publickey": 2, "channel session": 1, `shell ""`: 1, `env "\x00\x00\x00\x04LANG\x00\x00\x00\vde_DE.UTF-8"`: 1,
			`env "\x00\x00\x00\aLC_TIME\x00\x00\x00\x01C"`: 1, `window-change "\x00\x00\x00d\x00\x00\x00\x1e\x00\x00\x00\x00\x00\x00\x00\x00"`: 1,
		}
		terminals := 0
		for _, heard := range h.Heard() {
			if m := terminal.FindStringSubmatch(heard); m != nil {
				if terminals++; !strings.Contains(m[1], want) || want != term && term != "" && strings.Contains(heard, term) {
					t.Errorf("TERM %q: %s", term, heard)
				}
				continue
			}
			if allowed[heard]--; allowed[heard] < 0 {
				t.Errorf("TERM %q: the client asks for %s", term, heard)
			}
		}
		if terminals != 1 || allowed[`shell ""`] != 0 {
			t.Errorf("%d terminals; heard %q", terminals, h.Heard())
		}
		sh.Close()
		c.Close()
	}
}
