package ssh

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"scrier/wire"
)

// connected is a client of a real sshd, which is held.
func connected(t *testing.T, lines ...string) *Client {
	t.Helper()
	c, err := newServer(t, lines...).dial(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Hold(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(3*patience, c.shut)
	t.Cleanup(func() { watchdog.Stop() })
	return c
}

// listening is a server of a test's, which serves each connection beside the others; and the target that leads there.
func listening(t *testing.T, network string, serve func(wire.HalfCloser)) Target {
	t.Helper()
	target := Target{Host: "127.0.0.1"}
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "socket")
		target = Target{Unix: true, Host: address}
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		target.Port = uint16(a.Port)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn.(wire.HalfCloser))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return target
}

// source is random bytes that a seed gives again.
func source(seed uint64, size int) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}), int64(size))
}

func sum(r io.Reader) (size int64, hash [32]byte, err error) {
	h := sha256.New()
	size, err = io.Copy(h, r)
	return size, [32]byte(h.Sum(nil)), err
}

// send writes a source in pieces of any size.
func send(w io.Writer, seed uint64, size int) error {
	in := source(seed, size)
	for buf := make([]byte, 100<<10); ; {
		n, err := in.Read(buf[:1+rand.IntN(len(buf))])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// A peer that hears the end of one direction answers in the other, and each byte arrives, on every kind of forward.
func TestHalfClose(t *testing.T) {
	c := connected(t)
	for _, network := range []string{"tcp", "unix"} {
		for _, size := range []int{0, 1, 32<<10 + 1, 5<<20 + 3} {
			t.Run(network+" "+strconv.Itoa(size), func(t *testing.T) {
				seed := rand.Uint64()
				_, want, _ := sum(source(seed, size))
				t.Run("this side first", func(t *testing.T) {
					target := listening(t, network, func(conn wire.HalfCloser) {
						n, got, err := sum(conn)
						if err != nil || int(n) != size || got != want {
							t.Errorf("%d bytes arrive as %d others, %v", size, n, err)
						}
						if err := errors.Join(send(conn, seed, size), conn.CloseWrite()); err != nil {
							t.Error(err)
						}
					})
					conn, err := c.Dial(t.Context(), target)
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(send(conn, seed, size), conn.CloseWrite()); err != nil {
						t.Error(err)
					}
					if n, got, err := sum(conn); err != nil || int(n) != size || got != want {
						t.Errorf("%d bytes come back as %d others, %v", size, n, err)
					}
				})
				t.Run("the other side first", func(t *testing.T) {
					arrived := make(chan struct{})
					target := listening(t, network, func(conn wire.HalfCloser) {
						defer close(arrived)
						if err := errors.Join(send(conn, seed, size), conn.CloseWrite()); err != nil {
							t.Error(err)
						}
						if n, got, err := sum(conn); err != nil || int(n) != size || got != want {
							t.Errorf("%d bytes arrive as %d others, %v", size, n, err)
						}
					})
					conn, err := c.Dial(t.Context(), target)
					if err != nil {
						t.Fatal(err)
					}
					if n, got, err := sum(conn); err != nil || int(n) != size || got != want {
						t.Errorf("%d bytes come as %d others, %v", size, n, err)
					}
					if err := errors.Join(send(conn, seed, size), conn.CloseWrite()); err != nil {
						t.Error(err)
					}
					<-arrived
				})
			})
		}
	}
}

// The last bytes of the last channel arrive, though the connection ends with it.
func TestLastBytes(t *testing.T) {
	for range 20 {
		c, err := newServer(t).dial(t)
		if err != nil {
			t.Fatal(err)
		}
		const size = 1 << 20
		got := make(chan []byte, 1)
		conn, err := c.Dial(t.Context(), listening(t, "tcp", func(conn wire.HalfCloser) {
			_ = conn.CloseWrite()
			all, _ := io.ReadAll(conn)
			got <- all
		}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Error(err)
		}
		want := make([]byte, size)
		if _, err := conn.Write(want); err != nil {
			t.Error(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
		c.Close()
		if !bytes.Equal(<-got, want) {
			t.Fatal("bytes are lost")
		}
	}
}
