package fleet

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// The bounds of the host keys that an agent may report: they are kept, and shown in each list. sshd has
// three or four, of which the largest, RSA with 16,384 bits, has 2 KiB.
const (
	maxHostKeys    = 32
	maxHostKeySize = 16 << 10 // bytes, of all of them
)

// Reported remembers the host keys that an envoy's agent reports. If they are not those of last time,
// the audit log says so: the machine has a new SSH server, or somebody listens in its place.
func (f *Fleet) Reported(ctx context.Context, id wire.EnvoyID, blobs [][]byte) error {
	var now []string
	size := 0
	for _, b := range blobs {
		if size += len(b); len(blobs) > maxHostKeys || size > maxHostKeySize {
			return wire.Errorf(wire.Protocol, "the agent reported %d host keys; there may be %d, of %d KiB", len(blobs), maxHostKeys, maxHostKeySize>>10)
		}
		k, err := ssh.ParsePublicKey(b)
		if err != nil {
			return &wire.Error{Code: wire.Protocol, Detail: "malformed host key", Err: err}
		}
		now = append(now, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))))
	}
	slices.Sort(now)
	return f.reported(ctx, id, report{
		event:  "envoy.host_keys_changed",
		before: func(e *store.Envoy) string { return prints(e.HostKeys) },
		now:    prints(now),
		keep:   func(e *store.Envoy) { e.HostKeys = now },
	})
}

// ReportedCertificate remembers the fingerprint (SHA-256) of the RDP server's certificate that an
// envoy's agent reports. If it is not that of last time, the audit log says so: the server has a new
// certificate, or somebody listens in its place. nil is not remembered.
func (f *Fleet) ReportedCertificate(ctx context.Context, id wire.EnvoyID, sum []byte) error {
	if len(sum) == 0 {
		return nil
	}
	return f.reported(ctx, id, report{
		event:  "envoy.rdp_certificate_changed",
		before: func(e *store.Envoy) string { return hex.EncodeToString(e.RDPCertificate) },
		now:    hex.EncodeToString(sum),
		keep:   func(e *store.Envoy) { e.RDPCertificate = sum },
	})
}

// report is what an agent tells of its machine's servers.
type report struct {
	event  string // of the audit log, for a change
	before func(*store.Envoy) string
	now    string
	keep   func(*store.Envoy)
}

func (f *Fleet) reported(ctx context.Context, id wire.EnvoyID, r report) error {
	var e store.Envoy
	err := f.KV.View(ctx, func(tx store.Tx) (err error) {
		e, err = store.GetEnvoy(tx, id)
		return err
	})
	before := r.before(&e)
	if err != nil || before == r.now {
		return err
	}
	if before != "" {
		if _, err := f.Journal.Append(ctx, audit.Event{
			Type: r.event, Envoy: id.String(), EnvoyName: e.Hostname,
			Fields: map[string]string{"before": before, "now": r.now},
		}); err != nil {
			return err
		}
	}
	err = f.KV.Update(ctx, func(tx store.Tx) error {
		e, err := store.GetEnvoy(tx, id)
		if err != nil {
			return err
		}
		r.keep(&e)
		return store.PutEnvoy(tx, e)
	})
	if err == nil {
		f.changed(id, false)
	}
	return err
}

func prints(lines []string) string {
	var out []string
	for _, l := range lines {
		if k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l)); err == nil {
			out = append(out, ssh.FingerprintSHA256(k))
		}
	}
	return strings.Join(out, " ")
}
