package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// fakeRelay is a relay of one session, whose links break when the test says.
type fakeRelay struct {
	t      *testing.T
	link   chan wire.Link // the far end of the link that is in use
	near   wire.Link
	refuse *wire.Problem // the answer to who wants to attach
	row    string        // of the session that has ended
	down   bool          // there is no link to be had
	better *betterRoad   // nil: there is none

	mu sync.Mutex
}

// RoundTrip answers the API's requests.
func (r *fakeRelay) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(strings.NewReader(body))}, nil
	}
	switch {
	case req.Method == "GET":
		return answer(200, r.row)
	case r.refuse != nil:
		return answer(404, fmt.Sprintf(`{"code":%d,"title":%q}`, r.refuse.Code, "no"))
	}
	return answer(200, `{"ticket":"dGlja2V0"}`)
}

func (r *fakeRelay) redial(context.Context) (wire.Link, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil, &wire.Error{Code: wire.RelayUnreachable, Detail: "no answer"}
	}
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	r.t.Cleanup(func() { near.Close(wire.None, "") })
	r.near = near
	r.link <- far
	return near, nil
}

// breaks has the link end as one does that hears nothing of the other end.
func (r *fakeRelay) breaks() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.near.(interface{ End(error) }).End(errors.New("timeout: no recent network activity"))
	_ = r.near.Close(wire.None, "")
}

// accept is the begin of the next viewer's stream.
func (r *fakeRelay) accept() (f *wire.Framed, first wire.Message) {
	r.t.Helper()
	var link wire.Link
	select {
	case link = <-r.link:
	case <-time.After(patience):
		r.t.Fatal("nobody dials")
	}
	stream, err := link.Accept(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	f = wire.NewFramed(stream)
	if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	if first, err = f.Receive(); err != nil {
		r.t.Fatal(err)
	}
	return f, first
}

func (r *fakeRelay) say(f *wire.Framed, messages ...wire.Message) {
	r.t.Helper()
	for _, m := range messages {
		err := error(nil)
		if d, ok := m.(*wire.Data); ok {
			err = f.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), d.Bytes...), len(d.Bytes)))
		} else {
			err = f.Send(m)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// shown is a shell on a terminal whose relay the test plays.
type shownShell struct {
	*stage
	relay    *fakeRelay
	messages *syncBuffer
	status   int
	err      error
	over     chan struct{}
}

func showShell(t *testing.T) *shownShell {
	t.Helper()
	return startShell(t, "", func(*Relay, *fakeRelay) {})
}

// startShell is showShell with a command in the terminal, unless it is empty, and a relay that edit has changed.
func startShell(t *testing.T, command string, edit func(*Relay, *fakeRelay)) *shownShell {
	t.Helper()
	s := &shownShell{stage: openStage(t), relay: &fakeRelay{t: t, link: make(chan wire.Link, 1)}, messages: new(syncBuffer), over: make(chan struct{})}
	fd, err := unix.Dup(int(s.slave.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	own := os.NewFile(uintptr(fd), "terminal")
	terminal, err := OpenTerminal(own, own)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b := make([]byte, 4096)
		for {
			n, err := s.master.Read(b)
			if err != nil || bytes.IndexByte(b[:n], 0) >= 0 {
				return
			}
			_, _ = s.Write(b[:n])
		}
	}()
	r := &Relay{http: &http.Client{Transport: s.relay}, redial: s.relay.redial}
	if r.link, err = r.redial(t.Context()); err != nil {
		t.Fatal(err)
	}
	edit(r, s.relay)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(s.over)
		s.status, s.err = r.Shell(ctx, ShellRequest{Envoy: "web1", Command: command, Terminal: terminal, Messages: s.messages})
	}()
	t.Cleanup(func() {
		cancel()
		<-s.over
		_, _ = s.slave.Write([]byte{0})
		<-read
	})
	return s
}

func (s *shownShell) ends(t *testing.T) {
	t.Helper()
	select {
	case <-s.over:
	case <-time.After(patience):
		t.Fatalf("it goes on; it has said %q", s.messages.String())
	}
	s.wantRestored(t)
}

func oneSession() (id wire.SessionID) {
	id.UUID[0] = 1
	return id
}

func attachedAt(m wire.Attached) *wire.Attached {
	m.Kind, m.Envoy, m.Login, m.Window, m.Session = wire.KindSSH, "web1", "ann", wire.ViewerWindow, oneSession()
	return &m
}

// typedTo receives until n bytes were typed.
func (s *shownShell) typedTo(t *testing.T, f *wire.Framed, n int) string {
	t.Helper()
	return got(t, f, n)
}

// A link that breaks ends nothing: output and input go on at the byte where they were, also what is typed meanwhile.
func TestShellGoesOn(t *testing.T) {
	s := showShell(t)
	f, first := s.relay.accept()
	id := first.(*wire.Connect).Client
	s.relay.say(f, attachedAt(wire.Attached{}), &wire.Data{Bytes: []byte("one ")})
	s.until(t, "one ")
	s.press(t, "abcdef")
	if text := s.typedTo(t, f, 6); text != "abcdef" {
		t.Fatalf("typed %q", text)
	}
	s.relay.mu.Lock()
	s.relay.down = true
	s.relay.mu.Unlock()
	s.relay.breaks()
	s.until(t, "No connection to the relay")
	s.press(t, "ghi")
	s.relay.mu.Lock()
	s.relay.down = false
	s.relay.mu.Unlock()
	f, first = s.relay.accept()
	a, ok := first.(*wire.Attach)
	if !ok || a.From == nil || *a.From != 4 || !bytes.Equal(a.Client, id) || len(id) == 0 || !a.Back || !a.Anew {
		t.Fatalf("it comes back with %+v, at %v, and was %x", first, *a.From, id)
	}
	s.relay.say(f, attachedAt(wire.Attached{Offset: 4, Head: 7, Typed: 4}), &wire.Data{Bytes: []byte("two")})
	s.until(t, "two")
	if text := s.typedTo(t, f, 5); text != "efghi" {
		t.Fatalf("it was typed once more: %q", text)
	}
	s.relay.say(f, &wire.Ack{Offset: 9}, &wire.Exit{Status: 3})
	s.ends(t)
	if s.err != nil || s.status != 3 {
		t.Errorf("it ended with %d, %v", s.status, s.err)
	}
}

// The session may be over when the link is there again, or somebody else's; the person may not want to wait.
func TestShellDoesNotGoOn(t *testing.T) {
	command := "scrier ssh --attach " + oneSession().String()
	for name, c := range map[string]struct {
		refuse *wire.Problem
		row    string
		press  string
		code   wire.Code
		says   string
	}{
		"ended":      {refuse: &wire.Problem{Code: wire.NotFound}, row: `{"reason":"viewer_lost","detail":"nobody was attached for 1m"}`, code: wire.ViewerLost},
		"forgotten":  {refuse: &wire.Problem{Code: wire.NotFound}, row: `{}`, code: wire.NotFound},
		"signed out": {refuse: &wire.Problem{Code: wire.Expired}, code: wire.Expired},
		"left":       {press: "\r~.", says: command},
		"Ctrl-C":     {press: "\x03", says: command},
	} {
		t.Run(name, func(t *testing.T) {
			s := showShell(t)
			f, _ := s.relay.accept()
			s.relay.say(f, attachedAt(wire.Attached{Grace: 1}), &wire.Data{Bytes: []byte("here ")})
			s.until(t, "here ")
			s.relay.mu.Lock()
			s.relay.refuse, s.relay.row, s.relay.down = c.refuse, c.row, c.press != ""
			s.relay.mu.Unlock()
			s.relay.breaks()
			if c.press != "" {
				s.until(t, "No connection")
				s.press(t, c.press)
			}
			s.ends(t)
			if wire.CodeOf(s.err) != c.code || c.code == wire.None && s.status != wire.NoStatus {
				t.Errorf("it ended with %d, %v", s.status, s.err)
			}
			if !strings.Contains(s.messages.String(), c.says) {
				t.Errorf("it says %q", s.messages.String())
			}
		})
	}
}

// A signal's end is that of the shell or of the command, whichever it was, and the command's has a number as in a shell.
func TestShellEndedBySignal(t *testing.T) {
	for command, c := range map[string]struct {
		status int
		says   string
	}{
		"":         {wire.NoStatus, "The remote shell was ended by SIGINT.\n"},
		"sleep 60": {130, "The command was ended by SIGINT.\n"},
	} {
		s := startShell(t, command, func(*Relay, *fakeRelay) {})
		f, _ := s.relay.accept()
		s.relay.say(f, attachedAt(wire.Attached{Channel: command != ""}), &wire.Data{Bytes: []byte("here ")})
		s.until(t, "here ")
		s.relay.say(f, &wire.Exit{Signal: "INT"})
		s.ends(t)
		if s.err != nil || s.status != c.status || !strings.HasSuffix(s.messages.String(), c.says) {
			t.Errorf("%q: %d, %v, %q", command, s.status, s.err, s.messages.String())
		}
	}
}

// Escapes are read however much was pasted into a program that reads nothing, and Ctrl-C means what waits as well.
func TestEscapesBehindAPaste(t *testing.T) {
	s := showShell(t)
	f, _ := s.relay.accept()
	s.relay.say(f, attachedAt(wire.Attached{}), &wire.Data{Bytes: []byte("here ")})
	s.until(t, "here ")
	const size = 4 << 20
	s.press(t, strings.Repeat("0123456789abcde\r", size/16))
	if text := s.typedTo(t, f, wire.ViewerWindow); len(text) != wire.ViewerWindow { // and no more, as nothing arrives
		t.Fatalf("%d bytes are on their way", len(text))
	}
	for dropped := false; !dropped; time.Sleep(2 * apart) { // it may not have been read to its end yet
		s.press(t, "\x03")
		dropped = strings.Contains(s.messages.String(), "is dropped")
	}
	s.relay.say(f, &wire.Ack{Offset: wire.ViewerWindow})
	if text := s.typedTo(t, f, 1); strings.Trim(text, "\x03") != "" {
		t.Errorf("behind Ctrl-C comes %q", text[:min(len(text), 100)])
	}
	s.press(t, strings.Repeat("0123456789abcde\r", size/16)+"~.")
	s.ends(t)
	if s.err != nil || s.status != wire.NoStatus {
		t.Errorf("it ended with %d, %v", s.status, s.err)
	}
}

// What is typed is bounded; escapes are read all the same.
func TestInputIsBounded(t *testing.T) {
	in := newInput()
	in.most = 100
	in.resume(0, 10)
	in.goLive()
	if n := in.add(t.Context(), make([]byte, 150), time.Millisecond); n != 50 {
		t.Errorf("%d bytes had no room", n)
	}
	if p, _, err := in.next(t.Context()); err != nil || len(p) != wire.DataHeader+10 {
		t.Errorf("%d bytes are sent, %v", len(p)-wire.DataHeader, err)
	}
	in.shown(10)
	if n := in.add(t.Context(), make([]byte, 20), 0); n != 10 {
		t.Errorf("%d bytes had no room", n)
	}
	if _, _, err := in.next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lost := in.resume(3, 10); !lost { // a relay that has forgotten what it took
		t.Error("nothing was lost")
	}
}
