package wire

import "net"

// Host is an address without its port, or all of an address that has none: what tells one source
// from another.
func Host(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
