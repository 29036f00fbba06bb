package certs

import (
	"time"
)

// The certificates that a relay has, as [Server.Expiries] names them.
const (
	CACertificate      = "ca"      // of the relay's own CA
	RelayCertificate   = "relay"   // that agents and CLIs see, and browsers without another one
	BrowserCertificate = "browser" // that browsers know by its hash, for WebTransport
	PublicCertificate  = "public"  // that browsers know, of server.yaml's block "tls"
)

// Expiries are when the relay's certificates end. One that was not needed yet, or is not there yet, is missing. Of the relay's own CA
// alone the relay makes no new one by itself.
func (s *Server) Expiries() map[string]time.Time {
	out := map[string]time.Time{CACertificate: s.CA.cert.NotAfter}
	s.mu.Lock()
	if s.cert != nil {
		out[RelayCertificate] = s.cert.Leaf.NotAfter
	}
	s.mu.Unlock()
	s.browser.mu.Lock()
	if s.browser.current != nil {
		out[BrowserCertificate] = s.browser.current.tls.Leaf.NotAfter
	}
	s.browser.mu.Unlock()
	if s.Public != nil {
		if c := s.Public.Certificate(); c != nil {
			out[PublicCertificate] = c.Leaf.NotAfter
		}
	}
	return out
}
