package relay

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"runtime"

	"golang.org/x/net/netutil"

	"scrier/relay/audit"
	"scrier/relay/fleet"
	"scrier/relay/metrics"
	"scrier/relay/session"
	"scrier/relay/store/bolt"
	"scrier/wire"
)

// figures asks the rooms for what metrics show. It has the rooms for itself, as a scrape may go on for a moment when the relay
// lets go of them.
type figures struct {
	*Relay
	store    *bolt.DB
	log      *audit.Log
	at       *listener
	programs *session.Memory
}

// scrapes makes what answers with the relay's figures.
func (r *Relay) scrapes() (http.Handler, error) {
	f := figures{Relay: r, store: r.kv, log: r.audit, at: r.listener, programs: r.programs}
	m, err := metrics.New(f.read)
	if err != nil {
		return nil, err
	}
	return m.Handler(r.Log), nil
}

// read asks all of them. None of it waits for the disk but the number of envoys, when that has changed.
func (f figures) read(ctx context.Context) metrics.Figures {
	build := wire.ThisBuild()
	out := metrics.Figures{
		Version: build.Version, Commit: build.Commit, Go: runtime.Version(),
		Aside: f.counts.asides.all(), Panics: f.panics.Count(), Ends: f.tls.Expiries(),
		MaxSessions: f.Config.Scrier.MaxSessions, Refused: f.counts.refused.Read(),
		AuditRecords: f.log.Size(), AuditTook: f.log.Took(), AuditWritable: f.sessions.Writable(),
		StoreTook: f.store.Took(), StoreReserve: f.store.Healthy() == nil,
		AuditBytes: told(f.Log, f.log.Bytes), StoreBytes: told(f.Log, f.store.Bytes),
	}
	f.readLinks(ctx, &out)
	f.readSessions(&out)
	f.readDoors(&out)
	return out
}

// told is a size, or nil if nobody knows it.
func told(log *slog.Logger, size func() (int64, error)) *int64 {
	n, err := size()
	if err != nil {
		log.Debug("a figure is missing", "err", err)
		return nil
	}
	return &n
}

func (f figures) readLinks(ctx context.Context, out *metrics.Figures) {
	census, err := f.fleet.Census(ctx)
	if err != nil {
		f.Log.Warn("the envoys cannot be counted", "err", err)
	}
	out.Envoys, out.Why = map[string]int{}, census.Why
	states := []fleet.State{fleet.Online, fleet.Stale}
	if err == nil {
		states = append(states, fleet.Offline, fleet.Revoked, fleet.Quarantined)
	}
	for _, state := range states {
		out.Envoys[string(state)] = census.States[state]
	}
	out.Moves = map[metrics.Move]uint64{
		{From: string(wire.QUIC), To: string(wire.TCP)}: census.ToTCP, {From: string(wire.TCP), To: string(wire.QUIC)}: census.ToQUIC,
	}
	out.Links, out.Viewer = map[metrics.Link]int{}, map[metrics.Viewer]int{}
	for _, road := range []wire.Road{wire.QUIC, wire.TCP} {
		out.Links[metrics.Link{Peer: "agent", Road: string(road)}] = census.Links[road]
		out.Links[metrics.Link{Peer: "operator", Road: string(road)}] = int(f.counts.operators.by()[string(road)].Load())
	}
	for road, n := range f.counts.pages.by() {
		if road != string(wire.QUIC) && road != string(wire.TCP) {
			out.Links[metrics.Link{Peer: "page", Road: road}] = int(n.Load())
		}
	}
	for part, viewers := range map[string]*carried{"owner": &f.counts.owners, "watcher": &f.counts.watcher} {
		for road, n := range viewers.by() {
			out.Viewer[metrics.Viewer{Road: road, Part: part}] = int(n.Load())
		}
	}
}

func (f figures) readSessions(out *metrics.Figures) {
	out.Sessions = map[string]metrics.Sessions{}
	for kind, t := range f.sessions.Tallies() {
		took := f.counts.opened[kind]
		if took == nil {
			continue // of kinds that are not served nothing can be opened
		}
		out.Sessions[string(kind)] = metrics.Sessions{
			Waiting: t.Waiting, Active: t.Active, Opened: t.Opened, Ended: t.Ended, Took: took.Read(), Sent: t.Sent, Received: t.Received,
		}
	}
	lanes := f.lanes.Memory.Count()
	out.Lanes = metrics.Lanes{
		Open: lanes.Open, Taken: lanes.Taken, WentBack: lanes.WentBack, Refused: lanes.Refused, Memory: metrics.Bounded{Taken: lanes.Bytes, Most: lanes.MostBytes},
	}
	taken, most := f.programs.Taken()
	out.ProgramBytes = metrics.Bounded{Taken: int64(taken), Most: int64(most)}
}

func (f figures) readDoors(out *metrics.Figures) {
	h := f.at.handshakes
	out.Handshakes = metrics.Bounded{Taken: int64(h.count()), Most: int64(h.max)}
	out.TurnedAway = map[string]uint64{
		"too_fast": h.refused.tooFast.Load(), "too_many": h.refused.tooMany.Load(), "too_many_of_network": h.refused.ofNetwork.Load(), "gave_way": h.refused.gaveWay.Load(),
	}
	out.Places = map[string]metrics.Places{}
	for of, c := range map[string]*crowd{
		"strangers": &f.strangers, "operator_links": &f.operatorLinks, "agent_links": &f.envoyLinks, "new_lanes": &f.newLanes,
		"pages_tcp": &f.at.overTCP, "pages_quic": &f.at.overQUIC, "pages_signed_in": &f.at.signedIn, "page_requests": &f.at.asking,
	} {
		p := metrics.Places{Bounded: metrics.Bounded{Taken: int64(c.taken())}, Refused: c.refused.Load()}
		if c.max < unbounded {
			p.Most = int64(c.max)
		}
		out.Places[of] = p
	}
	a := f.access.Refused()
	out.Limited = map[string]uint64{
		"page_requests": f.at.heldRequests.Load(), "bytes": f.at.heldBytes.Load(),
		"logins": a.Logins, "changes": a.Changes, "sign_in_links": a.Doors, "channels": a.Channels, "passkeys": a.Passkeys,
	}
}

// listenMetrics binds the address for metrics; nil: none is configured.
func listenMetrics(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, (&wire.Error{Code: wire.BadConfig, Detail: "cannot listen for metrics on TCP " + addr + ": " + err.Error(), Err: err}).
			Advise("free the port, or choose another: `metrics.listen` in server.yaml is HOST:PORT")
	}
	return netutil.LimitListener(l, metrics.MaxConnections), nil
}

// serveMetrics answers Prometheus until ctx ends.
func serveMetrics(ctx context.Context, l net.Listener, scrapes http.Handler) error {
	server := metrics.Server(scrapes)
	return serveHTTP(ctx, server, func() error { return server.Serve(l) })
}
