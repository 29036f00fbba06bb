package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// Bounds of the peers' port, which strangers may find.
const (
	handshakeTime = 5 * time.Second

	// maxHandshakes and maxOfNetwork are how many handshakes run at once, in all and from one network. A member comes with some
	// ten connections.
	maxHandshakes, maxOfNetwork = 64, 16

	// maxConns is how many connections members may have: each keeps two streams to each, and some more while it sends a snapshot.
	maxConns = 256

	// ioTime is how long a member may be silent within a connection, and how long it may take nothing. etcd says something on its
	// streams three times as often; its own listener has the same.
	ioTime = 5 * time.Second

	headerTime = 10 * time.Second
	maxHeader  = 16 << 10 // bytes
	// requestTime is for a whole snapshot.
	requestTime = 5 * time.Minute
)

// peers is the port at which the other members come. etcd's own would do no more than look whether a certificate is of the CA,
// which that of every agent is, and has no bounds.
type peers struct {
	listener net.Listener
	tls      *tls.Config
	log      *slog.Logger
	ready    chan net.Conn // that have shown who they are
	closed   chan struct{}
	once     sync.Once
	group    sync.WaitGroup

	mu         sync.Mutex
	roster     map[string]certs.Pin // who may come, by name
	handshakes map[string]int       // that run, by network
	running    int                  // of them all
	conns      map[*peerConn]struct{}
}

// peerConn is a connection of a member. It has a deadline for everything: http's are for requests, and a stream is one that never ends.
type peerConn struct {
	net.Conn
	of   *peers
	gone sync.Once

	// Guarded by of.mu.
	name string
	key  certs.Pin
}

func (c *peerConn) Read(b []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(ioTime)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c *peerConn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(ioTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *peerConn) Close() error {
	err := c.Conn.Close()
	c.gone.Do(func() {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		delete(c.of.conns, c)
	})
	return err
}

// listenForPeers opens the port. Nobody is let in before serve.
func listenForPeers(cfg Config, home *home) (*peers, error) {
	var p *peers
	id, err := home.identity(cfg, func(name string, key certs.Pin) error { return p.admit(name, key) })
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, wire.Errorf(wire.BadConfig, "cannot listen for the other members: %w", err)
	}
	p = &peers{
		listener: l, tls: id.Server(), log: cfg.Log, ready: make(chan net.Conn), closed: make(chan struct{}),
		roster: map[string]certs.Pin{}, handshakes: map[string]int{}, conns: map[*peerConn]struct{}{},
	}
	return p, nil
}

// admit says whether a member is one still.
func (p *peers) admit(name string, key certs.Pin) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roster[name] != key {
		return wire.Errorf(wire.Revoked, "%s is no member of this cluster", wire.Printable(name))
	}
	return nil
}

// know sets who may come, and ends the connections of all others.
func (p *peers) know(members []store.Member) {
	roster := map[string]certs.Pin{}
	for _, m := range members {
		if len(m.Key) == len(certs.Pin{}) {
			roster[m.Name] = certs.Pin(m.Key)
		}
	}
	p.mu.Lock()
	p.roster = roster
	var out []*peerConn
	for c := range p.conns {
		if c.name != "" && roster[c.name] != c.key {
			out = append(out, c)
		}
	}
	p.mu.Unlock()
	for _, c := range out {
		_ = c.Close() // it is to be gone, and that is all
	}
}

// accept only accepts.
func (p *peers) accept() {
	for {
		raw, err := p.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files
			p.log.Warn("accept a member's connection", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-p.closed:
				return
			}
		}
		network := wire.Network(raw.RemoteAddr().String())
		c := &peerConn{Conn: raw, of: p}
		if !p.begin(network, c) {
			_ = raw.Close()
			continue
		}
		p.group.Go(func() { p.greet(network, c) })
	}
}

// begin takes a place for a handshake.
func (p *peers) begin(network string, c *peerConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running >= maxHandshakes || p.handshakes[network] >= maxOfNetwork || len(p.conns) >= maxConns+maxHandshakes {
		return false
	}
	p.running++
	p.handshakes[network]++
	p.conns[c] = struct{}{}
	return true
}

func (p *peers) greet(network string, c *peerConn) {
	conn := tls.Server(c, p.tls)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	err := conn.HandshakeContext(ctx)
	cancel()
	p.mu.Lock()
	p.running--
	if p.handshakes[network]--; p.handshakes[network] == 0 {
		delete(p.handshakes, network)
	}
	if err == nil {
		if len(p.conns)-p.running > maxConns {
			err = wire.Errorf(wire.Busy, "members have %d connections", maxConns)
		}
		leaf := conn.ConnectionState().PeerCertificates[0]
		c.name, c.key = certs.MemberName(leaf), certs.PinOf(leaf)
		// The roster may have changed since the handshake looked at it, and know has not seen the connection then.
		if p.roster[c.name] != c.key {
			err = wire.Errorf(wire.Revoked, "%s is no member of this cluster", wire.Printable(c.name))
		}
	}
	p.mu.Unlock()
	if err == nil {
		select {
		case p.ready <- conn:
			return
		case <-p.closed:
		}
	} else if !errors.Is(err, io.EOF) {
		p.log.Debug("refused a connection at the members' port", "source", network, "code", wire.CodeOf(err), "err", err)
	}
	_ = conn.Close()
}

// The methods of a net.Listener give http those who have shown who they are.

func (p *peers) Accept() (net.Conn, error) {
	select {
	case c := <-p.ready:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *peers) Addr() net.Addr { return p.listener.Addr() }

func (p *peers) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = p.listener.Close()
	})
	return err
}

// end closes the port and all connections, and waits for what runs for them.
func (p *peers) end() error {
	err := p.Close()
	p.mu.Lock()
	all := maps.Clone(p.conns)
	p.mu.Unlock()
	for c := range all {
		_ = c.Close()
	}
	p.group.Wait()
	return err
}

// serve answers members until the port is closed.
func (p *peers) serve(h http.Handler) error {
	p.group.Go(p.accept)
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       requestTime,
		MaxHeaderBytes:    maxHeader,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2: etcd's members do not speak it
		ErrorLog:          stdlog.New(io.Discard, "", 0),                            // they are a peer's, who is told
	}
	if err := server.Serve(p); !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve the other members: %w", err)
	}
	return nil
}
