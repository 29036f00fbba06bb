package sharedtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"scrier/relay/store"
)

// callTime is how long a relay waits for one answer.
const callTime = 5 * time.Second

var (
	errKilled = errors.New("the process is not there any more")
	errCut    = errors.New("no answer from the cluster")
	errClosed = errors.New("the state is closed")
)

// Node is a relay's way to the cluster, and the process that it goes. It is a [store.Shared].
type Node struct {
	cluster *Cluster
	begun   time.Time
	// Between is called, if it is there, between what a change has read and its commit.
	Between func()

	mu      sync.Mutex
	dead    chan struct{} // closed by Kill
	stopped chan struct{} // closed when the process goes on; nil: it runs
	cut     chan struct{} // closed when the network is there again; nil: it is
	over    bool
	done    func()
	running sync.WaitGroup
}

var _ store.Shared = (*Node)(nil)

// Join is a relay that begins.
func (c *Cluster) Join() *Node {
	return &Node{cluster: c, begun: time.Now(), dead: make(chan struct{})}
}

// Stop stops the process, as SIGSTOP does: what it does at the cluster, and what it reads from its clock, it does when it goes on.
func (n *Node) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped == nil {
		n.stopped = make(chan struct{})
	}
}

// Continue lets it go on.
func (n *Node) Continue() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped != nil {
		close(n.stopped)
		n.stopped = nil
	}
}

// Cut takes the network away from it. What is under way may have been done.
func (n *Node) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut == nil {
		n.cut = make(chan struct{})
	}
}

// Mend puts it back.
func (n *Node) Mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut != nil {
		close(n.cut)
		n.cut = nil
	}
}

// Committed has done called whenever a change was done, before its answer; nil: nothing.
func (n *Node) Committed(done func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.done = done
}

func (n *Node) committed() {
	n.mu.Lock()
	done := n.done
	n.mu.Unlock()
	if done != nil {
		done()
	}
}

// Kill ends the process: it does nothing any more.
func (n *Node) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.dead:
	default:
		close(n.dead)
	}
}

// Dead is closed by Kill.
func (n *Node) Dead() <-chan struct{} { return n.dead }

// Runs returns when the process runs: at once, or when it goes on. The error says that it was killed.
func (n *Node) Runs() error {
	for {
		n.mu.Lock()
		stopped := n.stopped
		n.mu.Unlock()
		select {
		case <-n.dead:
			return errKilled
		default:
		}
		if stopped == nil {
			return nil
		}
		select {
		case <-stopped:
		case <-n.dead:
		}
	}
}

// pass is one way to the cluster, or back.
func (n *Node) pass(ctx context.Context) error {
	late := time.NewTimer(callTime)
	defer late.Stop()
	for {
		if err := n.Runs(); err != nil {
			return err
		}
		n.mu.Lock()
		cut := n.cut
		n.mu.Unlock()
		if cut == nil {
			return nil
		}
		select {
		case <-cut:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.C:
			return errCut
		case <-n.dead:
		}
	}
}

func (n *Node) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.over {
		n.running.Add(1)
	}
	return !n.over
}

// View implements [store.KV].
func (n *Node) View(ctx context.Context, f func(store.Tx) error) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if !n.enter() {
		return fmt.Errorf("read state: %w", errClosed)
	}
	defer n.running.Done()
	if err := n.pass(ctx); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	rows, _ := n.cluster.snapshot()
	if err := n.pass(ctx); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	return (&tx{ctx: ctx, rows: rows}).run(f)
}

// Update implements [store.KV].
func (n *Node) Update(ctx context.Context, f func(store.Tx) error) error {
	return n.update(ctx, store.Owner{}, f)
}

func (n *Node) update(ctx context.Context, o store.Owner, f func(store.Tx) error) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("change state: %w", err)
	}
	if !n.enter() {
		return fmt.Errorf("change state: %w", errClosed)
	}
	defer n.running.Done()
	if turn := n.cluster.turn; turn != nil {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return fmt.Errorf("change state: %w", context.Cause(ctx))
		}
	}
	for {
		if err := n.pass(ctx); err != nil {
			return fmt.Errorf("change state: %w", err)
		}
		rows, head := n.cluster.snapshot()
		t := &tx{ctx: ctx, owner: o, rows: rows, write: true}
		failed := t.run(f)
		if n.Between != nil {
			n.Between()
		}
		if err := n.pass(ctx); err != nil {
			return fmt.Errorf("change state: %w", err)
		}
		if failed != nil {
			return failed
		}
		done, err := n.cluster.commit(o, head, t.changes)
		if done && len(t.changes) > 0 {
			n.committed()
		}
		if perr := n.pass(ctx); perr != nil { // the answer is lost
			return fmt.Errorf("change state: %w", perr)
		}
		if err != nil || done {
			return err
		}
	}
}

// Close implements [store.KV].
func (n *Node) Close() error {
	n.mu.Lock()
	n.over = true
	n.mu.Unlock()
	n.running.Wait()
	return nil
}

// call is one request of a lease, and its answer.
func call[R any](ctx context.Context, n *Node, do func() (R, error)) (r R, err error) {
	if err := n.pass(ctx); err != nil {
		return r, err
	}
	got, err := do()
	if perr := n.pass(ctx); perr != nil {
		return r, perr
	}
	return got, err
}

// Register implements [store.Shared].
func (n *Node) Register(ctx context.Context, l store.Lease, ttl time.Duration) (store.Lease, time.Duration, error) {
	if err := store.CheckRelayName(l.Name); err != nil {
		return l, 0, err
	}
	l, err := call(ctx, n, func() (store.Lease, error) { return n.cluster.register(l, ttl) })
	return l, ttl, err
}

// Renew implements [store.Shared].
func (n *Node) Renew(ctx context.Context, o store.Owner) (time.Duration, error) {
	return call(ctx, n, func() (time.Duration, error) { return n.cluster.renew(o) })
}

// Release implements [store.Shared].
func (n *Node) Release(ctx context.Context, o store.Owner) error {
	_, err := call(ctx, n, func() (struct{}, error) { n.cluster.release(o); return struct{}{}, nil })
	return err
}

// As implements [store.Shared].
func (n *Node) As(o store.Owner) store.KV { return &of{n, o} }

type of struct {
	*Node
	owner store.Owner
}

func (s *of) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.update(ctx, s.owner, f)
}

// Now is the process's clock, for a [scrier/relay/lease.Clock]. It is read when the process runs.
func (n *Node) Now() time.Duration {
	_ = n.Runs() // who is dead gets an answer too, and can do nothing with it
	return time.Since(n.begun)
}

// Sleep returns when the time is over and the process runs.
func (n *Node) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := n.Runs(); err != nil { // it sleeps for ever
		<-ctx.Done()
		return err
	}
	return nil
}
