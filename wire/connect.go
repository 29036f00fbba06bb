package wire

import (
	"encoding/base64"
	"io"
	"strconv"
	"strings"
)

const (
	maxAnswer    = 16 << 10 // of a proxy, in bytes
	maxProxyWord = 100      // of a proxy's words in an error, in bytes
)

// connect asks a proxy of HTTP for the connection (RFC 9110, 9.3.6). Behind the answer not one byte is read.
func (p passage) connect(conn io.ReadWriter) error {
	if strings.ContainsFunc(p.to, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return Errorf(BadRequest, "%q is no address", p.to)
	}
	ask := "CONNECT " + p.to + " HTTP/1.1\r\nHost: " + p.to + "\r\nUser-Agent: scrier\r\n"
	if u := p.proxy.User; u != nil {
		password, _ := u.Password()
		ask += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, ask+"\r\n"); err != nil {
		return p.broken(err)
	}
	in := &io.LimitedReader{R: conn, N: maxAnswer}
	for {
		a, err := readProxyAnswer(in)
		switch {
		case in.N == 0:
			return p.noProxy()
		case err != nil:
			return p.broken(err)
		case a.status == 0:
			return p.noProxy()
		case a.status/100 == 1: // more is to come
			continue
		}
		return p.answered(a)
	}
}

func (p passage) answered(a proxyAnswer) error {
	switch words := Printable(cutString(strconv.Itoa(a.status)+" "+a.reason, maxProxyWord)); a.status {
	case 200, 201, 202, 203, 204, 205, 206:
		return nil
	case 407:
		return p.unknown(a.otherScheme())
	case 500, 502, 503, 504:
		return p.noWay(words)
	default:
		return p.forbidden(words)
	}
}

// proxyAnswer is what counts of a proxy's answer.
type proxyAnswer struct {
	status  int // 0: this is no HTTP
	reason  string
	schemes []string // by which it wants a login
}

// readProxyAnswer reads one answer up to the empty line that ends its header, byte by byte: what follows is for others.
func readProxyAnswer(in io.Reader) (a proxyAnswer, err error) {
	var line []byte
	for first := true; ; {
		var b [1]byte
		if _, err := io.ReadFull(in, b[:]); err != nil {
			return a, err
		}
		if b[0] != '\n' {
			line = append(line, b[0])
			continue
		}
		text := strings.TrimSuffix(string(line), "\r")
		line = line[:0]
		switch {
		case first:
			if a.status, a.reason = statusLine(text); a.status == 0 {
				return a, nil
			}
			first = false
		case text == "":
			return a, nil
		default:
			if name, value, _ := strings.Cut(text, ":"); strings.EqualFold(name, "Proxy-Authenticate") {
				scheme, _, _ := strings.Cut(strings.TrimSpace(value), " ")
				a.schemes = append(a.schemes, scheme)
			}
		}
	}
}

// statusLine reads the first line of an answer; 0: it is none.
func statusLine(line string) (status int, reason string) {
	version, rest, _ := strings.Cut(line, " ")
	number, reason, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(number, 10, 16)
	if !strings.HasPrefix(version, "HTTP/1.") || len(number) != 3 || err != nil || n < 100 {
		return 0, ""
	}
	return int(n), reason
}

// otherScheme names how the proxy wants a login, if not by user and password.
func (a proxyAnswer) otherScheme() string {
	for _, s := range a.schemes {
		if strings.EqualFold(s, "Basic") {
			return ""
		}
	}
	return Printable(cutString(strings.Join(a.schemes, ", "), maxProxyWord))
}
