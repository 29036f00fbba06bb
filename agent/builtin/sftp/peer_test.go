package sftp

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

const patience = 30 * time.Second

// real is OpenSSH's server, which this package is held against.
const real = "/usr/lib/openssh/sftp-server"

// A peer sends requests to a server and reads its answers.
type peer struct {
	t      testing.TB
	to     io.WriteCloser
	from   io.Reader
	id     uint32
	handle []string     // those that it got, in order
	ended  <-chan error // what the server said
}

// ours serves the working directory.
func ours(t testing.TB, c Config) *peer {
	t.Helper()
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(in, out, c)
		in.Close()
		out.Close()
	}()
	p := &peer{t: t, to: to, from: from, ended: ended}
	t.Cleanup(func() {
		to.Close()
		from.Close()
	})
	return p
}

// openssh serves dir.
func openssh(t testing.TB, dir string, args ...string) *peer {
	t.Helper()
	cmd := exec.Command(real, args...)
	cmd.Dir = dir
	to, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("apt-get install openssh-sftp-server: %v", err)
	}
	t.Cleanup(func() {
		to.Close()
		_ = cmd.Wait()
	})
	return &peer{t: t, to: to, from: from}
}

func (p *peer) send(packet reply) {
	p.t.Helper()
	binary.BigEndian.PutUint32(packet, uint32(len(packet)-4))
	if _, err := p.to.Write(packet); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) receive() (*request, error) {
	if f, ok := p.from.(*os.File); ok {
		_ = f.SetReadDeadline(time.Now().Add(patience))
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(p.from, head); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head))
	if _, err := io.ReadFull(p.from, b); err != nil {
		return nil, err
	}
	return &request{kind: b[0], rest: b[1:]}, nil
}

// begin is the handshake; it returns the extensions.
func (p *peer) begin() []string {
	p.t.Helper()
	p.send(newReply(fxpInit, 3))
	r, err := p.receive()
	if err != nil || r.kind != fxpVersion || r.uint32() != 3 {
		p.t.Fatalf("no version 3: %v, %v", r, err)
	}
	var all []string
	for len(r.rest) > 0 {
		all = append(all, r.string()+" "+r.string())
	}
	slices.Sort(all)
	return all
}

// ask sends one request, and says what came back, as text.
func (p *peer) ask(kind byte, fields func(reply) reply) string {
	p.t.Helper()
	p.id++
	p.send(fields(newReply(kind, p.id)))
	return p.answer()
}

// code is the status alone.
func (p *peer) code(kind byte, fields func(reply) reply) string {
	p.t.Helper()
	text := p.ask(kind, fields)
	words := strings.SplitN(text, " ", 3)
	return strings.Join(words[:min(2, len(words))], " ")
}

func (p *peer) answer() string {
	p.t.Helper()
	r, err := p.receive()
	if err != nil {
		p.t.Fatalf("no answer: %v", err)
	}
	if id := r.uint32(); id != p.id {
		p.t.Fatalf("answer to %d, not %d", id, p.id)
	}
	switch r.kind {
	case fxpStatus:
		code := r.uint32()
		text := r.string()
		return fmt.Sprintf("status %d %s", code, text)
	case fxpHandle:
		p.handle = append(p.handle, r.string())
		return "handle"
	case fxpData:
		return "data " + r.string()
	case fxpAttrs:
		return "attrs " + r.attrs().String()
	case fxpName:
		var lines []string
		for n := r.uint32(); n > 0; n-- {
			lines = append(lines, fmt.Sprintf("%q %q %s", r.string(), r.string(), r.attrs()))
		}
		return "names " + strings.Join(lines, "\n")
	case fxpExtendedReply:
		return fmt.Sprintf("reply %x", r.rest)
	}
	return fmt.Sprintf("type %d", r.kind)
}

func (a attrs) String() string {
	if a.flags == 0 {
		return "none"
	}
	return fmt.Sprintf("%x %d %d:%d %o %d", a.flags, a.size, a.uid, a.gid, a.mode, a.mtime)
}
