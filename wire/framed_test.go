package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
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
