package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	// A proxy sends its header with its first bytes.
	proxyHeaderTime = 5 * time.Second
	maxProxyHeaders = 256 // that are waited for at the same time
)

// ProxyProtocol is the block "proxy_protocol": who may say for whom they connect over TCP.
type ProxyProtocol struct {
	From []string `yaml:"from"` // addresses and networks (CIDR) of proxies
}

func (p ProxyProtocol) networks() (out []netip.Prefix, err error) {
	for _, text := range p.From {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(text); err == nil {
				n = netip.PrefixFrom(addr, addr.BitLen())
			}
		}
		switch {
		case err != nil || strings.Contains(text, "%") || n.Addr().Is4In6():
			return nil, fmt.Errorf("%q is no address or network of a proxy, like 192.0.2.7 or 10.1.0.0/24", text)
		case n.Bits() == 0:
			return nil, fmt.Errorf("with %q everybody could claim any address: name your proxies alone", text)
		case n != n.Masked():
			return nil, fmt.Errorf("%q is an address in the network %s: write one of the two", text, n.Masked())
		}
		out = append(out, n)
	}
	return out, nil
}

// Lists says whether connections from an address begin with a header of the PROXY protocol.
func (p ProxyProtocol) Lists(addr net.Addr) bool {
	networks, err := p.networks()
	return err == nil && lists(networks, addr)
}

func lists(networks []netip.Prefix, addr net.Addr) bool {
	t, ok := addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := t.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// proxies are those that [ProxyProtocol] lists. Its methods may be called concurrently.
type proxies struct {
	networks []netip.Prefix
	waiting  chan struct{} // for a header
	log      *slog.Logger
	warn     rate.Sometimes
}

func newProxies(c ProxyProtocol, log *slog.Logger) (*proxies, error) {
	networks, err := c.networks()
	if err != nil {
		return nil, err
	}
	return &proxies{networks: networks, waiting: make(chan struct{}, maxProxyHeaders), log: log, warn: rate.Sometimes{First: 1, Interval: time.Minute}}, nil
}

// origin is where a connection comes from: of a proxy's, what its header says. It is the proxy's own address if it connects
// for itself. Without a header a proxy's connection is refused, as it would be guessed otherwise who sends
// the first bytes: the proxy, or a stranger behind it who claims an address.
func (p *proxies) origin(ctx context.Context, conn net.Conn) (net.Addr, error) {
	proxy := conn.RemoteAddr()
	if !lists(p.networks, proxy) {
		return proxy, nil
	}
	select {
	case p.waiting <- struct{}{}:
		defer func() { <-p.waiting }()
	default:
		return nil, errors.New("too many connections of proxies that have not said anything yet")
	}
	if err := conn.SetDeadline(time.Now().Add(proxyHeaderTime)); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	from, err := readProxyHeader(conn)
	if errors.Is(err, io.EOF) { // it only looked whether somebody listens
		return nil, err
	}
	if err != nil {
		p.warn.Do(func() {
			p.log.Warn("a connection from proxy_protocol.from is refused", "proxy", proxy, "err", err,
				"hint", "have the proxy send the PROXY protocol, or take its address out of the list")
		})
		return nil, err
	}
	if !from.IsValid() {
		return proxy, nil
	}
	return net.TCPAddrFromAddrPort(from), nil
}
