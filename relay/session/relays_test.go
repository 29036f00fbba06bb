package session_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"scrier/relay/audit"
	"scrier/relay/lease"
	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/relay/store/sharedtest"
	"scrier/wire"
)

// relays are several on one state in memory. Their audit logs outlive their processes.
type relays struct {
	cluster *sharedtest.Cluster
	max     int
	random  *rand.Rand // nil: nothing takes time
	logs    map[string]*sessiontest.Journal
	all     map[string]*process
	old     []*process // that were killed

	mu     sync.Mutex
	opened int
}

func newRelays(max int, random *rand.Rand) *relays {
	return &relays{cluster: sharedtest.New(true), max: max, random: random, logs: map[string]*sessiontest.Journal{}, all: map[string]*process{}}
}

// process is one run of a relay.
type process struct {
	*relays
	name    string
	node    *sharedtest.Node
	keeper  *lease.Keeper
	table   *session.Table
	journal *journal
	cancel  context.CancelFunc
	running sync.WaitGroup
	stopped atomic.Bool
	dead    bool
	skew    atomic.Int64 // of the wall's clock
	late    atomic.Bool  // it is stopped when its next change has read all that it needs

	mu   sync.Mutex
	mine []*session.Channel
}

// journal is a relay's log as its process writes it: while it runs.
type journal struct {
	*sessiontest.Journal
	node    *sharedtest.Node
	slow    func()
	written atomic.Pointer[func()] // behind a record, before its answer
}

func (j *journal) Append(ctx context.Context, e audit.Event) (audit.Record, error) {
	if err := j.node.Runs(); err != nil {
		return audit.Record{}, err
	}
	j.slow()
	if err := j.node.Runs(); err != nil {
		return audit.Record{}, err
	}
	r, err := j.Journal.Append(ctx, e)
	if f := j.written.Load(); f != nil && err == nil {
		(*f)()
	}
	return r, errors.Join(err, j.node.Runs())
}

func (j *journal) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	return j.Append(ctx, e)
}

func (j *journal) Healthy() error { return errors.Join(j.node.Runs(), j.Journal.Healthy()) }

// pause is some time that something takes.
func (r *relays) pause() {
	if r.random == nil {
		return
	}
	r.mu.Lock()
	d := time.Duration(r.random.IntN(4)) * time.Millisecond
	r.mu.Unlock()
	time.Sleep(d)
}

// drag is the time that a disk takes, which is at times longer than a relay looks for what is to be written.
func (r *relays) drag() {
	if r.random == nil {
		return
	}
	r.mu.Lock()
	d, long := time.Duration(r.random.IntN(5000))*time.Millisecond, r.random.IntN(4) == 0
	r.mu.Unlock()
	if long {
		time.Sleep(d)
	}
}

// start starts a relay that does not run.
func (r *relays) start(name string) (*process, error) {
	if p := r.all[name]; p != nil && !p.dead {
		return p, nil
	}
	if r.logs[name] == nil {
		r.logs[name] = new(sessiontest.Journal)
	}
	p := &process{relays: r, name: name, node: r.cluster.Join()}
	p.node.Between = func() {
		r.pause()
		if p.late.CompareAndSwap(true, false) {
			p.stop()
		}
	}
	p.journal = &journal{Journal: r.logs[name], node: p.node, slow: r.drag}
	now := func() time.Time { return time.Now().Add(time.Duration(p.skew.Load())) }
	log := slog.New(slog.DiscardHandler)
	var err error
	if p.keeper, err = lease.New(lease.Config{Store: p.node, Name: name, Clock: p.node, Now: now, Log: log}); err != nil {
		return nil, err
	}
	if err := p.keeper.Begin(context.Background()); err != nil {
		return nil, err
	}
	p.table = session.NewTable(session.Config{
		KV: p.keeper.KV(), Lease: p.keeper, Journal: p.journal, Now: now, Log: log, Max: r.max, MaxAge: 24 * time.Hour, Grace: time.Minute, AuditGrace: time.Hour,
	})
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.running.Go(func() { _ = p.keeper.Run(ctx) })
	if err := p.table.Restart(ctx); err != nil {
		p.kill()
		r.old = append(r.old, p)
		return nil, err
	}
	p.running.Go(func() { _ = p.table.Run(ctx) })
	r.all[name] = p
	return p, nil
}

// kill is kill -9. What the process had begun comes to nothing from here on.
func (p *process) kill() {
	p.dead = true
	p.node.Kill()
	p.cancel()
	p.table.EndWhere(func(store.Session) bool { return true }, errors.New("killed")) // so that its goroutines end
	p.old = append(p.old, p)
}

// stop is SIGSTOP, and goOn SIGCONT.
func (p *process) stop() {
	p.stopped.Store(true)
	p.node.Stop()
}

func (p *process) goOn() {
	p.stopped.Store(false)
	p.node.Continue()
}

func (p *process) open() (*session.Channel, error) {
	s, err := p.table.Reserve(context.Background(), store.Session{Operator: "ann", OperatorID: "1", Envoy: wire.NewEnvoyID(), Kind: "ssh"}, nil)
	if err != nil {
		return nil, err
	}
	p.pause()
	p.relays.mu.Lock()
	p.opened++
	p.relays.mu.Unlock()
	c := s.First()
	err = c.Show(context.Background(), session.Shown{Login: "u", Stage: newPlayed()})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mine = append(p.mine, c)
	return c, err
}

// live are the sessions of a process that have not ended for it.
func (p *process) live() (live []*session.Channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.mine {
		if c.Session.Context().Err() == nil {
			live = append(live, c)
		}
	}
	return live
}

// view is what the state has.
func (r *relays) view() (rows map[wire.SessionID]store.Session, slots, closing int, err error) {
	rows = map[wire.SessionID]store.Session{}
	err = r.cluster.Join().View(context.Background(), func(tx store.Tx) error {
		all, err := store.Sessions(tx, store.MaxSessions, wire.SessionID{})
		for _, row := range all {
			rows[row.ID] = row
		}
		for range tx.Scan("open/") {
			slots++
		}
		for range tx.Scan("closing/") {
			closing++
		}
		return err
	})
	return rows, slots, closing, err
}

// records are how many records of each session's end there are, and in whose logs.
func (r *relays) records() map[string][]string {
	in := map[string][]string{}
	for name, j := range r.logs {
		for _, e := range ends(j) {
			in[e.Session] = append(in[e.Session], name)
		}
	}
	return in
}

// check finds what must never be.
func (r *relays) check() error {
	rows, slots, closing, err := r.view()
	if err != nil {
		return err
	}
	open, ended := 0, 0
	records := r.records()
	for id, row := range rows {
		in := records[id.String()]
		switch row.State {
		case store.Waiting, store.Active:
			open++
			if len(in) > 0 {
				return fmt.Errorf("I1: %s is open, and its end is in the logs of %v", id, in)
			}
		case store.Closing:
			ended++
			if len(in) > 1 || len(in) == 1 && in[0] != row.Closer {
				return fmt.Errorf("I1: %s is closing by %s, and its end is in the logs of %v", id, row.Closer, in)
			}
		case store.Closed:
			if len(in) != 1 || in[0] != row.Closer {
				return fmt.Errorf("I1: %s was closed by %s, and its end is in the logs of %v", id, row.Closer, in)
			}
		}
		if row.Closer != "" && row.Closer != row.Relay {
			if p := r.all[row.Relay]; p != nil && !p.dead && !p.stopped.Load() && p.keeper.Held(row.Owner()) {
				return fmt.Errorf("I8: %s was taken from %v, which has its lease", id, row.Owner())
			}
		}
	}
	if slots != open || slots > r.max {
		return fmt.Errorf("I4: %d slots are taken for %d open sessions, of %d", slots, open, r.max)
	}
	if closing != ended {
		return fmt.Errorf("%d ends wait, of %d", closing, ended)
	}
	for _, p := range r.all {
		if p.dead || p.stopped.Load() {
			continue
		}
		for _, c := range p.live() {
			row, ok := rows[c.ID()]
			if !ok {
				return fmt.Errorf("%s is live at %s, and has no row", c.ID(), p.name)
			}
			if p.keeper.Held(row.Owner()) && row.State != store.Active && row.Closer != p.name {
				return fmt.Errorf("two owners: %s is live at %s, and %s by %s", c.ID(), p.name, row.State, row.Closer)
			}
			if row.Relay != p.name {
				return fmt.Errorf("two owners: %s is live at %s, and its row is of %s", c.ID(), p.name, row.Relay)
			}
			if !p.keeper.Held(row.Owner()) && c.Session.Context().Err() == nil {
				return fmt.Errorf("I8: %s goes on at %s without a lease", c.ID(), p.name)
			}
		}
	}
	return nil
}

// settle mends everything, ends all sessions and looks at what is left.
func (r *relays) settle(names []string) error {
	for _, name := range names {
		r.logs[name].Break(nil)
		p := r.all[name]
		if p != nil {
			p.journal.written.Store(nil)
			p.late.Store(false)
			p.node.Committed(nil)
			p.goOn()
			p.node.Mend()
		}
	}
	r.bury()
	for _, name := range names {
		if _, err := r.start(name); err != nil {
			return fmt.Errorf("start %s at last: %w", name, err)
		}
	}
	time.Sleep(2 * time.Minute)
	if err := r.check(); err != nil {
		return err
	}
	rows, _, closing, err := r.view()
	if err != nil {
		return err
	}
	if closing > 0 {
		return fmt.Errorf("%d ends are not written", closing)
	}
	for id, row := range rows {
		if row.State == store.Closed {
			continue
		}
		if p := r.all[row.Relay]; !p.keeper.Held(row.Owner()) {
			return fmt.Errorf("%s is open, and its owner %v is gone", id, row.Owner())
		}
	}
	if c, err := r.all[names[0]].open(); err != nil && wire.CodeOf(err) != wire.Limit {
		return fmt.Errorf("no session opens at last: %w", err)
	} else if err == nil {
		c.Session.End(wire.Errorf(wire.Killed, "over"))
	}
	for _, name := range names {
		r.all[name].table.EndAll(&wire.Error{Code: wire.RelayShutdown})
	}
	time.Sleep(time.Minute)
	rows, slots, closing, err := r.view()
	if err != nil {
		return err
	}
	for id, row := range rows {
		if row.State != store.Closed {
			return fmt.Errorf("%s is %s, of %v, when all have ended", id, row.State, row.Owner())
		}
	}
	records := r.records()
	if slots+closing > 0 || len(records) != len(rows) || len(rows) < r.opened {
		return fmt.Errorf("%d slots and %d ends are left; %d sessions, %d rows, %d ends", slots, closing, r.opened, len(rows), len(records))
	}
	return r.check()
}

// over ends all processes.
func (r *relays) over() {
	for _, p := range r.all {
		if !p.dead {
			p.kill()
		}
	}
	for _, p := range r.old {
		p.running.Wait()
	}
}

// tell is what there is, for people.
func (r *relays) tell() string {
	var b strings.Builder
	rows, _, _, _ := r.view()
	for id, row := range rows {
		fmt.Fprintf(&b, "%s %s of %v closer %s code %s\n", id, row.State, row.Owner(), row.Closer, row.Code)
	}
	for name, j := range r.logs {
		for _, e := range j.Events() {
			fmt.Fprintf(&b, "log of %s: %s %s %s %s\n", name, e.Type, e.Session, e.Code, e.Detail)
		}
	}
	return b.String()
}
