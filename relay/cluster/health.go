package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

const (
	healthPath = "/scrier/health"
	// healthTime is how long a member has to say how it is.
	healthTime = 3 * time.Second
	// maxAnswer bounds what is read of another member, in bytes.
	maxAnswer = 64 << 10
)

// Health is how a member is.
type Health struct {
	Name    string        `json:"name"`
	Number  uint64        `json:"number"`
	Self    bool          `json:"self"`
	Learner bool          `json:"learner"` // has no vote yet
	Leader  bool          `json:"leader"`
	Err     string        `json:"error,omitempty"` // why it is of no use now; empty: it is
	RTT     time.Duration `json:"rtt_ns"`
	State   State         `json:"state"`
}

// State is what a member says of itself.
type State struct {
	Version  string   `json:"version"` // of etcd
	Leader   uint64   `json:"leader"`  // whom it follows; 0: nobody
	Term     uint64   `json:"term"`
	Index    uint64   `json:"index"`   // of what was decided, as it knows
	Applied  uint64   `json:"applied"` // of that, what it has done
	Size     int64    `json:"size"`    // bytes of its file
	Used     int64    `json:"used"`    // of them, what holds something
	Alarms   []string `json:"alarms,omitempty"`
	Learner  bool     `json:"learner"`
	Problems []string `json:"problems,omitempty"` // etcd's own words
}

// state is this member's.
func (m *Member) state(ctx context.Context) (State, error) {
	r, err := m.client.Status(ctx, "")
	if err != nil {
		return State{}, fmt.Errorf("ask etcd how it is: %w", err)
	}
	s := State{
		Version: r.Version, Leader: r.Leader, Term: r.RaftTerm, Index: r.RaftIndex, Applied: r.RaftAppliedIndex,
		Size: r.DbSize, Used: r.DbSizeInUse, Learner: r.IsLearner, Problems: r.Errors,
	}
	for _, a := range m.server.Alarms() {
		if a.MemberID == uint64(m.server.MemberID()) || a.Alarm == pb.AlarmType_NOSPACE {
			s.Alarms = append(s.Alarms, a.Alarm.String())
		}
	}
	return s, nil
}

func (m *Member) tellHealth(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthTime)
	defer cancel()
	s, err := m.state(ctx)
	if err != nil {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s) // who asked is gone
}

// Health asks all members how they are, each for 3 s at most. The error is about this one alone: that another does not answer
// stands in its row.
func (m *Member) Health(ctx context.Context) ([]Health, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	known := m.known()
	var group sync.WaitGroup
	members := m.server.Cluster().Members() // as this member knows them, also without a quorum
	all := make([]Health, len(members))
	for i, e := range members {
		all[i] = m.rowOf(e, known.Members)
		group.Go(func() {
			began := time.Now()
			var s State
			var err error
			if all[i].Self {
				s, err = m.state(ctx)
			} else {
				err = m.get(ctx, all[i].Name, e.PeerURLs, healthPath, &s)
			}
			all[i].RTT = time.Since(began)
			if err != nil {
				all[i].Err = wire.Printable(err.Error())
				return
			}
			all[i].State = s.bounded()
			all[i].Leader = s.Leader == all[i].Number
			if s.Leader == 0 {
				all[i].Err = "it follows no leader: it does not reach most of the others"
			}
		})
	}
	group.Wait()
	slices.SortFunc(all, func(a, b Health) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Number, b.Number)) })
	return all, nil
}

// rowOf names a member of etcd's as the roster does: one that has not begun yet has no name there.
func (m *Member) rowOf(e *membership.Member, members []store.Member) Health {
	h := Health{Name: e.Name, Number: uint64(e.ID), Learner: e.IsLearner, Self: e.ID == m.server.MemberID()}
	for _, o := range members {
		if len(e.PeerURLs) == 1 && e.PeerURLs[0] == peerURL(o.Peer) {
			h.Name = o.Name
		}
	}
	return h
}

// bounded is what another member says, cut to what is shown.
func (s State) bounded() State {
	cut := func(all []string) []string {
		all = all[:min(len(all), 8)]
		for i := range all {
			all[i] = wire.Printable(all[i][:min(len(all[i]), 256)])
		}
		return all
	}
	s.Version = wire.Printable(s.Version[:min(len(s.Version), 64)])
	s.Alarms, s.Problems = cut(s.Alarms), cut(s.Problems)
	return s
}

// get asks another member over the members' port.
func (m *Member) get(ctx context.Context, name string, urls []string, path string, into any) error {
	id, err := m.home.identity(m.cfg, func(string, certs.Pin) error { return nil }) // who is asked was found in the roster
	if err != nil {
		return err
	}
	t := &http.Transport{TLSClientConfig: id.Client(name), DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader}
	defer t.CloseIdleConnections()
	err = errors.New("it has no address")
	for _, u := range urls {
		if err = fetch(ctx, t, u+path, into); err == nil {
			return nil
		}
	}
	return err
}

func fetch(ctx context.Context, t http.RoundTripper, url string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers with status %d", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = fmt.Errorf("it answers with more than %d bytes", maxAnswer)
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	return err
}

// ask gets etcd's list of members from one that answers.
func (m *Member) ask(ctx context.Context) (all []*membership.Member, err error) {
	r := m.known()
	err = errors.New("this relay knows no other one")
	for ctx.Err() == nil {
		for _, o := range r.Members {
			if o.Name == r.Name {
				continue
			}
			one, cancel := context.WithTimeout(ctx, healthTime)
			err = m.get(one, o.Name, []string{peerURL(o.Peer)}, "/members", &all)
			cancel()
			if err == nil && (len(all) == 0 || len(all) > 2*store.MaxMembers) {
				err = fmt.Errorf("it names %d members", len(all))
			}
			if err == nil {
				return all, nil
			}
			m.cfg.Log.Debug("ask another member", "member", o.Name, "err", err)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
		}
	}
	return nil, wire.Errorf(wire.RelayUnreachable, "no other member of the cluster answers: %w", err)
}
