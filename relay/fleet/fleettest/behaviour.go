package fleettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go/quicvarint"

	"scrier/certs"
	"scrier/wire"
)

// Frame types as they are on the wire; wire's own names are not for everybody.
const (
	typeHello     = 0x01
	typeHeartbeat = 0x03
	typeOpened    = 0x11
	typeOptional  = 0x41 // not known, to be skipped
)

// frame is a frame's bytes; length says how long the payload claims to be.
func frame(kind, length uint64, payload []byte) []byte {
	return append(quicvarint.Append(quicvarint.Append(nil, kind), length), payload...)
}

// flood writes b until that fails.
func flood(s io.Writer, b []byte) {
	for {
		if _, err := s.Write(b); err != nil {
			return
		}
	}
}

// hang reads until that fails.
func hang(s io.Reader) { _, _ = io.Copy(io.Discard, s) }

// said is a link behaviour: what is written on the control stream of a link that was welcomed.
func said(f func(c *connected)) func(context.Context, *player) error {
	return func(ctx context.Context, a *player) error {
		c, err := a.greet(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		f(c)
		return c.ended()
	}
}

// first is one that is not welcomed: what is written before anything else.
func first(f func(c *connected)) func(context.Context, *player) error {
	return func(ctx context.Context, a *player) error {
		c, err := a.dial(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		f(c)
		return c.ended()
	}
}

// again sends a message until that fails.
func again(m func() wire.Message) func(*connected) {
	return func(c *connected) {
		for c.control.Send(m()) == nil {
		}
	}
}

// once sends one message.
func once(m wire.Message) func(*connected) {
	return func(c *connected) { _ = c.control.Send(m) } // the link's end tells
}

// bytesOnce writes some bytes.
func bytesOnce(b []byte) func(*connected) {
	return func(c *connected) { _, _ = c.control.Stream.Write(b) }
}

func renewal() wire.Message {
	key, err := certs.NewKey()
	if err != nil {
		return &wire.Renew{}
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		return &wire.Renew{}
	}
	return &wire.Renew{CSR: csr}
}

// giant is facts as large as a message can be.
func giant() wire.Facts {
	f := wire.Facts{Hostname: strings.Repeat("h", 9000), OS: strings.Repeat("\x1b[2J", 2000), Console: strings.Repeat("c", 9000), SSHServer: strings.Repeat("\u00ff", 4000), Disk: 255}
	for range 1000 {
		f.Users = append(f.Users, "root\x00\n")
	}
	return f
}

// nested is CBOR arrays in arrays.
func nested(depth int) []byte { return bytes.Repeat([]byte{0x81}, depth) }

// wide is a CBOR map whose only value claims to be an array of four thousand million items.
var wide = []byte{0xa1, 0x02, 0x9a, 0xff, 0xff, 0xff, 0xff}

// refusing answers each session with a refusal.
func refusing(r *wire.Refused) func(context.Context, wire.Stream, *wire.Framed) {
	return func(_ context.Context, s wire.Stream, _ *wire.Framed) {
		_ = wire.Send(s, r)
		hang(s)
	}
}

// opened answers each session as an honest agent does, with a key that nobody has, and goes on with f.
func opened(f func(ctx context.Context, s wire.Stream)) func(context.Context, wire.Stream, *wire.Framed) {
	return func(ctx context.Context, s wire.Stream, _ *wire.Framed) {
		if wire.Send(s, &wire.Opened{Login: "root", HostKeys: [][]byte{hostKey()}}) == nil {
			f(ctx, s)
		}
	}
}

// hostKey is an Ed25519 key as SSH writes one.
func hostKey() []byte {
	return append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), bytes.Repeat([]byte{7}, 32)...)
}

// wait is until ctx ends or a time is over.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// Behaviours are all of them.
func Behaviours() []Behaviour {
	const (
		session = "the session ends at scrier.agent_timeout"
		window  = "the session ends at scrier.agent_timeout; the stream's window bounds what waits"
	)
	return []Behaviour{
		// Before the greeting.
		{Name: "a link and no stream", Ends: true, link: func(ctx context.Context, a *player) error {
			link, err := a.Dial(ctx)
			if err != nil {
				return err
			}
			defer context.AfterFunc(ctx, func() { _ = link.Close(wire.None, "") })()
			<-link.Context().Done()
			err = link.Err()
			_ = link.Close(wire.None, "")
			return err
		}},
		{Name: "half a greeting", Ends: true, link: first(bytesOnce(frame(typeHello, 200, []byte{0xa3})))},
		{Name: "no greeting but a pong", Ends: true, link: first(once(&wire.Pong{N: 1}))},
		{Name: "a renewal in place of the greeting", Ends: true, link: first(once(renewal()))},
		{Name: "a greeting of four gigabytes", Ends: true, link: first(bytesOnce(frame(typeHello, 1<<32, nil)))},
		{Name: "nothing but frames to be skipped", Ends: true, link: first(func(c *connected) { flood(c.control.Stream, frame(typeOptional, 1, []byte{0})) })},
		{Name: "a stream that is reset at once", Ends: true, link: first(func(c *connected) {
			bytesOnce([]byte{typeHello})(c)
			c.control.Reset(wire.Internal)
		})},
		{Name: "renewals on new links", Bound: "each is refused: the certificate is good", link: func(ctx context.Context, a *player) error {
			for n := 0; ; n++ {
				if n == 10 {
					a.ready()
				}
				c, err := a.dial(ctx)
				if err == nil {
					_ = c.control.Send(renewal())
					_ = c.control.SetReadDeadline(time.Now().Add(patience))
					_, err = wire.Expect[wire.Renewed](c.control)
					c.close()
				}
				if err == nil {
					return errors.New("a good certificate was renewed on a link of its own")
				}
				if ctx.Err() != nil {
					return nil
				}
			}
		}},
		{Name: "dozens of links", Bound: "8 at a time", link: func(ctx context.Context, a *player) error {
			const links = 16 // fewer than the handshakes that one address may have
			ctx, cancel := context.WithCancel(ctx)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			in := make(chan bool, links)
			for range links {
				wg.Go(func() {
					c, err := a.dial(ctx)
					if err != nil {
						in <- false
						return
					}
					defer c.close()
					bytesOnce([]byte{typeHello})(c)             // the relay learns of the stream with its first byte
					in <- wait(c.link.Context(), 8*time.Second) // a refusal may be late
					_ = c.ended()
				})
			}
			n := 0
			for range links {
				if <-in {
					n++
				}
			}
			if n > 8 {
				return fmt.Errorf("%d links were let in at once", n)
			}
			a.ready()
			<-ctx.Done()
			return nil
		}},

		// On the control stream.
		{Name: "silence behind the greeting", Bound: "it is stale after 40 seconds; a new link takes its place", link: said(func(c *connected) { hang(c.control) })},
		{Name: "half a message", Ends: true, link: said(bytesOnce(frame(typeHeartbeat, 200, []byte{0xa2})))},
		{Name: "a message that trickles", Ends: true, link: said(func(c *connected) {
			_, err := c.control.Stream.Write(frame(typeHeartbeat, 60_000, nil))
			for err == nil && wait(c.link.Context(), 50*time.Millisecond) {
				_, err = c.control.Stream.Write([]byte{0})
			}
		})},
		{Name: "the greeting again", Ends: true, link: said(once(hello()))},
		{Name: "a welcome to the relay", Ends: true, link: said(once(&wire.Welcome{}))},
		{Name: "an answer that nobody asked for", Ends: true, link: said(once(&wire.Opened{Login: "root"}))},
		{Name: "the end of a session that is not its own", Ends: true, link: said(once(&wire.Authenticated{Session: wire.NewSessionID()}))},
		{Name: "terminal bytes", Ends: true, link: said(bytesOnce(frame(0x22, 5, []byte("hello"))))},
		{Name: "a certificate kept that was not given", Ends: true, link: said(once(&wire.Kept{}))},
		{Name: "a frame of four gigabytes", Ends: true, link: said(bytesOnce(frame(typeHeartbeat, 1<<32, nil)))},
		{Name: "an unknown frame", Ends: true, link: said(bytesOnce(frame(0x3f, 0, nil)))},
		{Name: "junk", Ends: true, link: said(func(c *connected) { flood(c.control.Stream, []byte{0xff, 0x00, 0xa5}) })},
		{Name: "deep CBOR", Ends: true, link: said(bytesOnce(frame(typeHeartbeat, 60_000, nested(60_000))))},
		{Name: "wide CBOR", Ends: true, link: said(bytesOnce(frame(typeHeartbeat, uint64(len(wide)), wide)))},
		{Name: "heartbeats without end", Ends: true, link: said(again(func() wire.Message { return &wire.Heartbeat{} }))},
		{Name: "pongs without end", Ends: true, link: said(again(func() wire.Message { return &wire.Pong{N: 1} }))},
		{Name: "announces links without end", Ends: true, link: said(again(func() wire.Message { return &wire.Move{ID: make([]byte, wire.MoveSize)} }))},
		{Name: "announces a link with a giant ID", Ends: true, link: said(once(&wire.Move{ID: make([]byte, 60_000)}))},
		{Name: "ends links that are not there", Ends: true, link: said(again(func() wire.Message { return &wire.Move{ID: make([]byte, wire.MoveSize), Over: true} }))},
		{Name: "links beside links", Bound: "2 at a time", link: func(ctx context.Context, a *player) error {
			c, err := a.greet(ctx)
			if err != nil {
				return err
			}
			defer c.close()
			go c.pong() // ends with the link
			for i := byte(1); ; i++ {
				h := hello()
				h.Move = bytes.Repeat([]byte{i}, wire.MoveSize)
				if err := c.control.Send(&wire.Move{ID: h.Move}); err != nil {
					return c.link.Err()
				}
				more, err := a.welcomed(ctx, h)
				if wire.CodeOf(err) == wire.Busy {
					return c.ended()
				}
				if err != nil {
					return err
				}
				defer more.close()
				go more.pong()
				if i > 2 {
					return errors.New("three links are taken")
				}
			}
		}},
		{Name: "renewals without end", Ends: true, link: said(func(c *connected) {
			var wg sync.WaitGroup
			wg.Go(func() { hang(c.control) })
			again(renewal)(c)
			wg.Wait()
		})},
		{Name: "renewals without end, and no answer is read", Ends: true, link: said(again(renewal))},
		{Name: "a giant boot id", Bound: "cut to 64 bytes", link: func(ctx context.Context, a *player) error {
			h := hello()
			h.Boot = strings.Repeat("\u00fc", 20_000)
			c, err := a.welcomed(ctx, h)
			if err != nil {
				return err
			}
			defer c.close()
			c.pong()
			return c.ended()
		}},
		{Name: "giant facts", Bound: "names are cut to 128 bytes, lists to 32 entries", link: said(func(c *connected) {
			if c.control.Send(&wire.Heartbeat{Facts: giant()}) == nil {
				c.pong()
			}
		})},
		{Name: "a list that is too long", Ends: true, link: said(once(&wire.Heartbeat{Facts: wire.Facts{Users: make([]string, 5000)}}))},
		{Name: "facts that are no text", Ends: true, link: said(once(&wire.Heartbeat{Facts: wire.Facts{OS: "\xff\xfe"}}))},
		{Name: "the control stream ends", Ends: true, link: said(func(c *connected) { _ = c.control.CloseWrite() })},
		{Name: "the control stream is reset", Ends: true, link: said(func(c *connected) { c.control.Reset(wire.Killed) })},
		{Name: "nothing is read", Bound: session, link: said(func(c *connected) {
			c.control.CloseRead(wire.None)
			for wait(c.link.Context(), time.Second) && c.control.Send(&wire.Heartbeat{}) == nil {
			}
		})},
		{Name: "streams to the relay", Ends: true, link: said(func(c *connected) {
			for {
				s, err := c.link.Open(c.link.Context())
				if err != nil {
					return
				}
				if _, err := s.Write([]byte("let me in")); err != nil {
					return
				}
			}
		})},
		{Name: "pings without end", Ends: true, link: said(func(c *connected) {
			s, err := c.link.Open(c.link.Context())
			for err == nil {
				err = wire.Send(s, &wire.Ping{N: 1, Pad: make([]byte, 60_000)})
			}
		})},
		{Name: "another address every moment", Bound: "none: an agent may roam", Roams: true, link: func(ctx context.Context, a *player) error {
			c, err := a.greet(ctx)
			if err != nil {
				return err
			}
			defer c.close()
			var wg sync.WaitGroup
			defer wg.Wait()
			defer c.close()
			wg.Go(func() { c.pong() })
			for wait(c.link.Context(), 200*time.Millisecond) {
				a.Roam()
				if c.control.Send(&wire.Heartbeat{Time: wire.Millis(time.Now())}) != nil {
					break
				}
			}
			return c.ended()
		}},

		// With a session's stream.
		{Name: "no answer", Bound: session, open: func(_ context.Context, s wire.Stream, _ *wire.Framed) { hang(s) }},
		{Name: "half an answer", Bound: session, open: func(_ context.Context, s wire.Stream, _ *wire.Framed) {
			_, _ = s.Write(frame(typeOpened, 300, []byte{0xa2}))
			hang(s)
		}},
		{Name: "an answer of four gigabytes", Bound: "refused by its length", open: func(_ context.Context, s wire.Stream, _ *wire.Framed) {
			_, _ = s.Write(frame(typeOpened, 1<<32, nil))
			hang(s)
		}},
		{Name: "another message for an answer", Bound: "refused", open: func(_ context.Context, s wire.Stream, _ *wire.Framed) {
			_ = wire.Send(s, &wire.Authenticated{Session: wire.NewSessionID()})
			hang(s)
		}},
		{Name: "an answer on the control stream", Bound: "its link ends", open: func(_ context.Context, s wire.Stream, control *wire.Framed) {
			_ = control.Send(&wire.Opened{Login: "root", HostKeys: [][]byte{hostKey()}})
			hang(s)
		}},
		{Name: "hundreds of host keys", Bound: "refused: at most 32, of 16 KiB", open: func(_ context.Context, s wire.Stream, _ *wire.Framed) {
			o := &wire.Opened{Login: "root"}
			for i := range 700 {
				k := hostKey()
				k[len(k)-1], k[len(k)-2] = byte(i), byte(i>>8)
				o.HostKeys = append(o.HostKeys, k)
			}
			_ = wire.Send(s, o)
			hang(s)
		}},
		{Name: "two answers", Bound: session, open: opened(func(_ context.Context, s wire.Stream) {
			_ = wire.Send(s, &wire.Opened{Login: "root"})
			hang(s)
		})},
		{Name: "a refusal that is not its to give", Bound: "shown as a broken protocol", open: refusing(&wire.Refused{Code: wire.Quarantined, Detail: "ended by bob"})},
		{Name: "a refusal as long as a message", Bound: "cut to 1,024 bytes", open: refusing(&wire.Refused{Code: wire.TargetRefused, Detail: strings.Repeat("\x1b]0;x\x07", 9000)})},
		{Name: "a reset in the middle of an answer", Bound: "the session ends", open: func(_ context.Context, s wire.Stream, _ *wire.Framed) {
			_, _ = s.Write(frame(typeOpened, 300, []byte{0xa2}))
			s.Reset(wire.Killed)
		}},
		{Name: "a reset behind the answer", Bound: "the session ends", open: opened(func(_ context.Context, s wire.Stream) { s.Reset(wire.OperatorChanged) })},
		{Name: "bytes without end", Bound: window, open: opened(func(_ context.Context, s wire.Stream) { flood(s, bytes.Repeat([]byte("x\n"), 1<<14)) })},
		{Name: "a tunnel that trickles", Bound: session, open: opened(func(ctx context.Context, s wire.Stream) {
			for _, b := range []byte("SSH-2.0-" + strings.Repeat("x", 200)) {
				if _, err := s.Write([]byte{b}); err != nil || !wait(ctx, 50*time.Millisecond) {
					return
				}
			}
			hang(s)
		})},
		{Name: "a tunnel that nobody reads", Bound: window, open: opened(func(ctx context.Context, s wire.Stream) {
			_, _ = s.Write([]byte("SSH-2.0-evil\r\n"))
			<-ctx.Done()
		})},
		{Name: "an answer that comes too late", Bound: session, open: func(ctx context.Context, s wire.Stream, control *wire.Framed) {
			hang(s) // until the relay has given up
			_ = wire.Send(s, &wire.Opened{Login: "root", HostKeys: [][]byte{hostKey()}})
		}},
		{Name: "the link ends when a session is wanted", Bound: "the session ends", open: func(ctx context.Context, s wire.Stream, control *wire.Framed) { control.Reset(wire.None) }},
	}
}
