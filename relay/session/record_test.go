package session_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"scrier/relay/audit"
	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
)

// patience is no measure of speed: the machine may be busy.
const patience = 60 * time.Second

var errFull = wire.Errorf(wire.AuditUnavailable, "no space left on device")

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// running has a table's Run go on until the test ends.
func running(t *testing.T, table *session.Table) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- table.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// shown is an active session of ann's.
func shown(t *testing.T, table *session.Table) (*session.Channel, *played) {
	t.Helper()
	s, p := sessiontest.Reserve(t, table), newPlayed()
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: p}); err != nil {
		t.Fatal(err)
	}
	return s, p
}

// ends are the records of ends that were written.
func ends(j *sessiontest.Journal) (found []audit.Event) {
	for _, e := range j.Events() {
		if e.Type == "scrier.disconnect" {
			found = append(found, e)
		}
	}
	return found
}

// wantEnd says whether the one record of a session's end tells what happened.
func wantEnd(t *testing.T, j *sessiontest.Journal, s *session.Channel) {
	t.Helper()
	e := ends(j)
	if len(e) != 1 {
		t.Fatalf("%d records of the end: %+v", len(e), e)
	}
	wantKilled(t, s, e[0])
}

func wantKilled(t *testing.T, s *session.Channel, e audit.Event) {
	t.Helper()
	if e.Session != s.ID().String() || e.Operator != "ann" || e.Source != "test" || e.Code != "killed" || e.Detail != "ended by bob" ||
		e.Fields["login"] != "deploy" || e.Fields["ended"] == "" {
		t.Errorf("the record %+v", e)
	}
}

// closing ends a session while its record cannot be written.
func closing(t *testing.T, table *session.Table, j *sessiontest.Journal) *session.Channel {
	t.Helper()
	s, p := shown(t, table)
	j.Break(errFull)
	if err := table.Kill(t.Context(), audit.Event{Operator: "bob"}, s.ID()); err != nil {
		t.Fatalf("a session cannot be ended without the audit log: %v", err)
	}
	<-p.dismissed
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := state(t, table, s); v.State != store.Closing || v.Reason != "killed" || v.Detail != "ended by bob" || v.Closed.IsZero() {
		t.Errorf("it is shown as %+v", v)
	}
	if list, err := table.List(t.Context(), false, 10); err != nil || len(list) != 1 || list[0].ID != s.ID() {
		t.Errorf("listed are %+v, %v", list, err)
	}
	return s
}

// I1: a session whose end cannot be written down has no slot any more, keeps the record, and has it
// written once the log can be written again, and once only.
func TestEndWaitsForTheLog(t *testing.T) { synctest.Test(t, testEndWaitsForTheLog) }

func testEndWaitsForTheLog(t *testing.T) {
	table, j := sessiontest.Table(t)
	table.Max = 2
	s := closing(t, table, j)
	other := sessiontest.Reserve(t, table)
	third, err := table.Reserve(t.Context(), store.Session{Operator: "ann", Envoy: wire.NewEnvoyID()}, nil)
	if err != nil {
		t.Fatalf("the slot is still taken: %v", err)
	}
	if err := errors.Join(other.Close(wire.Left, ""), third.Close(wire.Left, "")); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("closed with %v", err)
	}
	if _, err := table.Reserve(t.Context(), store.Session{}, nil); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("with more missing records than slots: %v", err)
	}
	j.Break(nil)
	running(t, table)
	waitFor(t, "the rows to be closed", func() bool {
		open, err := table.List(t.Context(), false, 10)
		return err == nil && len(open) == 0
	})
	if n := len(ends(j)); n != 3 {
		t.Fatalf("%d records of three ends", n)
	}
	found := 0
	for _, e := range ends(j) {
		if e.Session == s.ID().String() {
			found++
			wantKilled(t, s, e)
		}
	}
	if found != 1 {
		t.Errorf("%d records of its end", found)
	}
	if v := state(t, table, s); v.State != store.Closed || v.Reason != "killed" {
		t.Errorf("closed as %+v", v)
	}
}

// The relay ends before the record is written: the next start writes it, as it was.
func TestRestartWritesTheEnd(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := closing(t, table, j)
	again := session.NewTable(table.Config)
	if err := again.Restart(t.Context()); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("a start without an audit log: %v", err)
	}
	j.Break(nil)
	for range 2 { // a second start finds nothing to do
		if err := again.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, j, s)
	}
	if v := state(t, again, s); v.State != store.Closed || v.Reason != "killed" || v.Detail != "ended by bob" {
		t.Errorf("closed as %+v", v)
	}
}

// together is a log that answers when so many wait.
type together struct {
	session.Journal
	wait *sync.WaitGroup
}

func (l together) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	l.wait.Done()
	l.wait.Wait()
	return l.Journal.AppendEnd(ctx, e)
}

// After a crash all that were open are closed at the same time, and not one commit after the other, as
// nobody is served before that.
func TestRestartClosesAllAtOnce(t *testing.T) {
	table, j := sessiontest.Table(t)
	const n = 100
	table.Max = n
	for range n {
		sessiontest.Reserve(t, table)
	}
	again := session.NewTable(table.Config)
	var wait sync.WaitGroup
	wait.Add(n)
	again.Journal = together{j, &wait}
	restarted := make(chan error, 1)
	go func() { restarted <- again.Restart(t.Context()) }()
	select {
	case err := <-restarted:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("they are closed one after the other")
	}
	of := map[string]bool{}
	for _, e := range ends(j) {
		of[e.Session] = true
	}
	if len(of) != n || len(ends(j)) != n {
		t.Errorf("%d records of the ends of %d sessions, there were %d", len(ends(j)), len(of), n)
	}
	list, err := again.List(t.Context(), true, 2*n)
	if err != nil || len(list) != n {
		t.Fatalf("%d rows, %v", len(list), err)
	}
	for _, v := range list {
		if v.State != store.Closed {
			t.Errorf("session %s is %s", v.ID, v.State)
		}
	}
}

// late is a log that says that it failed, and has written the record all the same: the disk did not
// answer for a while.
type late struct{ session.Journal }

func (l late) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	if _, err := l.Journal.AppendEnd(ctx, e); err != nil {
		return audit.Record{}, err
	}
	return audit.Record{}, errFull
}

// A record that came through after all, and one that was written just before the relay crashed, is not
// written again.
func TestEndIsWrittenOnce(t *testing.T) {
	for name, next := range map[string]func(*testing.T, *session.Table){
		"in the same run": running,
		"after a crash": func(t *testing.T, table *session.Table) {
			if err := table.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			table, j := sessiontest.Table(t)
			table.Journal = late{j}
			s := sessiontest.Reserve(t, table)
			for range 20_000 { // more than a start looks back by itself
				if _, err := j.Append(t.Context(), audit.Event{Type: "other"}); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(wire.Left, ""); wire.CodeOf(err) != wire.AuditUnavailable {
				t.Fatal(err)
			}
			for range 20_000 {
				if _, err := j.Append(t.Context(), audit.Event{Type: "other"}); err != nil {
					t.Fatal(err)
				}
			}
			again := session.NewTable(table.Config)
			again.Journal = j
			next(t, again)
			waitFor(t, "the row to be closed", func() bool { return state(t, again, s).State == store.Closed })
			if n := len(ends(j)); n != 1 {
				t.Errorf("%d records of the end", n)
			}
		})
	}
}

// slow is a log that is asked whether it is well while a session ends, and whose disk takes the record of that
// end so late that nobody waits for it any more.
type slow struct {
	session.Journal
	asked   atomic.Int32
	meet    func()
	given   atomic.Bool
	pending audit.Event
}

func (l *slow) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	if l.given.CompareAndSwap(false, true) {
		l.pending = e
		return audit.Record{}, errFull
	}
	return l.Journal.AppendEnd(ctx, e)
}

func (l *slow) Healthy() error {
	switch l.asked.Add(1) {
	case 1:
		l.meet() // behind this answer
	case 2:
		if _, err := l.Journal.AppendEnd(context.Background(), l.pending); err != nil {
			return err
		}
	}
	return l.Journal.Healthy()
}

// A record may be under way although its session has given it up, and although the log was well a moment
// before: it is not written a second time.
func TestEndThatIsUnderWayIsWrittenOnce(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	table.Journal = &slow{Journal: j, meet: func() {
		if err := s.Close(wire.Left, ""); wire.CodeOf(err) != wire.AuditUnavailable {
			t.Error(err)
		}
	}}
	running(t, table)
	waitFor(t, "the row to be closed", func() bool { return state(t, table, s).State == store.Closed })
	waitFor(t, "the record", func() bool { return len(ends(j)) > 0 })
	if table.Journal.(*slow).asked.Load() < 2 {
		t.Error("the log was not asked again")
	}
	if n := len(ends(j)); n != 1 {
		t.Errorf("%d records of the end", n)
	}
}

// H78: while the log cannot be written nothing opens, and what is open ends after the grace.
func TestLogDownEndsSessions(t *testing.T) { synctest.Test(t, testLogDownEndsSessions) }

func testLogDownEndsSessions(t *testing.T) {
	table, j := sessiontest.Table(t)
	table.AuditGrace = 30 * time.Second
	s, p := shown(t, table)
	j.Break(errFull)
	running(t, table)
	began := time.Now()
	if exit := <-p.dismissed; exit.Code != wire.AuditUnavailable {
		t.Errorf("it ended with %+v", exit)
	}
	if took := time.Since(began); took != 30*time.Second { // the clock is the test's own
		t.Errorf("it ended after %s", took)
	}
	if v := state(t, table, s); v.State != store.Closing {
		t.Errorf("it is %+v", v)
	}
	if _, err := table.Reserve(t.Context(), store.Session{}, nil); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("another session: %v", err)
	}
	j.Break(nil)
	waitFor(t, "the record", func() bool { return state(t, table, s).State == store.Closed })
	other := sessiontest.Reserve(t, table) // sessions open again
	if err := other.Close(wire.Left, ""); err != nil {
		t.Error(err)
	}
}

// A log that comes back within the grace ends nothing.
func TestLogBackInTime(t *testing.T) { synctest.Test(t, testLogBackInTime) }

func testLogBackInTime(t *testing.T) {
	table, j := sessiontest.Table(t)
	table.AuditGrace = time.Hour
	s, p := shown(t, table)
	j.Break(errFull)
	running(t, table)
	waitFor(t, "the log to be down", func() bool {
		_, err := table.Reserve(t.Context(), store.Session{Envoy: wire.NewEnvoyID()}, func(store.Tx) error { return errors.New("only asked") })
		return wire.CodeOf(err) == wire.AuditUnavailable
	})
	j.Break(nil)
	waitFor(t, "the log to be up", func() bool {
		_, err := table.Reserve(t.Context(), store.Session{Envoy: wire.NewEnvoyID()}, func(store.Tx) error { return errors.New("only asked") })
		return wire.CodeOf(err) != wire.AuditUnavailable
	})
	if err := s.Context().Err(); err != nil {
		t.Errorf("the session ended: %v", context.Cause(s.Context()))
	}
	p.end <- &wire.Exit{}
	<-p.dismissed
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The first session that cannot be written down keeps others from trying: each of them would leave a record of
// its end in the reserve.
func TestRefusedSessionsSpareTheReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, j := sessiontest.Table(t)
		first := sessiontest.Reserve(t, table)
		disk := &filling{Journal: j}
		table.Journal = disk
		running(t, table)
		synctest.Wait() // it has found the log well, and looks again in five seconds
		disk.full.Store(true)
		err := first.Intent(t.Context(), nil)
		if wire.CodeOf(err) != wire.AuditUnavailable {
			t.Fatal(err)
		}
		if err := first.Close(wire.AuditUnavailable, ""); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := table.Reserve(t.Context(), store.Session{Envoy: wire.NewEnvoyID()}, nil); wire.CodeOf(err) != wire.AuditUnavailable {
			t.Errorf("another one: %v", err)
		}
		if n := len(ends(j)); n != 1 {
			t.Errorf("%d records in the reserve", n)
		}
	})
}

// filling is a log whose disk gets full, but for the reserve: ends can be written then, and nothing else.
type filling struct {
	session.Journal
	full atomic.Bool
}

func (f *filling) Append(ctx context.Context, e audit.Event) (audit.Record, error) {
	if f.full.Load() {
		return audit.Record{}, errFull
	}
	return f.Journal.Append(ctx, e)
}

func (f *filling) Healthy() error {
	if f.full.Load() {
		return errFull
	}
	return f.Journal.Healthy()
}

// I11: the right to a session is asked for in the transaction that writes its row, and again when the
// session can be found: whatever takes the right away between the two is noticed.
func TestRightTakenWhileReserving(t *testing.T) {
	gone := &wire.Error{Code: wire.OperatorChanged}
	for _, when := range []int{1, 2} {
		table, _ := sessiontest.Table(t)
		asked := 0
		_, err := table.Reserve(t.Context(), store.Session{Operator: "ann", Envoy: wire.NewEnvoyID()}, func(tx store.Tx) error {
			if asked++; asked >= when {
				return gone
			}
			return nil
		})
		if wire.CodeOf(err) != wire.OperatorChanged || asked != when {
			t.Errorf("taken at question %d: %v after %d", when, err, asked)
		}
		if list, err := table.List(t.Context(), false, 10); err != nil || len(list) != 0 {
			t.Errorf("taken at question %d: left are %+v, %v", when, list, err)
		}
		if err := table.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
