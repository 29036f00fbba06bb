package forward

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	"scrier/wire"
)

// Spec is what one -L, -R or -D says: where connections are taken, and where they go.
type Spec struct {
	Listen  Address
	Connect Address // zero: where each connection says, as SOCKS
	text    string
}

// Socks says that each connection tells by itself where it goes.
func (s Spec) Socks() bool { return s.Connect == Address{} }

// String is what the person wrote.
func (s Spec) String() string { return s.text }

// Address is a port of a host, or a socket's path.
type Address struct {
	Path string // of a socket; then Host and Port have no meaning
	Host string
	Port uint16
	// Given says that Host was, and Everywhere that it is all addresses. Without one it is loopback alone.
	Given bool
}

// Everywhere says that an address to listen at is every one of the machine.
func (a Address) Everywhere() bool { return a.Given && (a.Host == "" || a.Host == "*") }

// Network is "tcp" or "unix".
func (a Address) Network() string {
	if a.Path != "" {
		return "unix"
	}
	return "tcp"
}

// String is the address for people.
func (a Address) String() string {
	switch {
	case a.Path != "":
		return a.Path
	case a.Host == "" && !a.Given:
		return strconv.Itoa(int(a.Port))
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

const (
	localForm   = "[BIND:]PORT:HOST:HOSTPORT, or with the path of a socket in place of [BIND:]PORT, of HOST:HOSTPORT or of both"
	remoteForm  = localForm + "; or [BIND:]PORT alone"
	dynamicForm = "[BIND:]PORT"
	targetForm  = "HOST:PORT or the path of a socket"
)

// ParseLocal reads what ssh takes as -L.
func ParseLocal(text string) (Spec, error) {
	if s, ok := parse(text, false, false); ok {
		return s, nil
	}
	return Spec{}, bad("-L", text, localForm)
}

// ParseRemote reads what ssh takes as -R.
func ParseRemote(text string) (Spec, error) {
	s, ok := parse(text, false, true)
	if !ok {
		s, ok = parse(text, true, true)
	}
	if ok {
		return s, nil
	}
	return Spec{}, bad("-R", text, remoteForm)
}

// ParseDynamic reads what ssh takes as -D.
func ParseDynamic(text string) (Spec, error) {
	if s, ok := parse(text, true, false); ok {
		return s, nil
	}
	return Spec{}, bad("-D", text, dynamicForm)
}

// ParseTarget reads what ssh takes as -W.
func ParseTarget(text string) (Address, error) {
	s, ok := parse(text, true, false)
	if a := s.Listen; ok && (a.Path != "" || a.Host != "") {
		return a, nil
	}
	return Address{}, bad("-W", text, targetForm)
}

func bad(flag, text, form string) error {
	for part := range strings.SplitSeq(text, ":") {
		if _, err := strconv.ParseUint(part, 10, 16); errors.Is(err, strconv.ErrRange) {
			return wire.Errorf(wire.Usage, "%s %s: %s is no port: ports are up to 65535", flag, wire.Printable(text), wire.Printable(part))
		}
	}
	return wire.Errorf(wire.Usage, "%s %s: it is not %s", flag, wire.Printable(text), form)
}

// field is a part between colons. path says that it has a slash.
type field struct {
	text string
	path bool
}

// parse understands a specification as ssh does (readconf.c, parse_forward): with the same fields it means the same.
func parse(text string, dynamic, remote bool) (s Spec, ok bool) {
	s.text = text
	var f []field
	for rest := strings.TrimLeft(text, " \t"); len(f) < 4 && rest != ""; {
		var one field
		if one, rest, ok = cutField(rest); !ok {
			return s, false
		}
		if f = append(f, one); len(f) == 4 && rest != "" {
			return s, false
		}
	}
	at := func(listen []field, connect []field) (Spec, bool) {
		if s.Listen, ok = address(listen, remote); !ok {
			return s, false
		}
		if s.Connect, ok = address(connect, false); !ok || len(connect) > 0 && s.Connect.Path == "" && s.Connect.Host == "" {
			return s, false
		}
		return s, true
	}
	switch n := len(f); {
	case dynamic && (n == 1 || n == 2):
		return at(f, nil)
	case dynamic || n < 2:
		return s, false
	case n == 2 && f[1].path:
		return at(f[:1], f[1:])
	case n == 3 && (f[0].path || !f[2].path):
		return at(f[:1], f[1:])
	case n == 3:
		return at(f[:2], f[2:])
	case n == 4:
		return at(f[:2], f[2:])
	}
	return s, false
}

// cutField takes one field and the colon behind it. In brackets it is as it stands there; else a backslash takes its
// meaning from what follows.
func cutField(text string) (f field, rest string, ok bool) {
	if in, found := strings.CutPrefix(text, "["); found {
		in, rest, found = strings.Cut(in, "]")
		if !found || rest != "" && rest[0] != ':' {
			return f, "", false
		}
		return field{in, strings.Contains(in, "/")}, strings.TrimPrefix(rest, ":"), true
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case ':':
			f.text = b.String()
			return f, text[i+1:], true
		case '\\':
			if i++; i == len(text) {
				return f, "", false
			}
			b.WriteByte(text[i])
		default:
			f.path = f.path || c == '/'
			b.WriteByte(c)
		}
	}
	f.text = b.String()
	return f, "", true
}

// address makes one of a path, of a port, or of a host and a port. any says that port 0 will do.
func address(f []field, any bool) (a Address, ok bool) {
	switch len(f) {
	case 0:
		return a, true
	case 1:
		if f[0].path {
			a.Path = f[0].text
			return a, len(a.Path) <= maxPath
		}
	case 2:
		if f[0].path {
			return a, false // ssh takes it for a host's name
		}
		a.Host, a.Given = f[0].text, true
	}
	a.Port, ok = port(f[len(f)-1].text)
	return a, ok && (a.Port != 0 || any) && len(a.Host) <= wire.MaxTarget
}

// maxPath is how long a socket's path may be where it is made, in bytes (unix(7)).
const maxPath = 107

// port is a number, or a service's name.
func port(text string) (uint16, bool) {
	if text == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 10, 16); err == nil {
		return uint16(n), true
	}
	if strings.Trim(text, "+-0123456789") == "" {
		return 0, false
	}
	n, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", text)
	return uint16(n), err == nil
}
