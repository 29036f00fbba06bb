package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func messages() []Message {
	return []Message{
		&Hello{Boot: "b", Time: 1, Facts: Facts{Hostname: "h", Users: []string{"u"}, Offset: -5}},
		&Welcome{Relay: "r", Time: 2, Interval: 15}, &Heartbeat{Time: 3, Facts: Facts{Users: []string{}}},
		&Ping{N: 1}, &Pong{N: 1 << 62}, &Renew{CSR: []byte{1}}, &Renewed{Chain: [][]byte{{1}, {2}}}, &Kept{},
		&Authenticated{Session: NewSessionID()},
		&Spread{Millis: 25_000}, &Hello{Boot: "b", Facts: Facts{Users: []string{}}, Move: []byte{1}, Why: "w"}, &Welcome{Moves: true}, &Move{ID: []byte{1, 2}, Over: true},
		&Open{Session: NewSessionID(), Kind: KindSSH, Keys: [][]byte{{1}}, Ephemeral: []byte{2}, Operator: "o", Timeout: 90_000, Source: "192.0.2.1"},
		&Opened{Login: "l", HostKeys: [][]byte{{1}}}, &Opened{Gates: true}, &Gates{Lossy: true}, &Refused{Code: Limit, Detail: "d"},
		&Connect{Envoy: "e", Kind: KindSSH, Size: Size{80, 24}, Term: "xterm", Env: map[string]string{"LANG": "C"}},
		&Connect{Envoy: "e", Kind: KindSSH, Channel: &Channel{Command: []byte("a\xff"), Plain: true}},
		&Attached{Session: NewSessionID(), Envoy: "e", Login: "l", Channel: true}, &Resize{Size{1, 2}}, &EOF{}, &Closed{}, &Notice{Code: Killed, Text: "t"},
		&Exit{Code: None, Status: 3}, &Enrol{Secret: []byte{1}, CSR: []byte{2}, Labels: map[string]string{"a": "b"}, Facts: Facts{Users: []string{}}},
		&Enrolled{Envoy: NewEnvoyID(), Cluster: "c", Chain: [][]byte{{1}}}, &Login{Username: "u", Keys: [][]byte{{1}}},
		&Challenge{Cluster: "c", Key: []byte{1}, Nonce: []byte{2}}, &Proof{Signature: []byte{1}, CSR: []byte{2}},
		&Certified{Chain: [][]byte{{1}}, Username: "u", Role: "admin", Time: 4}, &Call{},
		&Said{Envoy: "e", Login: "l", Text: "one\ntwo"},
		&Ask{ID: 1, Envoy: "e", Login: "l", Questions: []Question{{Text: "q"}, {Text: "r", Echo: true}}, Again: true},
		&Answer{ID: 1, Texts: [][]byte{[]byte("a"), {}}}, &Answer{Cancel: true},
		&Attach{Ticket: []byte{1}, Client: []byte{2}, Asides: true}, &Aside{N: 1, Ticket: []byte{1}}, &Aside{N: 1, Used: true},
		&Aside{N: 1, Over: true, Frames: 7}, &Ack{Offset: 1, Frames: 2},
		&Join{Secret: []byte{1}, Name: "b", CSR: []byte{2}, Recipient: "age1", Peer: "h:1", Version: "v", Time: 5},
		&Joined{Cluster: "c", Chain: [][]byte{{1}}, Members: []ClusterMember{{Name: "b", Key: []byte{1}, Number: 1 << 63, Vouch: []byte{3}}}, Number: 1 << 63, Sealed: []byte{4}},
		&PeerOpen{Envoy: NewEnvoyID(), Open: Open{Session: NewSessionID(), Kind: KindSSH, Keys: [][]byte{{1}}}, Early: []byte("SSH-2.0-x")},
		&PeerAuthenticated{Envoy: NewEnvoyID(), Session: NewSessionID()}, &PeerAsk{Envoy: NewEnvoyID(), Move: []byte{1}},
		&PeerAnswer{Answers: true, Generation: 3, Key: []byte{1}, Source: "192.0.2.1", Time: 5, Boot: "b"},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	var b bytes.Buffer
	for _, m := range messages() {
		if err := Send(&b, m); err != nil {
			t.Fatal(err)
		}
	}
	b.WriteString("raw bytes follow")
	r := iotest.OneByteReader(&b) // as a network may deliver it
	for _, want := range messages() {
		got, err := Receive(r)
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		opt := cmp.FilterPath(func(p cmp.Path) bool {
			return p.Last().Type().String() == "wire.SessionID" || p.Last().Type().String() == "wire.EnvoyID"
		}, cmp.Ignore())
		if d := cmp.Diff(want, got, opt); d != "" {
			t.Errorf("%T changed:\n%s", want, d)
		}
	}
	rest, err := io.ReadAll(r)
	if err != nil || string(rest) != "raw bytes follow" {
		t.Errorf("a message ate what followed it: %q left, %v", rest, err)
	}
}

func TestReceiveRefuses(t *testing.T) {
	frame := func(typ FrameType, payload string) string { return string(appendFrame(nil, typ, []byte(payload))) }
	for name, c := range map[string]struct {
		in   string
		want Code
	}{
		"unknown mandatory frame": {frame(0x3f, ""), Protocol},
		"duplicate key":           {frame(framePing, "\xa2\x01\x01\x01\x02"), Protocol},
		"tag":                     {frame(framePing, "\xa1\x01\xc1\x01"), Protocol},
		"indefinite length":       {frame(framePing, "\xbf\x01\x01\xff"), Protocol},
		"trailing bytes":          {frame(framePing, "\xa1\x01\x01\x00"), Protocol},
		"wrong type":              {frame(framePing, "\xa1\x01\x61a"), Protocol},
		"too long":                {"\x04\x80\x01\x00\x01", Protocol},
		"data too long":           {"\x22\x80\x00\x80\x01", Protocol},
		"errors too long":         {"\x2f\x80\x00\x80\x01", Protocol},
		"only frames to skip":     {strings.Repeat(frame(0x40, "x"), maxSkipped+1), Protocol},
	} {
		if m, err := Receive(strings.NewReader(c.in)); CodeOf(err) != c.want {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	if _, err := Receive(strings.NewReader("\x04\x05ab")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame that is cut: %v", err)
	}
	if _, err := Receive(strings.NewReader("")); !errors.Is(err, io.EOF) {
		t.Errorf("an end between frames: %v", err)
	}
}

func TestOptionalFramesAndUnknownKeysAreSkipped(t *testing.T) {
	in := append(appendFrame(nil, 0x41, []byte("later")), appendFrame(nil, framePing, []byte("\xa2\x01\x07\x18\x63\x01"))...)
	m, err := Receive(bytes.NewReader(in))
	if p, ok := m.(*Ping); err != nil || !ok || p.N != 7 {
		t.Errorf("got %#v, %v", m, err)
	}
}

func TestExpectGivesTheRefusal(t *testing.T) {
	var b bytes.Buffer
	if err := Send(&b, Refuse(Errorf(Limit, "10 of 10"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Expect[Opened](&b); CodeOf(err) != Limit || DetailOf(err) != "10 of 10" {
		t.Errorf("got %v", err)
	}
}

func TestDataFrame(t *testing.T) {
	buf := make([]byte, DataHeader+MaxData)
	for _, n := range []int{0, 1, 63, 64, MaxData} {
		m, err := Receive(bytes.NewReader(DataFrame(buf, n)))
		if d, ok := m.(*Data); err != nil || !ok || len(d.Bytes) != n {
			t.Errorf("%d bytes came back as %T, %v", n, m, err)
		}
		m, err = Receive(bytes.NewReader(ErrorsFrame(buf, n)))
		if e, ok := m.(*Errors); err != nil || !ok || len(e.Bytes) != n {
			t.Errorf("%d bytes of errors came back as %T, %v", n, m, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { DataFrame(buf, 100) }); n != 0 {
		t.Errorf("%v allocations for a frame", n)
	}
}

// FuzzReceive: no input makes Receive panic or take more memory than a frame may hold, and what
// it accepts is the same after another trip.
func FuzzReceive(f *testing.F) {
	for _, m := range messages() {
		var b bytes.Buffer
		if err := Send(&b, m); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte("\x22\x03abc"))
	f.Add([]byte("\x04\x80\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Receive(bytes.NewReader(in))
		if err != nil {
			return
		}
		switch m.(type) {
		case *Data, *Errors:
			return
		}
		var b bytes.Buffer
		if err := Send(&b, m); err != nil {
			t.Fatalf("%T was accepted and cannot be sent: %v", m, err)
		}
		again, err := Receive(&b)
		if err != nil || !cmp.Equal(m, again) {
			t.Fatalf("%#v became %#v, %v", m, again, err)
		}
	})
}

// The bytes of the answers of pages, as static/test/wire.test.js has them.
func TestAnswerOfAPage(t *testing.T) {
	for text, want := range map[string]Answer{
		"\x2e\x09\xa2\x01\x07\x02\x82Bhi@": {ID: 7, Texts: [][]byte{[]byte("hi"), {}}},
		"\x2e\x03\xa1\x03\xf5":             {Cancel: true},
	} {
		m, err := Receive(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := m.(*Answer); !ok || got.ID != want.ID || got.Cancel != want.Cancel || !cmp.Equal(got.Texts, want.Texts) {
			t.Errorf("%q is %T", text, m)
		}
	}
}
