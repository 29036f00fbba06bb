package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// joinTime is how long a member may take to let a relay in: etcd has to decide, and two disks to write.
const joinTime = time.Minute

// Request is what a relay that is to join says of itself.
type Request struct {
	Token certs.Token
	Name  string // what it is to be called
	Peer  string // HOST:PORT at which the other members are to reach it
}

// Join asks for a place in a cluster, on a stream to any member of it, and keeps the place in the directory; [Start] takes it. A relay that has one
// already does nothing, so Join is called again when it was broken off: with the same token, to the same member or to another one.
//
// The stream's other end must have been checked against the token's pin by whoever opened it; else the secret is with somebody else. What is
// answered is checked against it here.
func Join(ctx context.Context, cfg Config, q Request, s wire.Stream) error {
	if err := store.CheckMemberName(q.Name); err != nil {
		return err
	}
	if _, err := checkPeer(q.Peer); err != nil {
		return err
	}
	home, err := openHome(cfg.Dir)
	if err != nil {
		return err
	}
	switch r, err := home.roster(); {
	case err == nil && r.Name == q.Name && r.Peer == q.Peer && !r.First:
		return nil
	case err == nil:
		return wire.Errorf(wire.Conflict, "%s is that of the member %s already", cfg.Dir, r.Name)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	id, err := home.identityKey()
	if err != nil {
		return err
	}
	key, err := home.key()
	if err != nil {
		return err
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		return err
	}
	answer, err := converse(ctx, s, &wire.Join{
		Secret: q.Token.Secret[:], Name: q.Name, CSR: csr, Recipient: id.Recipient().String(), Peer: q.Peer,
		Version: wire.Version(), Time: wire.Millis(cfg.Now()),
	})
	if err != nil {
		return fmt.Errorf("join the cluster: %w", err)
	}
	r, err := home.believe(cfg, q, answer)
	if err != nil {
		return fmt.Errorf("join the cluster: %w", err)
	}
	return home.save(answer.Chain, r)
}

// converse says Join and waits for the answer, for a minute at most.
func converse(ctx context.Context, s wire.Stream, m *wire.Join) (*wire.Joined, error) {
	deadline := time.Now().Add(joinTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := s.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset(wire.Cancelled) })
	defer stop()
	var answer *wire.Joined
	err := wire.Send(s, m)
	if err == nil {
		answer, err = wire.Expect[wire.Joined](s)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || err != nil && ctx.Err() != nil {
		err = wire.Errorf(wire.RelayUnreachable, "the member does not answer: %w", err).Advise("join again with the same token")
	}
	return answer, err
}

// believe checks an answer: it must be about this relay's own key, of the CA in the token, and whole.
func (h *home) believe(cfg Config, q Request, a *wire.Joined) (roster, error) {
	fail := func(format string, args ...any) (roster, error) {
		return roster{}, wire.Errorf(wire.RelayUntrusted, format, args...)
	}
	id, err := certs.Issued(q.Token.Pin, a.Chain)
	if err != nil {
		return roster{}, err
	}
	pin, err := h.pin()
	if err != nil {
		return roster{}, err
	}
	leaf, err := x509.ParseCertificate(a.Chain[0])
	if err != nil {
		return roster{}, err
	}
	ca, err := x509.ParseCertificate(a.Chain[len(a.Chain)-1])
	if err != nil {
		return roster{}, err
	}
	host, err := checkPeer(q.Peer)
	if err != nil {
		return roster{}, err
	}
	switch {
	case len(a.Chain) != 2 || id.Role != certs.RoleMember || id.ID != q.Name || id.Cluster != a.Cluster || id.Cluster != certs.ClusterOf(ca):
		return fail("a certificate for %s, and not for the member %s", id, q.Name)
	case certs.PinOf(leaf) != pin:
		return fail("a certificate for another key")
	case leaf.VerifyHostname(host) != nil || leaf.VerifyHostname(certs.MemberMark(id.Cluster)) != nil:
		return fail("a certificate that the other members would not take")
	}
	members, err := checkMembers(ca, a.Members)
	if err != nil {
		return roster{}, err
	}
	own := slices.IndexFunc(members, func(m store.Member) bool { return m.Name == q.Name })
	if own < 0 || !slices.Equal(members[own].Key, pin[:]) || members[own].Peer != q.Peer || members[own].ID != a.Number {
		return fail("this relay is not among the members that were named")
	}
	if len(a.Sealed) > 0 {
		key, err := h.identityKey()
		if err != nil {
			return roster{}, err
		}
		if _, err := open(a.Sealed, key, ca, cfg.Now); err != nil {
			return roster{}, err
		}
	}
	return roster{Name: q.Name, Peer: q.Peer, Members: members}, nil
}
