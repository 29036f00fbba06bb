// Package acme gets a relay its certificate for browsers, and renews it. It stands beside certs because it speaks HTTP,
// which no agent needs.
package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"scrier/certs"
	"scrier/wire"
)

const (
	checkInterval = time.Minute // how often the relay asks autocert for its certificate
	// Between attempts after failures, doubling: Let's Encrypt allows five failed ones an hour.
	retryMin, retryMax = 2 * time.Minute, time.Hour
	timeout            = 30 * time.Second // of one request
	maxAnswer          = 1 << 20          // bytes
)

// Config says which certificate to get, and where.
type Config struct {
	Domain    string
	Email     string         // for the CA's warnings; may be empty
	Directory string         // of the CA; empty: Let's Encrypt
	Cache     string         // a directory of ours alone: the account's key, and certificates with theirs
	Roots     *x509.CertPool // that decide what is known; nil: the system's
	Now       func() time.Time
	Log       *slog.Logger
}

// Source is a certificate that the relay gets and renews by itself (RFC 8555). It proves that it owns
// the name in a TLS handshake on its own port (RFC 8737). Until there is a certificate, the relay
// shows the one that it made itself, so no browser waits for the CA.
type Source struct {
	Config
	manager atomic.Pointer[autocert.Manager]
	cert    atomic.Pointer[certs.PublicCert]
}

// New makes the cache.
func New(c Config) (*Source, error) {
	err := os.MkdirAll(c.Cache, 0o700)
	if err == nil {
		err = os.Chmod(c.Cache, 0o700)
	}
	if err != nil {
		return nil, &wire.Error{Code: wire.BadConfig, Detail: "cannot make the directory for ACME: " + err.Error(), Err: err}
	}
	return &Source{Config: c}, nil
}

// Certificate is what was got last.
func (a *Source) Certificate() *certs.PublicCert { return a.cert.Load() }

// Challenge answers the CA's handshake.
func (a *Source) Challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	m := a.manager.Load()
	if m == nil {
		return nil, wire.Errorf(wire.NotFound, "no challenge is under way")
	}
	return m.GetCertificate(hello)
}

// Run gets the certificate, and uses each renewed one. When ctx ends it waits for the step that is
// under way, which fails at its next request.
func (a *Source) Run(ctx context.Context) error {
	m := &autocert.Manager{
		// Who configures a domain accepts the CA's terms; docs/relay.md says so.
		Prompt:     autocert.AcceptTOS,
		Cache:      autocert.DirCache(a.Cache),
		HostPolicy: autocert.HostWhitelist(a.Domain),
		Email:      a.Email,
		Client: &acme.Client{
			DirectoryURL: a.Directory, UserAgent: "scrier/" + wire.Version(),
			HTTPClient: &http.Client{Transport: tether(ctx, &http.Transport{
				Proxy:             http.ProxyFromEnvironment,
				DisableKeepAlives: true, // a few requests in two months; nothing is left to close
			})},
			RetryBackoff: func(n int, _ *http.Request, _ *http.Response) time.Duration {
				if n > 3 {
					return -1
				}
				return time.Second
			},
		},
	}
	if a.Directory == "" {
		m.Client.DirectoryURL = autocert.DefaultACMEDirectory
	}
	a.manager.Store(m)
	// This is what a browser would send; autocert chooses the kind of key by it.
	hello := &tls.ClientHelloInfo{
		ServerName:   a.Domain,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	}
	retry := retryMin
	for {
		wait := checkInterval
		if pair, err := m.GetCertificate(hello); err == nil {
			a.take(pair)
			retry = retryMin
		} else if ctx.Err() == nil {
			wait = retry
			retry = min(2*retry, retryMax)
			a.Log.Error("no certificate by ACME", "name", a.Domain, "again", wait, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (a *Source) take(pair *tls.Certificate) {
	if old := a.cert.Load(); old != nil && bytes.Equal(old.Leaf.Raw, pair.Leaf.Raw) {
		return
	}
	a.cert.Store(certs.NewPublicCert(pair, a.Roots, a.Now()))
	a.Log.Info("certificate by ACME", "name", a.Domain, "ends", pair.Leaf.NotAfter.UTC())
}

// tether ends requests when ctx ends. autocert makes contexts of its own and does not know ctx.
func tether(ctx context.Context, base http.RoundTripper) http.RoundTripper {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		rctx, cancel := context.WithTimeout(req.Context(), timeout)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		resp, err := base.RoundTrip(req.WithContext(rctx))
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", req.URL, err)
		}
		resp.Body = io.NopCloser(bytes.NewReader(data))
		return resp, nil
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
