package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/certs"
	"scrier/wire"
)

// The floor is what two hops of QUIC cost whatever Scrier does: quic-go with Scrier's TLS and flow
// control, io.Copy between two streams in a relay's process, an agent's process that answers. No
// frames, no SSH, no session.
const (
	floorRole = "floor" // first argument of the processes that are started
	floorWait = 15 * time.Second

	floorEcho = 'e' // first byte of a stream: whatever comes goes back
	floorBulk = 'b' // outputSize bytes, please
)

// floor is a running splice and our own connection to its relay.
type floor struct{ conn *quic.Conn }

// newFloor starts one; it runs until the world's part ends.
func newFloor(ctx context.Context, w *world, name string) (*floor, error) {
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := certs.LoadOrMakeCA(dir, time.Now)
	if err != nil {
		return nil, err
	}
	key, err := certs.NewKey()
	if err != nil {
		return nil, err
	}
	chain, err := ca.Issue(certs.Identity{Role: certs.RoleAgent, ID: "floor"}, key.Public())
	if err != nil {
		return nil, err
	}
	if err := certs.SavePair(floorPair(dir), key, chain); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	said, err := w.daemon(ctx, "", name+"-relay", `listens on (\S+)`, exec.Command(self, floorRole, "relay", dir))
	if err != nil {
		return nil, err
	}
	addr := said[0]
	if _, err := w.daemon(ctx, "", name+"-agent", "connected", exec.Command(self, floorRole, "agent", dir, addr)); err != nil {
		return nil, err
	}
	pin := ca.Pin()
	conn, err := floorDial(ctx, addr, certs.Client{ALPN: wire.ALPNClient, Pin: &pin, Now: time.Now})
	if err != nil {
		return nil, err
	}
	w.later(func() error { return conn.CloseWithError(0, "") })
	return &floor{conn}, nil
}

func floorPair(dir string) string { return filepath.Join(dir, "agent.pem") }

func floorDial(ctx context.Context, addr string, c certs.Client) (*quic.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, floorWait)
	defer cancel()
	return quic.DialAddr(ctx, addr, c.TLS(), wire.QUICConfig(64))
}

// floorStream is a stream through the splice to the agent.
type floorStream struct {
	s   *quic.Stream
	buf []byte
}

func (f *floor) open(ctx context.Context, kind byte) (*floorStream, error) {
	s, err := f.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	_, err = s.Write([]byte{kind})
	return &floorStream{s: s, buf: make([]byte, 64<<10)}, err
}

// echo is [terminal.echo] without terminal, ssh and shell.
func (f *floorStream) echo(context.Context) (time.Duration, error) {
	if err := f.s.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := f.s.Write([]byte{'x'}); err != nil {
		return 0, err
	}
	n, err := f.s.Read(f.buf)
	took := time.Since(begin)
	if err == nil && n != 1 {
		err = fmt.Errorf("sent a byte, got %d back", n)
	}
	return took, err
}

// bulk takes the time of outputSize bytes.
func (f *floor) bulk(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	s, err := f.open(ctx, floorBulk)
	if err != nil {
		return 0, err
	}
	if err := s.s.SetDeadline(begin.Add(4 * patience)); err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{s.s}, s.buf)
	if err == nil && n != outputSize {
		err = fmt.Errorf("%d bytes came, not %d", n, outputSize)
	}
	took := time.Since(begin)
	return took, errors.Join(err, s.s.Close())
}

// floorMain is the other processes: relay DIR, or agent DIR ADDR.
func floorMain(args []string) error {
	ctx := context.Background() // until SIGTERM
	switch {
	case len(args) == 2 && args[0] == "relay":
		return floorRelay(ctx, args[1])
	case len(args) == 3 && args[0] == "agent":
		return floorAgent(ctx, args[1], args[2])
	}
	return errors.New("this role is started by bench itself")
}

func floorRelay(ctx context.Context, dir string) error {
	ca, err := certs.LoadOrMakeCA(dir, time.Now)
	if err != nil {
		return err
	}
	tls := &certs.Server{CA: ca, Name: "floor"}
	l, err := quic.ListenAddr("127.0.0.1:0", tls.QUIC(), wire.QUICConfig(64))
	if err != nil {
		return err
	}
	fmt.Println("listens on", l.Addr().(*net.UDPAddr))
	agent, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	client, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	for {
		a, err := client.AcceptStream(ctx)
		if err != nil {
			return err
		}
		b, err := agent.OpenStreamSync(ctx)
		if err != nil {
			return err
		}
		go floorCopy(b, a)
		go floorCopy(a, b)
	}
}

// floorCopy is one direction of the splice. The processes live only as long as the measurement.
func floorCopy(dst, src *quic.Stream) {
	if _, err := io.Copy(dst, src); err == nil {
		_ = dst.Close() // the peer has its end or is gone
	}
}

func floorAgent(ctx context.Context, dir, addr string) error {
	ca, err := certs.LoadOrMakeCA(dir, time.Now)
	if err != nil {
		return err
	}
	cert, err := certs.LoadPair(floorPair(dir))
	if err != nil {
		return err
	}
	pin := ca.Pin()
	conn, err := floorDial(ctx, addr, certs.Client{ALPN: wire.ALPNAgent, Pin: &pin, Cert: cert, Now: time.Now})
	if err != nil {
		return err
	}
	fmt.Println("connected")
	for {
		s, err := conn.AcceptStream(ctx)
		if err != nil {
			return err
		}
		go func() {
			if err := floorServe(s); err != nil {
				fmt.Println(err)
			}
		}()
	}
}

func floorServe(s *quic.Stream) error {
	kind := make([]byte, 1)
	if _, err := io.ReadFull(s, kind); err != nil {
		return err
	}
	if kind[0] == floorEcho {
		_, err := io.Copy(s, s)
		return err
	}
	block := make([]byte, 32<<10)
	for left := outputSize; left > 0; left -= len(block) {
		if _, err := s.Write(block); err != nil {
			return err
		}
	}
	return s.Close()
}
