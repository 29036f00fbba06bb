package wire_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// fragile is a connection that breaks when so many bytes were written to it.
type fragile struct {
	*net.TCPConn
	left   atomic.Int64
	reset  bool // it says so to the peer
	silent bool // what is written is lost, and nobody is told
}

func (f *fragile) Write(p []byte) (int, error) {
	left := f.left.Add(-int64(len(p)))
	if left >= 0 {
		return f.TCPConn.Write(p)
	}
	n := max(left+int64(len(p)), 0)
	if n > 0 {
		if _, err := f.TCPConn.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	if f.silent {
		return len(p), nil
	}
	if f.reset {
		_ = f.SetLinger(0)
	}
	f.Close()
	return int(n), errors.New("broken")
}

// breaks says how each side of a lane breaks.
type breaks struct {
	after  int64 // bytes; negative: never
	reset  bool
	silent bool
}

// fragilePair is a lane of which each side breaks in its own way.
func fragilePair(t rapid.TB, near, far breaks) (*tls.Conn, *tls.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	wrap := func(c net.Conn) *fragile {
		f := &fragile{TCPConn: c.(*net.TCPConn)}
		f.left.Store(1 << 62)
		return f
	}
	x, y := wrap(dialled), wrap(accepted)
	a := tls.Client(x, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	b := tls.Server(y, &tls.Config{Certificates: []tls.Certificate{laneCertificate()}, MinVersion: tls.VersionTLS13})
	done := make(chan error, 1)
	go func() { done <- b.Handshake() }()
	if err := errors.Join(a.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	for f, how := range map[*fragile]breaks{x: near, y: far} {
		f.reset, f.silent = how.reset, how.silent
		if how.after >= 0 {
			f.left.Store(how.after)
		}
	}
	return a, b
}

// gatedPair are the two ends of a stream that can come back from its lane.
func gatedPair() (near, far *wire.Laned, memory *wire.LaneMemory) {
	a, b := wiretest.Streams()
	memory = new(wire.LaneMemory)
	near, far = wire.NewLaned(a, 0, nil), wire.NewLaned(b, 0, nil)
	near.Gates(memory, nil)
	far.Gates(memory, nil)
	return near, far, memory
}

// sends is what one side does with its direction.
type sends struct {
	data  []byte
	piece int // the most that is written at once
	ends  bool
}

func (s sends) write(to *wire.Laned, seed uint64) error { return s.to(to, seed) }

// to does it.
func (s sends) to(to wire.Stream, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 1))
	for p := s.data; len(p) > 0; {
		n := min(len(p), 1+random.IntN(s.piece))
		if _, err := to.Write(p[:n]); err != nil {
			return fmt.Errorf("write behind %d: %w", len(s.data)-len(p), err)
		}
		if p = p[n:]; random.IntN(40) == 0 {
			time.Sleep(time.Duration(random.IntN(500)) * time.Microsecond)
		}
	}
	if s.ends {
		return to.CloseWrite()
	}
	return nil
}

func noise(n int) []byte {
	data := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = random.Read(data) // it never fails
	return data
}

// Wherever a lane breaks, on either side and in whichever way, nobody above notices: what is written is read, in both directions,
// and each end comes behind it. A side that resets or reads no more is told apart from that.
func TestLaneFallsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		near, far, memory := gatedPair()
		how := func(name string) breaks {
			b := breaks{after: -1, reset: rapid.Bool().Draw(t, name+" by RST")}
			if rapid.IntRange(0, 4).Draw(t, name+" breaks") > 0 {
				b.after = rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, 2<<20)).Draw(t, name+" breaks after")
			}
			return b
		}
		x, y := fragilePair(t, how("near"), how("far"))
		// what comes of a side that never has the lane is as of one whose lane broke at once
		moves := rapid.SampledFrom([]string{"both", "both", "both", "near", "far"}).Draw(t, "moves")
		resets := rapid.SampledFrom([]string{"", "", "", "near", "stops"}).Draw(t, "resets")
		out := func(name string) sends {
			size := rapid.OneOf(rapid.IntRange(0, 300<<10), rapid.IntRange(0, 3<<20)).Draw(t, name+" bytes")
			return sends{data: noise(size), piece: rapid.IntRange(1<<10, 100<<10).Draw(t, name+" pieces"), ends: true}
		}
		there, back := out("there"), out("back")
		var wg sync.WaitGroup
		nearWaits := time.Duration(rapid.IntRange(0, 2000).Draw(t, "near waits")) * time.Microsecond
		farWaits := time.Duration(rapid.IntRange(0, 2000).Draw(t, "far waits")) * time.Microsecond
		stopAt := rapid.IntRange(0, 1<<20).Draw(t, "stops at")
		wg.Go(func() {
			time.Sleep(nearWaits)
			if moves != "far" {
				near.Move(t.Context(), x)
			} else {
				x.NetConn().Close()
			}
		})
		wg.Go(func() {
			time.Sleep(farWaits)
			if moves != "near" {
				far.Move(t.Context(), y)
			} else {
				y.NetConn().Close()
			}
		})
		errs := make(chan error, 8)
		pass := func(name string, what sends, from, to *wire.Laned, stops bool) {
			wg.Go(func() {
				err := what.write(from, 7)
				if resets == "" && err != nil {
					errs <- fmt.Errorf("%s: %w", name, err)
				}
				if resets != "" && err != nil && wire.CodeOf(err) != wire.Killed {
					errs <- fmt.Errorf("%s is told %w", name, err)
				}
			})
			wg.Go(func() {
				var got []byte
				for buf := make([]byte, 50<<10); ; {
					n, err := to.Read(buf)
					got = append(got, buf[:n]...)
					if !bytes.HasPrefix(what.data, got) {
						errs <- fmt.Errorf("%s: another byte among the first %d", name, len(got))
						return
					}
					if stops && len(got) > stopAt {
						if resets == "stops" {
							to.CloseRead(wire.Killed)
						} else {
							to.Reset(wire.Killed)
						}
						return
					}
					if errors.Is(err, io.EOF) {
						if len(got) < len(what.data) {
							errs <- fmt.Errorf("%s: an end behind %d of %d", name, len(got), len(what.data))
						}
						return
					}
					if err != nil {
						if resets == "" || wire.CodeOf(err) != wire.Killed {
							errs <- fmt.Errorf("%s: read behind %d of %d: %w", name, len(got), len(what.data), err)
						}
						return
					}
				}
			})
		}
		pass("there", there, near, far, false)
		pass("back", back, far, near, resets != "")
		done := make(chan struct{})
		go func() {
			defer close(done)
			wg.Wait()
		}()
		select {
		case <-done:
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(30 * time.Second):
			t.Fatal("it does not end")
		}
		select {
		case err := <-errs:
			t.Fatal(err)
		default:
		}
		near.Reset(wire.None)
		far.Reset(wire.None)
		empties(t, memory)
	})
}

// empties waits until no lane holds memory.
func empties(t rapid.TB, memory *wire.LaneMemory) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); memory.Taken() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes of memory are taken for ever", memory.Taken())
		}
	}
	if c := memory.Count(); c.Open != 0 || c.Bytes != 0 || c.WentBack > c.Taken {
		t.Errorf("there are lanes, and no memory is taken: %+v", c)
	}
}

// Lanes are counted, and those whose streams had to go back.
func TestLaneCount(t *testing.T) {
	for how, want := range map[breaks]wire.LaneCount{{after: -1}: {Taken: 2}, {after: 1 << 20}: {Taken: 2, WentBack: 2}} {
		near, far, memory := gatedPair()
		x, y := fragilePair(t, how, breaks{after: -1})
		near.Move(t.Context(), x)
		far.Move(t.Context(), y)
		if c := memory.Count(); c.Open == 0 || c.Bytes == 0 || c.MostBytes < c.Bytes {
			t.Errorf("%+v", c)
		}
		data := noise(6 << 20)
		var wg sync.WaitGroup
		for _, way := range [][2]*wire.Laned{{near, far}, {far, near}} {
			wg.Go(func() {
				if err := (sends{data: data, piece: 64 << 10, ends: true}).write(way[0], 3); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if got, err := io.ReadAll(way[1]); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		near.Reset(wire.None)
		far.Reset(wire.None)
		empties(t, memory)
		want.MostBytes = memory.Count().MostBytes
		if c := memory.Count(); c != want {
			t.Errorf("%+v, want %+v", c, want)
		}
	}
}

// The streams of links keep to the contract while their lanes break.
func TestGatedStreams(t *testing.T) {
	for name, how := range map[string]breaks{
		"hold": {after: -1}, "break": {after: 300 << 10, reset: true}, "break at once": {after: 10},
	} {
		t.Run(name, func(t *testing.T) {
			wiretest.Links(t, func(t *testing.T) (wire.Link, wire.Link) {
				a, b := wiretest.Pair(wire.Peer{}, wire.Peer{})
				t.Cleanup(func() { _ = a.Close(wire.None, "") })
				moving := new(sync.WaitGroup)
				memory := new(wire.LaneMemory)
				link := func(l wire.Link) *lanes {
					return &lanes{Link: l, moves: make(chan func(wire.Stream), 2000), after: func() {}, moving: moving, gates: memory}
				}
				near, far := link(a), link(b)
				near.pair = func() (*tls.Conn, *tls.Conn) {
					x, y := fragilePair(t, how, breaks{after: -1})
					t.Cleanup(func() { x.NetConn().Close(); y.NetConn().Close() })
					return x, y
				}
				far.pair = near.pair
				t.Cleanup(moving.Wait)
				near.other, far.other = far, near
				return near, far
			})
		})
	}
}

// A link that ends has its streams end with its code. What its lanes leave behind says nothing before that.
func TestLaneOfALinkThatEnds(t *testing.T) {
	near, far := wiretest.Streams()
	memory, life := new(wire.LaneMemory), wire.NewLife()
	s := wire.NewLaned(near, 0, nil)
	s.Gates(memory, nil)
	x, y := fragilePair(t, breaks{after: -1}, breaks{after: -1})
	defer y.NetConn().Close()
	s.Move(life.Context(), x)
	life.End(wire.Errorf(wire.Revoked, "as a test"))
	empties(t, memory)
	time.Sleep(50 * time.Millisecond) // it would say it soon
	if _, err := far.Write(nil); err != nil {
		t.Errorf("the peer is told %v", err)
	}
	if _, err := s.Write(make([]byte, 200<<10)); wire.CodeOf(err) != wire.Revoked {
		t.Errorf("write: %v", err)
	}
}

// A network that brings nothing any more, without a word, is noticed while something is under way: by who writes, also when the
// reader pauses, and also when nobody reads.
func TestLaneFallsBackFromSilence(t *testing.T) {
	for _, side := range []string{"near", "both"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			near, far, memory := gatedPair()
			how := map[string]breaks{"near": {after: -1}, "far": {after: -1}}
			for name := range how {
				if side == name || side == "both" {
					how[name] = breaks{after: 1 << 20, silent: true}
				}
			}
			x, y := fragilePair(t, how["near"], how["far"])
			near.Move(t.Context(), x)
			far.Move(t.Context(), y)
			data := noise(6 << 20)
			var wg sync.WaitGroup
			began := time.Now()
			for _, way := range [][2]*wire.Laned{{near, far}, {far, near}} {
				wg.Go(func() {
					if err := (sends{data: data, piece: 64 << 10, ends: true}).write(way[0], 3); err != nil {
						t.Error(err)
					}
				})
				wg.Go(func() {
					got, err := io.ReadAll(way[1])
					if err != nil || !bytes.Equal(got, data) {
						t.Errorf("%d bytes of %d: %v", len(got), len(data), err)
					}
				})
			}
			wg.Wait()
			t.Logf("it took %s", time.Since(began))
			empties(t, memory)
		})
	}
}

// A stream that has come back from its lane keeps nothing of the program's memory, however long it goes on.
func TestLaneGivesMemoryBack(t *testing.T) {
	t.Parallel()
	near, far, memory := gatedPair()
	x, y := fragilePair(t, breaks{after: 1 << 20}, breaks{after: -1})
	near.Move(t.Context(), x)
	far.Move(t.Context(), y)
	data := noise(6 << 20)
	var wg sync.WaitGroup
	for _, way := range [][2]*wire.Laned{{near, far}, {far, near}} {
		wg.Go(func() {
			if err := (sends{data: data, piece: 64 << 10}).write(way[0], 3); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			got := make([]byte, len(data))
			if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	empties(t, memory)
	near.Reset(wire.None)
	far.Reset(wire.None)
}

// A reader that pauses for longer than a silent peer is waited for breaks nothing.
func TestLaneHoldsWhileReaderPauses(t *testing.T) {
	t.Parallel()
	near, far, memory := gatedPair()
	x, y := fragilePair(t, breaks{after: -1}, breaks{after: -1})
	near.Move(t.Context(), x)
	far.Move(t.Context(), y)
	data := noise(9 << 20)
	wrote := make(chan error, 1)
	go func() { wrote <- sends{data: data, piece: 64 << 10, ends: true}.write(near, 3) }()
	time.Sleep(12 * time.Second)
	if far.Fell() || near.Fell() {
		t.Error("the lane broke while nobody read")
	}
	got, err := io.ReadAll(far)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d: %v", len(got), len(data), err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	if far.Fell() || near.Fell() {
		t.Error("the lane broke")
	}
	near.Reset(wire.None)
	far.Reset(wire.None)
	empties(t, memory)
}

// Deadlines hold on a lane, and while its stream goes back.
func TestGatedDeadlines(t *testing.T) {
	near, far, _ := gatedPair()
	x, y := fragilePair(t, breaks{after: -1}, breaks{after: -1})
	near.Move(t.Context(), x)
	far.Move(t.Context(), y)
	data := noise(16 << 20)
	if err := near.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.CopyN(io.Discard, far, 1<<20) }()
	n, err := near.Write(data)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n >= len(data) || n < 1<<20 {
		t.Fatalf("%d bytes: %v", n, err)
	}
	x.NetConn().Close()
	if err := near.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go near.Write(data[n:])
	if got, err := io.ReadAll(io.LimitReader(far, int64(len(data)-1<<20))); err != nil || !bytes.Equal(got, data[1<<20:]) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if err := near.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read behind its deadline: %v", err)
	}
}
