package cluster

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Listed is a member as a list shows it.
type Listed struct {
	store.Member
	// Joining says that it has no vote yet: it is catching up, or never came.
	Joining bool
	// Half says that only one of its row and its place in etcd is there: a removal was broken off. Removing it again ends that.
	Half bool
}

// List is the members, by name; who has no row is called by what etcd knows.
func (r *Roll) List(ctx context.Context) ([]Listed, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	var out []Listed
	if err := r.KV.View(ctx, func(tx store.Tx) error {
		all, err := store.Members(tx)
		out = nil
		for _, m := range all {
			out = append(out, Listed{Member: m, Half: r.Member != nil})
		}
		return err
	}); err != nil {
		return nil, err
	}
	if r.Member == nil {
		return out, nil
	}
	list, err := r.etcd().MemberList(ctx)
	if err != nil {
		return nil, told(ctx, "list etcd's members", err)
	}
	for _, e := range list.Members {
		i := slices.IndexFunc(out, func(m Listed) bool { return slices.Contains(e.PeerURLs, peerURL(m.Peer)) })
		if i < 0 {
			out = append(out, Listed{Member: store.Member{Name: wire.Printable(e.Name), ID: e.ID}, Joining: e.IsLearner, Half: true})
			continue
		}
		out[i].ID, out[i].Joining, out[i].Half = e.ID, e.IsLearner, false
	}
	return out, nil
}

// Remove takes a member out of the cluster, by its name. It is refused when too few of the others answer to decide anything afterwards, unless
// it is forced. A member cannot remove itself: it would not see the end of it. Once it is out, no member takes its connections, and
// the CA's key is sealed for the others alone; what it knows it goes on knowing, see the package's words.
func (r *Roll) Remove(ctx context.Context, by audit.Event, name string, force bool) error {
	if err := store.CheckMemberName(name); err != nil {
		return err
	}
	if r.Member != nil && name == r.Member.Name() {
		return wire.Errorf(wire.BadRequest, "a relay does not remove itself").Advise("stop it, and remove it at another member")
	}
	all, err := r.List(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(m Listed) bool { return m.Name == name })
	if at < 0 {
		return wire.Errorf(wire.NotFound, "the cluster has no member %s", name)
	}
	target := all[at]
	if err := r.keepsQuorum(ctx, target.ID, force); err != nil {
		return err
	}
	var k store.CAKey
	if err := r.KV.View(ctx, func(tx store.Tx) (err error) {
		if k, err = store.GetCAKey(tx); errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return err
	}); err != nil {
		return err
	}
	switch {
	case k.Local == name:
		return wire.Errorf(wire.Conflict, "the member %s has the CA's key, and nobody else has", name).Advise("move ca.key to another member first")
	case k.Local == "" && r.CA == nil:
		return r.elsewhere(ctx)
	}
	by.Type = "relay.remove"
	by.Fields = map[string]string{"name": name, "peer": target.Peer}
	if force {
		by.Fields["forced"] = "yes"
	}
	if _, err := r.Journal.Append(ctx, by); err != nil {
		return err
	}
	// etcd first: so the member learns of it and ends, which it could not once nobody takes its connections.
	if err := r.leave(ctx, target.ID); err != nil {
		return err
	}
	if err := r.KV.Update(ctx, func(tx store.Tx) error {
		if err := store.DeleteMember(tx, name); err != nil {
			return err
		}
		if k.Local != "" {
			return nil
		}
		return r.seal(tx)
	}); err != nil {
		return err
	}
	r.Log.Info("a member was removed", "member", name, "forced", force)
	return r.look(ctx)
}

// keepsQuorum refuses to remove a member if most of those that are left do not answer.
func (r *Roll) keepsQuorum(ctx context.Context, number uint64, force bool) error {
	if r.Member == nil || number == 0 {
		return nil
	}
	all, err := r.Member.Health(ctx)
	if err != nil {
		return err
	}
	voters, well := 0, 0
	for _, h := range all {
		if h.Number == number && h.Learner {
			return nil
		}
		if h.Number == number || h.Learner {
			continue
		}
		voters++
		if h.Err == "" {
			well++
		}
	}
	switch {
	case voters == 0:
		return wire.Errorf(wire.Conflict, "it is the last member with a vote")
	case well < voters/2+1 && !force:
		return wire.Errorf(wire.Conflict, "of the %d members that would be left %d answer, so that nothing could be decided any more", voters, well).
			Advise("start the others first, or remove those that are gone; with --force it is done all the same")
	}
	return nil
}

// leave takes a member out of etcd, if it is there.
func (r *Roll) leave(ctx context.Context, number uint64) error {
	etcd := r.etcd()
	if etcd == nil || number == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	list, err := etcd.MemberList(ctx)
	if err != nil {
		return told(ctx, "list etcd's members", err)
	}
	if !slices.ContainsFunc(list.Members, func(e *etcdserverpb.Member) bool { return e.ID == number }) {
		return nil
	}
	if _, err := etcd.MemberRemove(ctx, number); err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
		return told(ctx, "remove a member", err)
	}
	return nil
}
