package forward

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"syscall"
)

// bind listens at an address of this machine, as ssh does: without a host on loopback alone, in both families, and at
// "*" everywhere. An error beside listeners is that of one family, or of one of a name's addresses.
func bind(ctx context.Context, a Address) (found []net.Listener, err error) {
	if a.Path != "" {
		l, err := bindSocket(ctx, a.Path)
		if err != nil {
			return nil, fmt.Errorf("bind %s: %w", a.Path, errno(err))
		}
		return []net.Listener{l}, nil
	}
	hosts := []string{a.Host}
	switch {
	case !a.Given, a.Host == "localhost":
		hosts = []string{"127.0.0.1", "::1"}
	case a.Everywhere():
		hosts = []string{""}
	case net.ParseIP(a.Host) == nil:
		if hosts, err = net.DefaultResolver.LookupHost(ctx, a.Host); err != nil {
			return nil, fmt.Errorf("bind %s: %w", a, err)
		}
	}
	for _, host := range hosts {
		at := net.JoinHostPort(host, strconv.Itoa(int(a.Port)))
		network := "tcp"
		if ip := net.ParseIP(host); ip != nil { // with "tcp" Go takes 0.0.0.0 for all addresses of both families
			network = "tcp6"
			if ip.To4() != nil {
				network = "tcp4"
			}
		}
		l, lerr := new(net.ListenConfig).Listen(ctx, network, at)
		switch {
		case lerr == nil:
			found = append(found, l)
		case host == "::1" && a.Host != host && (errors.Is(lerr, syscall.EADDRNOTAVAIL) || errors.Is(lerr, syscall.EAFNOSUPPORT)): // no IPv6 here
		default:
			err = fmt.Errorf("bind %s: %w", at, errno(lerr))
		}
	}
	return found, err
}

// instead is what to do when nothing can listen at an address.
func instead(a Address, err error) string {
	switch {
	case a.Path != "":
		return "name a path in a folder that is there and that you may write, where nothing is yet"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "BIND must be an address of this machine; without it the forward is for this machine alone"
	case errors.Is(err, fs.ErrPermission):
		return "choose a port from 1024 on: those below are root's"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "BIND is a name that is not known here; without it the forward is for this machine alone"
	}
	return "free the port, or choose another one"
}

// errno is what the system says, without what was tried.
func errno(err error) error {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	return err
}
