//go:build !linux

package wire

import "net"

// ForBulk prepares a TCP connection for much data, on systems that let programs choose how.
func ForBulk(net.Conn) {}
