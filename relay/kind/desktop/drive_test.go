package desktop

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"scrier/relay/guac"
	"scrier/relay/guac/guactest"
	"scrier/wire"
)

// withDrive is an RDP desktop with a drive.
func withDrive(t *testing.T) func(*Params) {
	return func(p *Params) {
		p.Kind, p.Policy, p.DrivePath = wire.KindRDP, guac.Policy{Upload: true, Download: true}, filepath.Join(t.TempDir(), "drive")
	}
}

// guest is a page: what it is shown, as instructions, and what it types.
type guest struct {
	t     *testing.T
	close func()
	in    *io.PipeWriter
	typed chan error
	seen  chan []string
}

func visit(t *testing.T, d *Desktop, view bool) *guest {
	t.Helper()
	s, err := d.Join(t.Context(), view)
	if err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	g := &guest{t: t, in: out, typed: make(chan error, 1), seen: make(chan []string, 10_000)}
	go func() { g.typed <- s.Type(in) }()
	go func() {
		defer close(g.seen)
		r := guac.NewReader(s)
		for {
			i, err := r.Next()
			if err != nil {
				return
			}
			elements := []string{string(i.Opcode())}
			for n := range i.Len() {
				elements = append(elements, string(i.Arg(n)))
			}
			g.seen <- elements
		}
	}()
	g.close = func() {
		_ = out.Close()
		_ = in.Close()
		s.Close()
		for range g.seen { // until it has ended
		}
	}
	t.Cleanup(g.close)
	return g
}

func (g *guest) say(opcode string, args ...string) {
	g.t.Helper()
	if _, err := g.in.Write(guac.Append(nil, opcode, args...)); err != nil {
		g.t.Fatal(err)
	}
}

// shown waits for an instruction that begins so, and gives it. What must not come before it fails.
func (g *guest) shown(elements []string, never ...string) []string {
	g.t.Helper()
	late := time.After(patience)
	for {
		select {
		case i, ok := <-g.seen:
			if !ok {
				g.t.Fatalf("the screen ended before %q", elements)
			}
			if len(i) >= len(elements) && slices.Equal(i[:len(elements)], elements) {
				return i
			}
			if slices.Contains(never, i[0]) {
				g.t.Fatalf("%q is shown", i)
			}
		case <-late:
			g.t.Fatalf("%q is never shown", elements)
		}
	}
}

// put uploads a file by the streams of its own, as the page does, waiting for each acknowledgement.
func (g *guest) put(stream, path string, content []byte) {
	g.t.Helper()
	g.say("put", "2", stream, "text/plain", path)
	g.shown([]string{"ack", stream, "OK (STREAM BEGIN)"}, "ack")
	for b := range slices.Chunk(content, 6048) {
		g.say("blob", stream, base64.StdEncoding.EncodeToString(b))
		g.shown([]string{"ack", stream, "OK (DATA RECEIVED)"}, "ack")
	}
	g.say("end", stream)
	g.shown([]string{"ack", stream, "OK (STREAM END)"}, "ack")
}

// get takes what lies at a path.
func (g *guest) get(path string) string {
	g.t.Helper()
	g.say("get", "2", path)
	return g.take(g.shown([]string{"body", "2"})[2])
}

// take takes a stream of guacd's.
func (g *guest) take(stream string) string {
	g.t.Helper()
	var all []byte
	for {
		g.say("ack", stream, "OK", "0")
		for {
			i := <-g.seen
			if len(i) < 2 || i[1] != stream || i[0] != "blob" && i[0] != "end" {
				if i == nil {
					g.t.Fatal("the screen ended")
				}
				continue
			}
			if i[0] == "end" {
				return string(all)
			}
			b, err := base64.StdEncoding.DecodeString(i[2])
			if err != nil {
				g.t.Fatal(err)
			}
			all = append(all, b...)
			break
		}
	}
}

// guacd shows the drive to its first user alone; whoever comes later has it all the same, until somebody
// else comes or they go.
func TestDriveOutlivesItsViewer(t *testing.T) {
	d, g, err := begin(t, guactest.SharesDrive, usual, polite, withDrive(t))
	if err != nil {
		t.Fatal(err)
	}
	first := visit(t, d, false)
	first.shown([]string{"filesystem", "2", "Shared Drive"})
	content := bytes.Repeat([]byte("0123456789"), 3000)
	first.put("32", "/first.txt", content)
	if got := first.get("/first.txt"); got != string(content) {
		t.Errorf("%d bytes come back", len(got))
	}
	first.say("put", "2", "33", "text/plain", "/half.txt")
	first.shown([]string{"ack", "33"})
	first.close()
	g.Await(t, "the end of what the first viewer began", func(all []guactest.Connection) bool { return endings(all[0]) == 2 })

	second := visit(t, d, false)
	second.shown([]string{"filesystem", "2", "Shared Drive"})
	if got := second.get("/"); !strings.Contains(got, "/first.txt") {
		t.Errorf("the listing is %s", got)
	}
	if got := second.get("/first.txt"); got != string(content) {
		t.Errorf("%d bytes come to who has joined", len(got))
	}
	second.put("32", "/second.txt", content)
	if got := g.Files(d.id)["/second.txt"]; !bytes.Equal(got, content) {
		t.Errorf("%d bytes of who has joined are there", len(got))
	}

	// A page uses the index of a refused stream again, without an end: that is no stream more.
	for n := range 2 * inputs {
		second.say("put", "2", "40", "text/plain", fmt.Sprintf("/again%d.txt", n%2))
		second.shown([]string{"ack", "40", "OK (STREAM BEGIN)"})
	}
	second.say("end", "40")
	second.shown([]string{"ack", "40", "OK (STREAM END)"})

	// The third takes it over: what the second sends is not for guacd any more.
	second.say("put", "2", "34", "text/plain", "/late.txt")
	second.shown([]string{"ack", "34"})
	third := visit(t, d, false)
	third.shown([]string{"filesystem", "2", "Shared Drive"})
	g.Await(t, "the end of what the second viewer began", func(all []guactest.Connection) bool { return endings(all[0]) == 5 })
	second.say("blob", "34", "bGF0ZQ==")
	second.say("end", "34")
	second.say("get", "2", "/first.txt")
	second.say("put", "2", "35", "text/plain", "/later.txt")
	second.say("key", "97", "1")
	g.Await(t, "a key of the second viewer", func(all []guactest.Connection) bool { return all[1].Said("key", "97", "1") })
	third.put("34", "/third.txt", content)
	files := g.Files(d.id)
	if len(files["/late.txt"]) > 0 || files["/later.txt"] != nil || !bytes.Equal(files["/third.txt"], content) {
		t.Errorf("the drive holds %q", keys(files))
	}

	// Whoever only looks has none.
	looks := visit(t, d, true)
	looks.shown([]string{"sync"}, "filesystem")
	looks.say("get", "2", "/")
	select {
	case err := <-looks.typed:
		if wire.CodeOf(err) != wire.Forbidden {
			t.Errorf("who looks ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("who looks may ask for files")
	}
	if d.ctx.Err() != nil {
		t.Errorf("the desktop ended: %v", d.Err())
	}
}

func endings(c guactest.Connection) (n int) {
	for _, i := range c.Heard {
		if i[0] == "end" {
			n++
		}
	}
	return n
}

func keys(m map[string][]byte) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// What the desktop hands out while nobody is there is refused, however much it is; what it hands out
// later comes to who has joined, and is refused if they go.
func TestOfferedFiles(t *testing.T) {
	l := usual
	l.firstViewer = time.Millisecond
	d, g, err := begin(t, guactest.SharesDrive, l, polite, withDrive(t))
	if err != nil {
		t.Fatal(err)
	}
	g.Await(t, "the root's answers", func(all []guactest.Connection) bool { return all[0].Said("sync") })
	for n := range 100 {
		g.Offer(d.id, fmt.Sprintf("f%d", n), []byte("x"))
		g.Await(t, "a refusal", func(all []guactest.Connection) bool { return refusals(all[0]) == n+1 })
	}
	v := visit(t, d, false)
	v.shown([]string{"filesystem"})
	content := strings.Repeat("offered ", 2000)
	g.Offer(d.id, "later.txt", []byte(content))
	i := v.shown([]string{"file"})
	if n, _ := strconv.Atoi(i[1]); n < guac.Lent || i[3] != "later.txt" {
		t.Errorf("shown as %q", i)
	}
	if got := v.take(i[1]); got != content {
		t.Errorf("%d bytes came", len(got))
	}
	g.Offer(d.id, "left.txt", []byte(content))
	v.shown([]string{"file"})
	v.close()
	g.Await(t, "a refusal of what the viewer left", func(all []guactest.Connection) bool { return refusals(all[0]) == 101 })
	if d.ctx.Err() != nil {
		t.Errorf("the desktop ended: %v", d.Err())
	}
}

func refusals(c guactest.Connection) (n int) {
	for _, i := range c.Heard {
		if i[0] == "ack" && len(i) == 4 && i[3] == refusal {
			n++
		}
	}
	return n
}

// A guacd that loses the drive, as its first user is not registered yet, is asked anew, before the
// desktop server was spoken to.
func TestLostDrive(t *testing.T) {
	d, g, err := begin(t, guactest.LosesDrive, usual, polite, withDrive(t))
	if err != nil {
		t.Fatal(err)
	}
	v := visit(t, d, false)
	v.shown([]string{"filesystem", "2"})
	v.shown([]string{"sync"})
	v.put("32", "/a", []byte("a"))
	if n := len(g.Connections()); n != 3 {
		t.Errorf("%d connections to guacd", n)
	}
	if d.ctx.Err() != nil {
		t.Errorf("the desktop ended: %v", d.Err())
	}
}

// The folder of a desktop that is not there in the end goes with it.
func TestLostDriveLeavesNothing(t *testing.T) {
	var path string
	_, _, err := begin(t, guactest.LosesDrive, usual, polite, withDrive(t), func(p *Params) {
		path = p.DrivePath
		if err := os.Mkdir(path, 0o700); err != nil { // guacd does
			t.Fatal(err)
		}
		p.Guacd.addr = "127.0.0.1:1" // it is gone when it is to be asked again
	})
	if wire.CodeOf(err) != wire.GuacdUnavailable {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}

// A guacd that never shows a drive has a desktop without one.
func TestNoDrive(t *testing.T) {
	d, g, err := begin(t, guactest.Normal, usual, polite, withDrive(t))
	if err != nil {
		t.Fatal(err)
	}
	v := visit(t, d, false)
	v.shown([]string{"sync"}, "filesystem")
	if n := len(g.Connections()); n != tries {
		t.Errorf("%d connections to guacd", n)
	}
}

// A guacd that shows ten thousand drives, acknowledges what nobody sent, and sends more of a file than was
// asked for harms nobody but its own desktop.
func TestHostileDrive(t *testing.T) {
	l := usual
	l.firstViewer = time.Millisecond
	d, g, err := begin(t, guactest.SharesDrive, l, polite, withDrive(t))
	if err != nil {
		t.Fatal(err)
	}
	v := visit(t, d, false)
	v.shown([]string{"filesystem"})
	var flood []byte
	for n := range 10_000 {
		flood = guac.Append(flood, "filesystem", strconv.Itoa(n%64), "Drive")
		flood = guac.Append(flood, "ack", strconv.Itoa(n%1024), "OK", "0")
		flood = guac.Append(flood, "undefine", strconv.Itoa(n%64))
	}
	g.Say(d.id, flood)
	g.Say(d.id, guac.Append(nil, "filesystem", "2", "Shared Drive"))
	v.shown([]string{"filesystem", "2", "Shared Drive"}, "ack")
	v.put("32", "/a", []byte("a"))
	if d.ctx.Err() != nil {
		t.Fatalf("the desktop ended: %v", d.Err())
	}
	d.mu.Lock()
	if len(d.drive.shown) != 1 || len(d.drive.down) != 0 {
		t.Errorf("%d drives and %d streams are kept", len(d.drive.shown), len(d.drive.down))
	}
	d.mu.Unlock()

	// Whoever does not read is not filled up.
	in, out := io.Pipe()
	deaf := join(t, d)
	typed := make(chan error, 1)
	go func() { typed <- deaf.Type(in) }()
	if _, err := out.Write(guac.Append(nil, "get", "2", "/a")); err != nil {
		t.Fatal(err)
	}
	g.Await(t, "the second viewer's wish", func(all []guactest.Connection) bool { return all[0].Said("get", "2", "/a") })
	g.Say(d.id, bytes.Repeat(guac.Append(nil, "blob", "0", strings.Repeat("QUFB", 2000)), 400)) // 3 MB
	if err := ended(t, d); wire.CodeOf(err) != wire.Protocol {
		t.Errorf("the desktop ended with %v", err)
	}
	_ = out.Close()
	<-typed
	deaf.Close()
}

// However many files there were, none has the stream on which guacd is asked whether it is there.
func TestUploadsAreNotTheQuestion(t *testing.T) {
	v, u := newDrive(), new(user)
	for k := range 1000 {
		n, err := v.openLocked(u, strconv.Itoa(k))
		if err != nil {
			t.Fatal(err)
		}
		i, err := guac.NewReader(bytes.NewReader(guac.Append(nil, "ack", strconv.Itoa(n), "OK", "0"))).Next()
		if err != nil {
			t.Fatal(err)
		}
		if guac.IsAlive(i) {
			t.Fatalf("file %d is sent on stream %d", k, n)
		}
		v.endLocked(n)
	}
}
