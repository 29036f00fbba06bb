package sftp_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scrier/relay/sftp"
	"scrier/wire"
)

// played is a Pass whose client and server the test plays.
type played struct {
	*passing
	server *net.UnixConn
}

// begin plays both sides, who have greeted each other.
func begin(t testing.TB, rights sftp.Rights) *played {
	t.Helper()
	p := bare(t, rights)
	p.say(packet(1, 3))
	p.hears(packet(1, 3))
	p.answer(packet(2, 3))
	p.gets(packet(2, 3))
	return p
}

func bare(t testing.TB, rights sftp.Rights) *played {
	t.Helper()
	near, far := pair(t)
	p := &played{pass(t, rights, far), near}
	for _, c := range []*net.UnixConn{p.client, near} {
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// say sends from the client, answer from the server.
func (p *played) say(b []byte)    { p.send(p.client, b) }
func (p *played) answer(b []byte) { p.send(p.server, b) }

func (p *played) send(c *net.UnixConn, b []byte) {
	p.Helper()
	if _, err := c.Write(b); err != nil {
		p.Fatal(err)
	}
}

// hears is what the server gets, gets what the client does.
func (p *played) hears(want []byte) { p.Helper(); p.read("server", p.server, want) }
func (p *played) gets(want []byte)  { p.Helper(); p.read("client", p.client, want) }

func (p *played) read(who string, c *net.UnixConn, want []byte) {
	p.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		p.Fatalf("the %s got %q, %v; want %q", who, got[:n], err, want)
	}
}

// next is the packet that the client gets.
func (p *played) next() []byte {
	p.Helper()
	b, err := readPacket(p.client)
	if err != nil {
		p.Fatal(err)
	}
	return b
}

func readPacket(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:])+4)
	copy(b, head[:])
	_, err := io.ReadFull(r, b[4:])
	return b, err
}

// refused demands that the client gets an answer of ours.
func (p *played) refused(id, status int) {
	p.Helper()
	b := p.next()
	if want := packet(101, id, status); len(b) < len(want) || !bytes.Equal(b[4:len(want)], want[4:]) || !strings.Contains(string(b), "Scrier: ") {
		p.Errorf("the client got %q, want an answer of ours to %d with %d", b, id, status)
	}
}

// ends demands that it ends with this code.
func (p *played) ends(code wire.Code, says string) ending {
	p.Helper()
	e := p.end()
	if wire.CodeOf(e.err) != code || e.err != nil && !strings.Contains(e.err.Error(), says) {
		p.Errorf("it ended with %v, want %s: %s", e.err, code, says)
	}
	return e
}

// open has the client open /f, whose handle is h.
func (p *played) open(id, flags int, h string) {
	p.Helper()
	p.say(packet(3, id, "/f", flags, 0))
	p.hears(packet(3, id, "/f", flags, 0))
	p.answer(packet(102, id, h))
	p.gets(packet(102, id, h))
}

func TestPeersThatBreakTheProtocolEndIt(t *testing.T) {
	huge := []byte{0, 0x20, 0, 0, 6}
	stat := packet(17, 7, "/f")
	for name, c := range map[string]struct {
		client, server []byte
		code           wire.Code
	}{
		"client: huge":                 {client: huge, code: wire.Protocol},
		"client: empty":                {client: []byte{0, 0, 0, 0, 6}, code: wire.Protocol},
		"client: no id":                {client: packet(17), code: wire.Protocol},
		"client: no path":              {client: packet(17, 1), code: wire.Protocol},
		"client: path behind the end":  {client: packet(17, 1, 5, []byte("abc")), code: wire.Protocol},
		"client: largest path":         {client: packet(17, 1, -1, []byte("abc")), code: wire.Protocol},
		"client: INIT again":           {client: packet(1, 3), code: wire.Protocol},
		"client: an id twice":          {client: append(bytes.Clone(stat), stat...), code: wire.Protocol},
		"client: WRITE, data behind":   {client: packet(6, 1, "h", uint64(0), "data", []byte("x")), code: wire.Protocol},
		"client: WRITE, data short":    {client: packet(6, 1, "h", uint64(0), 5, []byte("data")), code: wire.Protocol},
		"client: WRITE, long handle":   {client: packet(6, 1, strings.Repeat("h", 257), uint64(0), "data"), code: wire.Protocol},
		"client: WRITE without data":   {client: packet(6, 1, "h"), code: wire.Protocol},
		"client: WRITE, short":         {client: packet(6, 1), code: wire.Protocol},
		"client: ends inside":          {client: stat[:8], code: wire.Protocol},
		"server: nobody asked":         {server: packet(101, 9, 0, "", ""), code: wire.Protocol},
		"server: another id":           {client: stat, server: packet(101, 8, 0, "", ""), code: wire.Protocol},
		"server: another type":         {client: stat, server: packet(102, 7, "h"), code: wire.Protocol},
		"server: a request":            {client: stat, server: stat, code: wire.Protocol},
		"server: twice":                {client: stat, server: append(packet(105, 7, 0), packet(105, 7, 0)...), code: wire.Protocol},
		"server: huge":                 {client: stat, server: huge, code: wire.Protocol},
		"server: no id":                {client: stat, server: packet(101), code: wire.Protocol},
		"server: no status":            {client: stat, server: packet(101, 7), code: wire.Protocol},
		"server: a handle too long":    {client: packet(3, 7, "/f", 1, 0), server: packet(102, 7, strings.Repeat("h", 257)), code: wire.Protocol},
		"server: a handle that is cut": {client: packet(3, 7, "/f", 1, 0), server: packet(102, 7, 9, []byte("h")), code: wire.Protocol},
		"server: ends inside":          {client: stat, server: packet(105, 7, 0)[:7], code: wire.TargetRefused},
	} {
		t.Run(name, func(t *testing.T) {
			p := begin(t, both)
			p.say(c.client)
			if strings.HasSuffix(name, "ends inside") && c.server == nil {
				_ = p.client.CloseWrite()
			}
			if c.server != nil {
				p.hears(c.client)
				p.answer(c.server)
				_ = p.server.CloseWrite()
			}
			p.ends(c.code, "SFTP")
		})
	}
}

func TestServerThatGivesMoreContentThanAsked(t *testing.T) {
	p := begin(t, both)
	p.open(1, 1, "h")
	p.say(packet(5, 2, "h", uint64(0), 10))
	p.hears(packet(5, 2, "h", uint64(0), 10))
	p.answer(packet(103, 2, "12345678901"))
	p.ends(wire.Protocol, "where 10 were asked for")
}

func TestServerThatOpensTwice(t *testing.T) {
	p := begin(t, both)
	p.open(1, 1, "h")
	p.say(packet(3, 2, "/g", 1, 0))
	p.hears(packet(3, 2, "/g", 1, 0))
	p.answer(packet(102, 2, "h"))
	p.ends(wire.Protocol, "open already")
}

func TestHandlesThatAreNotOpen(t *testing.T) {
	p := begin(t, both)
	p.open(1, 3, "h")
	for id, b := range [][]byte{
		packet(5, 0, "i", uint64(0), 10), packet(6, 1, "", uint64(0), "data"), packet(4, 2, "h\x00"), packet(8, 3, "i"), packet(10, 4, "i", 0), packet(12, 5, "i"),
		packet(200, 6, "fsync@openssh.com", "i"), packet(200, 7, "fstatvfs@openssh.com", "i"),
		packet(200, 8, "copy-data", "h", uint64(0), uint64(0), "i", uint64(0)), packet(200, 9, "copy-data", "i", uint64(0), uint64(0), "h", uint64(0)),
	} {
		p.say(b)
		p.refused(id, 4)
	}
	p.say(packet(4, 20, "h"))
	p.say(packet(5, 21, "h", uint64(0), 10)) // it is closed by now
	p.hears(packet(4, 20, "h"))
	p.answer(packet(101, 20, 0, "", ""))
	p.gets(packet(101, 20, 0, "", ""))
	p.refused(21, 4)
	p.say(packet(17, 22, "/f"))
	p.hears(packet(17, 22, "/f")) // and it heard of nothing else
}

func TestWhatIsNotKnownIsRefused(t *testing.T) {
	p := begin(t, both)
	for i, c := range []struct {
		packet []byte
		status int
	}{
		{packet(200, 0, "check-file@example.com", "/etc/shadow"), 8},
		{packet(21, 1, "/f", "/g", 0), 8}, // LINK of version 6
		{packet(99, 2), 8},
		{packet(101, 3, 0, "", ""), 8},
		{packet(17, 4, "/etc/shadow\x00.txt"), 5},
		{packet(3, 5, "/f\x00", 1, 0), 5},
		{packet(18, 6, "/f", "/g\x00"), 5},
		{packet(17, 7, strings.Repeat("x", 40_000)), 5},
		{packet(3, 8, strings.Repeat("x", 200_000), 1, 0), 5},
		{packet(200, 9, "posix-rename@openssh.com", "a", strings.Repeat("x", 40_000)), 5},
	} {
		p.say(c.packet)
		p.refused(i, c.status)
	}
	long := packet(200, 10, "users-groups-by-id@openssh.com", strings.Repeat("\x00\x00\x00\x01", 20_000), "")
	p.say(long)
	p.hears(long)
}

// An answer of ours comes behind those of the server to what was asked before, and waits for no others.
func TestOwnAnswersKeepTheirPlace(t *testing.T) {
	p := begin(t, sftp.Rights{Download: true})
	var all []byte
	for _, b := range [][]byte{packet(17, 1, "/f"), packet(13, 2, "/f"), packet(17, 3, "/f"), packet(13, 4, "/f"), packet(17, 5, "/f")} {
		all = append(all, b...)
	}
	p.say(all)
	for _, id := range []int{1, 3, 5} {
		p.hears(packet(17, id, "/f"))
	}
	answer := func(id int) []byte { return packet(105, id, 0) }
	p.answer(append(answer(5), answer(3)...))
	p.gets(answer(5))
	p.gets(answer(3))
	p.answer(answer(1))
	p.gets(answer(1))
	p.refused(2, 3)
	p.refused(4, 3)
	p.say(packet(13, 6, "/f")) // nothing is before it
	p.refused(6, 3)
	p.client.Close()
	if _, changes := p.all(); len(changes) != 3 || changes[0].Refused != wire.MayUpload || string(changes[0].Path) != "/f" || changes[0].Op != sftp.Remove {
		t.Errorf("recorded is %v", changes)
	}
}

func TestRefusalsDoNotFillTheLog(t *testing.T) {
	p := begin(t, sftp.Rights{Download: true})
	for i := range 300 {
		p.say(packet(13, i, "/f"))
		p.refused(i, 3)
	}
	_ = p.client.CloseWrite()
	_ = p.server.CloseWrite()
	if e := p.end(); e.Refused != 300 {
		t.Errorf("%d are counted", e.Refused)
	}
	if _, changes := p.all(); len(changes) != 100 {
		t.Errorf("%d are recorded", len(changes))
	}
}

func TestRequestsThatWaitAreBounded(t *testing.T) {
	p := begin(t, both)
	const many = 2000
	sent := make(chan error, 1)
	go func() {
		for i := range many {
			if _, err := p.client.Write(packet(17, i, "/f")); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	const most = 512
	for i := range most {
		p.hears(packet(17, i, "/f"))
	}
	if err := p.server.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil { // long enough to see a fault at times
		t.Fatal(err)
	}
	if n, err := p.server.Read(make([]byte, 1)); n > 0 || !strings.Contains(err.Error(), "timeout") {
		t.Fatalf("the server got %d bytes more, %v", n, err)
	}
	if err := p.server.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for i := range many {
		p.answer(packet(105, i, 0))
		p.gets(packet(105, i, 0))
		if i+most < many {
			p.hears(packet(17, i+most, "/f"))
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestOpenHandlesAreBounded(t *testing.T) {
	p := begin(t, both)
	for i := range 1024 {
		p.open(i, 1, fmt.Sprint(i))
	}
	p.say(packet(3, 5000, "/f", 1, 0))
	p.refused(5000, 4)
	p.say(packet(11, 5001, "/"))
	p.refused(5001, 4)
	p.say(packet(4, 5002, "7"))
	p.hears(packet(4, 5002, "7"))
	p.answer(packet(101, 5002, 0, "", ""))
	p.gets(packet(101, 5002, 0, "", ""))
	p.open(5003, 1, "7")
}

func TestOnlyVersion3Passes(t *testing.T) {
	p := bare(t, sftp.Rights{Download: true})
	p.say(packet(1, 6, "some", "thing"))
	p.hears(packet(1, 3))
	p.answer(packet(2, 3, "posix-rename@openssh.com", "1", "statvfs@openssh.com", "2", "vendor-id", strings.Repeat("x", 300), "copy-data", "1"))
	p.gets(packet(2, 3, "statvfs@openssh.com", "2"))

	p = bare(t, both)
	p.say(packet(1, 6))
	p.answer(packet(2, 6))
	p.ends(wire.TargetRefused, "version 6")

	p = bare(t, both)
	p.say(packet(17, 1, "/"))
	p.ends(wire.Protocol, "INIT")

	p = bare(t, both)
	p.answer([]byte("Welcome to this machine\nToday is"))
	p.ends(wire.TargetRefused, "Welcome to this machine")

	p = bare(t, both)
	p.answer([]byte("Hi"))
	_ = p.server.CloseWrite()
	p.ends(wire.TargetRefused, `"Hi"`)
}

// What is refused before the server has greeted comes behind the greeting.
func TestOwnAnswersComeBehindTheVersion(t *testing.T) {
	p := bare(t, sftp.Rights{Download: true})
	p.say(append(packet(1, 3), packet(13, 1, "/f")...))
	p.hears(packet(1, 3))
	p.answer(packet(2, 3))
	p.gets(packet(2, 3))
	p.refused(1, 3)
}

func TestLimitsAreThoseOfWhatPasses(t *testing.T) {
	p := begin(t, both)
	ask := packet(200, 1, "limits@openssh.com")
	p.say(ask)
	p.hears(ask)
	p.answer(packet(201, 1, uint64(4<<20), uint64(261120), uint64(0), uint64(1<<40)))
	p.gets(packet(201, 1, uint64(1<<20), uint64(261120), uint64(1<<20-1024), uint64(1024)))
}

// The flags of OPEN decide which rights it needs; what the server would take as reading is reading.
func TestRightsOfOpen(t *testing.T) {
	for flags := range 64 {
		reads, writes := flags&1 != 0 || flags&2 == 0, flags&^1 != 0
		for _, r := range []sftp.Rights{{}, {Upload: true}, {Download: true}, both} {
			ok := (!reads || r.Download) && (!writes || r.Upload)
			p := begin(t, r)
			ask := packet(3, 1, "/f", flags, 0)
			p.say(ask)
			if ok {
				p.hears(ask)
			} else {
				p.refused(1, 3)
			}
			p.client.Close()
			p.server.Close()
			p.end()
		}
	}
}

// A handle does not carry more than the rights: neither what was opened otherwise, nor what a server gives for nothing.
func TestRightsOfReadAndWrite(t *testing.T) {
	p := begin(t, sftp.Rights{Download: true})
	p.open(1, 1, "h")
	p.say(packet(6, 2, "h", uint64(0), strings.Repeat("x", 200_000)))
	p.refused(2, 3)
	p.say(packet(17, 3, "/f"))
	p.hears(packet(17, 3, "/f"))

	p = begin(t, sftp.Rights{Upload: true})
	p.open(1, 2, "h")
	p.say(packet(5, 2, "h", uint64(0), 10))
	p.refused(2, 3)
	p.say(packet(17, 3, "/f"))
	p.hears(packet(17, 3, "/f"))
}

func TestWhatIsUnderWayAtTheEndIsRecorded(t *testing.T) {
	p := begin(t, both)
	p.open(1, 2, "h")
	p.say(packet(6, 2, "h", uint64(0), "12345"))
	p.say(packet(18, 3, "/a", "/b"))
	p.hears(packet(6, 2, "h", uint64(0), "12345"))
	p.hears(packet(18, 3, "/a", "/b"))
	p.cancel(&wire.Error{Code: wire.Killed})
	if e := p.ends(wire.Killed, ""); e.Sent != 5 || e.Files != 1 || e.Changes != 1 {
		t.Errorf("the sum is %v", e.Summary)
	}
	files, changes := p.all()
	if len(files) != 1 || len(changes) != 1 {
		t.Fatalf("recorded are %v, %v", files, changes)
	}
	if f := files[0]; string(f.Path) != "/f" || f.Up == nil || f.Up.Bytes != 5 || f.Up.SHA256 != nil || f.Down != nil || f.Status != sftp.Unanswered {
		t.Errorf("the file is recorded as %v", f.Fields())
	}
	if c := changes[0]; c.Op != sftp.Rename || string(c.Path) != "/a" || string(c.To) != "/b" || c.Status != sftp.Unanswered {
		t.Errorf("the change is recorded as %v", c.Fields())
	}
}

// What cannot be recorded ends the connection, and nothing more passes.
func TestWhatCannotBeRecordedEndsIt(t *testing.T) {
	near, far := pair(t)
	client, clientFar := pair(t)
	full := errors.New("the log is full")
	done := make(chan error, 1)
	go func() {
		_, err := sftp.Pass(t.Context(), clientFar, far, sftp.Config{Rights: both, File: func(sftp.File) func() error { return func() error { return full } }})
		done <- err
	}()
	p := &played{&passing{TB: t, client: client}, near}
	p.say(append(packet(1, 3), packet(3, 1, "/f", 2, 0)...))
	p.hears(append(packet(1, 3), packet(3, 1, "/f", 2, 0)...))
	p.answer(append(packet(2, 3), packet(102, 1, "h")...))
	p.gets(append(packet(2, 3), packet(102, 1, "h")...))
	p.say(packet(4, 2, "h"))
	p.hears(packet(4, 2, "h"))
	p.answer(packet(101, 2, 0, "", ""))
	if err := <-done; wire.CodeOf(err) != wire.AuditUnavailable || !errors.Is(err, full) {
		t.Errorf("it ended with %v", err)
	}
	if rest, err := io.ReadAll(client); len(rest) > len(packet(101, 2, 0, "", "")) {
		t.Errorf("the client got %q, %v", rest, err)
	}
}

// Records that take their time hold a connection up when too many are on their way, and have the order of what happened.
func TestRecordsAreInOrder(t *testing.T) {
	near, far := pair(t)
	client, clientFar := pair(t)
	const many = 300
	disk, begun := make(chan struct{}), make(chan string, many)
	ended := make(chan error, 1)
	go func() {
		_, err := sftp.Pass(t.Context(), clientFar, far, sftp.Config{Rights: both, Change: func(c sftp.Change) func() error {
			begun <- string(c.Path)
			return func() error {
				<-disk
				return nil
			}
		}})
		ended <- err
	}()
	p := &played{&passing{TB: t, client: client}, near}
	p.say(packet(1, 3))
	p.hears(packet(1, 3))
	p.answer(packet(2, 3))
	p.gets(packet(2, 3))
	go func() {
		for i := range many {
			_, _ = client.Write(packet(13, i, fmt.Sprint(i)))
		}
		_ = client.CloseWrite()
	}()
	go func() {
		for i := range many {
			if _, err := readPacket(near); err != nil {
				return
			}
			_, _ = near.Write(packet(101, i, 0, "", ""))
		}
		_, _ = readPacket(near) // the client's end
		_ = near.CloseWrite()
	}()
	for i := range 64 { // so many go on
		p.gets(packet(101, i, 0, "", ""))
	}
	close(disk)
	for i := 64; i < many; i++ {
		p.gets(packet(101, i, 0, "", ""))
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for i := range many {
		if got := <-begun; got != fmt.Sprint(i) {
			t.Fatalf("record %d is of %s", i, got)
		}
	}
}

func TestContentThatWasNotWrittenHasNoSum(t *testing.T) {
	p := begin(t, both)
	p.open(1, 2, "h")
	for id, status := range map[int]int{2: 0, 3: 4} {
		w := packet(6, id, "h", uint64(0), "12345")
		p.say(w)
		p.hears(w)
		p.answer(packet(101, id, status, "", ""))
		p.gets(packet(101, id, status, "", ""))
	}
	p.say(packet(4, 4, "h"))
	p.hears(packet(4, 4, "h"))
	p.answer(packet(101, 4, 0, "", ""))
	p.gets(packet(101, 4, 0, "", ""))
	if files, _ := p.all(); len(files) != 1 || files[0].Status != sftp.Failure || files[0].Up.SHA256 != nil || files[0].Up.Bytes != 10 {
		t.Errorf("recorded are %v", files)
	}
}

// The order of blocks does not count while little overtakes; what comes twice, or starts further on, is no whole file.
func TestOrderOfContent(t *testing.T) {
	whole := random(100_000)
	piece := func(from, to int) (uint64, string) { return uint64(from), string(whole[from:to]) }
	type part struct{ from, to int }
	for name, c := range map[string]struct {
		parts   []part
		ordered bool
	}{
		"in order":     {[]part{{0, 30_000}, {30_000, 100_000}}, true},
		"overtaken":    {[]part{{60_000, 100_000}, {30_000, 60_000}, {0, 30_000}}, true},
		"twice":        {[]part{{0, 30_000}, {0, 30_000}, {30_000, 100_000}}, false},
		"overlapping":  {[]part{{0, 30_000}, {50_000, 100_000}, {30_000, 60_000}}, false},
		"from further": {[]part{{30_000, 100_000}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := begin(t, both)
			p.open(1, 2, "h")
			for i, part := range c.parts {
				offset, content := piece(part.from, part.to)
				w := packet(6, i, "h", offset, content)
				go func() { _, _ = p.client.Write(w) }()
				p.hears(w)
				p.answer(packet(101, i, 0, "", ""))
				p.gets(packet(101, i, 0, "", ""))
			}
			p.say(packet(4, 99, "h"))
			p.hears(packet(4, 99, "h"))
			p.answer(packet(101, 99, 0, "", ""))
			p.gets(packet(101, 99, 0, "", ""))
			files, _ := p.all()
			if got := hex.EncodeToString(files[0].Up.SHA256); c.ordered && got != hexSum(whole) || !c.ordered && got != "" {
				t.Errorf("recorded is %v", files[0].Fields())
			}
		})
	}
}

// However the bytes come in pieces, the same arrives.
func TestPiecesDoNotMatter(t *testing.T) {
	var up, heard, down []byte
	up = append(up, packet(3, 1, "/f", 3, 0)...)
	heard = append(heard, up...)
	ask := [][]byte{packet(6, 2, "h", uint64(0), string(random(3000))), packet(13, 3, "/f"), packet(5, 4, "h", uint64(0), 5000), packet(4, 5, "h")}
	for _, b := range ask {
		heard = append(heard, b...)
	}
	down = append(down, packet(101, 2, 0, "", "")...)
	down = append(down, packet(101, 3, 0, "", "")...)
	down = append(down, packet(103, 4, string(random(5000)))...)
	down = append(down, packet(101, 5, 0, "", "")...)
	for _, n := range []int{1, 2, 3, 7, 64, 1000} {
		p := begin(t, both)
		p.open(1, 3, "h")
		trickle := func(c *net.UnixConn, b []byte) {
			for len(b) > 0 {
				k, err := c.Write(b[:min(n, len(b))])
				if err != nil {
					t.Error(err)
					return
				}
				b = b[k:]
			}
		}
		done := make(chan struct{})
		go func() {
			trickle(p.client, heard[len(up):])
			close(done)
		}()
		p.hears(heard[len(up):])
		<-done
		go trickle(p.server, down)
		p.gets(down)
	}
}

func TestPanicIsTheCallers(t *testing.T) {
	near, far := pair(t)
	client, clientFar := pair(t)
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		_, _ = sftp.Pass(t.Context(), clientFar, far, sftp.Config{Rights: sftp.Rights{Download: true}, Change: func(sftp.Change) func() error { panic("no log") }})
	}()
	p := &played{&passing{TB: t, client: client}, near}
	p.say(append(packet(1, 3), packet(13, 1, "/f")...))
	if got := <-done; !strings.Contains(fmt.Sprint(got), "no log") {
		t.Errorf("the caller got %v", got)
	}
}

// The client's end in order lets the server answer.
func TestHalfClose(t *testing.T) {
	p := begin(t, both)
	p.say(packet(17, 1, "/f"))
	_ = p.client.CloseWrite()
	p.hears(packet(17, 1, "/f"))
	if n, err := p.server.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatal(n, err)
	}
	p.answer(packet(105, 1, 0))
	_ = p.server.CloseWrite()
	p.gets(packet(105, 1, 0))
	if n, err := p.client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatal(n, err)
	}
	p.ends(wire.None, "")
}

func TestServerThatEndsByItself(t *testing.T) {
	p := begin(t, both)
	p.server.Close()
	p.ends(wire.TargetRefused, "has ended")
}

func TestListsOfFoldersCanBeBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 500 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), nil)
	}
	for names, most := range map[int]int{0: 500, 100: 200, 500: 500} { // OpenSSH gives 100 at a time, with . and ..
		end, wait, err := start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(wait)
		p := configured(t, sftp.Config{Rights: both, Names: names}, end)
		got, err := p.newClient().ReadDir(dir)
		if err != nil || len(got) > most || len(got) < min(500, cmp.Or(names, 500))-2 {
			t.Errorf("with %d there are %d, %v", names, len(got), err)
		}
	}
	// One answer counts by its size as well.
	near, far := pair(t)
	p := &played{configured(t, sftp.Config{Rights: both, Names: 10}, far), near}
	p.say(packet(1, 3))
	p.hears(packet(1, 3))
	p.answer(packet(2, 3))
	p.gets(packet(2, 3))
	p.say(packet(11, 1, "/"))
	p.hears(packet(11, 1, "/"))
	p.answer(packet(102, 1, "h"))
	p.gets(packet(102, 1, "h"))
	p.say(packet(12, 2, "h"))
	p.hears(packet(12, 2, "h"))
	p.answer(packet(104, 2, 1, strings.Repeat("x", 20_000), "", 0))
	p.gets(packet(104, 2, 1, strings.Repeat("x", 20_000), "", 0))
	p.say(packet(12, 3, "h"))
	p.refused(3, 1)
}
