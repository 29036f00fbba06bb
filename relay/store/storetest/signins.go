package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"scrier/relay/store"
	"scrier/wire"
)

func newSignIn(operator, cookie string, created time.Time) store.SignIn {
	return store.SignIn{
		Hash: sha256.Sum256([]byte(cookie)), Operator: operator, Epoch: 3, Created: created, Seen: created,
		Source: "192.0.2.1", Agent: "Mozilla/5.0", Method: "link",
	}
}

func signIns(t *testing.T, open Backend) {
	kv := fresh(t, open)
	first := newSignIn("ada", "1", noon())
	update(t, kv, func(tx store.Tx) error {
		wantCode(t, "no hash", store.PutSignIn(tx, store.SignIn{Operator: "ada"}), wire.BadRequest)
		wantCode(t, "no operator", store.PutSignIn(tx, store.SignIn{Hash: first.Hash}), wire.BadRequest)
		return errors.Join(store.PutSignIn(tx, first), store.PutSignIn(tx, newSignIn("bob", "b", noon())))
	})
	view(t, kv, func(tx store.Tx) error {
		got, err := store.GetSignIn(tx, first.Hash)
		if diff := cmp.Diff(first, got); diff != "" {
			t.Error(diff)
		}
		byID, err2 := store.SignInByID(tx, first.ID())
		if byID.Hash != first.Hash {
			t.Errorf("by id: %+v", byID)
		}
		_, err3 := store.GetSignIn(tx, sha256.Sum256([]byte("2")))
		wantCode(t, "another cookie", err3, wire.NotFound)
		for _, id := range []string{"", "signin", first.ID()[:30], first.ID() + "00", strings.ToUpper(first.ID()), strings.Repeat("0", 32)} {
			if _, err := store.SignInByID(tx, id); wire.CodeOf(err) != wire.NotFound {
				t.Errorf("id %q: %v", id, err)
			}
		}
		return errors.Join(err, err2)
	})
	// Seen goes forward only, and brings nothing back.
	update(t, kv, func(tx store.Tx) error {
		return errors.Join(store.SeeSignIn(tx, first.Hash, noon().Add(time.Minute)), store.SeeSignIn(tx, first.Hash, noon()),
			store.SeeSignIn(tx, sha256.Sum256([]byte("gone")), noon()))
	})
	view(t, kv, func(tx store.Tx) error {
		got, err := store.GetSignIn(tx, first.Hash)
		if !got.Seen.Equal(noon().Add(time.Minute)) || len(keys(tx, "signin/")) != 2 {
			t.Errorf("seen %v, rows %q", got.Seen, keys(tx, "signin/"))
		}
		return err
	})
	// Of more than an operator may have, the oldest go; those of others stay.
	const most = 32
	update(t, kv, func(tx store.Tx) error {
		for i := range most + 3 {
			if err := store.PutSignIn(tx, newSignIn("ada", fmt.Sprint("n", i), noon().Add(time.Duration(i+1)*time.Second))); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, kv, func(tx store.Tx) error {
		all, err := store.SignIns(tx, "ada")
		_, gone := store.GetSignIn(tx, first.Hash)
		_, last := store.GetSignIn(tx, sha256.Sum256(fmt.Append(nil, "n", most+2)))
		if len(all) != most || wire.CodeOf(gone) != wire.NotFound || last != nil {
			t.Errorf("%d sign-ins, the oldest: %v, the newest: %v", len(all), gone, last)
		}
		return err
	})
	update(t, kv, func(tx store.Tx) error {
		n, err := store.DeleteSignInsWhere(tx, func(s store.SignIn) bool { return s.Operator == "bob" })
		if n != 1 {
			t.Errorf("%d of bob's were over", n)
		}
		n, err2 := store.DeleteSignInsOf(tx, "ada")
		if left := keys(tx, "signin"); n != most || len(left) != 0 {
			t.Errorf("deleted %d, left %q", n, left)
		}
		return errors.Join(err, err2)
	})
}

func links(t *testing.T, open Backend) {
	kv := fresh(t, open)
	ada := store.Operator{ID: uuid.NewString(), Username: "ada", Epoch: 3}
	link := func(secret string, epoch uint64, ttl time.Duration) store.SignInLink {
		return store.SignInLink{Hash: sha256.Sum256([]byte(secret)), Operator: ada.ID, Epoch: epoch, CreatedBy: "bob", Expires: noon().Add(ttl)}
	}
	good, late, stale, stray := link("good", 3, time.Minute), link("late", 3, 0), link("stale", 2, time.Minute), link("stray", 3, time.Minute)
	stray.Operator = "nobody"
	update(t, kv, func(tx store.Tx) error {
		err := store.PutOperator(tx, ada)
		for _, l := range []store.SignInLink{late, good, stale, stray} {
			err = errors.Join(err, store.PutSignInLink(tx, l, noon().Add(-time.Hour)))
		}
		wantCode(t, "the same again", store.PutSignInLink(tx, good, noon()), wire.Conflict)
		return err
	})
	redeem := func(hash [32]byte) (l store.SignInLink, o store.Operator, err error) {
		err = kv.Update(context.Background(), func(tx store.Tx) (err error) {
			l, o, err = store.RedeemSignInLink(tx, hash, noon())
			return err
		})
		return l, o, err
	}
	var words []string
	for what, hash := range map[string][32]byte{"late": late.Hash, "of another epoch": stale.Hash, "of nobody": stray.Hash, "unknown": sha256.Sum256([]byte("x"))} {
		_, _, err := redeem(hash)
		wantCode(t, what, err, wire.LinkInvalid)
		words = append(words, err.Error())
	}
	l, o, err := redeem(good.Hash)
	if diff := cmp.Diff(good, l); diff != "" || o.Username != "ada" || err != nil {
		t.Errorf("%v: %+v %s", err, o, diff)
	}
	_, _, err = redeem(good.Hash)
	wantCode(t, "used", err, wire.LinkInvalid)
	for _, w := range append(words, err.Error()) {
		if w != words[0] {
			t.Errorf("the errors differ: %q", words)
		}
	}
	// New ones push out what is expired, and the oldest of the same operator.
	update(t, kv, func(tx store.Tx) error {
		for i := range 10 {
			if err := store.PutSignInLink(tx, link(fmt.Sprint(i), 3, time.Duration(i+2)*time.Minute), noon()); err != nil {
				return err
			}
		}
		return nil
	})
	if _, _, err := redeem(sha256.Sum256([]byte("1"))); wire.CodeOf(err) != wire.LinkInvalid {
		t.Errorf("the oldest of too many: %v", err)
	}
	if _, _, err := redeem(sha256.Sum256([]byte("9"))); err != nil {
		t.Errorf("the newest of too many: %v", err)
	}
	update(t, kv, func(tx store.Tx) error {
		n, err := store.DeleteLinksOf(tx, ada.ID)
		if left := keys(tx, "link/"); n != 7 || len(left) != 1 { // nobody's
			t.Errorf("deleted %d, left %q", n, left)
		}
		return err
	})
}

// linkOnce is 100 browsers that open one link at once.
func linkOnce(t *testing.T, open Backend) {
	kv := fresh(t, open)
	hash := sha256.Sum256([]byte("l"))
	update(t, kv, func(tx store.Tx) error {
		return errors.Join(store.PutOperator(tx, store.Operator{ID: "1", Username: "ada", Epoch: 1}),
			store.PutSignInLink(tx, store.SignInLink{Hash: hash, Operator: "1", Epoch: 1, Expires: noon().Add(time.Minute)}, noon()))
	})
	var group sync.WaitGroup
	results := make(chan error, 100)
	start := make(chan struct{})
	for range cap(results) {
		group.Go(func() {
			<-start
			results <- kv.Update(context.Background(), func(tx store.Tx) error {
				_, _, err := store.RedeemSignInLink(tx, hash, noon())
				return err
			})
		})
	}
	close(start)
	group.Wait()
	close(results)
	won := 0
	for err := range results {
		if err == nil {
			won++
			continue
		}
		wantCode(t, "loser", err, wire.LinkInvalid)
	}
	if won != 1 {
		t.Errorf("one link was redeemed %d times", won)
	}
}

func passkeys(t *testing.T, open Backend) {
	kv := fresh(t, open)
	full := store.Passkey{
		Credential: bytes.Repeat([]byte{7}, 1023), Operator: "1", Name: "laptop", RPID: "host.example", PublicKey: []byte{1, 2},
		SignCount: 5, BackupEligible: true, BackupState: true, AAGUID: make([]byte, 16), Transports: []string{"internal"}, Created: noon(), Used: noon(),
	}
	update(t, kv, func(tx store.Tx) error {
		for what, p := range map[string]store.Passkey{
			"no operator":   {Credential: []byte{1}, RPID: "x"},
			"no credential": {Operator: "1", RPID: "x"},
			"no host":       {Operator: "1", Credential: []byte{1}},
			"too long":      {Operator: "1", RPID: "x", Credential: make([]byte, 1024)},
		} {
			wantCode(t, what, store.AddPasskey(tx, p), wire.BadRequest)
		}
		err := store.AddPasskey(tx, full)
		theirs := full
		theirs.Operator = "2"
		wantCode(t, "the same again", store.AddPasskey(tx, full), wire.Conflict)
		wantCode(t, "another's", store.AddPasskey(tx, theirs), wire.Conflict)
		return err
	})
	view(t, kv, func(tx store.Tx) error {
		got, err := store.PasskeyByCredential(tx, full.Credential)
		if diff := cmp.Diff(full, got); diff != "" {
			t.Error(diff)
		}
		byID, err2 := store.GetPasskey(tx, "1", full.ID())
		if byID.Name != "laptop" {
			t.Errorf("by id: %+v", byID)
		}
		for _, id := range []string{"", full.ID()[1:], strings.Repeat("x", 1000)} {
			_, err := store.GetPasskey(tx, "1", id)
			wantCode(t, "id "+id, err, wire.NotFound)
		}
		_, theirs := store.GetPasskey(tx, "2", full.ID())
		wantCode(t, "as another", theirs, wire.NotFound)
		_, unknown := store.PasskeyByCredential(tx, []byte{9})
		wantCode(t, "unknown", unknown, wire.NotFound)
		return errors.Join(err, err2)
	})
	update(t, kv, func(tx store.Tx) error {
		used := full
		used.SignCount = 6
		err := store.UsePasskey(tx, used)
		wantCode(t, "use what is not there", store.UsePasskey(tx, store.Passkey{Operator: "1", Credential: []byte{9}}), wire.NotFound)
		for i := range 15 {
			err = errors.Join(err, store.AddPasskey(tx, store.Passkey{Operator: "1", RPID: "x", Credential: []byte{byte(i), 1}}))
		}
		wantCode(t, "one too many", store.AddPasskey(tx, store.Passkey{Operator: "1", RPID: "x", Credential: []byte{99}}), wire.Conflict)
		return errors.Join(err, store.AddPasskey(tx, store.Passkey{Operator: "2", RPID: "x", Credential: []byte{98}}))
	})
	update(t, kv, func(tx store.Tx) error {
		counts, err := store.CountPasskeys(tx)
		if diff := cmp.Diff(map[string]int{"1": 16, "2": 1}, counts); diff != "" {
			t.Error(diff)
		}
		wantCode(t, "delete another's", store.DeletePasskey(tx, "2", full.ID()), wire.NotFound)
		err = errors.Join(err, store.DeletePasskey(tx, "1", full.ID()))
		wantCode(t, "delete twice", store.DeletePasskey(tx, "1", full.ID()), wire.NotFound)
		err = errors.Join(err, store.DeletePasskeysOf(tx, "1"))
		if left := keys(tx, "passkey"); len(left) != 2 { // of operator 2: row and index
			t.Errorf("left %q", left)
		}
		return errors.Join(err, store.AddPasskey(tx, full)) // it is free again
	})
}

// deletedOperator leaves nothing behind, and nothing of others goes.
func deletedOperator(t *testing.T, open Backend) {
	kv := fresh(t, open)
	give := func(tx store.Tx, id string) error {
		return errors.Join(
			store.PutOperator(tx, store.Operator{ID: id, Username: "u" + id, Epoch: 1}),
			store.PutSignIn(tx, newSignIn(id, id, noon())),
			store.PutSignInLink(tx, store.SignInLink{Hash: sha256.Sum256([]byte(id)), Operator: id, Epoch: 1, Expires: noon().Add(time.Hour)}, noon()),
			store.AddPasskey(tx, store.Passkey{Operator: id, RPID: "x", Credential: []byte(id)}),
		)
	}
	var before []string
	update(t, kv, func(tx store.Tx) error {
		err := give(tx, "1")
		before = keys(tx, "")
		return err
	})
	update(t, kv, func(tx store.Tx) error { return give(tx, "12") })
	update(t, kv, func(tx store.Tx) error { return store.DeleteOperator(tx, "12") })
	view(t, kv, func(tx store.Tx) error {
		if diff := cmp.Diff(before, keys(tx, "")); diff != "" {
			t.Errorf("(-before +after): %s", diff)
		}
		return nil
	})
}
