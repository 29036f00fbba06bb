package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"scrier/relay/store"
	"scrier/relay/store/etcd"
	"scrier/wire"
)

// Discard throws away a copy that [store.Migrate] has left half in an etcd, so that it can begin anew. What is about the cluster itself stays.
// Anything but half a copy it leaves as it is, with [wire.Conflict]: what is whole is somebody's state.
func Discard(ctx context.Context, client *clientv3.Client) error {
	kv, err := etcd.Open(ctx, etcd.Config{Client: client})
	if err == nil {
		return errors.Join(wire.Errorf(wire.Conflict, "what is there is not half a copy"), kv.Close())
	}
	if !errors.Is(err, store.ErrHalf) {
		return err
	}
	// Once more with what is deleted, as another one may have ended its copy meanwhile.
	mark, err := client.Get(ctx, schemaKey)
	if err != nil || len(mark.Kvs) != 1 {
		return fmt.Errorf("look at half a copy: %w", errors.Join(err, ctx.Err()))
	}
	done, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(schemaKey), "=", mark.Kvs[0].ModRevision)).
		Then(
			clientv3.OpDelete(statePrefix, clientv3.WithRange(statePrefix+store.ClusterPrefix)),
			clientv3.OpPut(headKey, "discarded "+rand.Text()), // who has read before has to read again
			clientv3.OpDelete(clientv3.GetPrefixRangeEnd(statePrefix+store.ClusterPrefix), clientv3.WithRange(clientv3.GetPrefixRangeEnd(statePrefix))),
		).Commit()
	if err != nil {
		return fmt.Errorf("discard half a copy: %w", err)
	}
	if !done.Succeeded {
		return wire.Errorf(wire.Conflict, "another one writes to the copy")
	}
	return nil
}

// Where package etcd keeps its keys, as its own documentation says.
const (
	headKey     = "scrier/head"
	statePrefix = "scrier/state/"
	schemaKey   = statePrefix + store.SchemaKey
)
