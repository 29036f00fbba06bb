package fleet

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"scrier/relay/store"
	"scrier/wire"
)

// H71: the fingerprint of last time is remembered, and another one is written down.
func TestReportedCertificate(t *testing.T) {
	b := newBase(t)
	id, _ := b.machine()
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	changes := 0
	for i, c := range []struct {
		sum, kept []byte
		changed   bool
	}{{nil, nil, false}, {one, one, false}, {one, one, false}, {two, two, true}, {nil, two, false}, {two, two, false}, {one, one, true}} {
		if err := b.ReportedCertificate(t.Context(), id, c.sum); err != nil {
			t.Fatal(err)
		}
		var e store.Envoy
		if err := b.KV.View(t.Context(), func(tx store.Tx) (err error) {
			e, err = store.GetEnvoy(tx, id)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(e.RDPCertificate, c.kept) {
			t.Errorf("report %d: kept %x", i, e.RDPCertificate)
		}
		if c.changed {
			changes++
		}
		if got := b.records("envoy.rdp_certificate_changed"); len(got) != changes {
			t.Fatalf("report %d: %d records", i, len(got))
		}
	}
	first := b.records("envoy.rdp_certificate_changed")[0]
	if first.Envoy != id.String() || first.EnvoyName != "web1" || first.Fields["before"] != hex.EncodeToString(one) || first.Fields["now"] != hex.EncodeToString(two) {
		t.Errorf("%+v", first)
	}
	if err := b.ReportedCertificate(t.Context(), wire.NewEnvoyID(), one); wire.CodeOf(err) != wire.NoSuchEnvoy {
		t.Errorf("an envoy that is not there: %v", err)
	}
}

// Host keys go the same way.
func TestReportedHostKeys(t *testing.T) {
	b := newBase(t)
	id, _ := b.machine()
	if err := b.Reported(t.Context(), id, [][]byte{[]byte("junk")}); wire.CodeOf(err) != wire.Protocol {
		t.Error(err)
	}
	many := make([][]byte, maxHostKeys+1)
	for i := range many {
		many[i] = hostKey(byte(i))
	}
	big := append([]byte("\x00\x00\x00\x07ssh-rsa\x00\x00\x00\x03\x01\x00\x01\x00\x00\x08\x01\x00\xff"), bytes.Repeat([]byte{0xff}, 2047)...)
	for name, keys := range map[string][][]byte{"too many": many, "too big": slices.Repeat([][]byte{big}, 8)} {
		if err := b.Reported(t.Context(), id, keys); wire.CodeOf(err) != wire.Protocol {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Reported(t.Context(), id, slices.Repeat([][]byte{big}, 7)); err != nil { // they are good keys
		t.Error(err)
	}
	if err := b.Reported(t.Context(), id, many[:maxHostKeys]); err != nil {
		t.Error(err)
	}
	b.mu.Lock()
	b.events = nil
	b.mu.Unlock()
	if err := b.Reported(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.events = nil
	b.mu.Unlock()
	for i, key := range [][]byte{hostKey(1), hostKey(1), hostKey(2)} {
		if err := b.Reported(t.Context(), id, [][]byte{key}); err != nil {
			t.Fatal(err)
		}
		if got := len(b.records("envoy.host_keys_changed")); got != i/2 {
			t.Errorf("report %d: %d records", i, got)
		}
	}
}

// hostKey is an Ed25519 key as SSH writes one.
func hostKey(seed byte) []byte {
	return append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), bytes.Repeat([]byte{seed}, 32)...)
}
