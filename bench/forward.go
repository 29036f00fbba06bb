package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"time"
)

// forwards measures a port that is forwarded with -L: the answer to one byte, and bytes as fast as they go, down.
func forwards(ctx context.Context, w *world, o options) (_ []figure, err error) {
	s, err := newSite(ctx, w, "forward", loopback)
	if err != nil {
		return nil, err
	}
	target, err := serveForwards(o.bulk)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	ours, err := s.forward(ctx, "scrier", target.Addr(), func(spec string) *exec.Cmd { return s.scrierRun("ssh", "bench", "-N", "-L", spec) })
	if err != nil {
		return nil, err
	}
	theirs, err := s.forward(ctx, "ssh", target.Addr(), func(spec string) *exec.Cmd { return s.sshRun([]string{"-N", "-L", spec}) })
	if err != nil {
		return nil, err
	}
	echo := func(addr string) (samples, error) { return pingPong(ctx, addr, o.echoes/4) }
	var a, b samples
	for range 2 { // in turns
		x, err := echo(ours)
		if err != nil {
			return nil, fmt.Errorf("scrier: %w", err)
		}
		y, err := echo(theirs)
		if err != nil {
			return nil, fmt.Errorf("ssh: %w", err)
		}
		a, b = append(a, x...), append(b, y...)
	}
	f := timing("forward, one byte and back", "ssh -L", b.median(), a.median())
	f.note = fmt.Sprintf("Medians of %d; tenth to ninetieth percentile: scrier %s, ssh %s.", len(a), a.spread(), b.spread())
	out := []figure{f}
	var down, plain samples
	for i := range o.outputs + 1 {
		x, err := drained(ctx, ours, o.bulk)
		if err != nil {
			return nil, fmt.Errorf("scrier: %w", err)
		}
		y, err := drained(ctx, theirs, o.bulk)
		if err != nil {
			return nil, fmt.Errorf("ssh: %w", err)
		}
		if i > 0 {
			down, plain = append(down, x), append(plain, y)
		}
	}
	rate := func(d time.Duration) string { return fmt.Sprintf("%.0f MiB/s", float64(o.bulk)/(1<<20)/d.Seconds()) }
	return append(out, figure{name: fmt.Sprintf("forward, %d MiB down", o.bulk>>20), base: "ssh -L", theirs: rate(plain.median()), ours: rate(down.median()),
		ratio: plain.median().Seconds() / down.median().Seconds(), aim: ">= 0.60", note: "Here a higher ratio is better."}), nil
}

// forward starts a forward to a target, and gives the address of its near end.
func (s *site) forward(ctx context.Context, name string, target net.Addr, command func(string) *exec.Cmd) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	c := command(port + ":" + target.String())
	if _, err := s.daemon(ctx, s.net.operator, s.name+"-"+name, "", c); err != nil {
		return "", err
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return addr, conn.Close()
		}
		if time.Now().After(end) {
			return "", err
		}
	}
}

// serveForwards serves the far end: the first byte of a connection says whether it echoes ('e') or pours ('p').
func serveForwards(size int64) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var what [1]byte
				if _, err := io.ReadFull(c, what[:]); err != nil {
					return
				}
				if what[0] == 'e' {
					_, _ = io.Copy(c, c) // until the peer ends
					return
				}
				_, _ = io.CopyN(c, zeros{}, size) // the peer counts
			}()
		}
	}()
	return l, nil
}

// zeros are as many as one likes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// pingPong sends one byte after the other, each when the one before has come back.
func pingPong(ctx context.Context, addr string, n int) (_ samples, err error) {
	c, err := dialed(ctx, addr, 'e')
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var out samples
	b := []byte{'x'}
	for i := range n + n/10 {
		begin := time.Now()
		if _, err := c.Write(b); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return nil, err
		}
		if i >= n/10 {
			out = append(out, time.Since(begin))
		}
	}
	return out, nil
}

// drained takes all that the far end pours.
func drained(ctx context.Context, addr string, size int64) (_ time.Duration, err error) {
	begin := time.Now()
	c, err := dialed(ctx, addr, 'p')
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if n, err := io.Copy(io.Discard, c); err != nil || n != size {
		return 0, fmt.Errorf("%d bytes came, not %d: %w", n, size, err)
	}
	return time.Since(begin), nil
}

func dialed(ctx context.Context, addr string, what byte) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	stop := sync.OnceFunc(func() { _ = c.SetDeadline(time.Now()) })
	context.AfterFunc(ctx, stop)
	if _, err := c.Write([]byte{what}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}
