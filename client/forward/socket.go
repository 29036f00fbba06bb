package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"scrier/client"
)

// socket is a connection of this machine's. Close is an ordinary end where both directions have had theirs, and a reset
// where not.
type socket struct {
	net.Conn
	read, wrote atomic.Bool // that direction has come to its end
	once        sync.Once
}

func newSocket(c net.Conn) *socket { return &socket{Conn: c} }

func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		s.read.Store(true)
	}
	return n, err
}

// CloseWrite ends one direction. What knows of none, such as a pipe of Windows', is closed.
func (s *socket) CloseWrite() error {
	s.wrote.Store(true)
	if h, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return s.Conn.Close()
}

// Close ends the connection.
func (s *socket) Close() error {
	s.once.Do(func() { _ = s.Conn.Close() }) // a connection that is gone is what is wanted
	return nil
}

// Reset ends the connection in such a way that its peer sees no ordinary end.
func (s *socket) Reset() {
	s.once.Do(func() {
		if t, ok := s.Conn.(*net.TCPConn); ok && (!s.read.Load() || !s.wrote.Load()) {
			_ = t.SetLinger(0)
		}
		_ = s.Conn.Close()
	})
}

// passBuffer is how much is copied at once, in bytes.
const passBuffer = 32 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, passBuffer); return &b }}

// pass copies both ways until both have ended. The end of one direction is the end of that direction at the other side too;
// what breaks is reset at both sides, and so is everything at the end of all forwards.
func (f *Forwards) pass(near *socket, far client.Conn) {
	broken := sync.OnceFunc(func() {
		near.Reset()
		_ = far.Close()
	})
	defer context.AfterFunc(f.ctx, broken)()
	var both sync.WaitGroup
	both.Go(func() {
		if !carry(far, near) {
			broken()
		}
	})
	if !carry(near, far) {
		broken()
	}
	both.Wait()
	_ = near.Close()
	_ = far.Close()
	if f.ctx.Err() == nil {
		f.arrives(far)
	}
}

// arrives has a connection that may go on over another link count as open until what was written has come. It takes no place any more.
func (f *Forwards) arrives(far client.Conn) {
	l, ok := far.(interface{ Done() <-chan struct{} })
	if !ok {
		return
	}
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	f.wg.Go(func() {
		defer f.less()
		select {
		case <-l.Done():
		case <-f.ctx.Done():
		}
	})
}

// writeCloser is one end of a direction.
type writeCloser interface {
	io.Writer
	CloseWrite() error
}

// carry copies one direction, with its end.
func carry(to writeCloser, from io.Reader) bool {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := from.Read(*buf)
		if n > 0 {
			if _, werr := to.Write((*buf)[:n]); werr != nil {
				return false
			}
		}
		if errors.Is(err, io.EOF) {
			return to.CloseWrite() == nil
		}
		if err != nil {
			return false
		}
	}
}
