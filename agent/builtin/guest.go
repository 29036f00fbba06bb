package builtin

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// A Guest is who is let in over one connection, and what they may do there.
type Guest struct {
	Key    ssh.PublicKey // the session's own; whoever holds its private half is let in
	Rights []wire.Right  // what is not listed is refused, channel by channel
	// Forward says whether a forward may go to a TCP port; nil: [Loopback]. It is asked twice: about an address without a zone
	// and in its usual form, or a name in lower case and without a dot at its end, and about what the guest wrote. One
	// yes is enough. It may be called concurrently.
	Forward func(host string, port uint16) bool
	// NoSockets says that forwards go to no unix socket.
	NoSockets bool
	// Listen says whether something may listen at a TCP port, as the guest asks for it: port 0 is any. It is at loopback in any
	// case. nil: it may.
	Listen func(host string, port uint16) bool
}

func (g Guest) may(r wire.Right) bool { return slices.Contains(g.Rights, r) }

// Loopback is the [Guest.Forward] that lets forwards go to the machine itself alone.
func Loopback(host string, _ uint16) bool {
	switch host {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	return false
}

// target is host as [Guest.Forward] gets it: each target has one spelling. It is empty for what is no host.
func target(host string) string {
	if host == "" || len(host) > wire.MaxTarget || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == '%' }) {
		return ""
	}
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		return ip.Unmap().String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// mayListen says whether a guest may listen at a port.
func (g Guest) mayListen(host string, port uint32) bool {
	return port <= 65535 && g.may(wire.MayReverse) && (g.Listen == nil || g.Listen(host, uint16(port)))
}

// mayConnect says whether a forward may go to a port, and how its host is spelt.
func (g Guest) mayConnect(host string, port uint32) (string, bool) {
	to := target(host)
	if to == "" || port == 0 || port > 65535 || !g.may(wire.MayForward) {
		return "", false
	}
	allowed := g.Forward
	if allowed == nil {
		allowed = Loopback
	}
	return to, allowed(to, uint16(port)) || allowed(host, uint16(port)) // who may be named in another spelling is the same
}
