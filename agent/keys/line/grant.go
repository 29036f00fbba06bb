package line

import (
	"slices"
	"strconv"
	"strings"

	"scrier/wire"
)

// Grant is what a key may be used for in a session of kind ssh: what a line of authorized_keys gives, or what of
// that one session gets.
type Grant struct {
	Rights []wire.Right // in their usual order; never [wire.MayRaw], which needs no key
	Open   []Permit     // where [wire.MayForward] may connect to; empty: anywhere
	Listen []Permit     // where [wire.MayReverse] may listen; empty: wherever the SSH server lets it
}

// Bounds of each of a Grant's lists.
const (
	MaxPermits    = 64
	maxPermitText = 2 << 10 // bytes of all of them
)

// Has says whether the grant has a right.
func (g Grant) Has(r wire.Right) bool { return slices.Contains(g.Rights, r) }

// Opens says whether a forward may connect to a port of a host, as it was asked for: sshd compares the words,
// before it looks up any name.
func (g Grant) Opens(host string, port uint16) bool {
	return g.Has(wire.MayForward) && (len(g.Open) == 0 || slices.ContainsFunc(g.Open, func(p Permit) bool {
		return (p.Port == 0 || p.Port == port) && (p.Host == anyHost || p.Host == host)
	}))
}

// Listens says whether a forward may listen at a port of an address, as it was asked for.
func (g Grant) Listens(host string, port uint16) bool {
	return g.Has(wire.MayReverse) && (len(g.Listen) == 0 || slices.ContainsFunc(g.Listen, func(p Permit) bool {
		return (p.Port == 0 || p.Port == port) && MatchPattern(lower(host), p.Host)
	}))
}

// OpensSockets says whether a forward may connect to unix sockets. sshd looks for their paths among the targets of
// permitopen= as well, where only one that is any host at any port fits.
func (g Grant) OpensSockets() bool {
	return g.Has(wire.MayForward) && (len(g.Open) == 0 || slices.Contains(g.Open, Permit{Host: anyHost}))
}

// Only is the part of g that has these rights.
func (g Grant) Only(rights []wire.Right) Grant {
	var out Grant
	for _, r := range wire.Rights() {
		if g.Has(r) && slices.Contains(rights, r) {
			out.Rights = append(out.Rights, r)
		}
	}
	if out.Has(wire.MayForward) {
		out.Open = g.Open
	}
	if out.Has(wire.MayReverse) {
		out.Listen = g.Listen
	}
	return out
}

// Within is the part of g whose forwards stay within open; empty is anywhere. There are no forwards in it if none
// is in both, or if what is in both has no room on a line.
func (g Grant) Within(open []Permit) Grant {
	if !g.Has(wire.MayForward) || len(open) == 0 {
		return g
	}
	own := g.Open
	if len(own) == 0 {
		own = []Permit{{Host: anyHost}}
	}
	var both []Permit
	for _, p := range open {
		for _, q := range own {
			if r, ok := p.and(q); ok && !slices.Contains(both, r) {
				both = append(both, r)
			}
		}
	}
	if len(both) == 0 || !fits(both) {
		return g.Only(slices.DeleteFunc(wire.Rights(), func(r wire.Right) bool { return r == wire.MayForward }))
	}
	g.Open = both
	return g
}

// Lacks says why a line does not give a right.
func (g Grant) Lacks(r wire.Right) Reason {
	switch r {
	case wire.MayShell:
		if g.Has(wire.MayExec) {
			return NoPTY
		}
	case wire.MayForward:
		if g.Has(wire.MayReverse) {
			return Permits
		}
		return NoForwarding
	case wire.MayReverse:
		if g.Has(wire.MayForward) {
			return Permits
		}
		return NoForwarding
	case wire.MayAgent:
		return NoAgent
	}
	return Command
}

// Check says whether a grant that somebody else made is within its bounds.
func (g Grant) Check() bool {
	for _, r := range g.Rights {
		if !slices.Contains(wire.Rights(), r) || r == wire.MayRaw {
			return false
		}
	}
	return len(g.Rights) <= wire.MaxRights && fits(g.Open) && fits(g.Listen)
}

// A Permit is one host and port, as permitopen= and permitlisten= have them.
type Permit struct {
	Host string // a name or an address; * is any. In permitlisten= it is a pattern for small letters
	Port uint16 // 0 is any
}

const anyHost = "*"

// nowhere is a permit that nothing fits: no TCP connection leads to the broadcast address, and no port below 1024
// is open to who is not root. sshd has no other way to allow forwards in one direction alone.
var nowhere = Permit{"255.255.255.255", 1}

// NewPermit is ok if a line can say it.
func NewPermit(host string, port uint16) (p Permit, ok bool) {
	return Permit{host, port}, host != "" && len(host) <= wire.MaxTarget && strings.Trim(host, permitChars) == ""
}

const permitChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:*?"

// String is how a line has it.
func (p Permit) String() string {
	host, port := p.Host, "*"
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p.Port != 0 {
		port = strconv.Itoa(int(p.Port))
	}
	return host + ":" + port
}

// ParsePermit reads what [Permit.String] writes, and what else means the same to sshd.
func ParsePermit(s string) (Permit, bool) {
	end := strings.IndexAny(s, ":/")
	if strings.HasPrefix(s, "[") {
		end = strings.IndexByte(s, ']') + 1
	}
	if end <= 0 || end >= len(s) {
		return Permit{}, false
	}
	host, port := s[:end], s[end+1:]
	if host[0] == '[' {
		host = host[1 : len(host)-1]
	}
	if port == "*" {
		return NewPermit(host, 0)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Permit{}, false
	}
	return NewPermit(host, uint16(n))
}

// and is what fits both, of permits to connect.
func (p Permit) and(q Permit) (Permit, bool) {
	switch {
	case p.Host == anyHost:
		p.Host = q.Host
	case q.Host != anyHost && q.Host != p.Host:
		return p, false
	}
	switch {
	case p.Port == 0:
		p.Port = q.Port
	case q.Port != 0 && q.Port != p.Port:
		return p, false
	}
	return p, true
}

// fits says whether a line has room for these permits.
func fits(permits []Permit) bool {
	size := 0
	for _, p := range permits {
		if _, ok := NewPermit(p.Host, p.Port); !ok || p == nowhere {
			return false
		}
		size += len(p.String())
	}
	return len(permits) <= MaxPermits && size <= maxPermitText
}

// sftpOnly are the commands by which a line gives files and nothing else. sshd runs its own SFTP server for them,
// whatever Subsystem says, and no program of the login's.
var sftpOnly = []struct {
	command string
	rights  []wire.Right
}{
	{"internal-sftp", []wire.Right{wire.MayUpload, wire.MayDownload}},
	{"internal-sftp -R", []wire.Right{wire.MayDownload}},
	{"internal-sftp -P read", []wire.Right{wire.MayUpload}},
	{"internal-sftp -p none", nil}, // of all requests it serves those that are called so
}

// grant is what a line with these options gives.
func (o options) grant() Grant {
	var g Grant
	give := func(ok bool, rights ...wire.Right) {
		if ok {
			g.Rights = append(g.Rights, rights...)
		}
	}
	give(o.pty && !o.command, wire.MayShell)
	give(!o.command, wire.MayExec, wire.MayUpload, wire.MayDownload)
	for _, s := range sftpOnly {
		give(o.command && o.commandText == s.command, s.rights...)
	}
	give(o.forwarding && o.open.usable(), wire.MayForward)
	give(o.forwarding && o.listen.usable(), wire.MayReverse)
	give(o.agent, wire.MayAgent)
	g.Open, g.Listen = o.open.permits, o.listen.permits
	return g.Only(wire.Rights())
}

// permitList is what a line says of forwards in one direction.
type permitList struct {
	count   int // of all options of the kind
	permits []Permit
}

func (l *permitList) add(text string, listen bool) {
	l.count++
	p, ok := ParsePermit(text)
	if !ok || p == nowhere {
		return // no session's line could say it
	}
	if !listen && p.Host != anyHost && strings.ContainsAny(p.Host, "*?") {
		return // it is no pattern there, and no host
	}
	if len(l.permits) <= MaxPermits && !slices.Contains(l.permits, p) {
		l.permits = append(l.permits, p)
	}
}

// usable says whether a session can have forwards by these permits.
func (l *permitList) usable() bool {
	return l.count == 0 || len(l.permits) > 0 && fits(l.permits)
}
