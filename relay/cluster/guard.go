package cluster

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// guarded calls end when their context does, or the member: in this process nothing else ends a call that waits for a lock which a
// goroutine had that could not go on.
type guarded struct{ failed *once }

func guard[T any](ctx context.Context, g guarded, call func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		r.value, r.err = call()
		done <- r
	}()
	var none T
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		select { // it ends by itself, mostly, and knows best why
		case r := <-done:
			return r.value, r.err
		default:
			return none, context.Cause(ctx)
		}
	case <-g.failed.done:
		return none, g.failed.get()
	}
}

type guardedKV struct {
	guarded
	clientv3.KV
}

func (k guardedKV) Put(ctx context.Context, key, value string, o ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	return guard(ctx, k.guarded, func() (*clientv3.PutResponse, error) { return k.KV.Put(ctx, key, value, o...) })
}

func (k guardedKV) Get(ctx context.Context, key string, o ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return guard(ctx, k.guarded, func() (*clientv3.GetResponse, error) { return k.KV.Get(ctx, key, o...) })
}

func (k guardedKV) Delete(ctx context.Context, key string, o ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	return guard(ctx, k.guarded, func() (*clientv3.DeleteResponse, error) { return k.KV.Delete(ctx, key, o...) })
}

func (k guardedKV) Compact(ctx context.Context, rev int64, o ...clientv3.CompactOption) (*clientv3.CompactResponse, error) {
	return guard(ctx, k.guarded, func() (*clientv3.CompactResponse, error) { return k.KV.Compact(ctx, rev, o...) })
}

func (k guardedKV) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	return guard(ctx, k.guarded, func() (clientv3.OpResponse, error) { return k.KV.Do(ctx, op) })
}

func (k guardedKV) Txn(ctx context.Context) clientv3.Txn {
	return guardedTxn{k.guarded, ctx, k.KV.Txn(ctx)}
}

// guardedTxn holds a context for as long as etcd's own does: until Commit.
type guardedTxn struct {
	guarded
	ctx context.Context
	txn clientv3.Txn
}

func (t guardedTxn) If(c ...clientv3.Cmp) clientv3.Txn {
	return guardedTxn{t.guarded, t.ctx, t.txn.If(c...)}
}
func (t guardedTxn) Then(o ...clientv3.Op) clientv3.Txn {
	return guardedTxn{t.guarded, t.ctx, t.txn.Then(o...)}
}
func (t guardedTxn) Else(o ...clientv3.Op) clientv3.Txn {
	return guardedTxn{t.guarded, t.ctx, t.txn.Else(o...)}
}
func (t guardedTxn) Commit() (*clientv3.TxnResponse, error) {
	return guard(t.ctx, t.guarded, t.txn.Commit)
}

type guardedLease struct {
	guarded
	clientv3.Lease
}

func (l guardedLease) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	return guard(ctx, l.guarded, func() (*clientv3.LeaseGrantResponse, error) { return l.Lease.Grant(ctx, ttl) })
}

func (l guardedLease) Revoke(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	return guard(ctx, l.guarded, func() (*clientv3.LeaseRevokeResponse, error) { return l.Lease.Revoke(ctx, id) })
}

func (l guardedLease) TimeToLive(ctx context.Context, id clientv3.LeaseID, o ...clientv3.LeaseOption) (*clientv3.LeaseTimeToLiveResponse, error) {
	return guard(ctx, l.guarded, func() (*clientv3.LeaseTimeToLiveResponse, error) { return l.Lease.TimeToLive(ctx, id, o...) })
}

func (l guardedLease) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	return guard(ctx, l.guarded, func() (*clientv3.LeaseKeepAliveResponse, error) { return l.Lease.KeepAliveOnce(ctx, id) })
}

type guardedCluster struct {
	guarded
	clientv3.Cluster
}

func (c guardedCluster) MemberList(ctx context.Context, o ...clientv3.OpOption) (*clientv3.MemberListResponse, error) {
	return guard(ctx, c.guarded, func() (*clientv3.MemberListResponse, error) { return c.Cluster.MemberList(ctx, o...) })
}

func (c guardedCluster) MemberAddAsLearner(ctx context.Context, peers []string) (*clientv3.MemberAddResponse, error) {
	return guard(ctx, c.guarded, func() (*clientv3.MemberAddResponse, error) { return c.Cluster.MemberAddAsLearner(ctx, peers) })
}

func (c guardedCluster) MemberRemove(ctx context.Context, id uint64) (*clientv3.MemberRemoveResponse, error) {
	return guard(ctx, c.guarded, func() (*clientv3.MemberRemoveResponse, error) { return c.Cluster.MemberRemove(ctx, id) })
}

func (c guardedCluster) MemberPromote(ctx context.Context, id uint64) (*clientv3.MemberPromoteResponse, error) {
	return guard(ctx, c.guarded, func() (*clientv3.MemberPromoteResponse, error) { return c.Cluster.MemberPromote(ctx, id) })
}

type guardedMaintenance struct {
	guarded
	clientv3.Maintenance
	defragment func() error
}

// Defragment is done here: the client in the process would end it with a panic.
func (m guardedMaintenance) Defragment(ctx context.Context, _ string) (*clientv3.DefragmentResponse, error) {
	return guard(ctx, m.guarded, func() (*clientv3.DefragmentResponse, error) { return &clientv3.DefragmentResponse{}, m.defragment() })
}

func (m guardedMaintenance) AlarmDisarm(ctx context.Context, a *clientv3.AlarmMember) (*clientv3.AlarmResponse, error) {
	return guard(ctx, m.guarded, func() (*clientv3.AlarmResponse, error) { return m.Maintenance.AlarmDisarm(ctx, a) })
}

func (m guardedMaintenance) Status(ctx context.Context, endpoint string) (*clientv3.StatusResponse, error) {
	return guard(ctx, m.guarded, func() (*clientv3.StatusResponse, error) { return m.Maintenance.Status(ctx, endpoint) })
}

// guardClient has the calls of a client end when they must.
func guardClient(c *clientv3.Client, failed *once, defragment func() error) *clientv3.Client {
	g := guarded{failed}
	c.KV, c.Lease, c.Cluster = guardedKV{g, c.KV}, guardedLease{g, c.Lease}, guardedCluster{g, c.Cluster}
	c.Maintenance = guardedMaintenance{g, c.Maintenance, defragment}
	return c
}
