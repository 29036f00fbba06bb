package wire

import "golang.org/x/sys/windows"

// passing are the errors of a network that is away, or of a firewall.
var passing = [...]error{
	windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN, windows.WSAEHOSTDOWN, windows.WSAEADDRNOTAVAIL, windows.WSAECONNREFUSED,
	windows.WSAECONNRESET, windows.WSAEACCES, windows.WSAENOBUFS,
}
