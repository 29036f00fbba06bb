package proxy

import (
	"context"
	"net"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// dialTCP is a channel direct-tcpip (RFC 4254, 7.2): a connection from the machine.
func (s *server) dialTCP(ctx context.Context, c ssh.NewChannel) {
	var m struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if ssh.Unmarshal(c.ExtraData(), &m) != nil || m.Port > 65535 || m.OriginPort > 65535 {
		s.refuse(c, errMalformed)
		return
	}
	var origin net.Addr
	if ip := net.ParseIP(m.Origin); ip != nil {
		origin = &net.TCPAddr{IP: ip, Port: int(m.OriginPort)}
	}
	s.dial(ctx, c, "tcp", m.Host, uint16(m.Port), origin)
}

// dialUnix is a channel of OpenSSH's to a socket of the machine (its PROTOCOL, 2.4).
func (s *server) dialUnix(ctx context.Context, c ssh.NewChannel) {
	var m struct {
		Path     string
		Reserved string
		Number   uint32
	}
	if ssh.Unmarshal(c.ExtraData(), &m) != nil {
		s.refuse(c, errMalformed)
		return
	}
	s.dial(ctx, c, "unix", m.Path, 0, nil)
}

var errMalformed = &wire.Error{Code: wire.BadRequest, Detail: "the SSH client asks for a channel in a way that nobody understands"}

func (s *server) dial(ctx context.Context, c ssh.NewChannel, network, host string, port uint16, origin net.Addr) {
	conn, err := s.session.Dial(ctx, network, host, port, origin)
	if err != nil {
		s.refuse(c, err)
		return
	}
	ch, requests, err := c.Accept()
	if err != nil {
		_ = conn.Close()
		return
	}
	splice(ctx, ch, requests, conn)
}
