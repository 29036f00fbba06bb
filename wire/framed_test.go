package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// streams are the two ends of a stream, the first one framed.
func streams(t *testing.T) (*wire.Framed, wire.Stream) {
	t.Helper()
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	t.Cleanup(func() { _ = near.Close(wire.None, "") })
	a, err := near.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := far.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return wire.NewFramed(a), b
}

// What a peer begins it has to finish; it may wait before it begins, also behind a frame that is skipped.
func TestReceiveWithin(t *testing.T) {
	var ping bytes.Buffer
	if err := wire.Send(&ping, &wire.Ping{N: 300}); err != nil {
		t.Fatal(err)
	}
	skipped := []byte{0x40, 0x41, 0x01, 'x'}
	const within = 50 * time.Millisecond
	pause := func() { time.Sleep(4 * within) } // longer than a frame may take; a frame that is there is read at once

	f, far := streams(t)
	go func() {
		pause()
		for _, b := range [][]byte{skipped, ping.Bytes()} {
			_, _ = far.Write(b)
			pause()
		}
		_, _ = far.Write(ping.Bytes()[:2])
	}()
	if m, err := f.ReceiveWithin(within); err != nil || m.(*wire.Ping).N != 300 {
		t.Fatalf("%+v, %v", m, err)
	}
	if m, err := f.ReceiveWithin(within); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a frame: %+v, %v", m, err)
	}
	f, far = streams(t)
	if err := far.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if m, err := f.ReceiveWithin(within); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %+v, %v", m, err)
	}
}

// A message that is received ahead is the next one that Receive gives; what is given up leaves the stream in
// order.
func TestReceiveAhead(t *testing.T) {
	f, far := streams(t)
	send := func(n uint64) {
		t.Helper()
		if err := wire.Send(far, &wire.Ping{N: n}); err != nil {
			t.Fatal(err)
		}
	}
	ahead := f.ReceiveAhead()
	select {
	case <-ahead:
		t.Fatal("there is something before anything was sent")
	default:
	}
	send(1)
	<-ahead
	if again := f.ReceiveAhead(); again != ahead {
		t.Error("a second message is received before the first was taken")
	}
	for want := range uint64(3) {
		if m, err := f.Receive(); err != nil || m.(*wire.Ping).N != want+1 {
			t.Fatalf("%+v, %v", m, err)
		}
		send(want + 2)
	}
	if _, err := f.Receive(); err != nil {
		t.Fatal(err)
	}
	f.ReceiveAhead()
	if err := f.StopAhead(); err != nil {
		t.Fatal(err)
	}
	if err := f.StopAhead(); err != nil { // once more changes nothing
		t.Fatal(err)
	}
	send(9)
	if m, err := f.Receive(); err != nil || m.(*wire.Ping).N != 9 {
		t.Fatalf("%+v, %v", m, err)
	}
}

// pieces is a stream that brings bytes in pieces of changing length, as packets do.
type pieces struct {
	wire.Stream
	all  []byte
	next int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.all) == 0 {
		return 0, io.EOF
	}
	p.next = p.next%1500 + 7
	n := copy(b, p.all[:min(p.next, len(p.all))])
	p.all = p.all[n:]
	return n, nil
}

// A frame may be as long as it likes, whatever the reader reads ahead.
func TestReceiveLongAndShort(t *testing.T) {
	var sent []int
	var all bytes.Buffer
	for _, n := range []int{0, 1, 2, 500, 505, 506, 507, 508, 509, 510, 511, 512, 513, 1024, 4096, wire.MaxData - 1, wire.MaxData, 3, wire.MaxData, 0} {
		buf := make([]byte, wire.DataHeader+n)
		for i := range buf {
			buf[i] = byte(n + i)
		}
		all.Write(wire.DataFrame(buf, n))
		sent = append(sent, n)
		if err := wire.Send(&all, &wire.Skip{Screen: bytes.Repeat([]byte{byte(n)}, n), To: uint64(n)}); err != nil {
			t.Fatal(err)
		}
	}
	all.WriteString("what follows")
	f := wire.NewFramed(&pieces{all: all.Bytes()})
	for _, n := range sent {
		m, err := f.Receive()
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		d, ok := m.(*wire.Data)
		if !ok || len(d.Bytes) != n {
			t.Fatalf("%d bytes came as %T", n, m)
		}
		for i, b := range d.Bytes {
			if b != byte(n+wire.DataHeader+i) {
				t.Fatalf("byte %d of %d is another one", i, n)
			}
		}
		if m, err = f.Receive(); err != nil || len(m.(*wire.Skip).Screen) != n {
			t.Fatalf("a message with %d bytes: %T, %v", n, m, err)
		}
	}
	if rest, err := io.ReadAll(f); err != nil || string(rest) != "what follows" {
		t.Errorf("%q, %v", rest, err)
	}
}

// A stream that waits for its next frame costs next to nothing: a relay has one for each agent.
func TestFramedIsSmall(t *testing.T) {
	const n, most = 1000, 2 << 10 // bytes of each
	all := make([]*wire.Framed, n)
	before := liveHeap()
	for i := range all {
		all[i] = wire.NewFramed(&pieces{})
	}
	each := (liveHeap() - before) / n
	runtime.KeepAlive(all)
	if each > most {
		t.Errorf("each takes %d bytes, more than %d", each, most)
	}
}

// liveHeap is how much memory is in use, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // empties pools as well
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// broken is a stream whose Read panics.
type broken struct{ wire.Stream }

func (broken) Read([]byte) (int, error) { panic("a fault") }

// What panics while a message is received ahead panics in who takes it.
func TestReceiveAheadPanics(t *testing.T) {
	f := wire.NewFramed(broken{})
	<-f.ReceiveAhead()
	defer func() {
		if recover() != "a fault" {
			t.Error("nobody hears of it")
		}
	}()
	m, err := f.Receive()
	t.Errorf("%+v, %v", m, err)
}

// Nothing prints an answer, and it can be overwritten.
func TestAnswerIsSecret(t *testing.T) {
	f, far := streams(t)
	sent := &wire.Answer{ID: 7, Texts: [][]byte{[]byte("correct horse"), {}}}
	if err := wire.Send(far, sent); err != nil {
		t.Fatal(err)
	}
	m, err := f.Receive()
	if err != nil {
		t.Fatal(err)
	}
	got := m.(*wire.Answer)
	if got.ID != 7 || len(got.Texts) != 2 || string(got.Texts[0]) != "correct horse" || len(got.Texts[1]) != 0 {
		t.Fatal("it came as another one")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if s := fmt.Sprintf(verb, got); strings.Contains(s, "horse") || strings.Contains(s, "686f727365") || strings.Contains(s, "104") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
	text := got.Texts[0]
	got.Wipe()
	if strings.Contains(string(text), "horse") || got.Texts != nil {
		t.Error("it was not overwritten")
	}
	if err := wire.Send(far, &wire.Ping{N: 1}); err != nil { // the stream goes on behind it
		t.Fatal(err)
	}
	if m, err := f.Receive(); err != nil || m.(*wire.Ping).N != 1 {
		t.Errorf("%v, %v", m, err)
	}
}
