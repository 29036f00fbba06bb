package wire

// Why says in a few words why a link that this Dialer has made to addr is not over QUIC. Empty: it is.
func (d Dialer) Why(link Link, addr string) string {
	if link.Peer().Road != TCP {
		return ""
	}
	if d.Transport == OnlyTCP {
		return "transport is set to tcp"
	}
	if through, err := d.Proxy.find(addr); err == nil && through != nil {
		return "a proxy is set"
	}
	return "UDP got no answer"
}

// May says whether a link to addr may be made over a road: Transport allows it, and for QUIC no proxy is set that would be passed by.
func (d Dialer) May(road Road, addr string) bool {
	through, err := d.Proxy.find(addr)
	return d.Transport.has(road) && (road != QUIC || d.Transport == OnlyQUIC || err == nil && through == nil)
}
