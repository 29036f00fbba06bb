package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"scrier/relay/session"
	"scrier/relay/store"
	"scrier/wire"
)

// step is one thing that happens in the model.
type step struct {
	what  string
	relay int
	n     int
}

var steps = []string{
	"open", "open", "open", "open", "end", "end", "wait", "wait", "wait long", "kill", "start", "stop", "continue", "cut", "mend",
	"break log", "mend log", "set clock", "die at a record", "die at a commit", "stop at a commit", "stop before a commit", "cut at a commit", "cut at a record",
}

func (r *relays) do(s step, names []string) error {
	name := names[s.relay]
	p := r.all[name]
	if p == nil || p.dead {
		switch s.what {
		case "start", "open":
			_, err := r.start(name)
			if err != nil { // its log may be broken
				err = nil
			}
			return err
		case "wait":
			time.Sleep(time.Duration(s.n) * time.Second)
		}
		return nil
	}
	switch s.what {
	case "open":
		go func() { _, _ = p.open() }()
	case "end":
		if live := p.live(); len(live) > 0 && !p.stopped.Load() {
			live[s.n%len(live)].Session.End(wire.Errorf(wire.Killed, "ended by bob"))
		}
	case "wait":
		time.Sleep(time.Duration(s.n) * time.Second)
	case "wait long":
		time.Sleep(time.Duration(s.n) * 5 * time.Second)
	case "kill":
		p.kill()
	case "stop":
		p.stop()
	case "continue":
		p.goOn()
	case "cut":
		p.node.Cut()
	case "mend":
		p.node.Mend()
	case "break log":
		r.logs[name].Break(errFull)
	case "mend log":
		r.logs[name].Break(nil)
	case "set clock":
		p.skew.Add(int64(time.Duration(s.n-10) * time.Hour))
	case "cut at a commit": // for as long as a call waits for its answer, and then again and again
		p.node.Committed(func() {
			p.node.Cut()
			time.AfterFunc(time.Duration(s.n)*400*time.Millisecond, p.node.Mend)
		})
	case "cut at a record":
		cut := func() {
			p.node.Cut()
			time.AfterFunc(time.Duration(s.n)*400*time.Millisecond, p.node.Mend)
		}
		p.journal.written.Store(&cut)
	case "die at a record":
		kill := p.node.Kill
		p.journal.written.Store(&kill)
	case "die at a commit":
		p.node.Committed(p.node.Kill)
	case "stop before a commit":
		p.late.Store(true)
	case "stop at a commit":
		p.node.Committed(sync.OnceFunc(p.stop))
	}
	return nil
}

// bury takes note of processes that have died by themselves.
func (r *relays) bury() {
	for _, p := range r.all {
		select {
		case <-p.node.Dead():
			if !p.dead {
				p.kill()
			}
		default:
		}
	}
}

func (r *relays) play(play []step, names []string) error {
	defer r.over()
	for _, name := range names {
		p, err := r.start(name)
		if err == nil {
			_, err = p.open()
		}
		if err != nil {
			return err
		}
	}
	for i, s := range play {
		if err := r.do(s, names); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, s, err)
		}
		synctest.Wait()
		r.bury()
		if err := r.check(); err != nil {
			return fmt.Errorf("behind step %d, %+v: %w", i, s, err)
		}
	}
	return r.settle(names)
}

// Whatever happens to three relays, in whatever order: slots are neither lost nor exceeded (I4), a relay without its lease
// writes nothing more of its sessions (I8) and has none, each session ends once and has one record of that in all logs
// together (I1), and none stays open without an owner.
func TestRelaysModel(t *testing.T) {
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		play := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{
				rapid.SampledFrom(steps).Draw(rt, "what"), rapid.IntRange(0, len(names)-1).Draw(rt, "relay"), rapid.IntRange(0, 20).Draw(rt, "n"),
			}
		}), 1, 40).Draw(rt, "play")
		seed := rapid.Uint64().Draw(rt, "seed")
		var err error
		var told string
		synctest.Test(t, func(*testing.T) {
			r := newRelays(5, rand.New(rand.NewPCG(seed, 1)))
			if err = r.play(play, names); err != nil {
				told = r.tell()
			}
		})
		if err != nil {
			rt.Fatalf("%v\n%s", err, told)
		}
	})
}

// two are two relays, of which the first has a session.
func two(t *testing.T) (r *relays, a, b *process, id wire.SessionID) {
	t.Helper()
	r = newRelays(5, nil)
	var err error
	if a, err = r.start("a"); err != nil {
		t.Fatal(err)
	}
	if b, err = r.start("b"); err != nil {
		t.Fatal(err)
	}
	c, err := a.open()
	if err != nil {
		t.Fatal(err)
	}
	return r, a, b, c.ID()
}

func (r *relays) row(t *testing.T, id wire.SessionID) store.Session {
	t.Helper()
	rows, _, _, err := r.view()
	if err != nil {
		t.Fatal(err)
	}
	return rows[id]
}

// wantLost says that a session was closed as relay_lost by closer, whose log alone has the record.
func (r *relays) wantLost(t *testing.T, id wire.SessionID, closer string) {
	t.Helper()
	row := r.row(t, id)
	if row.State != store.Closed || row.Code != wire.RelayLost || row.Closer != closer || row.Relay != "a" {
		t.Errorf("the row %+v", row)
	}
	if in := r.records()[id.String()]; len(in) != 1 || in[0] != closer {
		t.Fatalf("the record is in the logs of %v", in)
	}
	for _, e := range ends(r.logs[closer]) {
		_, counted := e.Fields["sent"]
		if e.Code != "relay_lost" || e.Operator != "ann" || e.Fields["relay"] != "a" || e.Fields["login"] != "u" || e.Fields["ended"] == "" || counted {
			t.Errorf("the record %+v", e)
		}
	}
	if err := r.check(); err != nil {
		t.Error(err)
	}
}

func TestKilledRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, b, id := two(t)
		defer r.over()
		a.kill()
		time.Sleep(10 * time.Second)
		if row := r.row(t, id); row.State != store.Active {
			t.Errorf("it was closed while the lease is there: %+v", row)
		}
		time.Sleep(time.Minute)
		r.wantLost(t, id, "b")
		if v, err := b.table.Get(t.Context(), id); err != nil || v.Reason != "relay_lost" || v.Detail != "relay a is gone" {
			t.Errorf("shown as %+v, %v", v, err)
		}
		if _, err := r.start("a"); err != nil { // it finds nothing to do
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		r.wantLost(t, id, "b")
	})
}

// A relay that is back before the others noticed closes its own, and its own only.
func TestRestartedRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, b, id := two(t)
		defer r.over()
		other, err := b.open()
		if err != nil {
			t.Fatal(err)
		}
		a.kill()
		if _, err := r.start("a"); err != nil {
			t.Fatal(err)
		}
		// Another may have come first: the lease of before is gone as soon as there is the next one.
		if row := r.row(t, id); row.State != store.Closed || row.Closer == "a" && row.Code != wire.RelayRestart || row.Closer == "b" && row.Code != wire.RelayLost {
			t.Errorf("its own: %+v", row)
		}
		time.Sleep(time.Minute)
		if row := r.row(t, other.ID()); row.State != store.Active || other.Context().Err() != nil {
			t.Errorf("the other's: %+v", row)
		}
		if err := r.check(); err != nil {
			t.Error(err)
		}
	})
}

// A relay that is cut off ends its sessions before the others close the rows, opens none, and goes on with the next lease.
func TestCutOffRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, _, id := two(t)
		defer r.over()
		s, err := a.table.Find(id)
		if err != nil {
			t.Fatal(err)
		}
		a.node.Cut()
		<-s.Context().Done()
		if err := context.Cause(s.Context()); wire.CodeOf(err) != wire.RelayLost {
			t.Errorf("it ended with %v", err)
		}
		if row := r.row(t, id); row.State != store.Active {
			t.Errorf("the row is %+v already", row)
		}
		if _, err := a.open(); wire.CodeOf(err) != wire.RelayLost {
			t.Errorf("a session without a lease: %v", err)
		}
		time.Sleep(time.Minute)
		r.wantLost(t, id, "b")
		a.node.Mend()
		time.Sleep(time.Minute)
		r.wantLost(t, id, "b")
		if _, err := a.open(); err != nil {
			t.Errorf("with the next lease: %v", err)
		}
	})
}

// A relay that stood still serves nothing when it goes on, and what was under way comes to nothing.
func TestStoppedRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, _, id := two(t)
		defer r.over()
		s, err := a.table.Find(id)
		if err != nil {
			t.Fatal(err)
		}
		a.stop()
		opening := make(chan error, 1)
		go func() { _, err := a.open(); opening <- err }()
		time.Sleep(time.Minute)
		r.wantLost(t, id, "b")
		a.goOn()
		if err := s.Serve(t.Context(), nil, session.Viewer{Operator: "ann", OperatorID: "1"}, nil); wire.CodeOf(err) != wire.RelayLost {
			t.Errorf("a viewer, as the first: %v", err)
		}
		if err := <-opening; wire.CodeOf(err) != wire.RelayLost {
			t.Errorf("an open that was under way: %v", err)
		}
		synctest.Wait()
		if s.Context().Err() == nil {
			t.Error("it goes on")
		}
		time.Sleep(time.Minute)
		r.wantLost(t, id, "b")
	})
}

// Who dies between the claim, the record and the row goes on there when it is back; the session has one record, and no slot
// meanwhile.
func TestCloserDies(t *testing.T) {
	for what, where := range map[string]func(b *process){
		"behind the claim":  func(b *process) { b.node.Committed(b.node.Kill) },
		"behind the record": func(b *process) { kill := b.node.Kill; b.journal.written.Store(&kill) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, a, b, id := two(t)
				defer r.over()
				third, err := r.start("c")
				if err != nil {
					t.Fatal(err)
				}
				third.stop() // b comes first
				where(b)
				a.kill()
				time.Sleep(time.Minute)
				r.bury()
				third.goOn()
				time.Sleep(time.Minute)
				if row := r.row(t, id); row.State != store.Closing || row.Closer != "b" || !b.dead {
					t.Errorf("meanwhile %+v", row)
				}
				if err := r.check(); err != nil {
					t.Error(err)
				}
				if _, err := r.start("b"); err != nil {
					t.Fatal(err)
				}
				r.wantLost(t, id, "b")
			})
		})
	}
}

// Of a relay that never comes back, another one inherits what its log was to have, when somebody says so.
func TestInherit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, b, id := two(t)
		defer r.over()
		r.logs["a"].Break(errFull)
		s, err := a.table.Find(id)
		if err != nil {
			t.Fatal(err)
		}
		s.End(wire.Errorf(wire.Killed, "ended by bob"))
		synctest.Wait()
		if err := b.table.Inherit(t.Context(), "a"); wire.CodeOf(err) != wire.Conflict {
			t.Errorf("of a relay that is there: %v", err)
		}
		a.kill()
		time.Sleep(time.Minute)
		if row := r.row(t, id); row.State != store.Closing || row.Closer != "a" || row.Code != wire.Killed {
			t.Errorf("meanwhile %+v", row)
		}
		if err := b.table.Inherit(t.Context(), "b"); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("of itself: %v", err)
		}
		for range 2 {
			if err := b.table.Inherit(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
		}
		if row := r.row(t, id); row.State != store.Closed || row.Closer != "b" || row.Code != wire.Killed {
			t.Errorf("the row %+v", row)
		}
		if in := r.records()[id.String()]; len(in) != 1 || in[0] != "b" {
			t.Errorf("the record is in the logs of %v", in)
		}
	})
}

// Rows of the one relay that there was belong to whoever comes first; if that one's log has the record, it is not written again.
func TestRowsFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelays(5, nil)
		defer r.over()
		plain := r.cluster.Join()
		var ids []wire.SessionID
		if err := plain.Update(t.Context(), func(tx store.Tx) error {
			ids = nil
			for range 3 {
				row := store.Session{ID: wire.NewSessionID(), Operator: "ann", Envoy: wire.NewEnvoyID(), Kind: "ssh"}
				ids = append(ids, row.ID)
				if err := store.ReserveSession(tx, row, 5); err != nil {
					return err
				}
			}
			return store.EndSession(tx, ids[2], store.End{Code: wire.Left, Reason: "left", At: time.Now()}, 0)
		}); err != nil {
			t.Fatal(err)
		}
		a, err := r.start("a")
		if err != nil {
			t.Fatal(err)
		}
		a.kill()
		if rows, _, _, _ := r.view(); rows[ids[0]].State != store.Closed || rows[ids[1]].State != store.Closed || rows[ids[2]].State != store.Closed || rows[ids[2]].Code != wire.Left {
			t.Errorf("%+v", rows)
		}
		if in := r.records(); len(in) != 3 || len(in[ids[2].String()]) != 1 {
			t.Errorf("%v", in)
		}
	})
}

// Where a session is that another relay has, whoever asks for it learns.
func TestElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, b, id := two(t)
		defer r.over()
		want := func(what string, p *process, id wire.SessionID, want string) {
			t.Helper()
			o, ok, err := p.table.Elsewhere(t.Context(), id)
			if ok != (want != "") || ok && o.Name != want || err != nil {
				t.Errorf("%s: %v, %v, %v", what, o, ok, err)
			}
		}
		want("its own", a, id, "")
		want("another's", b, id, "a")
		want("nobody's", b, wire.NewSessionID(), "")
		if _, _, err := b.table.Channels(t.Context(), id); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("what passed in it, from the wrong log: %v", err)
		}
		if _, _, err := a.table.Channels(t.Context(), id); err != nil {
			t.Error(err)
		}
		a.kill()
		time.Sleep(time.Minute)
		want("of a relay that is gone", b, id, "")
	})
}

// The others' logs that cannot be written claim nothing: somebody else does.
func TestClaimNeedsALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a, _, id := two(t)
		defer r.over()
		r.logs["b"].Break(errFull)
		a.kill()
		time.Sleep(time.Minute)
		if row := r.row(t, id); row.State != store.Active {
			t.Errorf("%+v", row)
		}
		if _, err := r.start("c"); err != nil {
			t.Fatal(err)
		}
		r.wantLost(t, id, "c")
	})
}

// A row whose request has failed, as the state's answer was lost, keeps its slot for a moment only.
func TestStrayRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelays(5, nil)
		defer r.over()
		a, err := r.start("a")
		if err != nil {
			t.Fatal(err)
		}
		a.node.Committed(a.node.Cut)
		if _, err := a.open(); err == nil {
			t.Error("it was opened without an answer")
		}
		a.node.Committed(nil)
		a.node.Mend()
		if _, slots, _, err := r.view(); slots != 1 || err != nil {
			t.Fatalf("%d slots, %v", slots, err)
		}
		time.Sleep(5 * time.Second)
		rows, slots, closing, err := r.view()
		if slots+closing != 0 || len(rows) != 1 || err != nil {
			t.Errorf("%d slots, %d ends, %+v, %v", slots, closing, rows, err)
		}
		for id, row := range rows {
			if row.Code != wire.Cancelled || row.Closer != "a" || len(r.records()[id.String()]) != 1 {
				t.Errorf("%+v, ends %v", row, r.records())
			}
		}
		if !a.keeper.Held(a.keeper.Owner()) {
			t.Error("the lease is lost")
		}
	})
}
