package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"scrier/relay/store"
	"scrier/wire"
)

func newSession() store.Session {
	return store.Session{ID: wire.NewSessionID(), Operator: "ada", OperatorID: "1", Envoy: wire.NewEnvoyID(), EnvoyName: "web1", Kind: "ssh", Created: noon()}
}

func sessionStates(t *testing.T, open Backend) {
	kv := fresh(t, open)
	s := newSession()
	stained := s
	stained.State, stained.Reason, stained.Closed = store.Closed, "x", noon() // Reserve decides these
	update(t, kv, func(tx store.Tx) error {
		wantCode(t, "no id", store.ReserveSession(tx, store.Session{}, 1), wire.BadRequest)
		wantCode(t, "no slots at all", store.ReserveSession(tx, s, 0), wire.Limit)
		err := store.ReserveSession(tx, stained, 1)
		wantCode(t, "twice", store.ReserveSession(tx, s, 9), wire.Conflict)
		wantCode(t, "full", store.ReserveSession(tx, newSession(), 1), wire.Limit)
		return err
	})
	want := s
	want.State = store.Waiting
	expect := func(step string) {
		t.Helper()
		view(t, kv, func(tx store.Tx) error {
			got, err := store.GetSession(tx, s.ID)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", step, diff)
			}
			open, err2 := store.OpenSessions(tx)
			if slots := len(keys(tx, "open/")); slots != len(open) || (want.State == store.Closed) != (slots == 0) {
				t.Errorf("%s: %d slots, %d open sessions", step, slots, len(open))
			}
			return errors.Join(err, err2)
		})
	}
	expect("reserved")
	update(t, kv, func(tx store.Tx) error {
		wantCode(t, "activate unknown", store.ActivateSession(tx, wire.NewSessionID(), "u", noon()), wire.NotFound)
		return store.ActivateSession(tx, s.ID, "deploy", noon().Add(time.Second))
	})
	want.State, want.Login, want.Opened = store.Active, "deploy", noon().Add(time.Second)
	expect("active")
	update(t, kv, func(tx store.Tx) error {
		wantCode(t, "activate twice", store.ActivateSession(tx, s.ID, "root", noon()), wire.Conflict)
		changed, err := store.CloseSession(tx, s.ID, store.End{Code: wire.Killed, Reason: "ended by ada", Sent: 10, Received: 1 << 40, At: noon().Add(time.Minute)})
		if !changed {
			t.Error("the first close changed nothing")
		}
		return err
	})
	want.State, want.Code, want.Reason, want.Sent, want.Received, want.Closed = store.Closed, wire.Killed, "ended by ada", 10, 1<<40, noon().Add(time.Minute)
	expect("closed")
	update(t, kv, func(tx store.Tx) error {
		changed, err := store.CloseSession(tx, s.ID, store.End{Code: wire.AgentLost, Reason: "later", At: noon().Add(time.Hour)})
		if changed {
			t.Error("a closed session was closed again")
		}
		wantCode(t, "activate after the close", store.ActivateSession(tx, s.ID, "x", noon()), wire.Conflict)
		wantCode(t, "reserve after the close", store.ReserveSession(tx, s, 9), wire.Conflict)
		_, unknown := store.CloseSession(tx, wire.NewSessionID(), store.End{At: noon()})
		wantCode(t, "close unknown", unknown, wire.NotFound)
		return err
	})
	expect("closed is final")
	update(t, kv, func(tx store.Tx) error { return store.ReserveSession(tx, newSession(), 1) }) // the slot is free
}

// sessionClosing: a session whose record is missing has no slot, keeps its end, and is found until it is
// closed; as many as there are slots hold new sessions up.
func sessionClosing(t *testing.T, open Backend) {
	kv := fresh(t, open)
	s := newSession()
	end := store.End{Code: wire.Killed, Reason: "killed: by ada", Sent: 1, Received: 2, At: noon().Add(time.Minute)}
	update(t, kv, func(tx store.Tx) error {
		if err := store.ReserveSession(tx, s, 1); err != nil {
			return err
		}
		if err := store.EndSession(tx, s.ID, end, 7); err != nil {
			return err
		}
		wantCode(t, "end unknown", store.EndSession(tx, wire.NewSessionID(), end, 7), wire.NotFound)
		wantCode(t, "activate after the end", store.ActivateSession(tx, s.ID, "x", noon()), wire.Conflict)
		wantCode(t, "a session that closes, and one slot", store.ReserveSession(tx, newSession(), 1), wire.AuditUnavailable)
		return store.EndSession(tx, s.ID, store.End{Code: wire.AgentLost, At: noon()}, 9) // changes nothing
	})
	want := s
	want.State, want.Code, want.Reason, want.Sent, want.Received, want.Closed, want.LogSize = store.Closing, end.Code, end.Reason, 1, 2, end.At, 7
	view(t, kv, func(tx store.Tx) error {
		closing, err := store.ClosingSessions(tx)
		if diff := cmp.Diff([]store.Session{want}, closing); diff != "" {
			t.Error(diff)
		}
		if slots := keys(tx, "open/"); len(slots) != 0 {
			t.Errorf("slots are taken: %q", slots)
		}
		return err
	})
	update(t, kv, func(tx store.Tx) error {
		if err := store.ReserveSession(tx, newSession(), 2); err != nil { // its slot is free
			return err
		}
		changed, err := store.CloseSession(tx, s.ID, store.End{Code: wire.RelayRestart, At: noon()})
		if !changed {
			t.Error("the close changed nothing")
		}
		return err
	})
	want.State = store.Closed
	view(t, kv, func(tx store.Tx) error {
		got, err := store.GetSession(tx, s.ID)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("closed: %s", diff)
		}
		if left := keys(tx, "closing/"); len(left) != 0 {
			t.Errorf("still closing: %q", left)
		}
		return err
	})
}

func sessionPages(t *testing.T, open Backend) {
	kv := fresh(t, open)
	const n = 25
	var want []wire.SessionID
	update(t, kv, func(tx store.Tx) error {
		for i := range n {
			s := newSession()
			if err := store.ReserveSession(tx, s, n); err != nil {
				return err
			}
			if i%2 == 0 {
				if _, err := store.CloseSession(tx, s.ID, store.End{At: noon()}); err != nil {
					return err
				}
			}
			want = append(want, s.ID)
		}
		return nil
	})
	slices.Reverse(want)
	for _, size := range []int{1, 7, n, 5000} {
		var got []wire.SessionID
		var cursor wire.SessionID
		for {
			var page []store.Session
			view(t, kv, func(tx store.Tx) (err error) {
				page, err = store.Sessions(tx, size, cursor)
				return err
			})
			if len(page) == 0 {
				break
			}
			if len(page) > size {
				t.Fatalf("a page of %d has %d rows", size, len(page))
			}
			for _, s := range page {
				got = append(got, s.ID)
			}
			cursor = page[len(page)-1].ID
		}
		if !slices.Equal(want, got) {
			t.Errorf("pages of %d: %d rows, not all newest first", size, len(got))
		}
	}
	view(t, kv, func(tx store.Tx) error {
		open, err := store.OpenSessions(tx)
		if len(open) != n/2 || !slices.IsSortedFunc(open, func(a, b store.Session) int { return slices.Compare(a.ID.UUID[:], b.ID.UUID[:]) }) {
			t.Errorf("%d open sessions, oldest first", len(open))
		}
		return err
	})
}

// slots is H85: 500 open at once at a limit of 10, and none gets past it; whoever gets a slot
// gives it back, twice.
func slots(t *testing.T, open Backend) {
	kv := fresh(t, open)
	const parallel, limit = 500, 10
	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		most    int // slots seen taken by any transaction
		granted int
	)
	look := func(tx store.Tx) {
		n := len(keys(tx, "open/"))
		mu.Lock()
		defer mu.Unlock()
		most = max(most, n)
	}
	start := make(chan struct{})
	for range parallel {
		group.Go(func() {
			<-start
			s := newSession()
			err := kv.Update(context.Background(), func(tx store.Tx) error {
				err := store.ReserveSession(tx, s, limit)
				look(tx)
				return err
			})
			if err != nil {
				wantCode(t, "no slot", err, wire.Limit)
				return
			}
			mu.Lock()
			granted++
			keep := granted <= limit // these stay, so that the limit is reached for certain
			mu.Unlock()
			if err := kv.View(context.Background(), func(tx store.Tx) error { look(tx); return nil }); err != nil {
				t.Error(err)
			}
			if keep {
				return
			}
			for range 2 {
				err := kv.Update(context.Background(), func(tx store.Tx) error {
					_, err := store.CloseSession(tx, s.ID, store.End{At: noon()})
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(start)
	group.Wait()
	if most != limit {
		t.Errorf("at most %d of %d slots were taken", most, limit)
	}
	view(t, kv, func(tx store.Tx) error {
		open, err := store.OpenSessions(tx)
		if len(open) != limit || granted < limit {
			t.Errorf("%d open, %d granted", len(open), granted)
		}
		return err
	})
}
