package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"scrier/certs"
	"scrier/relay"
	"scrier/wire"
)

const (
	endsSoon   = 14 * 24 * time.Hour  // of a certificate that somebody renews
	caEndsSoon = 365 * 24 * time.Hour // of the CA: every machine has to be enrolled again
	// maxHashed is what browsers allow for a certificate that they know by its hash (W3C WebTransport,
	// serverCertificateHashes).
	maxHashed = 14 * 24 * time.Hour
)

// certificates looks at those that are on this machine, and at those that the relay shows.
func (e *examiner) certificates(ctx context.Context) []Finding {
	if !e.here && e.addr == "" {
		return nil
	}
	return group("certificates", parallel(
		func() []Finding { return e.authority() },
		func() []Finding { return e.shown(ctx, "relay", wire.ALPNClient, endsSoon) },
		func() []Finding { return e.shown(ctx, "browser", wire.ALPNH3, 0) },
		func() []Finding { return e.public(ctx) },
	)...)
}

func (e *examiner) authority() []Finding {
	if !e.here {
		return nil
	}
	ca, err := e.ca()
	if err != nil {
		return []Finding{{What: "authority", Status: Warn, Detail: "ca.crt cannot be read: " + detail(err), Hint: "it is made at the relay's first start"}}
	}
	f := e.life("authority", ca, caEndsSoon)
	if f.Status != OK {
		f.Hint = "set the relay up anew with an empty state directory; every machine and operator has to come again"
	}
	return []Finding{f}
}

// life says how long a certificate is still good for.
func (e *examiner) life(what string, c *x509.Certificate, soon time.Duration) Finding {
	now := e.Now()
	f := Finding{What: what, Status: OK, Detail: "good until " + c.NotAfter.UTC().Format(time.DateOnly) + " (UTC)"}
	switch {
	case now.Before(c.NotBefore):
		f.Status, f.Detail = Fail, "good only from "+c.NotBefore.UTC().Format(time.RFC3339)+" on, and this clock says "+now.UTC().Format(time.RFC3339)
		f.Hint = "is this machine's clock right?"
	case !now.Before(c.NotAfter):
		f.Status, f.Detail = Fail, "was good until "+c.NotAfter.UTC().Format(time.RFC3339)
	case c.NotAfter.Sub(now) < soon:
		f.Status, f.Detail = Warn, f.Detail+fmt.Sprintf(", %d days from now", int(c.NotAfter.Sub(now)/(24*time.Hour)))
	}
	return f
}

// shown looks at the certificate that the relay shows over QUIC.
func (e *examiner) shown(ctx context.Context, what, alpn string, soon time.Duration) []Finding {
	if e.addr == "" {
		return nil
	}
	var leaf *x509.Certificate
	conf := e.trust(alpn).TLS()
	// Whether it is the right relay is for the check of the port; this check is about the certificate.
	conf.VerifyConnection = func(cs tls.ConnectionState) error { leaf = cs.PeerCertificates[0]; return nil }
	link, err := e.dial(ctx, conf)
	if err != nil {
		return []Finding{{What: what, Status: Skip, Detail: "the relay does not answer over UDP, so it shows none"}}
	}
	_ = link.Close(wire.None, "") // nothing was sent
	f := e.life(what, leaf, soon)
	if f.Status != OK {
		f.Hint = "the relay makes it anew by itself: restart it, and look at its clock"
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); what == "browser" && e.conf.TLS == (relay.TLS{}) && f.Status == OK {
		f.Detail += ", made anew by then"
		if life > maxHashed {
			f.Status, f.Detail = Fail, fmt.Sprintf("is good for %d days; browsers allow 14", int(life/(24*time.Hour)))
		}
	}
	return []Finding{f}
}

// public looks at the certificate that browsers know, if one is configured.
func (e *examiner) public(ctx context.Context) []Finding {
	switch t := e.conf.TLS; {
	case !e.here && e.Config == "":
		return nil
	case t.Cert != "":
		files, err := certs.LoadFiles(certs.FilesConfig{Cert: t.Cert, Key: t.Key, Roots: e.Roots, Now: e.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return []Finding{{What: "tls.cert", Status: Fail, Detail: detail(err), Hint: "renew it; the relay does not start with it, and one that runs keeps the old one"}}
		}
		return e.known("tls.cert", files.Certificate().Leaf, files.Certificate().Known)
	case t.ACME != "":
		return e.acme(ctx, t.ACME)
	}
	return []Finding{{What: "tls", Status: OK, Detail: "none is configured: browsers warn once of the relay's own"}}
}

// known looks at a certificate that is meant for browsers.
func (e *examiner) known(what string, leaf *x509.Certificate, known bool) []Finding {
	f := e.life(what, leaf, endsSoon)
	f.Detail = strings.Join(leaf.DNSNames, " ") + ": " + f.Detail
	if f.Status != OK {
		f.Hint = "renew it; the relay takes new files within a minute"
		return []Finding{f}
	}
	for _, h := range e.conf.Hosts {
		if !strings.HasPrefix(h, "*") && leaf.VerifyHostname(h) != nil {
			f.Status, f.Detail = Warn, f.Detail+"; it does not have "+h+", which stands in hosts"
			f.Hint = "browsers are shown the relay's own there, and warn"
			return []Finding{f}
		}
	}
	if !known {
		f.Status, f.Detail = Warn, f.Detail+"; the system's roots do not vouch for it"
		f.Hint = "browsers without its CA warn; install ca-certificates here if it is a public one"
	}
	return []Finding{f}
}

// acme asks the relay for the certificate that it got for its domain.
func (e *examiner) acme(ctx context.Context, domain string) []Finding {
	const what = "tls.acme"
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	var chain []*x509.Certificate
	conf := e.trust("http/1.1").TLS()
	conf.ServerName = domain
	conf.VerifyConnection = func(cs tls.ConnectionState) error { chain = cs.PeerCertificates; return nil }
	raw, err := e.dialTCP(ctx, "tcp", e.addr)
	if err == nil {
		err = tls.Client(raw, conf).HandshakeContext(ctx)
		_ = raw.Close() // nothing was sent
	}
	if err != nil {
		return []Finding{{What: what, Status: Skip, Detail: "the relay does not answer over TCP, so it shows none"}}
	}
	leaf := chain[0]
	if leaf.VerifyHostname(domain) != nil || e.own(chain) {
		return []Finding{{What: what, Status: Warn, Detail: "there is no certificate for " + domain + " yet: the relay shows its own",
			Hint: "the relay's log says why; the CA must reach TCP port 443 of that name"}}
	}
	others := x509.NewCertPool()
	for _, c := range chain[1:] {
		others.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: e.Roots, Intermediates: others, CurrentTime: e.Now()})
	return e.known(what, leaf, err == nil)
}

// own says whether a chain was issued by the relay's own CA.
func (e *examiner) own(chain []*x509.Certificate) bool {
	ca, err := e.ca()
	return err == nil && chain[len(chain)-1].Equal(ca)
}

// clock looks whether this machine's time is right: certificates, tokens and tickets depend on it.
func (e *examiner) clock(ctx context.Context) []Finding {
	f := Finding{What: "synchronised", Status: OK, Detail: "the kernel says that something keeps it right"}
	const hint = "run a time service, for example `timedatectl set-ntp true`"
	switch ok, err := e.Synced(); {
	case err != nil:
		f.Status, f.Detail = Skip, "the kernel does not say: "+err.Error()
	case !ok:
		f.Status, f.Detail, f.Hint = Warn, "the kernel says that nothing keeps it right", hint
	}
	found := []Finding{f}
	if e.addr != "" {
		found = append(found, e.offset(ctx))
	}
	return group("clock", found...)
}

const (
	someOffset = 5 * time.Second // HTTP's Date has whole seconds
	// muchOffset is the difference from which on programs refuse each other.
	muchOffset = time.Minute
)

func (e *examiner) offset(ctx context.Context) Finding {
	f := Finding{What: "relay's clock", Status: OK, Detail: "agrees with this one"}
	date, took, err := e.health(ctx)
	if err != nil && !errors.Is(err, errMisdirected) || date.IsZero() {
		return Finding{What: f.What, Status: Skip, Detail: "the relay does not answer over TCP"}
	}
	off := date.Sub(e.Now())
	if off.Abs() > someOffset+took {
		f.Status, f.Hint = Warn, "set the clock that is wrong"
		f.Detail = fmt.Sprintf("says %s, this one %s", date.UTC().Format(time.RFC3339), e.Now().UTC().Format(time.RFC3339))
		if off.Abs() > muchOffset+took {
			f.Status = Fail
		}
	}
	return f
}
