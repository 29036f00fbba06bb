package wire_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// laneCertificate is what the accepting side shows, which nobody checks.
var laneCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lane"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// lanePair gives the two ends of a TLS connection over loopback.
func lanePair(t testing.TB) (*tls.Conn, *tls.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a := tls.Client(near, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	b := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{laneCertificate()}, MinVersion: tls.VersionTLS13})
	done := make(chan error, 1)
	go func() { done <- b.Handshake() }()
	if err := errors.Join(a.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return a, b
}

// lanes is a link whose streams move to lanes.
type lanes struct {
	wire.Link
	moves chan func(wire.Stream) // of the streams that the other side opens
	pair  func() (*tls.Conn, *tls.Conn)
	other *lanes
	after func()           // before a lane is there
	gates *wire.LaneMemory // nil: a lane that breaks, breaks its stream

	opened atomic.Int32
	moving *sync.WaitGroup
}

func (l *lanes) Open(ctx context.Context) (wire.Stream, error) {
	s, err := l.Link.Open(ctx)
	if err != nil {
		return nil, err
	}
	near := wire.NewLaned(s, 0, nil)
	if l.gates != nil {
		near.Gates(l.gates, nil)
	}
	l.other.moves <- func(s wire.Stream) {
		if l.opened.Add(1) > 6 { // a handshake takes its time
			return
		}
		l.moving.Go(func() {
			l.after()
			a, b := l.pair()
			s.(*wire.Laned).Move(l.other.Context(), b)
			near.Move(l.Context(), a)
		})
	}
	return near, nil
}

func (l *lanes) Accept(ctx context.Context) (wire.Stream, error) {
	s, err := l.Link.Accept(ctx)
	if err != nil {
		return nil, err
	}
	far := wire.NewLaned(s, 0, nil)
	if l.gates != nil {
		far.Gates(l.gates, nil)
	}
	(<-l.moves)(far)
	return far, nil
}

func TestLanedStreams(t *testing.T) {
	for name, after := range map[string]func(){
		"at once":  func() {},
		"a while":  func() { time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) },
		"too late": func() { time.Sleep(100 * time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			wiretest.Links(t, func(t *testing.T) (wire.Link, wire.Link) {
				a, b := wiretest.Pair(wire.Peer{}, wire.Peer{})
				t.Cleanup(func() { _ = a.Close(wire.None, "") })
				moving := new(sync.WaitGroup)
				near := &lanes{Link: a, moves: make(chan func(wire.Stream), 2000), after: after, moving: moving}
				far := &lanes{Link: b, moves: make(chan func(wire.Stream), 2000), after: after, moving: moving}
				near.pair = func() (*tls.Conn, *tls.Conn) { return lanePair(t) }
				far.pair = near.pair
				t.Cleanup(moving.Wait)
				near.other, far.other = far, near
				return near, far
			})
		})
	}
}

// Whenever a stream moves, and in whatever pieces it is written and read, its bytes come as they were sent.
func TestLanedBytes(t *testing.T) {
	for range 60 {
		a, b := wiretest.Streams()
		near, far := wire.NewLaned(a, 0, nil), wire.NewLaned(b, 0, nil)
		var wg sync.WaitGroup
		pass := func(from, to *wire.Laned, size int) {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rand.Uint32())
			}
			wg.Go(func() {
				for p := data; len(p) > 0; {
					n := min(len(p), 1+rand.IntN(40<<10))
					if _, err := from.Write(p[:n]); err != nil {
						t.Error(err)
						return
					}
					if p = p[n:]; rand.IntN(20) == 0 {
						time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
					}
				}
				if err := from.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				var got []byte
				for buf := make([]byte, 50<<10); ; {
					n, err := to.Read(buf[:1+rand.IntN(len(buf))])
					got = append(got, buf[:n]...)
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Errorf("behind %d of %d: %v", len(got), size, err)
						return
					}
				}
				if !bytes.Equal(got, data) {
					t.Errorf("%d bytes come as %d others", len(data), len(got))
				}
			})
		}
		pass(near, far, rand.IntN(3<<20))
		pass(far, near, rand.IntN(3<<20))
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		x, y := lanePair(t)
		wg.Go(func() { near.Move(t.Context(), x) })
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
		wg.Go(func() { far.Move(t.Context(), y) })
		wg.Wait()
	}
}

// A lane that breaks, or a link that ends, ends the stream on both sides, and no half of it passes for the whole.
func TestLaneBreaks(t *testing.T) {
	for _, how := range []string{"lane", "link", "mark"} {
		t.Run(how, func(t *testing.T) {
			a, b := wiretest.Streams()
			near, far := wire.NewLaned(a, 0, nil), wire.NewLaned(b, 0, nil)
			x, y := lanePair(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			near.Move(ctx, x)
			if how == "mark" {
				if _, err := y.Write(bytes.Repeat([]byte{0xfe}, 20)); err != nil {
					t.Fatal(err)
				}
			} else {
				far.Move(t.Context(), y)
			}
			if how != "mark" {
				go near.Write(make([]byte, 1<<20))
				if _, err := io.ReadFull(far, make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
			}
			switch how {
			case "lane":
				x.NetConn().Close()
			case "link":
				cancel()
				a.Reset(wire.AgentLost)
			}
			for _, s := range []*wire.Laned{near, far} {
				if how == "mark" && s == far {
					continue
				}
				_, err := io.ReadAll(s)
				want := wire.Internal
				if how == "link" {
					want = wire.AgentLost
				}
				if wire.CodeOf(err) != want {
					t.Errorf("%v, want %s", err, want)
				}
				for err = nil; err == nil; {
					_, err = s.Write(make([]byte, 1<<10))
				}
			}
		})
	}
}

// bulk is called once, when enough has gone over the stream.
func TestLanedBulk(t *testing.T) {
	a, b := wiretest.Streams()
	called := make(chan struct{}, 10)
	near := wire.NewLaned(a, 1000, func() { called <- struct{}{} })
	for range 1000 {
		if _, err := near.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-called:
		t.Error("it was called too early")
	case <-time.After(10 * time.Millisecond):
	}
	go b.Write(make([]byte, 100))
	if _, err := io.ReadFull(near, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	<-called
	select {
	case <-called:
		t.Error("it was called twice")
	case <-time.After(10 * time.Millisecond):
	}
}

// A side that said its end before it moved gets all that the other one wrote before its own, however slowly it reads.
func TestLaneAfterAnEnd(t *testing.T) {
	a, b := wiretest.Streams()
	far := wire.NewLaned(b, 0, nil)
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	x, y := lanePair(t)
	far.Move(t.Context(), y)
	for _, piece := range [][]byte{{0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1}, {0, 0, 0, 0}} { // its mark and, later, its end
		if _, err := x.Write(piece); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	const size = 8 << 20
	wrote := make(chan error, 1)
	go func() {
		_, err := far.Write(make([]byte, size))
		err = errors.Join(err, far.CloseWrite())
		far.Reset(wire.None) // as many do with what has ended
		wrote <- err
	}()
	got := 0
	for buf := make([]byte, 64<<10); got < size; {
		n, err := x.Read(buf)
		if got += n; err != nil {
			t.Fatalf("behind %d bytes: %v", got, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// A peer that says its end and never its mark holds up nobody who has a deadline, or wants no more.
func TestLaneWithoutMark(t *testing.T) {
	a, b := wiretest.Streams()
	near := wire.NewLaned(a, 0, nil)
	x, _ := lanePair(t)
	near.Move(t.Context(), x)
	if err := b.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	read := func() error {
		t.Helper()
		done := make(chan error, 1)
		go func() {
			_, err := near.Read(make([]byte, 1))
			done <- err
		}()
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			t.Fatal("Read does not return")
			return nil
		}
	}
	if err := near.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("behind the deadline: %v", err)
	}
	if err := near.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = near.SetReadDeadline(time.Unix(1, 0)) })
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that is set meanwhile: %v", err)
	}
	if err := near.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() { near.CloseRead(wire.Cancelled) })
	if err := read(); err == nil {
		t.Error("what is read no more is read")
	}
}

// A lane that comes when all is over does no harm.
func TestLaneTooLate(t *testing.T) {
	a, _ := wiretest.Streams()
	near := wire.NewLaned(a, 0, nil)
	near.CloseRead(wire.None)
	if err := near.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	x, y := lanePair(t)
	near.Move(t.Context(), x)
	if _, err := io.ReadFull(y, make([]byte, 13)); err != nil { // a piece of a mark
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	_ = near.SetDeadline(time.Now())
	_, _ = near.Write([]byte("x"))
	near.Reset(wire.None)
}

// A peer that finds the lane broken says so on the stream below, and that may be there first.
func TestLaneBrokeThere(t *testing.T) {
	a, b := wiretest.Streams()
	near := wire.NewLaned(a, 0, nil)
	x, y := lanePair(t)
	near.Move(t.Context(), x)
	if _, err := y.Write([]byte{0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil { // a mark
		t.Fatal(err)
	}
	if _, err := io.ReadFull(y, make([]byte, 13)); err != nil { // near's
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	b.Reset(wire.CodeOf(wire.ErrLane))
	var err error
	for end := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(end); {
		_, err = near.Write([]byte("x"))
	}
	if !errors.Is(err, wire.ErrLane) {
		t.Errorf("Write fails with %v", err)
	}
	y.NetConn().Close()
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, wire.ErrLane) {
		t.Errorf("Read fails with %v", err)
	}
}
