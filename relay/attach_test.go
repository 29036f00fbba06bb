package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"
	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/session"
	"scrier/wire"
)

// carriers are the ways by which a viewer attaches. What holds for one holds for all.
var carriers = map[string]func(t *testing.T, r *Relay, id wire.SessionID) wire.Stream{
	"WebTransport": func(t *testing.T, r *Relay, id wire.SessionID) wire.Stream {
		s, err := webTransport(t, r, "https://"+r.Addr(), id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	},
	"WebSocket": func(t *testing.T, r *Relay, id wire.SessionID) wire.Stream {
		s, err := webSocket(t, r, "https://"+r.Addr(), id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	},
}

// webTransport attaches as a page of origin does. The relay's certificate is known by its hash, as
// in a browser.
func webTransport(t *testing.T, r *Relay, origin string, id wire.SessionID) (wire.Stream, error) {
	t.Helper()
	return webTransportBy(t, r, origin, id, nil)
}

// dialer makes a connection over QUIC; nil: in the usual way.
type dialer func(ctx context.Context, addr string, conf *tls.Config, quicConf *quic.Config) (*quic.Conn, error)

func webTransportBy(t *testing.T, r *Relay, origin string, id wire.SessionID, dial dialer) (wire.Stream, error) {
	t.Helper()
	d := &webtransport.Transport{
		DialAddr: dial,
		TLSClientConfig: &tls.Config{NextProtos: []string{wire.ALPNH3}, InsecureSkipVerify: true, VerifyConnection: func(cs tls.ConnectionState) error {
			leaf := sha256.Sum256(cs.PeerCertificates[0].Raw)
			for _, h := range r.tls.Hashes(r.Addr()) {
				if h == base64.StdEncoding.EncodeToString(leaf[:]) {
					return nil
				}
			}
			return errors.New("the certificate's hash is not one that was told")
		}},
		QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true},
	}
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, session, err := d.Dial(ctx, "https://"+r.Addr()+"/wt/scrier/"+id.String(), header)
	t.Cleanup(func() { _ = d.Close() })
	if err != nil {
		return nil, err
	}
	s, err := session.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	return pageStream{s, func() {
		_ = session.CloseWithError(0, "")
		_ = d.Close()
	}}, nil
}

type pageStream struct {
	*webtransport.Stream
	gone func()
}

func (p pageStream) CloseWrite() error     { return p.Close() }
func (p pageStream) CloseRead(c wire.Code) { p.CancelRead(webtransport.StreamErrorCode(c)) }
func (p pageStream) Reset(wire.Code)       { p.gone() }

func webSocket(t *testing.T, r *Relay, origin string, id wire.SessionID) (wire.Stream, error) {
	t.Helper()
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust(t, r)}}
	t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://"+r.Addr()+"/ws/scrier/"+id.String(), &websocket.DialOptions{HTTPHeader: header, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, err
	}
	c.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = c.CloseNow() })
	return pageSocket{websocket.NetConn(context.Background(), c, websocket.MessageBinary), c}, nil
}

type pageSocket struct {
	net.Conn
	c *websocket.Conn
}

func (p pageSocket) CloseWrite() error   { return p.Close() }
func (p pageSocket) CloseRead(wire.Code) {}
func (p pageSocket) Reset(wire.Code)     { _ = p.c.CloseNow() }

// page is a viewer in a browser, with what it remembers between its connections.
type page struct {
	*wire.Framed
	t      *testing.T
	relay  *Relay
	id     wire.SessionID
	who    access.Operator
	client []byte
	open   func(t *testing.T, r *Relay, id wire.SessionID) wire.Stream
	*wire.Attached
	shown []byte // all output, from the session's beginning
	acked uint64
	typed []byte // all input

	asides   bool     // it takes lanes
	watchers []string // as last told
}

// newPage opens a session as a page does.
func newPage(t *testing.T, r *Relay, who access.Operator, envoy string, open func(*testing.T, *Relay, wire.SessionID) wire.Stream) *page {
	t.Helper()
	keys, err := r.access.Keys(t.Context(), who)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.connectWeb(t.Context(), who, &session.Request{
		Envoy: envoy, Kind: wire.KindSSH, Keys: keys, Terminal: session.TerminalRequest{Size: wire.Size{Cols: 100, Rows: 30}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &page{t: t, relay: r, id: s.ID(), who: who, client: bytes.Repeat([]byte{1}, 16), open: open}
	p.attach(nil)
	return p
}

func (p *page) attach(from *uint64) {
	p.t.Helper()
	if err := p.tryAttach(from); err != nil {
		p.t.Fatal(err)
	}
}

func (p *page) tryAttach(from *uint64) error {
	p.t.Helper()
	ticket, err := p.relay.sessions.Ticket(p.id, viewerOf(p.who))
	if err != nil {
		return err
	}
	p.Framed = wire.NewFramed(p.open(p.t, p.relay, p.id))
	if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := p.Send(&wire.Attach{Ticket: ticket, From: from, Client: p.client, Size: wire.Size{Cols: 100, Rows: 30}, Asides: p.asides}); err != nil {
		return err
	}
	p.Attached, err = wire.Expect[wire.Attached](p)
	return err
}

// back attaches again, and goes on behind what was shown.
func (p *page) back() {
	p.t.Helper()
	at := uint64(len(p.shown))
	p.attach(&at)
	if p.Offset != at {
		p.t.Fatalf("output goes on at %d, not at %d", p.Offset, at)
	}
	if lost := p.typed[p.Typed:]; len(lost) > 0 {
		p.typed = p.typed[:p.Typed]
		p.typing(string(lost))
	}
}

func (p *page) typing(s string) {
	p.t.Helper()
	p.typed = append(p.typed, s...)
	for len(s) > 0 {
		n := min(len(s), wire.MaxData)
		if err := p.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), s[:n]...), n)); err != nil {
			p.t.Fatal(err)
		}
		s = s[n:]
	}
}

// until reads until the output ends with s.
func (p *page) until(s string) {
	p.t.Helper()
	for !bytes.HasSuffix(p.shown, []byte(s)) {
		if e := p.next(); e != nil {
			p.t.Fatalf("ended with %+v behind %q", e, tail(p.shown))
		}
	}
}

// next takes one message.
func (p *page) next() *wire.Exit {
	p.t.Helper()
	m, err := p.Receive()
	if err != nil {
		p.t.Fatalf("%v behind %d bytes: %q", err, len(p.shown), tail(p.shown))
	}
	switch m := m.(type) {
	case *wire.Data:
		p.shown = append(p.shown, m.Bytes...)
		if uint64(len(p.shown))-p.acked >= wire.ViewerWindow/4 {
			p.acked = uint64(len(p.shown))
			if err := p.Send(&wire.Ack{Offset: p.acked}); err != nil {
				p.t.Fatal(err)
			}
		}
	case *wire.Watchers:
		p.watchers = append([]string{}, m.Names...)
	case *wire.Exit:
		return m
	}
	return nil
}

func (p *page) exit() *wire.Exit {
	p.t.Helper()
	for {
		if e := p.next(); e != nil {
			return e
		}
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-60):] }

// admin is an operator who may open sessions, as the API sees one.
func admin(t *testing.T, r *Relay, name string) access.Operator {
	t.Helper()
	u := newPerson(t, r, name, access.Admin).user
	return access.Operator{ID: u.ID, Username: u.Username, Role: u.Role, Epoch: 1}
}

// counter is a shell that writes numbered lines, as many as each line that it hears asks for.
func counter(c ssh.Channel) {
	var n, want int
	for {
		if _, err := fmt.Fscanln(c, &want); err != nil {
			return
		}
		if want == 0 {
			exit(c, 3)
			return
		}
		var b bytes.Buffer
		for range want {
			n++
			fmt.Fprintf(&b, "%07d\n", n)
		}
		if _, err := c.Write(b.Bytes()); err != nil {
			return
		}
	}
}

func numbered(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%07d\n", i+1)
	}
	return b.Bytes()
}

func servedBy(t *testing.T, r *Relay, shell func(ssh.Channel)) {
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, shell)
	})
}

// A session outlives its viewer's connection, and goes on at the byte where it was: whatever the
// carrier, nothing is lost and nothing shown twice.
func TestSessionOutlivesItsViewer(t *testing.T) {
	for name, open := range carriers {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			servedBy(t, r, counter)
			p := newPage(t, r, admin(t, r, "ann"), "web1", open)
			if p.Login != "deploy" || p.Envoy != "web1" || p.Session != p.id || p.Window == 0 {
				t.Errorf("attached as %+v", p.Attached)
			}
			total := 0
			for i, lines := range []int{1, 10, 3_000, 60_000} { // the last one is half of the backlog
				total += lines
				p.typing(fmt.Sprintln(lines))
				p.until(fmt.Sprintf("%07d\n", total))
				p.Reset(wire.ViewerLost)
				if i%2 == 0 { // what nobody sees is kept
					p.back()
					total += 5
					p.typing("5\n")
					p.Reset(wire.ViewerLost)
				}
				p.back()
			}
			p.until(fmt.Sprintf("%07d\n", total))
			p.typing("0\n")
			if e := p.exit(); e.Code != wire.None || e.Status != 3 {
				t.Errorf("ended with %+v", e)
			}
			if !bytes.Equal(p.shown, numbered(total)) {
				t.Errorf("%d bytes were shown, %d lines are %d bytes", len(p.shown), total, len(numbered(total)))
			}
			settled(t, r)
		})
	}
}

// What is typed arrives once, also when the connection breaks between typing and its
// acknowledgement: the relay tells where to go on.
func TestInputArrivesOnce(t *testing.T) {
	for name, open := range carriers {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			var heard bytes.Buffer
			done := make(chan struct{})
			servedBy(t, r, func(c ssh.Channel) {
				defer close(done)
				_, _ = io.Copy(&heard, c) // ends with EOF, or else the sums differ
				exit(c, 0)
			})
			p := newPage(t, r, admin(t, r, "ann"), "web1", open)
			text := bytes.Repeat([]byte("0123456789abcde\n"), 40_000)
			sent, taken := 0, uint64(0)
			for round := 0; sent < len(text); round++ {
				for burst := 0; burst < 7 && sent < len(text); burst++ {
					for uint64(sent)+wire.MaxData > taken+wire.ViewerWindow {
						m, err := p.Receive()
						if err != nil {
							t.Fatal(err)
						}
						if a, ok := m.(*wire.Ack); ok {
							taken = a.Offset
						}
					}
					n := min(wire.MaxData, len(text)-sent)
					p.typing(string(text[sent : sent+n]))
					sent += n
				}
				if round%2 == 0 {
					p.Reset(wire.ViewerLost)
					p.back()
				}
			}
			if err := p.Send(&wire.EOF{}); err != nil {
				t.Fatal(err)
			}
			p.exit()
			<-done
			if !bytes.Equal(heard.Bytes(), text) {
				t.Errorf("%d bytes were heard of %d", heard.Len(), len(text))
			}
		})
	}
}

// H48: a ticket is the only key to a session: once, for 10 s, for one session.
func TestTickets(t *testing.T) {
	var late atomic.Int64
	r := start(t, func(s *Settings) {
		s.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	})
	servedBy(t, r, counter)
	ann := admin(t, r, "ann")
	p := newPage(t, r, ann, "web1", carriers["WebSocket"])
	other := newPage(t, r, ann, "web1", carriers["WebSocket"])
	first := func(a *wire.Attach) error {
		f := wire.NewFramed(p.open(t, r, p.id))
		if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if err := f.Send(a); err != nil {
			return err
		}
		_, err := wire.Expect[wire.Attached](f)
		return err
	}
	ticket := func(id wire.SessionID) []byte {
		k, err := r.sessions.Ticket(id, viewerOf(ann))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	refusals := map[string]func() []byte{
		"none":            func() []byte { return nil },
		"made up":         func() []byte { return make([]byte, 32) },
		"another session": func() []byte { return ticket(other.id) },
		"used": func() []byte {
			k := ticket(p.id)
			if _, _, err := r.sessions.Redeem(k); err != nil {
				t.Error(err)
			}
			return k
		},
		"signed out": func() []byte {
			v := viewerOf(ann)
			v.SignIn = "x"
			k, err := r.sessions.Ticket(p.id, v)
			if err != nil {
				t.Error(err)
			}
			r.sessions.EndViewers(func(v session.Viewer) bool { return v.SignIn == "x" }, &wire.Error{Code: wire.SignedOut})
			return k
		},
		"10 s old": func() []byte {
			k := ticket(p.id)
			late.Add(int64(10 * time.Second))
			return k
		},
	}
	for name, k := range refusals {
		if err := first(&wire.Attach{Ticket: k()}); wire.CodeOf(err) != wire.TicketInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Of a hundred at once one wins.
	k := ticket(p.id)
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, _, err := r.sessions.Redeem(k); err == nil {
				won.Add(1)
			} else if wire.CodeOf(err) != wire.TicketInvalid {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d used one ticket", won.Load())
	}
	// Nothing else is read before it, and no more than it takes.
	f := wire.NewFramed(p.open(t, r, p.id))
	if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := f.Send(&wire.Attach{Ticket: make([]byte, 2000)}); err != nil {
		t.Fatal(err)
	}
	if m, err := f.Receive(); err == nil {
		t.Errorf("a first frame of 2,000 bytes was answered with %+v", m)
	}
	if ids := audited(t, r, "scrier.connect"); ids != 2 {
		t.Errorf("%d sessions", ids)
	}
}

// T-WSORIGIN: only our own pages attach.
func TestForeignPagesDoNotAttach(t *testing.T) {
	r := start(t)
	_, port, err := net.SplitHostPort(r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	own := "https://" + r.Addr()
	foreign := []string{
		"", "null", "http://" + r.Addr(), "https://127.0.0.1", "https://127.0.0.1:1", "https://localhost:" + port,
		own + ".", own + "/", own + "@evil.example", "https://evil.example", "https://evil.127.0.0.1:" + port, "https://127.0.0.1.evil.example:" + port,
		strings.ToUpper(own), own + " " + own, "https://127.1:" + port, "https://2130706433:" + port, "file://",
	}
	for _, origin := range foreign {
		if s, err := webSocket(t, r, origin, wire.NewSessionID()); err == nil {
			s.Reset(wire.None)
			t.Errorf("WebSocket from %q", origin)
		}
		if s, err := webTransport(t, r, origin, wire.NewSessionID()); err == nil {
			s.Reset(wire.None)
			t.Errorf("WebTransport from %q", origin)
		}
	}
	if _, err := webSocket(t, r, own, wire.NewSessionID()); err != nil {
		t.Errorf("WebSocket from %q: %v", own, err)
	}
	if _, err := webTransport(t, r, own, wire.NewSessionID()); err != nil {
		t.Errorf("WebTransport from %q: %v", own, err)
	}
}

// A session has one who types: whoever attaches last. The other is told, and may take it back.
func TestTakeOver(t *testing.T) {
	r := start(t)
	servedBy(t, r, counter)
	ann := admin(t, r, "ann")
	p := newPage(t, r, ann, "web1", carriers["WebTransport"])
	p.typing("3\n")
	p.until("0000003\n")
	q := *p
	q.open, q.client, q.shown = carriers["WebSocket"], bytes.Repeat([]byte{2}, 16), nil
	q.attach(nil)
	if e := p.exit(); e.Code != wire.TakenOver {
		t.Errorf("the first ended with %+v", e)
	}
	q.typing("2\n")
	q.until("0000005\n")
	if !bytes.Equal(q.shown, numbered(5)) || q.Head != 24 {
		t.Errorf("the second sees %q, history up to %d", q.shown, q.Head)
	}
	p.back()
	if e := q.exit(); e.Code != wire.TakenOver {
		t.Errorf("the second ended with %+v", e)
	}
	p.typing("0\n")
	if e := p.exit(); e.Code != wire.None || !bytes.Equal(p.shown, numbered(5)) {
		t.Errorf("ended with %+v behind %q", e, p.shown)
	}
}

// Nobody comes back: the session ends, and its row says why.
func TestDetachedSessionEnds(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Scrier.DetachGrace = Duration(2 * time.Second) })
	servedBy(t, r, counter)
	p := newPage(t, r, admin(t, r, "ann"), "web1", carriers["WebTransport"])
	p.Reset(wire.ViewerLost)
	settled(t, r)
	if row := rows(t, r)[0]; row.Code != wire.ViewerLost {
		t.Errorf("closed with %s: %s", row.Code, row.Reason)
	}
	if err := p.tryAttach(nil); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("attached to a session that has ended: %v", err)
	}
}

// What a shell said last, and how it ended, waits for a viewer who is away.
func TestLastWordsWait(t *testing.T) {
	r := start(t)
	servedBy(t, r, func(c ssh.Channel) {
		_, _ = io.WriteString(c, "last words") // the test fails if they do not arrive
		exit(c, 9)
	})
	p := newPage(t, r, admin(t, r, "ann"), "web1", func(*testing.T, *Relay, wire.SessionID) wire.Stream {
		return carriers["WebSocket"](t, r, rows(t, r)[0].ID)
	})
	if e := p.exit(); e.Status != 9 || string(p.shown) != "last words" {
		t.Errorf("ended with %+v behind %q", e, p.shown)
	}
	settled(t, r)
}

// Somebody may watch where policy allows it: they see all and type nothing, the owner sees them, and
// it is written down before they see anything.
func TestWatching(t *testing.T) {
	r := start(t)
	servedBy(t, r, counter)
	p := newPage(t, r, admin(t, r, "ann"), "web1", carriers["WebTransport"])
	watch := func() *page {
		v := viewerOf(admin(t, r, "eve"))
		v.Watch = true
		k, err := r.sessions.Ticket(p.id, v)
		if err != nil {
			t.Fatal(err)
		}
		w := &page{t: t, relay: r, Framed: wire.NewFramed(carriers["WebSocket"](t, r, p.id))}
		if err := w.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if err := w.Send(&wire.Attach{Ticket: k}); err != nil {
			t.Fatal(err)
		}
		if w.Attached, err = wire.Expect[wire.Attached](w); err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := watch()
	if !w.Watching || w.Size != (wire.Size{Cols: 100, Rows: 30}) || audited(t, r, "session.watch") != 1 {
		t.Errorf("watching as %+v", w.Attached)
	}
	watchers := func(want ...string) {
		t.Helper()
		for p.watchers = nil; p.watchers == nil; {
			if e := p.next(); e != nil {
				t.Fatalf("ended with %+v", e)
			}
		}
		if strings.Join(p.watchers, " ") != strings.Join(want, " ") {
			t.Errorf("%q watch", p.watchers)
		}
	}
	watchers("eve")
	p.typing("4\n")
	w.until("0000004\n")
	w.typing("5\n") // is refused: the owner's next lines are 5 and 6
	if _, err := w.Receive(); err == nil {
		t.Error("a watcher typed")
	}
	watchers()
	p.typing("2\n")
	p.until("0000006\n")
	if !bytes.Equal(p.shown, numbered(6)) {
		t.Errorf("the owner sees %q", p.shown)
	}
}

// A viewer that acknowledges what was not sent, or sends more than its window, is put out.
func TestViewersThatLie(t *testing.T) {
	lies := map[string]func(p *page) error{
		"acknowledges too much": func(p *page) error { return p.Send(&wire.Ack{Offset: 1 << 40}) },
		"another message":       func(p *page) error { return p.Send(&wire.Hello{}) },
		"types without limit": func(p *page) error {
			frame := wire.DataFrame(make([]byte, wire.DataHeader+wire.MaxData), wire.MaxData)
			for range 200 {
				if err := p.WriteData(frame); err != nil {
					return nil // it was put out already
				}
			}
			return nil
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(s *Settings) { s.Config.Scrier.DetachGrace = Duration(2 * time.Second) })
			servedBy(t, r, func(c ssh.Channel) { _, _ = io.Copy(io.Discard, io.LimitReader(c, 1)) })
			p := newPage(t, r, admin(t, r, "ann"), "web1", carriers["WebTransport"])
			if err := lie(p); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := p.Receive(); err != nil {
					break
				}
			}
			settled(t, r)
		})
	}
}

// H59: a window that is dragged makes many sizes; the shell hears a few of them, and the last.
func TestResizeStorm(t *testing.T) {
	var heard atomic.Int64
	var last atomic.Uint64
	r := start(t)
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.resized(s, open, func(size wire.Size) {
			heard.Add(1)
			last.Store(uint64(size.Cols)<<16 | uint64(size.Rows))
		})
	})
	p := newPage(t, r, admin(t, r, "ann"), "web1", carriers["WebTransport"])
	const storm = 10_000
	for i := range storm {
		if err := p.Send(&wire.Resize{Size: wire.Size{Cols: uint16(i % 2000), Rows: uint16(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Send(&wire.Resize{Size: wire.Size{Cols: 123, Rows: 45}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the last size", func() bool { return last.Load() == 123<<16|45 })
	if n := heard.Load(); n > storm/10 {
		t.Errorf("the shell heard of %d sizes", n)
	}
}
