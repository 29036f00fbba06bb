package web

import (
	"context"
	"strings"
	"sync"
	"testing"

	"scrier/relay/access"
	"scrier/wire"
)

// keyed makes an operator who has a key that counts, as they are when they ask.
func keyed(t *testing.T, d *desk, name string, role access.Role) access.Operator {
	t.Helper()
	u, err := d.access.Create(t.Context(), access.Local("test"), access.User{Username: name, Role: role, Keys: []string{sshLine(t)}})
	must(t, err)
	return access.Operator{ID: u.ID, Username: name, Role: role, Epoch: 1}
}

// Nobody takes the last way to an admin's rights away, and that is not in the audit log as done.
func TestLastAdmin(t *testing.T) {
	d := newDesk(t)
	ann := keyed(t, d, "ann", access.Admin)
	// Neither can come in: one has nothing to do it with, and of the other's key nobody knows whose it is.
	d.operator("bare", access.Admin)
	if _, err := d.access.Create(t.Context(), ann, access.User{Username: "unclaimed", Role: access.Admin, Keys: []string{sshLine(t)}}); err != nil {
		t.Fatal(err)
	}
	keyed(t, d, "vera", access.Viewer)
	records := len(d.records("operator.update")) + len(d.records("operator.delete"))
	for what, err := range map[string]error{
		"demote":                  second(d.access.Update(t.Context(), ann, "ann", access.User{Role: access.Viewer})),
		"demote by id":            second(d.access.Update(t.Context(), ann, ann.ID, access.User{Role: access.Opener})),
		"demote and revoke":       second(d.access.UpdateAndRevoke(t.Context(), ann, "ann", access.User{Role: access.Viewer})),
		"demote with another key": second(d.access.Update(t.Context(), ann, "ann", access.User{Role: access.Viewer, Keys: []string{sshLine(t)}})),
		"take the keys":           second(d.access.Update(t.Context(), ann, "ann", access.User{Keys: []string{}})),
		"delete":                  d.access.Delete(t.Context(), ann, "ann"),
		"delete by id":            d.access.Delete(t.Context(), ann, ann.ID),
	} {
		if wire.CodeOf(err) != wire.LastAdmin || !strings.Contains(wire.DetailOf(err), "ann is the only one") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if now := len(d.records("operator.update")) + len(d.records("operator.delete")); now != records {
		t.Errorf("%d records of what was refused", now-records)
	}
	if u := asNow(t, d, access.User{ID: ann.ID, Username: "ann"}); u.Role != access.Admin || len(u.Keys) != 1 {
		t.Errorf("%+v", u)
	}
	// What leaves a way in is done; of others too.
	for what, err := range map[string]error{
		"delete bare":    d.access.Delete(t.Context(), ann, "bare"),
		"demote another": second(d.access.Update(t.Context(), ann, "unclaimed", access.User{Role: access.Viewer})),
		"promote":        second(d.access.Update(t.Context(), ann, "vera", access.User{Role: access.Admin})),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := d.access.Delete(t.Context(), ann, "ann"); err != nil {
		t.Errorf("not the last one: %v", err)
	}
	// Root of the relay's host makes another one whenever they like, and is not held back.
	if err := d.access.Delete(t.Context(), access.Local("root"), "vera"); err != nil {
		t.Error(err)
	}
}

// A new key of the last admin's is theirs to claim, and their passkeys are a way in as long as they have one.
func TestLastAdminsKeysAndPasskeys(t *testing.T) {
	d := newDesk(t)
	_, u := d.registered("ann", access.Admin)
	ann := asAdmin(t, d, "ann")
	for what, err := range map[string]error{
		"passkeys": d.access.RemovePasskeys(t.Context(), ann, "ann"),
		"all":      second(d.access.Revoke(t.Context(), ann, "ann")),
	} {
		if wire.CodeOf(err) != wire.LastAdmin {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := d.access.Update(t.Context(), ann, "ann", access.User{Keys: []string{sshLine(t)}}); err != nil {
		t.Fatal(err)
	}
	if err := d.access.RemovePasskeys(t.Context(), ann, "ann"); err != nil {
		t.Error(err)
	}
	if now := asNow(t, d, u); now.Passkeys != 0 || len(now.Keys) != 1 {
		t.Errorf("%+v", now)
	}
}

// Two admins who go at the same moment: one stays.
func TestLastAdminRace(t *testing.T) {
	for round := range 20 {
		d := newDesk(t)
		ann, bob := keyed(t, d, "ann", access.Admin), keyed(t, d, "bob", access.Admin)
		var wg sync.WaitGroup
		var errs [2]error
		ready := make(chan struct{})
		for i, f := range []func(context.Context) error{
			func(ctx context.Context) error {
				_, err := d.access.Update(ctx, ann, "ann", access.User{Role: access.Viewer})
				return err
			},
			func(ctx context.Context) error { return d.access.Delete(ctx, bob, "bob") },
		} {
			wg.Go(func() {
				<-ready
				errs[i] = f(t.Context())
			})
		}
		close(ready)
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("round %d: %v, %v", round, errs[0], errs[1])
		}
	}
}
