package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// What goes through the forwards of the part roads is always the same, and looks random, so that both ends know each byte.
const (
	patternDown = 'd' // the far end sends so many bytes
	patternUp   = 'u' // it takes so many, and answers with their SHA-256

	patternHead   = 9 // the word and the number, big endian
	patternBuffer = 64 << 10
)

func newPattern() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{}) }

// patternSum is the SHA-256 of the first n bytes.
func patternSum(n int64) []byte {
	sum := sha256.New()
	_, _ = io.CopyN(sum, newPattern(), n) // neither fails
	return sum.Sum(nil)
}

// servePattern is the far end, in a namespace.
func servePattern(namespace string) (net.Listener, error) {
	var l net.Listener
	err := within(namespace, func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerPattern(c)
		}
	}()
	return l, nil
}

// answerPattern serves one connection. What goes wrong is seen at its other end.
func answerPattern(c net.Conn) {
	defer c.Close()
	var head [patternHead]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	n := int64(binary.BigEndian.Uint64(head[1:]))
	if head[0] == patternDown {
		_, _ = io.CopyBuffer(c, io.LimitReader(newPattern(), n), make([]byte, patternBuffer))
		return
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, c, n); err == nil {
		_, _ = c.Write(sum.Sum(nil))
	}
}

// askPattern connects to the near end of a forward, which is in a namespace, and asks for n bytes. The connection ends with ctx.
func askPattern(ctx context.Context, namespace, addr string, word byte, n int64) (c net.Conn, err error) {
	err = within(namespace, func() error {
		c, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	head := binary.BigEndian.AppendUint64([]byte{word}, uint64(n))
	if _, err := c.Write(head); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

var errNotExact = errors.New("what came is not what was sent")

// pouring measures how many bytes a second come through a forward, for so long from the first of them on.
func pouring(ctx context.Context, namespace, addr string, long time.Duration) (rate float64, err error) {
	c, err := askPattern(ctx, namespace, addr, patternDown, 1<<50)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	pattern, got, want := newPattern(), make([]byte, patternBuffer), make([]byte, patternBuffer)
	var begin time.Time
	for n := 0; ; {
		k, err := c.Read(got)
		if err != nil {
			return 0, fmt.Errorf("after %d bytes: %w", n, err)
		}
		_, _ = pattern.Read(want[:k]) // does not fail
		if !bytes.Equal(got[:k], want[:k]) {
			return 0, errNotExact
		}
		if begin.IsZero() {
			begin = time.Now()
			continue
		}
		n += k
		if took := time.Since(begin); took >= long {
			return float64(n) / took.Seconds(), nil
		}
	}
}

// passed sends n bytes through a forward in each direction, to their ends.
func passed(ctx context.Context, namespace, addr string, n int64) (err error) {
	sum := patternSum(n)
	down, err := askPattern(ctx, namespace, addr, patternDown, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, down.Close()) }()
	came := sha256.New()
	if k, err := io.Copy(came, down); err != nil {
		return fmt.Errorf("down, after %d of %d bytes: %w", k, n, err)
	}
	if !bytes.Equal(came.Sum(nil), sum) {
		return fmt.Errorf("down: %w", errNotExact)
	}
	up, err := askPattern(ctx, namespace, addr, patternUp, n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.Close()) }()
	if k, err := io.CopyN(up, newPattern(), n); err != nil {
		return fmt.Errorf("up, after %d of %d bytes: %w", k, n, err)
	}
	answer, err := io.ReadAll(up)
	if err != nil {
		return fmt.Errorf("up: %w", err)
	}
	if !bytes.Equal(answer, sum) {
		return fmt.Errorf("up: %w", errNotExact)
	}
	return nil
}
