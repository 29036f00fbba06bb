package relay

import (
	"fmt"
	"net"
	"slices"
	"time"

	"scrier/wire"
)

const (
	littleTime = 5 * time.Second // in which few machines open a session
	httpsPort  = "443"
)

// Doubts says what in the configuration is valid and makes no sense: it has no effect, or not the one that was meant. The
// relay works with it all the same.
func (c *Config) Doubts() []string {
	return slices.Concat(c.addressDoubts(), c.Metrics.doubts(), c.Scrier.portDoubts(), c.Scrier.timeDoubts(), c.Scrier.guacdDoubts())
}

func (c *Config) addressDoubts() (out []string) {
	_, port, err := net.SplitHostPort(c.Listen)
	if err == nil && port == "0" {
		out = append(out, "listen: port 0 is another port at each start, and no machine finds the relay again")
	}
	if n, lerr := net.LookupPort("tcp", port); err == nil && lerr == nil && c.TLS.ACME != "" && fmt.Sprint(n) != httpsPort {
		out = append(out, "tls.acme: the CA connects to port 443, and the relay listens on "+port+": without something that passes 443 on, it gets no certificate")
	}
	for i, h := range c.Hosts {
		if slices.Contains(c.Hosts[:i], h) {
			out = append(out, fmt.Sprintf("hosts: %s is there twice", h))
		}
	}
	for i, n := range c.ProxyProtocol.From {
		if slices.Contains(c.ProxyProtocol.From[:i], n) {
			out = append(out, fmt.Sprintf("proxy_protocol.from: %s is there twice", n))
		}
	}
	return out
}

func (m *Metrics) doubts() (out []string) {
	host, port, err := net.SplitHostPort(m.Listen)
	if err != nil {
		return nil
	}
	if !isLoopback(host) {
		out = append(out, fmt.Sprintf("metrics.listen: whoever reaches %s reads how many machines and sessions there are, without a login; 127.0.0.1 is for this host alone", m.Listen))
	}
	if port == "0" {
		out = append(out, "metrics.listen: port 0 is another port at each start, and no Prometheus finds it again")
	}
	return out
}

func (c *Scrier) portDoubts() (out []string) {
	if len(c.AllowedPorts) == 0 {
		out = append(out, "scrier.allowed_ports is empty: no shell and no desktop opens; scrier.enabled: false says so to operators")
	}
	for i, p := range c.AllowedPorts {
		switch {
		case slices.Contains(c.AllowedPorts[:i], p):
			if !slices.Contains(c.AllowedPorts[i+1:], p) { // said once
				out = append(out, fmt.Sprintf("scrier.allowed_ports: %d is there twice", p))
			}
		case p == 0:
			out = append(out, "scrier.allowed_ports: 0 is no port, and has no effect")
		}
	}
	return out
}

func (c *Scrier) timeDoubts() (out []string) {
	longest := time.Duration(c.MaxAge)
	for key, d := range map[string]Duration{"agent_timeout": c.AgentTimeout, "detach_grace": c.DetachGrace, "audit_grace": c.AuditGrace} {
		if time.Duration(d) > longest {
			out = append(out, fmt.Sprintf("scrier.%s is %s, and a session ends after scrier.max_age, %s, anyway", key, wire.Period(time.Duration(d)), wire.Period(longest)))
		}
	}
	slices.Sort(out)
	if d := time.Duration(c.AgentTimeout); d < littleTime {
		out = append(out, fmt.Sprintf("scrier.agent_timeout: in %s few machines open a session", d))
	}
	return out
}

func (c *Scrier) guacdDoubts() (out []string) {
	var far string // a guacd on another host
	for i, addr := range c.GuacdAddr {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			continue
		}
		if slices.Contains(c.GuacdAddr[:i], addr) {
			out = append(out, fmt.Sprintf("scrier.guacd_addr: %s is there twice", addr))
		}
		if port == "0" {
			out = append(out, fmt.Sprintf("scrier.guacd_addr: nothing listens at port 0 of %s", host))
		}
		if ip := net.ParseIP(host); ip != nil && !ip.IsLoopback() && !ownAddress(ip) && far == "" {
			far = host
		}
	}
	if far != "" && isLoopback(c.ProxyHostname) {
		out = append(out, fmt.Sprintf("scrier.proxy_hostname: guacd at %s cannot call this relay back at %s: name an address of this host that it reaches", far, c.ProxyHostname))
	}
	d := c.Desktop
	if len(c.GuacdAddr) == 0 && (d.ClipboardToEnvoy || d.ClipboardFromEnvoy || d.Drive.Path != "") {
		out = append(out, "scrier.desktop: clipboard and drive have no effect without scrier.guacd_addr")
	}
	if d.Drive.Path != "" && !d.Drive.Upload && !d.Drive.Download {
		out = append(out, "scrier.desktop.drive: the disk is of no use while both upload and download are false")
	}
	return out
}

// ownAddress says whether an address is one of this host's.
func ownAddress(ip net.IP) bool {
	all, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}
