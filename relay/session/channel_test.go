package session_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/relay/audit"
	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/wire"
)

// A channel that ends, or is ended, leaves the others alone; its bytes are counted for itself and for the session.
func TestChannelAlone(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	o := showBoth(t, s, first, second)
	third := newPlayed()
	o.stages <- third
	c, err := s.More(t.Context(), &session.Request{})
	if err != nil {
		t.Fatal(err)
	}
	c.Count(3, 4)
	s.Count(1, 1)
	c.End(&wire.Error{Code: wire.Left})
	if e := <-third.dismissed; e.Code != wire.Left {
		t.Errorf("it ended with %+v", e)
	}
	if s.Context().Err() != nil || s.Session.Context().Err() != nil {
		t.Error("others ended too")
	}
	if a := c.Attached(); a.Part != 3 || !a.Shared || len(a.Rights) != 1 {
		t.Errorf("told %+v", a)
	}
	v := state(t, table, s)
	if v.Sent != 4 || v.Received != 5 || v.Channel != "shell" {
		t.Errorf("counted %d, %d of a %q", v.Sent, v.Received, v.Channel)
	}
	events := j.Events()
	if e := events[len(events)-1]; e.Type != "session.channel_end" || e.Fields["number"] != "3" || e.Fields["sent"] != "3" || e.Fields["received"] != "4" || e.Code != "left" {
		t.Errorf("written down: %+v", e)
	}
	s.Session.End(&wire.Error{Code: wire.Killed})
	for _, p := range []*played{first, second} {
		if e := <-p.dismissed; e.Code != wire.Killed {
			t.Errorf("ended with %+v", e)
		}
	}
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A session does not end while a channel is being opened, and does with one that could not be.
func TestChannelKeepsTheSession(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	o := showBoth(t, s, first, second)
	second.end <- &wire.Exit{}
	<-second.dismissed
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := s.More(ctx, &session.Request{})
		failed <- err
	}()
	for len(j.Events()) < 4 { // its intent is written down
		time.Sleep(time.Millisecond)
	}
	first.end <- &wire.Exit{Status: 7}
	<-first.dismissed
	if s.Session.Context().Err() != nil {
		t.Fatal("it ended before")
	}
	cancel(errors.New("no"))
	if err := <-failed; err == nil {
		t.Error("it was opened")
	}
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := state(t, table, s); v.Reason != "exit" {
		t.Errorf("closed as %+v", v)
	}
	_ = o
}

// Nothing is asked of a machine that is not written down before, nor what is not allowed.
func TestChannelRefused(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	if _, err := s.More(t.Context(), &session.Request{}); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("before it is open: %v", err)
	}
	p := newPlayed()
	o := opener{stages: make(chan session.Stage, 1), err: wire.Errorf(wire.ChannelNotAllowed, "no")}
	o.stages <- newPlayed()
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: p, More: o}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.More(t.Context(), &session.Request{}); wire.CodeOf(err) != wire.ChannelNotAllowed || len(o.stages) != 1 {
		t.Errorf("not allowed: %v", err)
	}
	p.end <- &wire.Exit{}
	<-p.dismissed

	s = sessiontest.Reserve(t, table)
	p, o.err = newPlayed(), nil
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: p, More: o}); err != nil {
		t.Fatal(err)
	}
	j.Break(wire.Errorf(wire.AuditUnavailable, "no disk"))
	if _, err := s.More(t.Context(), &session.Request{}); wire.CodeOf(err) != wire.AuditUnavailable || len(o.stages) != 1 {
		t.Errorf("without a record: %v", err)
	}
	j.Break(nil)
	s.Session.End(&wire.Error{Code: wire.Killed})
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Only one's own session is found, from where it was opened, if it fits.
func TestOwnSessions(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	p := newPlayed()
	o := opener{stages: make(chan session.Stage), fits: true}
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: p, More: o}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		operator, source string
		envoy            wire.EnvoyID
		want             bool
	}{
		{"1", "test", s.Envoy(), true}, {"2", "test", s.Envoy(), false}, {"", "test", s.Envoy(), false},
		{"1", "other", s.Envoy(), false}, {"1", "test", wire.NewEnvoyID(), false},
	} {
		if got := table.Shared(c.operator, c.envoy, c.source, &session.Request{}); (got != nil) != c.want {
			t.Errorf("%+v: shared %v", c, got)
		}
	}
	for operator, want := range map[string]bool{"1": true, "2": false, "": false} {
		if got, err := table.Own(s.ID(), operator); (got != nil) != want || (err == nil) != want {
			t.Errorf("%q owns %v, %v", operator, got, err)
		}
	}
	p.end <- &wire.Exit{}
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if table.Shared("1", s.Envoy(), "test", &session.Request{}) != nil {
		t.Error("one that has ended is shared")
	}
}

// What a session did is told from its records: of one that is open, and of one that was killed.
func TestHistory(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	showBoth(t, s, first, second)
	if err := s.Record(t.Context(), session.FileType, map[string]string{"path": "/a", "upload": "3"}); err != nil {
		t.Fatal(err)
	}
	second.end <- &wire.Exit{Status: 4}
	<-second.dismissed
	s.Count(1, 2)
	got, more, err := table.Channels(t.Context(), s.ID())
	if err != nil || more || len(got) != 2 {
		t.Fatalf("%+v, %v, %v", got, more, err)
	}
	if c := got[0]; !c.Open || c.What["channel"] != "shell" || c.Sent != 1 || c.Received != 2 || len(c.Files) != 1 || c.Files[0].What["path"] != "/a" {
		t.Errorf("the first: %+v", c)
	}
	if c := got[1]; c.Open || c.Number != 2 || c.What["channel"] != "exec" || c.Reason != "exit" || c.Status == nil || *c.Status != 4 {
		t.Errorf("the second: %+v", c)
	}
	s.Session.End(&wire.Error{Code: wire.Killed})
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _, err = table.Channels(t.Context(), s.ID()); err != nil || got[0].Open || got[0].Reason != "killed" {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
	if _, _, err := table.Channels(t.Context(), wire.NewSessionID()); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("of none: %v", err)
	}
}

// full is a journal on a full disk, which keeps what it takes from its reserve.
type full struct {
	*sessiontest.Journal
	is    *atomic.Bool
	taken *[]audit.Event // by [session.Journal].AppendEnd, while it is full
}

func (f full) Append(ctx context.Context, e audit.Event) (audit.Record, error) {
	if f.is.Load() {
		return audit.Record{}, wire.Errorf(wire.AuditUnavailable, "no disk")
	}
	return f.Journal.Append(ctx, e)
}

func (f full) AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) {
	if f.is.Load() {
		*f.taken = append(*f.taken, e)
	}
	return f.Journal.AppendEnd(ctx, e)
}

// Who opens and ends channels again and again uses nothing up of what is kept of a full disk.
func TestChannelsOnAFullDisk(t *testing.T) {
	table, j := sessiontest.Table(t)
	f := full{j, new(atomic.Bool), new([]audit.Event)}
	table.Journal = f
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	showBoth(t, s, first, second)
	f.is.Store(true)
	if _, err := s.More(t.Context(), &session.Request{}); wire.CodeOf(err) != wire.AuditUnavailable {
		t.Errorf("without a record: %v", err)
	}
	second.end <- &wire.Exit{}
	<-second.dismissed
	if len(*f.taken) > 0 {
		t.Errorf("taken of the reserve: %+v", *f.taken)
	}
	f.is.Store(false)
	s.Session.End(&wire.Error{Code: wire.Killed})
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// blind is a connection that panics when it looks at a request.
type blind struct{ opener }

func (blind) Check(*session.Request) error { panic("a fault") }

// H90: a panic in looking at a request for a channel ends the session, which keeps no slot.
func TestPanicBeforeAChannel(t *testing.T) {
	table, _ := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	if err := s.Show(t.Context(), session.Shown{Login: "deploy", Stage: newPlayed(), More: blind{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.More(t.Context(), &session.Request{}); wire.CodeOf(err) != wire.Internal {
		t.Errorf("opened with %v", err)
	}
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := state(t, table, s); v.Reason != "internal" {
		t.Errorf("closed as %+v", v)
	}
}

// watched is a journal that tells how many read it at a time.
type watched struct {
	*sessiontest.Journal
	now, most *atomic.Int64
}

func (w watched) Records(ctx context.Context, from uint64, limit int) ([]audit.Record, error) {
	n := w.now.Add(1)
	defer w.now.Add(-1)
	for most := w.most.Load(); n > most && !w.most.CompareAndSwap(most, n); most = w.most.Load() {
	}
	time.Sleep(20 * time.Millisecond)
	return w.Journal.Records(ctx, from, limit)
}

// Who asks again and again what sessions did does not keep all processors busy with the audit log.
func TestHistoryIsReadByFew(t *testing.T) {
	table, j := sessiontest.Table(t)
	w := watched{j, new(atomic.Int64), new(atomic.Int64)}
	table.Journal = w
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	showBoth(t, s, first, second)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if got, _, err := table.Channels(t.Context(), s.ID()); err != nil || len(got) != 2 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := w.most.Load(); n > 2 {
		t.Errorf("%d read at a time", n)
	}
	s.Session.End(&wire.Error{Code: wire.Killed})
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Who watches one channel of several has that in the record.
func TestWatchOfAChannel(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	first, second := newPlayed(), newPlayed()
	showBoth(t, s, first, second)
	for number, want := range map[uint32]string{0: "", 1: "", 2: "2"} {
		if err := s.Session.Serve(t.Context(), nil, session.Viewer{OperatorID: "2", Operator: "bob", Watch: true, Channel: number}, &wire.Attach{}); err != nil {
			t.Fatal(err)
		}
		all := j.Events()
		if e := all[len(all)-1]; e.Type != "session.watch" || e.Fields["viewer"] != "bob" || e.Fields["number"] != want {
			t.Errorf("of %d: %+v", number, e)
		}
	}
	s.Session.End(&wire.Error{Code: wire.Killed})
	if err := table.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
