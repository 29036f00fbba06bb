package wire

import (
	"net"
	"net/netip"
)

// Host is an address without its port, or all of an address that has none.
func Host(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// Network is what tells one source from another, wherever sources are counted: an IPv4 address, or
// the /64 of an IPv6 address, as whoever has one address of it has all. The address may have a port and
// a zone. What is no address, such as a Unix socket's, is its own network.
func Network(addr string) string { return prefixOf(Host(addr), 64) }

// Site is what one owner usually has of networks: of IPv6 the /48 around a [Network], of which there
// are 65,536 in it. An IPv4 address stands for itself.
func Site(network string) string {
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return prefixOf(network, 48)
	}
	return prefixOf(p.Addr().String(), 48)
}

func prefixOf(host string, bits int) string {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip.WithZone(""), bits).Masked().String()
}
