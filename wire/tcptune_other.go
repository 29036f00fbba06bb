//go:build !linux

package wire

import "net"

func tuneTCP(net.Conn) {}
