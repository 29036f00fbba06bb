package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	serverconfig "go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/features"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// What etcd is told, and why.
const (
	// DefaultTick is etcd's heartbeat; an election begins after ten of them without one. That fits relays of up to some 100 ms apart.
	DefaultTick   = 100 * time.Millisecond
	electionTicks = 10

	// MaxOps is how many keys one transaction may write: those of one change of the state, and of several that share it.
	MaxOps = 8192
	// maxRequest is etcd's own bound, in bytes; relay/store/etcd knows it.
	maxRequest = 3 << 19

	// compactAfter is how long the past of a key is kept. A snapshot of the store lives for seconds, and who watches and was away for
	// longer reads anew. A relay that opens 500 sessions a second writes 2 MiB/s of history, so that a minute is 250 MiB at most.
	compactAfter = time.Minute

	// DefaultQuota is where etcd refuses to write more, in bytes. The state of 10,000 envoys has some 100 MiB; with twice the history
	// of above there is room, and etcd itself advises no more than 8 GiB, as each member holds the file in memory.
	DefaultQuota = 4 << 30

	// defragAt is how many MiB must be free inside the file for it to be written anew when the relay starts.
	defragAt = 256

	// stopTime bounds Close: a leader first hands over to another member.
	stopTime = 20 * time.Second

	// fatalGrace is what a relay has to end in order when etcd cannot go on: less than a lease lasts.
	fatalGrace = 5 * time.Second

	retryEvery = 200 * time.Millisecond
)

// Config says where a member of a cluster is.
type Config struct {
	Dir    string        // the member's own, below the relay's state directory
	Listen string        // where the other members come to: HOST:PORT
	Tick   time.Duration // 0: [DefaultTick]. All members have the same.
	Quota  int64         // bytes; 0: [DefaultQuota]. All members have the same.
	Now    func() time.Time
	Log    *slog.Logger

	// Exit ends the process, some seconds after etcd could not go on, unless the member was closed by then. Nil: it logs and exits.
	Exit func(error)

	// Alone makes this member the whole cluster, when most of the others are gone for good and nothing can be decided any more. None of
	// them may ever come back: each would go on by itself, with another state. It is for one start.
	Alone bool
}

// Member is this relay's etcd, which runs in this process. It has no port for clients: what is asked of it is asked in the process.
//
//	Start -> (finds the others) -> learner -- caught up: Ready --> voter --> Close
//	                                   |                             |
//	                                   '----- removed, broken -------'--> Failed
type Member struct {
	cfg    Config
	home   *home
	peers  *peers
	server *etcdserver.EtcdServer
	client *clientv3.Client
	failed *once
	group  sync.WaitGroup

	running atomic.Bool
	closing sync.Once
	closed  error
	over    chan struct{} // closed when Close has come to its end

	mu     sync.Mutex
	roster roster
}

// Form makes a cluster of one of this relay, or goes on with that if it was begun. Others reach it at peer (HOST:PORT). The member's row
// and the CA's key come into the store by [Roll.Begin].
func Form(ctx context.Context, cfg Config, ca *certs.CA, name, peer string) (*Member, error) {
	if err := store.CheckMemberName(name); err != nil {
		return nil, err
	}
	host, err := checkPeer(peer)
	if err != nil {
		return nil, err
	}
	home, err := openHome(cfg.Dir)
	if err != nil {
		return nil, err
	}
	switch r, err := home.roster(); {
	case err == nil && (r.Name != name || !r.First):
		return nil, wire.Errorf(wire.Conflict, "%s is that of the member %s already", cfg.Dir, r.Name)
	case err == nil:
		return Start(ctx, cfg)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	row, chain, err := home.certified(ca, name, peer, host)
	if err != nil {
		return nil, err
	}
	row.Since = cfg.Now()
	if err := home.save(chain, roster{Name: name, Peer: peer, Members: []store.Member{row}, First: true}); err != nil {
		return nil, err
	}
	return Start(ctx, cfg)
}

// certified is the row of this member, vouched for by a CA whose key is here, and its certificate.
func (h *home) certified(ca *certs.CA, name, peer, host string) (store.Member, [][]byte, error) {
	fail := func(err error) (store.Member, [][]byte, error) { return store.Member{}, nil, err }
	id, err := h.identityKey()
	if err != nil {
		return fail(err)
	}
	key, err := h.key()
	if err != nil {
		return fail(err)
	}
	pin, err := h.pin()
	if err != nil {
		return fail(err)
	}
	row := store.Member{Name: name, Key: pin[:], Recipient: id.Recipient().String(), Peer: peer, Version: wire.Version()}
	if row.Vouch, err = ca.Vouch(vouchFor, row.Statement()); err != nil {
		return fail(err)
	}
	chain, err := ca.IssueMember(name, key.Public(), host)
	return row, chain, err
}

// Start goes on as the member that the directory says. It returns when etcd runs, which is before it is of use: see [Member.Ready].
func Start(ctx context.Context, cfg Config) (m *Member, err error) {
	home, err := openHome(cfg.Dir)
	if err != nil {
		return nil, err
	}
	r, err := home.roster()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wire.Errorf(wire.BadConfig, "%s is not that of a member of a cluster: this relay has neither formed one nor joined one", cfg.Dir)
	}
	if err != nil {
		return nil, err
	}
	cfg.Tick, cfg.Quota = cmp.Or(cfg.Tick, DefaultTick), cmp.Or(cfg.Quota, DefaultQuota)
	if cfg.Exit == nil {
		cfg.Exit = func(err error) {
			cfg.Log.Error("the relay ends, as its etcd cannot go on", "err", err)
			os.Exit(wire.Internal.ExitStatus())
		}
	}
	m = &Member{cfg: cfg, home: home, roster: r, failed: newOnce(), over: make(chan struct{})}
	peers, err := listenForPeers(cfg, home)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = peers.end()
		}
	}()
	m.peers = peers
	peers.know(r.Members)
	conf, err := m.config(ctx)
	if err != nil {
		return nil, err
	}
	if m.server, err = m.begin(ctx, conf); err != nil {
		return nil, err
	}
	m.client = guardClient(v3client.New(m.server), m.failed, func() error { return m.server.Backend().Defrag() })
	m.server.Start()
	m.running.Store(true)
	m.group.Go(func() {
		if err := m.peers.serve(m.handler(etcdhttp.NewPeerHandler(m.server.Logger(), m.server))); err != nil {
			m.failed.set(err)
		}
	})
	m.group.Go(func() {
		<-m.server.StopNotify()
		m.failed.set(wire.Errorf(wire.Revoked, "etcd has stopped: this relay was removed from its cluster, or its log says why"))
	})
	m.group.Go(m.keepRoom)
	return m, nil
}

// fatal is told why etcd cannot go on. What is left of it may keep what it held, and go on speaking to the other members: so the
// relay has a moment to end its sessions, and then the process ends, as etcd's own would have at once.
func (m *Member) fatal(err error) {
	m.failed.set(err)
	if !m.running.Load() {
		return // the relay does not start
	}
	go func() {
		select {
		case <-time.After(fatalGrace):
			m.cfg.Exit(err)
		case <-m.over:
		}
	}()
}

// begin makes etcd. It cannot be told to give up: it may wait for a file that another process has.
func (m *Member) begin(ctx context.Context, conf serverconfig.ServerConfig) (*etcdserver.EtcdServer, error) {
	type result struct {
		server *etcdserver.EtcdServer
		err    error
	}
	made := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if bug := recover(); bug != nil {
				r.server, r.err = nil, fmt.Errorf("etcd cannot go on: %v", bug)
			}
			if r.server != nil || r.err != nil { // else see onFatal
				made <- r
			}
		}()
		r.server, r.err = etcdserver.NewServer(conf)
	}()
	bad := func(err error) error {
		return wire.Errorf(wire.BadConfig, "start etcd in %s: %w", m.home.data(), err).
			Advise("if its files are damaged: remove this member at another one, remove %s here, and join again", m.cfg.Dir)
	}
	select {
	case r := <-made:
		if r.err != nil {
			return nil, bad(r.err)
		}
		return r.server, nil
	case <-m.failed.done: // it may hang for ever now, and its files stay locked
		return nil, bad(m.failed.get())
	case <-ctx.Done():
		go func() {
			if r := <-made; r.server != nil {
				r.server.Cleanup()
			}
		}()
		return nil, wire.Errorf(wire.StateInUse, "etcd does not start in %s: another process may use it: %w", m.home.data(), context.Cause(ctx))
	}
}

// config is what embed.StartEtcd would make of its own settings. It is not used, as it listens by itself.
func (m *Member) config(ctx context.Context) (serverconfig.ServerConfig, error) {
	fail := func(err error) (serverconfig.ServerConfig, error) { return serverconfig.ServerConfig{}, err }
	cluster, err := m.initial(ctx)
	if err != nil {
		return fail(err)
	}
	ca, err := m.home.ca()
	if err != nil {
		return fail(err)
	}
	own, err := types.NewURLs([]string{peerURL(m.roster.Peer)})
	if err != nil {
		return fail(wire.Errorf(wire.BadConfig, "the address of this member: %w", err))
	}
	log := zapLogger(m.cfg.Log, m.fatal)
	return serverconfig.ServerConfig{
		Name: m.roster.Name, DataDir: m.home.data(), PeerURLs: own,
		InitialPeerURLsMap: cluster, InitialClusterToken: certs.PinOf(ca).String(), NewCluster: m.roster.First,
		// What this member dials must have a certificate of the CA for its address, for servers, with the members' mark. Who comes to it
		// is looked at by our own listener, before etcd sees a byte.
		PeerTLSInfo: transport.TLSInfo{
			CertFile: m.home.path("member.pem"), KeyFile: m.home.path("member.pem"), TrustedCAFile: m.home.path("ca.crt"),
			ClientCertAuth: true, AllowedHostnames: []string{certs.MemberMark(certs.ClusterOf(ca))}, MinVersion: certs.MinVersion, Logger: log,
		},
		TickMs: uint(m.cfg.Tick.Milliseconds()), ElectionTicks: electionTicks, InitialElectionTickAdvance: true, PreVote: true,
		SnapshotCount: etcdserver.DefaultSnapshotCount, SnapshotCatchUpEntries: etcdserver.DefaultSnapshotCatchUpEntries, MaxSnapFiles: 2, MaxWALFiles: 5,
		AutoCompactionMode: "periodic", AutoCompactionRetention: compactAfter,
		QuotaBackendBytes: m.cfg.Quota, BootstrapDefragThresholdMegabytes: defragAt, BackendFreelistType: "hashmap",
		MaxTxnOps: MaxOps, MaxRequestBytes: maxRequest, MaxConcurrentStreams: 1 << 10,
		// Quorum is looked after by [Roll.Remove], which can be told to do it all the same.
		StrictReconfigCheck: false, MaxLearners: 1, ForceNewCluster: m.cfg.Alone,
		BcryptCost:           10, // nobody logs in to etcd: there is no port for it
		WarningApplyDuration: time.Second, WarningUnaryRequestDuration: time.Second, CompactHashCheckTime: time.Minute,
		DowngradeCheckTime: 5 * time.Second, V2Deprecation: serverconfig.V2DeprDefault, Metrics: "basic",
		ServerFeatureGate: features.NewDefaultServerFeatureGate(m.roster.Name, log), Logger: log,
	}, nil
}

// initial is the cluster as etcd is to find it the first time. Later it knows by itself.
func (m *Member) initial(ctx context.Context) (types.URLsMap, error) {
	first := types.URLsMap{m.roster.Name: types.MustNewURLs([]string{peerURL(m.roster.Peer)})}
	if m.hasData() {
		return first, nil
	}
	gone := wire.Errorf(wire.BadConfig, "the data of this member is gone from %s: what it has promised to the others is not known any more, so it cannot go on as the same", m.home.data()).
		Advise("remove this member at another one, remove %s here, and join again", m.cfg.Dir)
	if m.roster.Number != 0 { // it was at work once
		return nil, gone
	}
	if m.roster.First {
		return first, nil
	}
	all, err := m.ask(ctx)
	if err != nil {
		return nil, err
	}
	cluster, mine := types.URLsMap{}, false
	for _, e := range all {
		name := e.Name
		own := len(e.PeerURLs) == 1 && e.PeerURLs[0] == peerURL(m.roster.Peer)
		switch {
		case own && name != "":
			return nil, gone
		case own:
			name, mine = m.roster.Name, true
		case name == "":
			name = fmt.Sprintf("number-%x", uint64(e.ID))
		}
		urls, err := types.NewURLs(e.PeerURLs)
		if err != nil {
			return nil, wire.Errorf(wire.Protocol, "the address of a member: %w", err)
		}
		cluster[name] = urls
	}
	if !mine {
		return nil, wire.Errorf(wire.Revoked, "this relay is no member of the cluster any more").Advise("remove %s and join again with a new token", m.cfg.Dir)
	}
	return cluster, nil
}

// hasData says that etcd was at work here.
func (m *Member) hasData() bool {
	files, err := os.ReadDir(filepath.Join(m.home.data(), "member", "wal"))
	return err == nil && len(files) > 0
}

// Name is what this member is called.
func (m *Member) Name() string { return m.known().Name }

func (m *Member) known() roster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roster
}

// Client is the way to the cluster, in this process. It ends with the member.
func (m *Member) Client() *clientv3.Client { return m.client }

// Ready waits until this member is of use: it has found the others, and has a vote. A new one gets that when it has caught up.
func (m *Member) Ready(ctx context.Context) error {
	select {
	case <-m.server.ReadyNotify():
	case <-m.failed.done:
		return m.failed.get()
	case <-ctx.Done():
		return wire.Errorf(wire.Busy, "the cluster has no quorum, or does not know this member: %w", context.Cause(ctx))
	}
	for m.server.IsLearner() {
		_, err := m.client.MemberPromote(ctx, uint64(m.server.MemberID()))
		if err == nil || errors.Is(err, rpctypes.ErrMemberNotLearner) {
			break
		}
		m.cfg.Log.Debug("not yet a member with a vote", "err", err)
		select {
		case <-time.After(retryEvery):
		case <-m.failed.done:
			return m.failed.get()
		case <-ctx.Done():
			return wire.Errorf(wire.Busy, "this member has not caught up with the others: %w", context.Cause(ctx))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roster.Number = uint64(m.server.MemberID())
	return m.home.saveRoster(m.roster)
}

// Failed is closed when the member has ended by itself, and Err says why. A relay then ends its sessions, as it cannot write any more.
func (m *Member) Failed() <-chan struct{} { return m.failed.done }

// Err is nil while the member runs.
func (m *Member) Err() error { return m.failed.get() }

// Know says who is a member from now on. Connections of all others end.
func (m *Member) Know(members []store.Member) error {
	m.peers.know(members)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roster.Members = members
	return m.home.saveRoster(m.roster)
}

// CA opens the CA's key as it is kept in the store.
func (m *Member) CA(k store.CAKey) (*certs.CA, error) {
	if len(k.Sealed) == 0 {
		return nil, wire.Errorf(wire.NotFound, "the CA's key is with the member %s alone", wire.Printable(k.Local))
	}
	id, err := m.home.identityKey()
	if err != nil {
		return nil, err
	}
	cert, err := m.home.ca()
	if err != nil {
		return nil, err
	}
	return open(k.Sealed, id, cert, m.cfg.Now)
}

// Renew makes this member's certificate anew when a third of its life is left; who has the CA's key does so.
func (m *Member) Renew(ca *certs.CA) error {
	r := m.known()
	host, err := checkPeer(r.Peer)
	if err != nil {
		return err
	}
	pair, err := certs.LoadPair(m.home.path("member.pem"))
	if err == nil && ca.MemberFresh(pair.Leaf, host) {
		return nil
	}
	key, err := m.home.key()
	if err != nil {
		return err
	}
	chain, err := ca.IssueMember(r.Name, key.Public(), host)
	if err != nil {
		return err
	}
	return certs.SavePair(m.home.path("member.pem"), key, chain)
}

// Close ends the member: a leader hands over first. It waits for what runs, for 20 s at most.
func (m *Member) Close() error {
	m.closing.Do(func() {
		m.failed.set(net.ErrClosed)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = m.client.Close() // of one without a connection it is the error of its context
			m.server.Stop()
			m.closed = m.peers.end()
			m.group.Wait()
			close(m.over)
		}()
		select {
		case <-done:
		case <-time.After(stopTime):
			m.closed = wire.Errorf(wire.Internal, "etcd does not stop within %s", stopTime)
			_ = m.peers.Close()
		}
	})
	return m.closed
}

// checkPeer reads HOST:PORT as other members can dial it, and returns the host.
func checkPeer(peer string) (host string, err error) {
	bad := wire.Errorf(wire.BadRequest, "%q is not an address for the other members: it is HOST:PORT, with a name or an address that they reach", wire.Printable(peer))
	host, port, err := net.SplitHostPort(peer)
	if err != nil || len(peer) > 256 || host == "" {
		return "", bad
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 || strings.Trim(port, "0123456789") != "" {
		return "", bad
	}
	if ip := net.ParseIP(host); ip != nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return "", bad
		}
		return host, nil
	}
	for _, r := range host {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.') {
			return "", bad
		}
	}
	return host, nil
}

func peerURL(peer string) string { return (&url.URL{Scheme: "https", Host: peer}).String() }

// handler adds to etcd's own paths what a member tells of how it is.
func (m *Member) handler(etcd http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == healthPath {
			m.tellHealth(w, r)
			return
		}
		etcd.ServeHTTP(w, r)
	})
}
