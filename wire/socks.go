package wire

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
)

// SOCKS5 (RFC 1928), and its login by user and password (RFC 1929).
const (
	socksVersion  = 5
	socksNoLogin  = 0
	socksPassword = 2
	socksNoMethod = 0xff
	socksConnect  = 1
	socksIPv4     = 1
	socksName     = 3
	socksIPv6     = 4

	loginVersion = 1
	maxSOCKS     = 255 // of a user, a password or a name, in bytes
)

// socksReplies are the words for what is wrong, by number.
var socksReplies = [...]string{
	1: "general failure", 2: "not allowed", 3: "network unreachable", 4: "host unreachable", 5: "connection refused",
	6: "TTL expired", 7: "command not supported", 8: "address type not supported",
}

// socks asks a proxy of SOCKS5 for the connection. Behind the answer not one byte is read.
func (p passage) socks(conn io.ReadWriter) error {
	target, err := socksAddress(p.to)
	if err != nil {
		return err
	}
	hello := []byte{socksVersion, 1, socksNoLogin}
	if p.proxy.User != nil {
		hello = []byte{socksVersion, 2, socksNoLogin, socksPassword}
	}
	var chosen [2]byte
	if err := p.exchange(conn, hello, chosen[:]); err != nil {
		return err
	}
	switch {
	case chosen[0] != socksVersion:
		return p.noProxy()
	case chosen[1] == socksPassword && p.proxy.User != nil:
		if err := p.socksLogin(conn); err != nil {
			return err
		}
	case chosen[1] == socksNoMethod:
		return p.unknown("")
	case chosen[1] != socksNoLogin:
		return p.noProxy()
	}
	var reply [4]byte // version, what came of it, nothing, type of the address
	if err := p.exchange(conn, append([]byte{socksVersion, socksConnect, 0}, target...), reply[:]); err != nil {
		return err
	}
	switch words := socksWords(reply[1]); {
	case reply[0] != socksVersion:
		return p.noProxy()
	case reply[1] == 2 || reply[1] >= 7:
		return p.forbidden(words)
	case reply[1] != 0:
		return p.noWay(words)
	}
	return p.socksBound(conn, reply[3])
}

func (p passage) socksLogin(conn io.ReadWriter) error {
	user := p.proxy.User.Username()
	password, _ := p.proxy.User.Password()
	login := append([]byte{loginVersion, byte(len(user))}, user...)
	login = append(append(login, byte(len(password))), password...)
	var verdict [2]byte
	switch err := p.exchange(conn, login, verdict[:]); {
	case err != nil:
		return err
	case verdict[0] != loginVersion:
		return p.noProxy()
	case verdict[1] != 0:
		return p.unknown("")
	}
	return nil
}

// exchange sends and reads what has a fixed length.
func (p passage) exchange(conn io.ReadWriter, say, hear []byte) error {
	if _, err := conn.Write(say); err != nil {
		return p.broken(err)
	}
	if _, err := io.ReadFull(conn, hear); err != nil {
		return p.broken(err)
	}
	return nil
}

// socksBound reads the rest of the answer: from which address the proxy has connected.
func (p passage) socksBound(conn io.Reader, kind byte) error {
	length := 0
	switch kind {
	case socksIPv4:
		length = 4
	case socksIPv6:
		length = 16
	case socksName:
		var n [1]byte
		if _, err := io.ReadFull(conn, n[:]); err != nil {
			return p.broken(err)
		}
		length = int(n[0])
	default:
		return p.noProxy()
	}
	if _, err := io.ReadFull(conn, make([]byte, length+2)); err != nil {
		return p.broken(err)
	}
	return nil
}

// socksAddress is host:port as SOCKS5 has it. Names stay names: the proxy may know others than this machine.
func socksAddress(to string) ([]byte, error) {
	host, service, err := net.SplitHostPort(to)
	if err != nil {
		return nil, Errorf(BadRequest, "%q is no address", to)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, Errorf(BadRequest, "%q is no port", service)
	}
	var out []byte
	switch ip, err := netip.ParseAddr(host); {
	case err == nil && ip.Unmap().Is4():
		out = append([]byte{socksIPv4}, ip.Unmap().AsSlice()...)
	case err == nil:
		out = append([]byte{socksIPv6}, ip.AsSlice()...)
	case host == "" || len(host) > maxSOCKS:
		return nil, Errorf(BadRequest, "%q is no name that SOCKS5 takes", host)
	default:
		out = append([]byte{socksName, byte(len(host))}, host...)
	}
	return append(out, byte(port>>8), byte(port)), nil
}

func socksWords(reply byte) string {
	if int(reply) < len(socksReplies) {
		return socksReplies[reply]
	}
	return fmt.Sprintf("reply %d", reply)
}
