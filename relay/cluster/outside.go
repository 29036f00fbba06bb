package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"scrier/certs"
	"scrier/wire"
)

// Outside says where an etcd is that others run, for a cluster without one of its own.
type Outside struct {
	Endpoints []string // https://HOST:PORT, at most 16
	Files     certs.Outside
	Log       *slog.Logger
}

const (
	maxEndpoints = 16

	// Who says nothing for so long is asked, and is gone if it does not answer: a firewall may forget the connection.
	aliveEvery, aliveTime = 10 * time.Second, 5 * time.Second
)

// Dial connects to an etcd outside, and returns when one of its members has answered. The client is closed by the caller.
func Dial(ctx context.Context, o Outside) (*clientv3.Client, error) {
	if len(o.Endpoints) == 0 || len(o.Endpoints) > maxEndpoints {
		return nil, wire.Errorf(wire.BadConfig, "%d addresses of etcd, 1 to %d can be", len(o.Endpoints), maxEndpoints)
	}
	for _, e := range o.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, wire.Errorf(wire.BadConfig, "%q is not an address of etcd: it is https://HOST:PORT", wire.Printable(e))
		}
	}
	conf, err := o.Files.TLS()
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: o.Endpoints, TLS: conf, DialTimeout: aliveTime, DialKeepAliveTime: aliveEvery, DialKeepAliveTimeout: aliveTime,
		PermitWithoutStream: true, RejectOldCluster: false, Logger: zapLogger(o.Log, func(error) {}), Context: context.WithoutCancel(ctx),
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd: %w", err)
	}
	if err := answers(ctx, client); err != nil {
		return nil, errors.Join(wire.Errorf(wire.RelayUnreachable, "no etcd answers at %q: %w", o.Endpoints, err), client.Close())
	}
	return client, nil
}

// answers waits until one member says how it is, until ctx ends.
func answers(ctx context.Context, client *clientv3.Client) error {
	for {
		all := ClientHealth(ctx, client)
		err := errors.New("nobody")
		for _, h := range all {
			if h.Err == "" {
				return nil
			}
			err = errors.New(h.Err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryEvery):
		}
	}
}

// ClientHealth is [Member.Health] for an etcd outside, whose members are called by their addresses.
func ClientHealth(ctx context.Context, client *clientv3.Client) []Health {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	all := make([]Health, 0, maxEndpoints)
	answers := make(chan Health, maxEndpoints)
	endpoints := client.Endpoints()
	for _, e := range endpoints {
		go func() {
			began := time.Now()
			h := Health{Name: e}
			r, err := client.Status(ctx, e)
			h.RTT = time.Since(began)
			if err != nil {
				h.Err = wire.Printable(err.Error())
				answers <- h
				return
			}
			h.Number, h.Learner, h.Leader = r.Header.MemberId, r.IsLearner, r.Leader == r.Header.MemberId
			h.State = State{
				Version: r.Version, Leader: r.Leader, Term: r.RaftTerm, Index: r.RaftIndex, Applied: r.RaftAppliedIndex,
				Size: r.DbSize, Used: r.DbSizeInUse, Learner: r.IsLearner, Problems: r.Errors,
			}.bounded()
			if r.Leader == 0 {
				h.Err = "it follows no leader"
			}
			answers <- h
		}()
	}
	for range endpoints {
		all = append(all, <-answers)
	}
	return all
}
