package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
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

// noon has nanoseconds: records keep them.
func noon() time.Time { return time.Date(2031, 5, 17, 12, 0, 0, 123456789, time.UTC) }

func wantCode(t *testing.T, what string, err error, want wire.Code) {
	t.Helper()
	if got := wire.CodeOf(err); got != want {
		t.Errorf("%s: %v, want %v (%v)", what, got, want, err)
	}
}

func schema(t *testing.T, open Backend) {
	kv := fresh(t, open)
	view(t, kv, func(tx store.Tx) error {
		v, err := tx.Get(store.SchemaKey)
		if string(v) != fmt.Sprint(store.Schema) {
			t.Errorf("schema is %q", v)
		}
		return err
	})
	if err := store.CheckSchema(context.Background(), kv); err != nil {
		t.Errorf("own schema: %v", err)
	}
	for _, v := range []string{fmt.Sprint(store.Schema + 1), "", "-1", "x", "99999999999999999999"} {
		update(t, kv, func(tx store.Tx) error { return tx.Put(store.SchemaKey, []byte(v)) })
		wantCode(t, "schema "+v, store.CheckSchema(context.Background(), kv), wire.VersionMismatch)
	}
}

func envoys(t *testing.T, open Backend) {
	kv := fresh(t, open)
	full := store.Envoy{
		ID: wire.NewEnvoyID(), Hostname: "web1", Labels: map[string]string{"zone": "a", "": "empty"},
		Enrolled: noon(), LastSeen: noon().Add(time.Hour), Generation: 1 << 63, Revoked: noon().Add(2 * time.Hour),
		HostKeys: []string{"ssh-ed25519 AAAA web1"}, Facts: []byte{0xa0}, Boot: "b", Version: "v1",
		RDPCertificate: bytes.Repeat([]byte{0xc3}, sha256.Size),
		Key:            []byte{1}, Source: "192.0.2.1", Issued: certificate(1<<63 + 1),
		Quarantine: store.Quarantine{Since: noon(), Why: "two", Counts: certificate(1<<63 + 1), Other: certificate(3)}, Released: certificate(4),
	}
	bare := store.Envoy{ID: wire.NewEnvoyID(), Hostname: "web2"}
	update(t, kv, func(tx store.Tx) error {
		wantCode(t, "envoy without id", store.PutEnvoy(tx, store.Envoy{}), wire.BadRequest)
		return errors.Join(store.PutEnvoy(tx, full), store.PutEnvoy(tx, bare))
	})
	view(t, kv, func(tx store.Tx) error {
		for _, want := range []store.Envoy{full, bare} {
			got, err := store.GetEnvoy(tx, want.ID)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("envoy: %v %s", err, diff)
			}
		}
		all, err := store.Envoys(tx)
		if len(all) != 2 {
			t.Errorf("%d envoys", len(all))
		}
		_, missing := store.GetEnvoy(tx, wire.NewEnvoyID())
		wantCode(t, "unknown envoy", missing, wire.NoSuchEnvoy)
		if !errors.Is(missing, store.ErrNotFound) {
			t.Errorf("%v is not ErrNotFound", missing)
		}
		return err
	})
	update(t, kv, func(tx store.Tx) error {
		wantCode(t, "delete unknown envoy", store.DeleteEnvoy(tx, wire.NewEnvoyID()), wire.NoSuchEnvoy)
		return store.DeleteEnvoy(tx, full.ID)
	})
	view(t, kv, func(tx store.Tx) error {
		all, err := store.Envoys(tx)
		if len(all) != 1 || all[0].ID != bare.ID {
			t.Errorf("after the delete: %v", all)
		}
		return err
	})
}

func certificate(generation uint64) store.Certificate {
	return store.Certificate{Generation: generation, Key: []byte{byte(generation)}, Source: "2001:db8::1", Time: noon()}
}

// sshKey is a key as far as the store looks at one.
func sshKey(seed string) store.Key {
	sum := sha256.Sum256([]byte(seed))
	fp := "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
	return store.Key{Authorized: "ssh-ed25519 " + base64.StdEncoding.EncodeToString([]byte(seed)) + " " + seed, Fingerprint: fp, Added: noon()}
}

func operators(t *testing.T, open Backend) {
	kv := fresh(t, open)
	ada := store.Operator{ID: uuid.NewString(), Username: "ada", Role: "admin", Keys: []store.Key{sshKey("k1"), sshKey("k2")}, Epoch: 3, Created: noon(), Changed: noon()}
	bob := store.Operator{ID: uuid.NewString(), Username: "bob", Role: "viewer", Keys: []store.Key{}}
	update(t, kv, func(tx store.Tx) error { return errors.Join(store.PutOperator(tx, bob), store.PutOperator(tx, ada)) })
	view(t, kv, func(tx store.Tx) error {
		byID, err1 := store.GetOperator(tx, ada.ID)
		byName, err2 := store.OperatorByName(tx, "ada")
		byKey, err3 := store.OperatorByKey(tx, ada.Keys[1].Fingerprint)
		for _, got := range []store.Operator{byID, byName, byKey} {
			if diff := cmp.Diff(ada, got); diff != "" {
				t.Error(diff)
			}
		}
		all, err4 := store.Operators(tx)
		if len(all) != 2 || all[0].Username != "ada" || all[1].Username != "bob" {
			t.Errorf("operators: %v", all)
		}
		for what, f := range map[string]func() error{
			"id":       func() error { _, err := store.GetOperator(tx, "x"); return err },
			"name":     func() error { _, err := store.OperatorByName(tx, "ad"); return err },
			"no name":  func() error { _, err := store.OperatorByName(tx, ""); return err },
			"big name": func() error { _, err := store.OperatorByName(tx, strings.Repeat("x", 9999)); return err },
			"key":      func() error { _, err := store.OperatorByKey(tx, "SHA256:none"); return err },
		} {
			wantCode(t, "unknown "+what, f(), wire.NotFound)
		}
		return errors.Join(err1, err2, err3, err4)
	})
	// A changed name and key free the old ones.
	ada.Username, ada.Keys = "lovelace", []store.Key{sshKey("k2"), sshKey("k3")}
	update(t, kv, func(tx store.Tx) error { return store.PutOperator(tx, ada) })
	bob.Keys = []store.Key{sshKey("k1")}
	update(t, kv, func(tx store.Tx) error {
		_, err := store.OperatorByName(tx, "nobody")
		if hint := wire.HintOf(err); !strings.Contains(hint, "`scrier operators list`") {
			t.Errorf("of an unknown name the hint is %q", hint)
		}
		_, err = store.OperatorByName(tx, "ada")
		wantCode(t, "former name", err, wire.NotFound)
		return store.PutOperator(tx, bob)
	})
	update(t, kv, func(tx store.Tx) error {
		wantCode(t, "delete unknown", store.DeleteOperator(tx, "x"), wire.NotFound)
		return store.DeleteOperator(tx, ada.ID)
	})
	view(t, kv, func(tx store.Tx) error {
		_, err := store.OperatorByKey(tx, sshKey("k3").Fingerprint)
		wantCode(t, "key of a deleted operator", err, wire.NotFound)
		if left := keys(tx, "operator"); len(left) != 3 { // bob: row, name, key
			t.Errorf("left behind: %q", left)
		}
		return nil
	})
}

func operatorKeys(t *testing.T, open Backend) {
	kv := fresh(t, open)
	ada := store.Operator{ID: uuid.NewString(), Username: "ada", Keys: []store.Key{sshKey("k1")}}
	update(t, kv, func(tx store.Tx) error { return store.PutOperator(tx, ada) })
	lie := sshKey("k1")
	lie.Fingerprint = sshKey("k9").Fingerprint
	unnamed := sshKey("k1")
	unnamed.Fingerprint = ""
	for name, c := range map[string]struct {
		o    store.Operator
		want wire.Code
	}{
		"same name":           {store.Operator{ID: "2", Username: "ada"}, wire.Conflict},
		"same key":            {store.Operator{ID: "2", Username: "eve", Keys: []store.Key{sshKey("k1")}}, wire.Conflict},
		"same key, no print":  {store.Operator{ID: "2", Username: "eve", Keys: []store.Key{unnamed}}, wire.Conflict},
		"key twice":           {store.Operator{ID: "2", Username: "eve", Keys: []store.Key{sshKey("k2"), sshKey("k2")}}, wire.Conflict},
		"foreign fingerprint": {store.Operator{ID: "2", Username: "eve", Keys: []store.Key{lie}}, wire.BadRequest},
		"no key at all":       {store.Operator{ID: "2", Username: "eve", Keys: []store.Key{{Authorized: "ssh-ed25519 !"}}}, wire.BadRequest},
		"too many keys":       {store.Operator{ID: "2", Username: "eve", Keys: make([]store.Key, 65)}, wire.BadRequest},
		"no id":               {store.Operator{Username: "eve"}, wire.BadRequest},
		"no name":             {store.Operator{ID: "2"}, wire.BadRequest},
		"long name":           {store.Operator{ID: "2", Username: strings.Repeat("x", 257)}, wire.BadRequest},
	} {
		err := kv.Update(context.Background(), func(tx store.Tx) error { return store.PutOperator(tx, c.o) })
		wantCode(t, name, err, c.want)
		if c.want == wire.Conflict && (strings.Contains(err.Error(), "ada") || strings.Contains(err.Error(), ada.ID)) {
			t.Errorf("%s: the error tells whose it is: %v", name, err)
		}
	}
	// Of many that claim one key at once, one gets it.
	results := make(chan error)
	const n = 20
	for i := range n {
		go func() {
			results <- kv.Update(context.Background(), func(tx store.Tx) error {
				return store.PutOperator(tx, store.Operator{ID: fmt.Sprint("id", i), Username: fmt.Sprint("u", i), Keys: []store.Key{sshKey("wanted")}})
			})
		}()
	}
	won := 0
	for range n {
		if err := <-results; err == nil {
			won++
		} else {
			wantCode(t, "loser", err, wire.Conflict)
		}
	}
	if won != 1 {
		t.Errorf("%d operators own one key", won)
	}
}

func tokens(t *testing.T, open Backend) {
	kv := fresh(t, open)
	token := store.Token{Hash: sha256.Sum256([]byte("t")), Name: "web", Labels: map[string]string{"zone": "a"}, CreatedBy: "ada", Maker: "o1", Epoch: 3, Created: noon(), Expires: noon().Add(time.Minute)}
	late := store.Token{Hash: sha256.Sum256([]byte("late")), Expires: noon()}
	update(t, kv, func(tx store.Tx) error {
		err := errors.Join(store.PutToken(tx, token), store.PutToken(tx, late))
		wantCode(t, "same token again", store.PutToken(tx, token), wire.Conflict)
		return err
	})
	view(t, kv, func(tx store.Tx) error {
		got, err := store.TokenByID(tx, token.ID(), noon())
		if diff := cmp.Diff(token, got); diff != "" {
			t.Error(diff)
		}
		for what, id := range map[string]string{"expired": late.ID(), "hash": fmt.Sprintf("%x", token.Hash), "nothing": "", "short": token.ID()[:8]} {
			_, err := store.TokenByID(tx, id, noon())
			wantCode(t, what, err, wire.NotFound)
		}
		return err
	})
	err := kv.Update(context.Background(), func(tx store.Tx) error {
		_, err := store.RedeemToken(tx, late.Hash, noon()) // its last instant is over
		return err
	})
	wantCode(t, "expired", err, wire.TokenInvalid)
	expired := err.Error()
	update(t, kv, func(tx store.Tx) error {
		got, err := store.RedeemToken(tx, token.Hash, noon())
		if diff := cmp.Diff(token, got); diff != "" {
			t.Error(diff)
		}
		return err
	})
	err = kv.Update(context.Background(), func(tx store.Tx) error {
		_, err := store.RedeemToken(tx, token.Hash, noon())
		return err
	})
	wantCode(t, "used", err, wire.TokenInvalid)
	if err.Error() != expired {
		t.Errorf("a used and an expired token differ: %q, %q", err, expired)
	}
	update(t, kv, func(tx store.Tx) error {
		n, err := store.DeleteExpiredTokens(tx, noon())
		if left, _ := store.Tokens(tx); n != 1 || len(left) != 0 {
			t.Errorf("deleted %d, left %d", n, len(left))
		}
		return err
	})
}

func redeemOnce(t *testing.T, open Backend) {
	kv := fresh(t, open)
	token := store.Token{Hash: sha256.Sum256([]byte("t")), Expires: noon().Add(time.Minute)}
	update(t, kv, func(tx store.Tx) error { return store.PutToken(tx, token) })
	var group sync.WaitGroup
	results := make(chan error, 100)
	start := make(chan struct{})
	for range cap(results) {
		group.Go(func() {
			<-start
			results <- kv.Update(context.Background(), func(tx store.Tx) error {
				_, err := store.RedeemToken(tx, token.Hash, noon())
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
		wantCode(t, "loser", err, wire.TokenInvalid)
	}
	if won != 1 {
		t.Errorf("one token was redeemed %d times", won)
	}
}

func unknownKeys(t *testing.T, open Backend) {
	kv := fresh(t, open)
	id := wire.NewEnvoyID()
	newer := append(append([]byte{0xa3, 0x01, 0x50}, id.UUID[:]...), 0x02, 0x62, 'w', '1', 0x18, 99, 0x83, 1, 2, 3)
	update(t, kv, func(tx store.Tx) error { return tx.Put("envoy/"+id.String(), newer) })
	view(t, kv, func(tx store.Tx) error {
		e, err := store.GetEnvoy(tx, id)
		if e.Hostname != "w1" || e.ID != id {
			t.Errorf("got %+v", e)
		}
		return err
	})
	for name, bad := range map[string][]byte{
		"duplicate key":     {0xa2, 0x02, 0x61, 'a', 0x02, 0x61, 'b'},
		"indefinite length": {0xbf, 0x02, 0x61, 'a', 0xff},
		"tag":               {0xa1, 0x02, 0xc1, 0x61, 'a'},
		"trailing bytes":    {0xa0, 0x00},
		"not UTF-8":         {0xa1, 0x02, 0x61, 0xff},
		"nothing":           {},
	} {
		update(t, kv, func(tx store.Tx) error { return tx.Put("envoy/"+id.String(), bad) })
		view(t, kv, func(tx store.Tx) error {
			if _, err := store.GetEnvoy(tx, id); err == nil || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
			return nil
		})
	}
}
