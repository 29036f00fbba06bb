//go:build unix

package wire

import "syscall"

// passing are the errors of a network that is away, or of a firewall.
var passing = [...]error{
	syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EADDRNOTAVAIL, syscall.ECONNREFUSED, syscall.EPERM,
	syscall.EACCES, syscall.ENOBUFS,
}
