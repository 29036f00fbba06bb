package cluster

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

const (
	// DefaultTokenTTL is how long a token for a relay is good, unless its maker says otherwise.
	DefaultTokenTTL = 15 * time.Minute
	maxTokenTTL     = 24 * time.Hour

	// rollEvery is how often a member looks who the members are: what another one has changed counts here after so long at most.
	rollEvery  = 2 * time.Second
	rollTime   = 10 * time.Second
	renewEvery = time.Hour // it is looked whether the member's certificate is old

	// changeTime bounds one change of etcd's members.
	changeTime = 15 * time.Second
)

// Journal is the part of the audit log that is needed here.
type Journal interface {
	Append(ctx context.Context, e audit.Event) (audit.Record, error)
}

// RollConfig is what a [Roll] works with.
type RollConfig struct {
	KV store.KV
	// CA is the cluster's, with its key; nil: the key is with another member.
	CA *certs.CA
	// Local keeps the CA's key with this member. It counts for [Roll.Begin] alone, and stands in the store from then on.
	Local bool
	// Member is this relay's; nil: etcd is outside, and there is none.
	Member  *Member
	Journal Journal
	Now     func() time.Time
	Log     *slog.Logger
}

// Roll is the list of a cluster's members, as one of them sees it. Its methods may be called concurrently.
type Roll struct{ RollConfig }

// NewRoll makes a Roll.
func NewRoll(c RollConfig) *Roll { return &Roll{c} }

// etcd is the list of etcd's own; nil: it is outside.
func (r *Roll) etcd() clientv3.Cluster {
	if r.Member == nil {
		return nil
	}
	return r.Member.Client()
}

// Begin writes the row of the member that has formed the cluster, and where the CA's key is. It does nothing where that stands already, so
// it is called whenever that member starts.
func (r *Roll) Begin(ctx context.Context) error {
	known := r.Member.known()
	if !known.First || r.CA == nil {
		return nil
	}
	at := slices.IndexFunc(known.Members, func(m store.Member) bool { return m.Name == known.Name })
	if at < 0 {
		return wire.Errorf(wire.BadConfig, "the roster of %s does not name this member", r.Member.cfg.Dir)
	}
	row := known.Members[at]
	row.ID = uint64(r.Member.server.MemberID())
	return r.KV.Update(ctx, func(tx store.Tx) error {
		if _, err := store.GetCAKey(tx); !errors.Is(err, store.ErrNotFound) {
			return err // nil: it was done before
		}
		if err := store.PutMember(tx, row); err != nil {
			return err
		}
		if r.Local {
			return store.PutCAKey(tx, store.CAKey{Local: row.Name})
		}
		return r.seal(tx)
	})
}

// seal seals the CA's key for the members that there are now.
func (r *Roll) seal(tx store.Tx) error {
	all, err := store.Members(tx)
	if err != nil {
		return err
	}
	sealed, err := Seal(r.CA, all)
	if err != nil {
		return err
	}
	return store.PutCAKey(tx, sealed)
}

// Run tells this relay's member who the members are, and keeps its certificate fresh, until ctx ends.
func (r *Roll) Run(ctx context.Context) error {
	tick, renewal := time.NewTicker(rollEvery), time.NewTicker(renewEvery)
	defer tick.Stop()
	defer renewal.Stop()
	r.renew()
	for {
		if err := r.look(ctx); err != nil && ctx.Err() == nil {
			r.Log.Debug("look who the members are", "err", err) // without a quorum those from before stay
		}
		select {
		case <-ctx.Done():
			return nil
		case <-renewal.C:
			r.renew()
		case <-tick.C:
		}
	}
}

// renew makes the member's certificate anew when it is time, if the CA's key is here.
func (r *Roll) renew() {
	if r.CA == nil || r.Member == nil {
		return
	}
	if err := r.Member.Renew(r.CA); err != nil {
		r.Log.Error("renew the member's certificate", "err", err)
	}
}

// look is one turn of Run.
func (r *Roll) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rollTime)
	defer cancel()
	var all []store.Member
	if err := r.KV.View(ctx, func(tx store.Tx) (err error) {
		all, err = store.Members(tx)
		return err
	}); err != nil {
		return err
	}
	if r.Member == nil || len(all) == 0 { // none at all: the first one has not begun
		return nil
	}
	return r.Member.Know(all)
}

// Order asks for a token for a relay.
type Order struct {
	By   audit.Event // who asks, for the audit log
	Name string      // the member's, if it is given
	TTL  time.Duration
}

// MakeToken makes a token with which one relay can join. What it returns first is the secret, and is kept nowhere.
func (r *Roll) MakeToken(ctx context.Context, o Order) (certs.Token, store.RelayToken, error) {
	fail := func(err error) (certs.Token, store.RelayToken, error) {
		return certs.Token{}, store.RelayToken{}, err
	}
	if o.TTL <= 0 || o.TTL > maxTokenTTL {
		return fail(wire.Errorf(wire.BadRequest, "a token for a relay is good for more than 0 seconds and at most %d hours", maxTokenTTL/time.Hour))
	}
	if o.Name != "" {
		if err := store.CheckMemberName(o.Name); err != nil {
			return fail(err)
		}
	}
	if r.CA == nil {
		return fail(r.elsewhere(ctx))
	}
	now := r.Now()
	token := certs.NewToken(r.CA.Pin())
	row := store.RelayToken{Hash: token.Hash(), Name: o.Name, CreatedBy: o.By.Operator, Created: now, Expires: now.Add(o.TTL)}
	o.By.Type = "relay.token"
	o.By.Fields = map[string]string{"id": row.ID(), "name": o.Name, "expires": row.Expires.UTC().Format(time.RFC3339)}
	if _, err := r.Journal.Append(ctx, o.By); err != nil {
		return fail(err)
	}
	if err := r.KV.Update(ctx, func(tx store.Tx) error { return store.PutRelayToken(tx, row, now) }); err != nil {
		return fail(err)
	}
	return token, row, nil
}

// elsewhere says who has the CA's key.
func (r *Roll) elsewhere(ctx context.Context) error {
	var k store.CAKey
	if err := r.KV.View(ctx, func(tx store.Tx) (err error) {
		k, err = store.GetCAKey(tx)
		return err
	}); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return wire.Errorf(wire.Forbidden, "this relay does not have the CA's key, without which nobody joins").
		Advise("ask the member that has it: %s", wire.Printable(k.Local))
}

// Serve answers a Join on its stream.
func (r *Roll) Serve(ctx context.Context, s *wire.Framed, source string, m *wire.Join) error {
	answer, err := r.Admit(ctx, source, m)
	if err != nil {
		return err
	}
	return s.Send(answer)
}

// Admit lets a relay in. Every failure is in the audit log. It can be asked again for the same one, here or at another member: what
// was done stays done.
func (r *Roll) Admit(ctx context.Context, source string, m *wire.Join) (*wire.Joined, error) {
	answer, err := r.admit(ctx, source, m)
	if err != nil {
		name := m.Name[:min(len(m.Name), 64)]
		if _, jerr := r.Journal.Append(context.WithoutCancel(ctx), audit.Event{
			Type: "relay.join_refused", Source: source, Code: wire.CodeOf(err).String(), Detail: wire.DetailOf(err), Fields: map[string]string{"name": name},
		}); jerr != nil {
			r.Log.Error("audit", "err", jerr)
		}
	}
	return answer, err
}

func (r *Roll) admit(ctx context.Context, source string, m *wire.Join) (*wire.Joined, error) {
	hash, now := sha256.Sum256(m.Secret), r.Now()
	// Who has no right to ask is told that, and nothing else.
	if err := r.KV.View(ctx, func(tx store.Tx) error {
		_, err := allowed(tx, hash, m.Name, now)
		return err
	}); err != nil {
		return nil, err
	}
	if r.CA == nil {
		return nil, r.elsewhere(ctx)
	}
	row, pub, host, err := r.rowFor(m, hash, now)
	if err != nil {
		return nil, err
	}
	if _, err := r.Journal.Append(ctx, audit.Event{
		Type: "relay.join", Source: source, Fields: map[string]string{"name": row.Name, "peer": row.Peer, "key": certs.Pin(row.Key).String(), "token": store.RelayToken{Hash: hash}.ID()},
	}); err != nil {
		return nil, err
	}
	if err := r.KV.Update(ctx, func(tx store.Tx) error {
		was, err := allowed(tx, hash, m.Name, now)
		if err != nil {
			return err // another relay used the token first
		}
		if was != nil {
			if !slices.Equal(was.Key, row.Key) || was.Recipient != row.Recipient {
				return wire.Errorf(wire.TokenInvalid, "the token is unknown, used or expired")
			}
			row.ID, row.Since = was.ID, was.Since
		}
		if err := store.DeleteRelayToken(tx, hash); err != nil {
			return err
		}
		return store.PutMember(tx, row)
	}); err != nil {
		return nil, err
	}
	if err := r.look(ctx); err != nil { // its connections are taken here from now on
		return nil, err
	}
	if row.ID, err = r.enter(ctx, row); err != nil {
		return nil, err
	}
	chain, err := r.CA.IssueMember(row.Name, pub, host)
	if err != nil {
		return nil, err
	}
	answer := &wire.Joined{Cluster: r.CA.Cluster(), Chain: chain, Number: row.ID, Time: wire.Millis(now)}
	if err := r.KV.Update(ctx, func(tx store.Tx) error {
		answer.Members, answer.Sealed = nil, nil
		if _, err := store.GetMember(tx, row.Name); err != nil {
			return err // it was removed meanwhile
		}
		if err := store.PutMember(tx, row); err != nil {
			return err
		}
		k, err := store.GetCAKey(tx)
		if err != nil {
			return err
		}
		all, err := store.Members(tx)
		if err != nil {
			return err
		}
		if k.Local == "" {
			if !sealedFor(k, all) {
				if err := r.seal(tx); err != nil {
					return err
				}
				if k, err = store.GetCAKey(tx); err != nil {
					return err
				}
			}
			answer.Sealed = k.Sealed
		}
		for _, o := range all {
			answer.Members = append(answer.Members, wire.ClusterMember{Name: o.Name, Key: o.Key, Recipient: o.Recipient, Peer: o.Peer, Number: o.ID, Vouch: o.Vouch})
		}
		return nil
	}); err != nil {
		return nil, err
	}
	r.Log.Info("a relay joins", "member", row.Name, "peer", row.Peer, "source", source)
	return answer, nil
}

// allowed says whether a token gives the right to join as a name: it is one that nobody has used, or the very one with which the member of
// that name came. That one is returned.
func allowed(tx store.Tx, hash [32]byte, name string, now time.Time) (was *store.Member, err error) {
	bad := wire.Errorf(wire.TokenInvalid, "the token is unknown, used or expired")
	t, err := store.FindRelayToken(tx, hash, now)
	if err == nil {
		if t.Name != "" && t.Name != name {
			return nil, wire.Errorf(wire.BadRequest, "the token is for the member %s", t.Name)
		}
		return nil, nil
	}
	if wire.CodeOf(err) != wire.TokenInvalid {
		return nil, err
	}
	m, err := store.GetMember(tx, name)
	switch code := wire.CodeOf(err); {
	case code == wire.NotFound || code == wire.BadRequest || err == nil && !slices.Equal(m.Token, hash[:]):
		return nil, bad
	case err != nil:
		return nil, err
	}
	return &m, nil
}

// rowFor checks what a relay says of itself, and makes a row of it.
func (r *Roll) rowFor(m *wire.Join, hash [32]byte, now time.Time) (row store.Member, pub any, host string, err error) {
	fail := func(err error) (store.Member, any, string, error) { return store.Member{}, nil, "", err }
	if err := store.CheckMemberName(m.Name); err != nil {
		return fail(err)
	}
	if host, err = checkPeer(m.Peer); err != nil {
		return fail(err)
	}
	if _, err := parseRecipient(m.Recipient); err != nil {
		return fail(err)
	}
	key, err := certs.ParseRequest(m.CSR)
	if err != nil {
		return fail(err)
	}
	pin, err := certs.PinOfKey(key)
	if err != nil {
		return fail(err)
	}
	if skew := now.Sub(time.UnixMilli(m.Time)).Abs(); skew > maxSkew {
		return fail(wire.Errorf(wire.ClockSkew, "the clock of the relay that joins is %s off", skew.Round(time.Second)))
	}
	row = store.Member{
		Name: m.Name, Key: pin[:], Recipient: m.Recipient, Peer: m.Peer, Since: now, Token: hash[:],
		Version: wire.Printable(m.Version[:min(len(m.Version), 128)]),
	}
	if row.Vouch, err = r.CA.Vouch(vouchFor, row.Statement()); err != nil {
		return fail(err)
	}
	return row, key, host, nil
}

// maxSkew is how far the clocks of two members may differ: leases and certificates are about time.
const maxSkew = time.Minute

// enter makes a member a learner in etcd, unless it is there, and returns its number.
func (r *Roll) enter(ctx context.Context, row store.Member) (uint64, error) {
	etcd := r.etcd()
	if etcd == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	for {
		number, err := findNumber(ctx, etcd, row.Peer)
		if err != nil || number != 0 {
			return number, err
		}
		added, err := etcd.MemberAddAsLearner(ctx, []string{peerURL(row.Peer)})
		switch {
		case err == nil:
			return added.Member.ID, nil
		case errors.Is(err, rpctypes.ErrPeerURLExist): // another one was faster
			continue
		case errors.Is(err, rpctypes.ErrMemberNotFound): // one of the same address was removed within this second, and etcd gives the same number
			select {
			case <-time.After(retryEvery):
				continue
			case <-ctx.Done():
			}
		case errors.Is(err, rpctypes.ErrTooManyLearners):
			return 0, wire.Errorf(wire.Busy, "another relay is joining, and one can at a time").
				Advise("wait until it has caught up; if it never will, remove it")
		}
		return 0, told(ctx, "make a learner of "+row.Name, err)
	}
}

// findNumber is the number in etcd of whoever is reached at an address; 0: nobody.
func findNumber(ctx context.Context, etcd clientv3.Cluster, peer string) (uint64, error) {
	list, err := etcd.MemberList(ctx)
	if err != nil {
		return 0, told(ctx, "list etcd's members", err)
	}
	for _, e := range list.Members {
		if slices.Contains(e.PeerURLs, peerURL(peer)) {
			return e.ID, nil
		}
	}
	return 0, nil
}

// told is an error of etcd's. That it took too long means that it had no quorum.
func told(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil || errors.Is(err, rpctypes.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		return &wire.Error{Code: wire.Busy, Err: err, Detail: what + ": most of the members do not answer"}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// checkMembers reads the members of a [wire.Joined]: all of them must be vouched for by the CA that is trusted.
func checkMembers(ca *x509.Certificate, all []wire.ClusterMember) ([]store.Member, error) {
	if len(all) == 0 || len(all) > store.MaxMembers {
		return nil, wire.Errorf(wire.Protocol, "a cluster of %d members", len(all))
	}
	var out []store.Member
	for _, m := range all {
		row := store.Member{Name: m.Name, Key: m.Key, Recipient: m.Recipient, Peer: m.Peer, ID: m.Number, Vouch: m.Vouch}
		if err := store.CheckMemberName(m.Name); err != nil {
			return nil, err
		}
		if _, err := checkPeer(m.Peer); err != nil {
			return nil, err
		}
		if len(m.Key) != sha256.Size || !certs.Vouched(ca, vouchFor, row.Statement(), row.Vouch) {
			return nil, wire.Errorf(wire.RelayUntrusted, "the cluster's CA has not vouched for the member %s", m.Name)
		}
		out = append(out, row)
	}
	return out, nil
}
