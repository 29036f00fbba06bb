package forward

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"scrier/wire"
)

// SOCKS 4, 4a (by their authors' memos) and 5 (RFC 1928): CONNECT, and nobody has to say who they are, as with ssh.
const (
	socks4, socks5 = 4, 5

	socksConnect = 1

	socks4Granted, socks4Rejected = 0x5a, 0x5b

	socksNoAuth, socksNoMethod = 0x00, 0xff

	socksIPv4, socksName, socksIPv6 = 1, 3, 4

	socksFailed, socksNotAllowed, socksHost, socksRefused, socksCommand, socksAddress = 1, 2, 4, 5, 7, 8
)

// request is what a SOCKS client wants.
type request struct {
	version byte
	to      Address
}

var errSocks = errors.New("this is no SOCKS 4 or 5")

// readRequest reads what a client wants, and not one byte more, and answers what has to be answered meanwhile. It takes no
// more than some 800 bytes. The caller sets the deadline.
func readRequest(c io.ReadWriter) (request, error) {
	var version [1]byte
	if _, err := io.ReadFull(c, version[:]); err != nil {
		return request{}, err
	}
	switch version[0] {
	case socks4:
		return readSocks4(c)
	case socks5:
		return readSocks5(c)
	}
	return request{}, errSocks
}

func readSocks4(c io.ReadWriter) (r request, err error) {
	r.version = socks4
	var head [7]byte // command, port, address
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return r, err
	}
	if _, err := readText(c); err != nil { // the user, which nobody can check
		return r, err
	}
	r.to = Address{Host: netip.AddrFrom4([4]byte(head[3:])).String(), Port: port16(head[1:]), Given: true}
	if head[3] == 0 && head[4] == 0 && head[5] == 0 && head[6] != 0 { // 4a
		if r.to.Host, err = readText(c); err != nil {
			return r, err
		}
	}
	if head[0] != socksConnect || r.to.Host == "" {
		return r, errors.Join(errors.New("SOCKS: only CONNECT is understood"), r.answer(c, socksCommand))
	}
	return r, nil
}

// readText reads a text up to its NUL.
func readText(c io.Reader) (string, error) {
	var b strings.Builder
	for one := [1]byte{}; b.Len() <= wire.MaxTarget; b.WriteByte(one[0]) {
		if _, err := io.ReadFull(c, one[:]); err != nil {
			return "", err
		}
		if one[0] == 0 {
			return b.String(), nil
		}
	}
	return "", errSocks
}

func readSocks5(c io.ReadWriter) (r request, err error) {
	r.version = socks5
	var n [1]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return r, err
	}
	methods := make([]byte, n[0])
	if _, err := io.ReadFull(c, methods); err != nil {
		return r, err
	}
	if !strings.Contains(string(methods), "\x00") {
		_, err := c.Write([]byte{socks5, socksNoMethod})
		return r, errors.Join(errors.New("SOCKS: the client wants to say who it is"), err)
	}
	if _, err := c.Write([]byte{socks5, socksNoAuth}); err != nil {
		return r, err
	}
	var head [4]byte // version, command, 0, type of address
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return r, err
	}
	size := map[byte]int{socksIPv4: 4, socksIPv6: 16}[head[3]]
	if head[3] == socksName {
		if _, err := io.ReadFull(c, n[:]); err != nil {
			return r, err
		}
		size = int(n[0])
	}
	rest := make([]byte, size+2)
	switch {
	case head[0] != socks5:
		return r, errSocks
	case size == 0:
		return r, errors.Join(errors.New("SOCKS: that kind of address is not known"), r.answer(c, socksAddress))
	}
	if _, err := io.ReadFull(c, rest); err != nil {
		return r, err
	}
	r.to = Address{Host: string(rest[:size]), Port: port16(rest[size:]), Given: true}
	if head[3] != socksName {
		ip, _ := netip.AddrFromSlice(rest[:size])
		r.to.Host = ip.Unmap().String()
	}
	if head[1] != socksConnect {
		return r, errors.Join(errors.New("SOCKS: only CONNECT is understood"), r.answer(c, socksCommand))
	}
	return r, nil
}

func port16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// answer tells the client how it went: 0, or why not.
func (r request) answer(c io.Writer, why byte) error {
	b := []byte{0, socks4Granted, 0, 0, 0, 0, 0, 0}
	switch {
	case r.version == socks5: // where the machine has connected from, nobody tells
		b = []byte{socks5, why, 0, socksIPv4, 0, 0, 0, 0, 0, 0}
	case why != 0:
		b[1] = socks4Rejected
	}
	_, err := c.Write(b)
	return err
}

// reason is what SOCKS 5 calls an error of a connection.
func reason(err error) byte {
	switch wire.CodeOf(err) {
	case wire.ChannelNotAllowed, wire.KeyRestricted, wire.PortNotAllowed:
		return socksNotAllowed
	case wire.ForwardFailed:
	default:
		if _, ok := errors.AsType[*net.OpError](err); !ok { // which is of this machine
			return socksFailed
		}
	}
	text := strings.ToLower(err.Error())
	for _, c := range []struct {
		words string
		why   byte
	}{
		{"refused", socksRefused}, {"prohibited", socksNotAllowed},
		{"unreachable", socksHost}, {"no route", socksHost}, {"timed out", socksHost}, {"resol", socksHost}, {"not known", socksHost}, {"no such host", socksHost},
	} {
		if strings.Contains(text, c.words) {
			return c.why
		}
	}
	return socksFailed
}

// valid says whether a client's host may be asked for.
func (r request) valid() bool {
	return r.to.Host != "" && r.to.Port != 0 && wire.Printable(r.to.Host) == r.to.Host
}

func (r request) String() string {
	return net.JoinHostPort(wire.Printable(r.to.Host), strconv.Itoa(int(r.to.Port)))
}
