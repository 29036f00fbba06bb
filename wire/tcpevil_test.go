package wire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scrier/wire"
)

// frame is one of a TCP link's frames as it crosses the network.
func frame(kind byte, flags uint16, stream, value uint32, body ...byte) []byte {
	b := []byte{0, kind}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	b = binary.BigEndian.AppendUint32(b, value)
	return append(b, body...)
}

const (
	kindData, kindWindow, kindPing, kindGoAway                    = 0, 1, 2, 3
	kindReset, kindStreams, kindRoom, kindAlive, kindClose        = 0x10, 0x11, 0x12, 0x13, 0x14
	flagSYN, flagACK, flagFIN, flagRST                            = 1, 2, 4, 8
	resetWrites, resetReads                                       = 1, 2
	firstStreams, firstWindow, firstRoom                   uint32 = 16, 256 << 10, 1 << 20
)

func begin(stream uint32) []byte { return frame(kindWindow, flagSYN, stream, 0) }

func data(stream, n uint32) []byte { return frame(kindData, 0, stream, n, make([]byte, n)...) }

// evilPeer is a connection whose one end is a link, which accepts streams and leaves them alone.
func evilPeer(t testing.TB) (evil *tls.Conn, l wire.Link) {
	evil, far := tlsPair(t)
	l = wire.TCPLink(far, wire.TCPConfig{Server: true})
	t.Cleanup(func() { _, _ = l.Close(wire.None, ""), evil.Close() })
	return evil, l
}

// A peer that does not keep to the protocol hears so, and the link ends for that reason.
func TestTCPLinkOfEvilPeer(t *testing.T) {
	many := func(n uint32) (all []byte) {
		for i := range n {
			all = append(all, begin(1+2*i)...)
		}
		return all
	}
	for name, sent := range map[string][]byte{
		"another version":              {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"yamux's ping":                 frame(kindPing, flagSYN, 0, 1),
		"yamux's goodbye":              frame(kindGoAway, 0, 0, 0),
		"an unknown kind":              frame(0x20, 0, 0, 0),
		"bytes without a stream":       data(1, 1),
		"bytes of stream 0":            data(0, 1),
		"bytes of our stream":          data(2, 1),
		"a window without a stream":    frame(kindWindow, 0, 3, 1),
		"a stream of our numbers":      begin(2),
		"stream 0":                     begin(0),
		"a stream out of order":        begin(3),
		"a stream twice":               slices.Concat(begin(1), begin(1)),
		"a stream that has ended":      frame(kindWindow, flagSYN|flagFIN, 1, 0),
		"a stream with bytes":          frame(kindData, flagSYN, 1, 1, 0),
		"yamux's reset":                slices.Concat(begin(1), frame(kindWindow, flagRST, 1, 0)),
		"an unknown flag":              slices.Concat(begin(1), frame(kindWindow, 0x100, 1, 0)),
		"too many streams":             many(firstStreams + 1),
		"more than a window":           slices.Concat(begin(1), data(1, firstWindow+1)),
		"far more than a window":       slices.Concat(begin(1), frame(kindData, 0, 1, 1<<32-1)),
		"more than all windows":        slices.Concat(many(5), data(1, firstWindow), data(3, firstWindow), data(5, firstWindow), data(7, firstWindow), data(9, 1)),
		"a second end":                 slices.Concat(begin(1), frame(kindWindow, flagFIN, 1, 0), frame(kindWindow, flagFIN, 1, 0)),
		"bytes behind the end":         slices.Concat(begin(1), frame(kindWindow, flagFIN, 1, 0), data(1, 1)),
		"an end with bytes":            slices.Concat(begin(1), frame(kindData, flagFIN, 1, 1, 0)),
		"an answer to nothing":         slices.Concat(begin(1), frame(kindWindow, flagACK, 1, 0)),
		"a reset of nothing":           frame(kindReset, resetReads|resetWrites, 1, 71),
		"a reset of our next stream":   frame(kindReset, resetReads|resetWrites, 2, 71),
		"more streams than there are":  frame(kindStreams, 0, 0, 1<<32-1),
		"more streams, in two":         slices.Concat(frame(kindStreams, 0, 0, 1<<20-16), frame(kindStreams, 0, 0, 1)),
		"more room than there is":      frame(kindRoom, 0, 0, 1<<32-1),
		"more room, in many":           bytes.Repeat(frame(kindRoom, 0, 0, 1<<29), 4),
		"a window too large":           slices.Concat(begin(1), frame(kindWindow, 0, 1, 1<<32-1)),
		"a window too large, in many":  slices.Concat(begin(1), bytes.Repeat(frame(kindWindow, 0, 1, 1<<29), 4)),
		"a first window too large":     frame(kindWindow, flagSYN, 1, 1<<32-1),
		"a last word that is too long": frame(kindClose, 0, 513, 0, make([]byte, 513)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			evil, l := evilPeer(t)
			_ = evil.SetDeadline(time.Now().Add(30 * time.Second))
			_, _ = evil.Write(sent) // the link may end before all of it is sent
			select {
			case <-l.Context().Done():
			case <-time.After(30 * time.Second):
				t.Fatal("the link goes on")
			}
			if err := l.Err(); wire.CodeOf(err) != wire.Protocol || wire.DetailOf(err) == "" {
				t.Errorf("%v", err)
			}
			if said, _ := io.ReadAll(evil); !bytes.Contains(said, frame(kindClose, 0, uint32(len(wire.DetailOf(l.Err()))), uint32(wire.Protocol), []byte(wire.DetailOf(l.Err()))...)) {
				t.Errorf("the peer did not hear why: %q", said)
			}
		})
	}
}

// What comes late, or twice, or for a stream that is over, is no harm.
func TestTCPLinkOfLatePeer(t *testing.T) {
	evil, l := evilPeer(t)
	late := slices.Concat(
		begin(1), data(1, 5), frame(kindReset, resetReads|resetWrites, 1, uint32(wire.Killed)), frame(kindReset, resetReads, 1, 0),
		frame(kindWindow, flagFIN, 1, 0), frame(kindReset, 0xff, 1, 1<<32-1), frame(kindWindow, 0, 1, 100), frame(kindAlive, 0, 0, 0),
		frame(kindStreams, 0, 0, 0), frame(kindRoom, 0, 0, 0), begin(3), data(3, 0), data(3, 3), frame(kindWindow, flagFIN, 3, 0))
	if _, err := evil.Write(late); err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(s); wire.CodeOf(err) != wire.Killed {
		t.Errorf("%v", err)
	}
	if s, err = l.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || len(got) != 3 {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Error(err)
	}
	if l.Err() != nil {
		t.Error(l.Err())
	}
}

// A peer that takes nothing from its connection holds no Write, no Reset and no Close up for good.
func TestTCPLinkOfDeafPeer(t *testing.T) {
	evil, l := evilPeer(t)
	if _, err := evil.Write(slices.Concat(frame(kindRoom, 0, 0, 1<<29), frame(kindStreams, 0, 0, 1000))); err != nil {
		t.Fatal(err)
	}
	var streams []wire.Stream
	for range 100 { // 25 MiB, more than the kernel keeps
		s, err := l.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
		_ = s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		for err == nil {
			_, err = s.Write(make([]byte, 100_000))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	failed := make(chan error, 1)
	_ = streams[0].SetWriteDeadline(time.Time{})
	go func() { _, err := streams[0].Write(make([]byte, 1<<20)); failed <- err }()
	for _, s := range streams {
		s.Reset(wire.Killed)
	}
	if err := <-failed; wire.CodeOf(err) != wire.Killed {
		t.Error(err)
	}
	if err := l.Close(wire.Revoked, ""); err != nil || wire.CodeOf(l.Err()) != wire.Revoked {
		t.Errorf("%v, %v", err, l.Err())
	}
}

// Who makes a link say more and more, and takes nothing of it, is ended before that needs much memory.
func TestTCPLinkOfTalkativePeer(t *testing.T) {
	near, far := pipes(t) // a kernel stops such a peer by itself, more or less
	l := wire.TCPLink(far, wire.TCPConfig{Server: true})
	var accepted atomic.Uint32
	go func() {
		for {
			s, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			s.Reset(wire.None)
			accepted.Add(1)
		}
	}()
	_ = near.SetDeadline(time.Now().Add(30 * time.Second))
	for id := uint32(1); l.Err() == nil; id += 2 {
		cycle := slices.Concat(begin(id), frame(kindReset, resetReads|resetWrites, id, 0), frame(kindWindow, flagFIN, id, 0))
		if _, err := near.Write(cycle); err != nil {
			break
		}
		for id/2 > accepted.Load()+4 && l.Err() == nil { // so that it never opens more than it may
			time.Sleep(10 * time.Microsecond)
		}
	}
	select {
	case <-l.Context().Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the link goes on")
	}
	if err := l.Err(); wire.CodeOf(err) != wire.Protocol || !strings.Contains(wire.DetailOf(err), "not taken") {
		t.Error(err)
	}
	_, _ = l.Close(wire.None, ""), near.Close()
}

// pipes are the ends of a TLS connection that is no socket: it buffers nothing, and is good in a bubble of synctest.
func pipes(t *testing.T) (near, far *tls.Conn) {
	a, b := net.Pipe()
	near, far = tls.Client(a, insecure), tls.Server(b, serverTLS(t))
	done := make(chan error, 1)
	go func() { done <- far.Handshake() }()
	if err := errors.Join(near.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// Two ends that have nothing to say stay connected.
func TestTCPLinksIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pipes(t)
		a, b := wire.TCPLink(near, wire.TCPConfig{}), wire.TCPLink(far, wire.TCPConfig{Server: true})
		time.Sleep(time.Hour)
		if err := errors.Join(a.Err(), b.Err()); err != nil {
			t.Error(err)
		}
		if err := errors.Join(a.Close(wire.None, ""), b.Close(wire.None, "")); err != nil {
			t.Error(err)
		}
	})
}

// A peer that says nothing is gone after 45 s, and one that takes nothing too.
func TestTCPLinkSilence(t *testing.T) {
	for name, reads := range map[string]bool{"silent": true, "deaf": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := pipes(t)
				l := wire.TCPLink(far, wire.TCPConfig{Server: true})
				begun := time.Now()
				stop := make(chan struct{})
				if reads {
					go func() { _, _ = io.Copy(io.Discard, near) }()
				} else {
					go func() {
						for {
							select {
							case <-time.After(10 * time.Second):
								_, _ = near.Write(frame(kindAlive, 0, 0, 0))
							case <-stop:
								return
							}
						}
					}()
				}
				_, err := l.Accept(t.Context())
				if took := time.Since(begun); err == nil || wire.CodeOf(err) != wire.Internal || wire.Forgotten(err) || took < 45*time.Second || took > 61*time.Second {
					t.Errorf("after %s: %v", took, err)
				}
				close(stop)
				_, _ = near.NetConn().Close(), l.Close(wire.None, "")
			})
		})
	}
}

// FuzzTCPFrames: whatever arrives, a link goes on or ends, and ends at the latest when it is closed.
func FuzzTCPFrames(f *testing.F) {
	for _, seed := range [][]byte{
		begin(1), slices.Concat(begin(1), data(1, 10), frame(kindWindow, flagFIN, 1, 0)),
		slices.Concat(begin(1), frame(kindReset, 3, 1, 71), frame(kindWindow, flagFIN, 1, 0), begin(3)),
		slices.Concat(frame(kindStreams, 0, 0, 5), frame(kindRoom, 0, 0, 5), frame(kindAlive, 0, 0, 0)),
		frame(kindClose, 0, 3, 75, 'b', 'y', 'e'), frame(kindWindow, flagACK, 2, 100), frame(kindWindow, flagFIN, 2, 0),
		frame(kindReset, 3, 2, 1<<32-1), frame(kindPing, 1, 0, 0),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		evil, far := tlsPair(t)
		l := wire.TCPLink(far, wire.TCPConfig{Server: true})
		ours, err := l.Open(t.Context())
		if err == nil {
			_, _ = ours.Write([]byte("x"))
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			for {
				s, err := l.Accept(context.Background())
				if err != nil {
					return
				}
				_ = s.SetDeadline(time.Now().Add(time.Millisecond))
				_, _ = s.Read(make([]byte, 100))
				_, _ = s.Write([]byte("answer"))
				s.Reset(wire.Busy)
			}
		}()
		_, _ = evil.Write(sent)
		_ = evil.CloseWrite()
		select {
		case <-l.Context().Done(): // at the latest with the end of what was sent
		case <-time.After(30 * time.Second):
			t.Error("the link goes on without a connection")
		}
		_ = l.Close(wire.None, "")
		_ = evil.Close()
		<-served
		if ours != nil {
			if _, err := ours.Write([]byte("x")); err == nil {
				t.Error("a stream outlives its link")
			}
		}
	})
}
