// Package relay is the middle: it accepts agents and operators, and joins them to sessions. This
// file is its wiring; each of the packages below is one room.
package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/relay/files"
	"scrier/relay/fleet"
	"scrier/relay/kind"
	"scrier/relay/lane"
	"scrier/relay/metrics"
	"scrier/relay/panics"
	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/relay/store/bolt"
	"scrier/relay/web"
	"scrier/wire"
)

// Settings is what a relay is started with.
type Settings struct {
	StateDir string
	Config   Config
	// AcceptRollback starts on an audit log that is shorter than it was, and writes that down.
	AcceptRollback bool
	Now            func() time.Time
	Log            *slog.Logger
}

// Relay is a running relay.
type Relay struct {
	Settings
	ca       *certs.CA
	kv       *bolt.DB
	audit    *audit.Log
	access   *access.Access
	fleet    *fleet.Fleet
	sessions *session.Table
	kind     map[wire.Kind]kind.Kind
	tls      *certs.Server
	api      http.Handler
	web      http.Handler // what browsers reach over TCP
	h3       web.HTTP3    // and over QUIC
	events   *web.Events
	calls    *calls // HTTP over operators' links
	files    *files.Files
	links    links // operators' links, to end those of a changed operator
	openings openings
	lanes    lane.Lanes // of both kinds of links

	strangers     crowd // links without a certificate, and viewers without a ticket
	operatorLinks crowd // by operator
	envoyLinks    crowd // by envoy
	newLanes      crowd // by either: connections for one stream that have not said yet for which
	panics        *panics.Boundary
	listener      *listener
	admin         *adminSocket

	programs *session.Memory // of those that go on over another link
	counts   *counts
	figures  http.Handler // all that is counted, for Prometheus
	metrics  net.Listener // nil: there is none for that
}

// drainTimeout is how long an orderly shutdown waits for sessions to end.
const drainTimeout = 10 * time.Second

// Open loads the state, closes what a former run left open, and binds the port. Run or Close it.
func Open(ctx context.Context, s Settings) (_ *Relay, err error) {
	r := &Relay{
		Settings: s, events: web.NewEvents(), counts: newCounts(), programs: session.NewMemory(session.UsualMemory), panics: &panics.Boundary{Log: s.Log},
		strangers:     crowd{what: "connections without a login from your network", max: maxStrangers, each: maxStrangersPerNetwork},
		operatorLinks: crowd{what: "connections of yours", max: maxLinks, each: maxLinksPerOperator},
		envoyLinks:    crowd{what: "connections of this envoy", max: unbounded, each: maxLinksPerEnvoy},
		newLanes:      crowd{what: "connections that say nothing", max: maxLanes, each: maxLanesPerIdentity},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	first, err := beginState(s.StateDir)
	if err != nil {
		return nil, err
	}
	if r.kv, err = bolt.Open(bolt.Config{Path: filepath.Join(s.StateDir, "state.db"), Log: s.Log}); err != nil {
		return nil, err
	}
	if r.ca, err = certs.LoadOrMakeCA(s.StateDir, s.Now); err != nil {
		return nil, err
	}
	name := "scrier-relay/" + r.ca.Cluster()
	if r.audit, err = audit.Open(audit.Config{
		Path: filepath.Join(s.StateDir, "audit.db"), KeyPath: filepath.Join(s.StateDir, "audit.key"),
		Name: name, Now: s.Now, Log: s.Log, AcceptRollback: s.AcceptRollback, Expected: !first,
	}); err != nil {
		return nil, err
	}
	r.access = access.New(access.Config{
		KV: r.kv, CA: r.ca, Journal: r.audit, Now: s.Now, Log: s.Log, Changed: r.operatorChanged, SignedOut: r.signedOut,
		Inline: access.InlineKeys(s.Config.Operators.InlineKeys),
	})
	r.fleet = fleet.New(fleet.Config{
		KV: r.kv, CA: r.ca, Journal: r.audit, Now: s.Now, Log: s.Log, Name: name, Lost: r.envoyLost, Changed: r.events.Envoy, Panics: r.panics, Lanes: &r.lanes,
		MakesTokens: func(role string) bool { return access.Operator{Role: access.Role(role)}.May(access.MakeTokens) == nil },
	})
	r.sessions = session.NewTable(session.Config{
		KV: r.kv, Journal: r.audit, Now: s.Now, Log: s.Log, Panics: r.panics,
		Max: s.Config.Scrier.MaxSessions, MaxAge: time.Duration(s.Config.Scrier.MaxAge),
		Grace: time.Duration(s.Config.Scrier.DetachGrace), AuditGrace: time.Duration(s.Config.Scrier.AuditGrace), Changed: r.events.Session,
	})
	r.kind = r.kinds()
	if _, err = r.audit.Append(ctx, audit.Event{Type: "relay.start", Fields: map[string]string{"version": wire.Version()}}); err != nil {
		return nil, err
	}
	if err = r.sessions.Restart(ctx); err != nil {
		return nil, err
	}
	if err = endState(s.StateDir); err != nil {
		return nil, err
	}
	r.tls = &certs.Server{CA: r.ca, Name: "relay", Hosts: hosts(s.Config)}
	if r.tls.Public, err = s.certificate(); err != nil {
		return nil, err
	}
	r.files = files.New(files.Config{Opener: pageFiles{r}, Log: s.Log, Panics: r.panics})
	r.api = web.API(web.Config{
		Files:  r.files,
		Access: r.access, Fleet: r.fleet, Sessions: r.sessions, Audit: r.audit, Pin: r.ca.Pin(), Log: s.Log,
		Events: r.events, About: r.about, Connect: r.connectWeb, Hashes: r.tls.Hashes, Origin: r.origin, Address: r.address,
		LiveView: s.Config.Scrier.LiveView, Panics: r.panics,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.figures.ServeHTTP(w, req) }), // nobody asks before Run
	})
	r.web, r.h3 = r.site().Handlers()
	r.calls = newCalls()
	if r.admin, err = listenAdmin(filepath.Join(s.StateDir, AdminSocket)); err != nil {
		return nil, err
	}
	if r.listener, err = listen(s.Config, r.tls, s.Log); err != nil {
		return nil, err
	}
	if r.figures, err = r.scrapes(); err != nil {
		return nil, err
	}
	r.metrics, err = listenMetrics(s.Config.Metrics.Listen)
	return r, err
}

// Addr is where the relay listens, UDP and TCP.
func (r *Relay) Addr() string { return r.listener.tcp.Addr().String() }

// Fingerprint is the pin of the relay's CA, as people compare it.
func (r *Relay) Fingerprint() string { return r.ca.Pin().String() }

// Run serves until ctx ends, and then ends in order: sessions are told, their rows closed, their
// keys taken away by the agents.
func (r *Relay) Run(ctx context.Context) error {
	for _, d := range r.Config.Doubts() {
		r.Log.Warn("server.yaml makes little sense", "what", d)
	}
	serving, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	g, gctx := errgroup.WithContext(serving)
	g.Go(func() error {
		return r.listener.accept(gctx, func(a arrived) { r.serve(gctx, a) }, r.h3)
	})
	g.Go(func() error {
		return r.listener.acceptTCP(gctx, r.tls.TCP(), func(a arrived) { r.serve(gctx, a) }, r.serveLane)
	})
	g.Go(func() error { return r.listener.serveWeb(gctx, r.web) })
	g.Go(func() error {
		<-gctx.Done()
		return r.h3.Close()
	})
	g.Go(func() error { return r.tls.Run(gctx) })
	g.Go(func() error { return r.admin.serve(gctx, r.api, r.Log) })
	if l := r.metrics; l != nil {
		r.Log.Info("metrics are served", "url", "http://"+l.Addr().String()+metrics.Path)
		g.Go(func() error { return serveMetrics(gctx, l, r.figures) })
	}
	g.Go(func() error { return r.calls.serve(gctx, r.api) })
	g.Go(func() error { return r.fleet.Run(gctx) })
	g.Go(func() error { return r.sessions.Run(gctx) })
	g.Go(func() error { return r.events.Run(gctx, r.fleet, r.sessions) })
	g.Go(func() error { return tidy(gctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-gctx.Done():
		}
		why := &wire.Error{Code: wire.RelayShutdown}
		r.events.Close()
		r.sessions.EndAll(why)
		r.files.Close()
		wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if err := r.sessions.Wait(wait); err != nil {
			r.Log.Error("sessions did not end in time")
		}
		stop(why)
		return nil
	})
	err := g.Wait()
	if _, aerr := r.audit.AppendEnd(context.WithoutCancel(ctx), audit.Event{Type: "relay.stop"}); aerr != nil {
		err = errors.Join(err, aerr)
	}
	return errors.Join(err, r.Close())
}

// serveLane binds a connection to the stream that is to go on over it. showed is told whose it is.
func (r *Relay) serveLane(conn *tls.Conn, showed func(identity string)) {
	err := r.panics.Contain("lane", func() error {
		id, _, err := r.tls.Identify(conn.ConnectionState().PeerCertificates)
		if err != nil {
			return err
		}
		leave, err := r.newLanes.enter(id.ID) // it may be revoked, which only links are asked
		if err != nil {
			return err
		}
		defer leave()
		if err := r.lanes.Serve(conn); err != nil {
			return err
		}
		showed(id.ID)
		return nil
	}, "addr", conn.RemoteAddr())
	if err != nil {
		r.Log.Debug("lane refused", "addr", conn.RemoteAddr(), "err", err)
		_ = conn.NetConn().Close() // it may be closed already
	}
}

// Close releases what Open took.
func (r *Relay) Close() error {
	var errs []error
	if r.listener != nil {
		errs = append(errs, r.listener.close())
		r.listener = nil
	}
	if r.admin != nil {
		errs = append(errs, r.admin.close())
		r.admin = nil
	}
	if r.metrics != nil {
		if err := r.metrics.Close(); !errors.Is(err, net.ErrClosed) { // serving has ended
			errs = append(errs, err)
		}
		r.metrics = nil
	}
	if r.audit != nil {
		errs = append(errs, r.audit.Close())
		r.audit = nil
	}
	if r.kv != nil {
		errs = append(errs, r.kv.Close())
		r.kv = nil
	}
	return errors.Join(errs...)
}

// envoyLost ends the sessions of an envoy whose link is gone.
func (r *Relay) envoyLost(id wire.EnvoyID, why error) {
	r.sessions.EndWhere(func(s store.Session) bool { return s.Envoy == id }, why)
}

// operatorChanged ends what a changed or deleted operator has open.
func (r *Relay) operatorChanged(id string) {
	why := &wire.Error{Code: wire.OperatorChanged}
	r.sessions.EndWhere(func(s store.Session) bool { return s.OperatorID == id }, why)
	r.sessions.EndViewers(func(v session.Viewer) bool { return v.OperatorID == id }, why)
	r.events.Operator(id)
	r.links.end(id, why)
}

// signedOut ends what a browser sees that has signed out; signin is empty for all of the operator's
// browsers. The sessions wait for somebody to come back.
func (r *Relay) signedOut(operator, signin string) {
	r.sessions.EndViewers(func(v session.Viewer) bool {
		return v.OperatorID == operator && v.SignIn != "" && (signin == "" || v.SignIn == signin)
	}, &wire.Error{Code: wire.SignedOut})
	r.events.Operator(operator)
}

// origin is where browsers reach the relay, as far as it knows: by the first of its names, or by
// the one address that it listens on.
func (r *Relay) origin() string {
	at := r.address()
	if addr := r.listener.tcp.Addr().(*net.TCPAddr); at == "" && !addr.IP.IsUnspecified() {
		at = addr.String()
	}
	if at == "" {
		return ""
	}
	return "https://" + strings.TrimSuffix(at, ":443") // browsers leave that out
}

// name is what the relay is called in its configuration; empty if it has no name there.
func (r *Relay) name() string {
	for _, h := range r.Config.Hosts {
		if !strings.HasPrefix(h, "*") {
			return strings.Trim(h, "[]")
		}
	}
	return r.Config.TLS.ACME
}

// address is host:port by which machines and operators reach the relay; empty if it has no name. The address that it
// listens on is not told: it may be one that nobody else can reach.
func (r *Relay) address() string {
	if r.Config.Address != "" {
		return r.Config.Address
	}
	name := r.name()
	if name == "" {
		return ""
	}
	return net.JoinHostPort(name, strconv.Itoa(r.listener.tcp.Addr().(*net.TCPAddr).Port))
}

// hosts are the names in the relay's certificate, for browsers.
func hosts(c Config) []string {
	out := append([]string{"localhost", "127.0.0.1", "::1"}, c.Hosts...)
	if host, _, err := net.SplitHostPort(c.Address); err == nil {
		out = append(out, host)
	}
	if c.TLS.ACME != "" {
		out = append(out, c.TLS.ACME) // until there is a certificate for it
	}
	if name, err := os.Hostname(); err == nil && isHost(name) { // no certificate can be made of others
		out = append(out, name)
	}
	return out
}

// discardLog silences what net/http says of clients that break off; there are always some.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
