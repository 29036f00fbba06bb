package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"scrier/wire"
)

// roads is what listens at one port number; an empty field is silent over UDP, and refuses over TCP.
type roads struct {
	quic bool
	tcp  func(net.Conn) // serves a connection
}

// listen is the address.
func (r roads) listen(t *testing.T) string {
	t.Helper()
	var tcp net.Listener
	var udp *net.UDPConn
	for range 16 {
		var err error
		if tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(tcp.Addr().(*net.TCPAddr).AddrPort())); err == nil {
			break
		}
		_ = tcp.Close()
	}
	if udp == nil {
		t.Fatal("no port number is free over UDP and TCP")
	}
	var wg sync.WaitGroup
	var end []func() error
	if r.quic {
		transport := &quic.Transport{Conn: udp}
		l, err := transport.Listen(serverTLS(t), wire.QUICConfig(64))
		if err != nil {
			t.Fatal(err)
		}
		end = append(end, l.Close, transport.Close)
	}
	if r.tcp == nil {
		_ = tcp.Close()
	} else {
		wg.Go(func() {
			for {
				c, err := tcp.Accept()
				if err != nil {
					return
				}
				wg.Go(func() {
					defer c.Close()
					r.tcp(c)
				})
			}
		})
		end = append(end, tcp.Close)
	}
	t.Cleanup(func() {
		for _, f := range append(end, udp.Close) {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	})
	return tcp.Addr().String()
}

// servesLinks serves links over TCP, with an echo on each stream.
func servesLinks(t *testing.T, conf *tls.Config) func(net.Conn) {
	return func(c net.Conn) {
		conn := tls.Server(c, conf)
		if conn.HandshakeContext(t.Context()) != nil {
			return
		}
		l := wire.TCPLink(conn, wire.TCPConfig{Server: true, MaxStreams: 64})
		defer l.Close(wire.None, "")
		for {
			s, err := l.Accept(t.Context())
			if err != nil {
				return
			}
			_, _ = io.Copy(s, s)
			_ = s.CloseWrite()
		}
	}
}

var insecure = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"test"}}

// talks looks whether a link carries anything.
func talks(t *testing.T, l wire.Link) {
	t.Helper()
	s, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// What is in front of a relay sees its name, over both roads; where only an address is known, what the configuration says.
func TestDialSaysTheName(t *testing.T) {
	names := make(chan string, 1)
	conf := serverTLS(t)
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- hello.ServerName
		return nil, nil
	}
	addr := roads{tcp: servesLinks(t, conf)}.listen(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	transport := &quic.Transport{Conn: socket}
	defer transport.Close()
	l, err := transport.Listen(conf, wire.QUICConfig(64))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, udp, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := insecure.Clone()
	client.ServerName = "somebody"
	for _, c := range []struct {
		road       wire.Transport
		addr, name string
	}{
		{wire.OnlyTCP, "localhost:" + port, "localhost"}, {wire.OnlyTCP, "127.0.0.1:" + port, "somebody"},
		{wire.OnlyQUIC, "localhost:" + udp, "localhost"}, {wire.OnlyQUIC, "127.0.0.1:" + udp, "somebody"},
	} {
		link, err := wire.Dialer{TLS: client, Transport: c.road}.Dial(t.Context(), c.addr)
		if err != nil {
			t.Fatalf("%s: %v", c.addr, err)
		}
		if got := <-names; got != c.name {
			t.Errorf("%s over %s says %q", c.addr, c.road, got)
		}
		_ = link.Close(wire.None, "")
	}
	if client.ServerName != "somebody" {
		t.Error("the configuration was changed")
	}
}

func TestDialRoads(t *testing.T) {
	for name, c := range map[string]struct {
		there roads
		with  wire.Dialer
		road  wire.Road
	}{
		"only TCP answers":              {roads{tcp: servesLinks(t, serverTLS(t))}, wire.Dialer{}, wire.TCP},
		"TCP is asked for":              {roads{quic: true, tcp: servesLinks(t, serverTLS(t))}, wire.Dialer{Transport: wire.OnlyTCP}, wire.TCP},
		"QUIC is asked for":             {roads{quic: true, tcp: servesLinks(t, serverTLS(t))}, wire.Dialer{Transport: wire.OnlyQUIC, First: wire.TCP}, wire.QUIC},
		"TCP refuses":                   {roads{quic: true}, wire.Dialer{}, wire.QUIC},
		"TCP is first, and refuses":     {roads{quic: true}, wire.Dialer{First: wire.TCP}, wire.QUIC},
		"TCP is first, somebody else's": {roads{quic: true, tcp: func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }}, wire.Dialer{First: wire.TCP}, wire.QUIC},
		"TCP is first, silent":          {roads{quic: true, tcp: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }}, wire.Dialer{First: wire.TCP}, wire.QUIC},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.with.TLS = insecure
			l, err := c.with.Dial(t.Context(), c.there.listen(t))
			if err != nil {
				t.Fatal(err)
			}
			if p := l.Peer(); p.Road != c.road || p.Addr == nil {
				t.Errorf("%+v", p)
			}
			if c.road == wire.TCP {
				talks(t, l)
			}
			if err := l.Close(wire.None, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without a link the error says what each road said.
func TestDialWithoutAnswer(t *testing.T) {
	old := serverTLS(t)
	old.NextProtos = []string{"h2", "http/1.1"}
	for name, c := range map[string]struct {
		tcp  func(net.Conn)
		with wire.Dialer
		code wire.Code
		says []string
	}{
		"both":                     {nil, wire.Dialer{}, wire.RelayUnreachable, []string{"over QUIC (UDP): no answer", "over TCP: connection refused"}},
		"TCP first":                {nil, wire.Dialer{First: wire.TCP}, wire.RelayUnreachable, []string{"over QUIC (UDP): no answer", "over TCP: connection refused"}},
		"TCP alone":                {nil, wire.Dialer{Transport: wire.OnlyTCP}, wire.RelayUnreachable, []string{"over TCP"}},
		"QUIC alone":               {servesLinks(t, serverTLS(t)), wire.Dialer{Transport: wire.OnlyQUIC}, wire.RelayUnreachable, []string{"no answer from"}},
		"an old relay":             {servesLinks(t, old), wire.Dialer{}, wire.VersionMismatch, []string{"over QUIC (UDP): no answer", "does not take agents and terminals over TCP"}},
		"no TLS":                   {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") }, wire.Dialer{}, wire.RelayUntrusted, []string{"does not speak TLS"}},
		"TCP hangs":                {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, wire.Dialer{}, wire.RelayUnreachable, []string{"over QUIC (UDP): no answer; over TCP: no answer"}},
		"TCP ends":                 {func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 100)) }, wire.Dialer{}, wire.RelayUnreachable, []string{"over TCP: "}},
		"a proxy that is not well": {nil, wire.Dialer{Proxy: func(string) (*url.URL, error) { return nil, wire.Errorf(wire.BadConfig, "no proxy") }}, wire.BadConfig, []string{"no proxy"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second) // longer than QUIC tries by itself
			defer cancel()
			c.with.TLS = insecure
			_, err := c.with.Dial(ctx, roads{tcp: c.tcp}.listen(t))
			if wire.CodeOf(err) != c.code {
				t.Errorf("%v", err)
			}
			if d := wire.DetailOf(err); strings.HasPrefix(d, "no link to ") && strings.Contains(d, "no answer from") {
				t.Errorf("%q says twice from where", d)
			}
			if hint := wire.HintOf(err); strings.Contains(wire.DetailOf(err), "TCP: connection refused") != strings.Contains(hint, "that the relay is running there") {
				t.Errorf("%v\nhint: %s", err, hint)
			}
			for _, text := range c.says {
				if !strings.Contains(wire.DetailOf(err), text) {
					t.Errorf("%q does not say %q", wire.DetailOf(err), text)
				}
			}
		})
	}
}

// Who gives up hears why from themselves.
func TestDialGivenUp(t *testing.T) {
	why := errors.New("no more wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	addr := roads{tcp: func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 1)) // TCP has been begun
		cancel(why)
		_, _ = io.Copy(io.Discard, c)
	}}.listen(t)
	if _, err := (wire.Dialer{TLS: insecure}).Dial(ctx, addr); !errors.Is(err, why) {
		t.Error(err)
	}
}

// Where there is a proxy, the link goes through it, though QUIC would answer.
func TestDialThroughProxy(t *testing.T) {
	relay := roads{quic: true, tcp: servesLinks(t, serverTLS(t))}.listen(t)
	var asked sync.Map
	proxy := roads{tcp: func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			t.Error(err)
			return
		}
		asked.Store(req.Method+" "+req.Host, true)
		there, err := net.Dial("tcp", req.Host)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(there, c)
			_ = there.Close()
		}()
		_, _ = io.Copy(c, there)
	}}.listen(t)
	through := func(string) (*url.URL, error) { return &url.URL{Scheme: "http", Host: proxy}, nil }
	l, err := wire.Dialer{TLS: insecure, Proxy: through}.Dial(t.Context(), relay)
	if err != nil {
		t.Fatal(err)
	}
	talks(t, l)
	if _, ok := asked.Load("CONNECT " + relay); !ok || l.Peer().Road != wire.TCP {
		t.Errorf("%v", l.Peer())
	}
	if err := l.Close(wire.None, ""); err != nil {
		t.Error(err)
	}
	if l, err = (wire.Dialer{TLS: insecure, Proxy: through, Transport: wire.OnlyQUIC}).Dial(t.Context(), relay); err != nil {
		t.Fatal(err)
	}
	if l.Peer().Road != wire.QUIC {
		t.Errorf("%v", l.Peer())
	}
	if err := l.Close(wire.None, ""); err != nil {
		t.Error(err)
	}
}

// TLS refuses a client's certificate after the client's handshake is through: the link says so.
func TestTCPLinkOfRefusedCertificate(t *testing.T) {
	conf := serverTLS(t)
	conf.ClientAuth = tls.RequireAnyClientCert
	l, err := wire.Dialer{TLS: insecure, Transport: wire.OnlyTCP}.Dial(t.Context(), roads{tcp: servesLinks(t, conf)}.listen(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = l.Accept(t.Context()); wire.CodeOf(err) != wire.Unauthenticated || wire.CodeOf(l.Err()) != wire.Unauthenticated || wire.Forgotten(err) {
		t.Errorf("%v", err)
	}
	_ = l.Close(wire.None, "")
}
