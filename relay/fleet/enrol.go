package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"maps"
	"strconv"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Token limits.
const (
	DefaultTokenTTL = 15 * time.Minute
	maxTokenTTL     = 7 * 24 * time.Hour
	maxLabels       = 32
	maxLabel        = 128 // bytes, of a name or a value
	maxName         = 64
)

// Token makes an enrolment token; name, when given, becomes the envoy's. The token itself is
// returned once and kept nowhere.
func (f *Fleet) Token(ctx context.Context, by audit.Event, name string, ttl time.Duration) (certs.Token, time.Time, error) {
	if ttl <= 0 || ttl > maxTokenTTL {
		return certs.Token{}, time.Time{}, wire.Errorf(wire.BadRequest, "a token lives at most %d days, and longer than nothing", maxTokenTTL/(24*time.Hour))
	}
	if name != "" {
		if err := checkName(name); err != nil {
			return certs.Token{}, time.Time{}, err
		}
	}
	token := certs.NewToken(f.CA.Pin())
	now := f.Now()
	row := store.Token{Hash: token.Hash(), Name: name, CreatedBy: by.Operator, Created: now, Expires: now.Add(ttl)}
	by.Type, by.EnvoyName = "token.create", name
	by.Fields = map[string]string{"expires": row.Expires.UTC().Format(time.RFC3339)}
	if _, err := f.Journal.Append(ctx, by); err != nil {
		return certs.Token{}, time.Time{}, err
	}
	err := f.KV.Update(ctx, func(tx store.Tx) error {
		if _, err := store.DeleteExpiredTokens(tx, now); err != nil {
			return err
		}
		return store.PutToken(tx, row)
	})
	if err != nil {
		f.notDone(ctx, by, err)
	}
	return token, row.Expires, err
}

// Enrol uses up a token and makes a new identity. It takes the public key from the request and nothing
// else; the relay decides who the machine is. The token is used up in the transaction that makes the
// envoy, so it stays valid when that fails. Every failure is in the audit log.
func (f *Fleet) Enrol(ctx context.Context, source string, m *wire.Enrol) (*wire.Enrolled, error) {
	answer, err := f.enrol(ctx, source, m)
	if err != nil {
		f.refusedEnrolment(ctx, source, m.Facts.Bounded().Hostname, err)
	}
	return answer, err
}

func (f *Fleet) enrol(ctx context.Context, source string, m *wire.Enrol) (*wire.Enrolled, error) {
	pub, err := certs.ParseRequest(m.CSR)
	if err != nil {
		return nil, err
	}
	if err := checkLabels(m.Labels); err != nil {
		return nil, err
	}
	hash, now := sha256.Sum256(m.Secret), f.Now()
	var token store.Token
	if err := f.KV.View(ctx, func(tx store.Tx) (err error) {
		token, err = store.FindToken(tx, hash, now)
		return err
	}); err != nil {
		return nil, err
	}
	facts := f.timed(m.Facts, m.Time)
	e := store.Envoy{
		ID: wire.NewEnvoyID(), Hostname: cmp.Or(token.Name, facts.Hostname), Enrolled: now, LastSeen: now,
		Labels: map[string]string{}, Generation: 1, Version: facts.Version,
	}
	maps.Copy(e.Labels, token.Labels)
	maps.Copy(e.Labels, m.Labels)
	if err := checkName(e.Hostname); err != nil {
		return nil, err
	}
	if e.Facts, err = wire.Marshal(facts); err != nil {
		return nil, err
	}
	chain, err := f.CA.Issue(certs.Identity{Role: certs.RoleAgent, ID: e.ID.String(), Generation: e.Generation}, pub)
	if err != nil {
		return nil, err
	}
	if _, err := f.Journal.Append(ctx, audit.Event{
		Type: "envoy.enrol", Envoy: e.ID.String(), EnvoyName: e.Hostname, Source: source,
		Fields: map[string]string{"token_by": token.CreatedBy, "hostname": facts.Hostname},
	}); err != nil {
		return nil, err
	}
	err = f.KV.Update(ctx, func(tx store.Tx) error {
		if _, err := store.RedeemToken(tx, hash, now); err != nil {
			return err // another machine used the token first
		}
		return store.PutEnvoy(tx, e)
	})
	if err != nil {
		return nil, err
	}
	f.changed(e.ID, false)
	f.Log.Info("enrolled", "envoy", e.ID, "name", e.Hostname, "source", source)
	return &wire.Enrolled{Envoy: e.ID, Cluster: f.CA.Cluster(), Chain: chain, Time: wire.Millis(now)}, nil
}

func (f *Fleet) refusedEnrolment(ctx context.Context, source, hostname string, err error) {
	if _, jerr := f.Journal.Append(context.WithoutCancel(ctx), audit.Event{
		Type: "envoy.enrol_refused", EnvoyName: hostname, Source: source,
		Code: wire.CodeOf(err).String(), Detail: wire.DetailOf(err),
	}); jerr != nil {
		f.Log.Error("audit", "err", jerr)
	}
}

// checkName keeps names to what a command line and a terminal can show.
func checkName(name string) error {
	if name == "" || len(name) > maxName || wire.Printable(name) != name || !plain(name) {
		return wire.Errorf(wire.BadRequest, "%q is not a name for a machine: 1 to %d letters, digits, dots, dashes and underscores", wire.Printable(name), maxName)
	}
	return nil
}

func plain(s string) bool {
	for _, r := range s {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_'
		if !ok {
			return false
		}
	}
	return true
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return wire.Errorf(wire.BadRequest, "%d labels, at most %d", len(labels), maxLabels)
	}
	for k, v := range labels {
		if k == "" || len(k) > maxLabel || len(v) > maxLabel || wire.Printable(k+v) != k+v {
			return wire.Errorf(wire.BadRequest, "label %q: names and values have at most %d printable bytes", wire.Printable(k), maxLabel)
		}
	}
	return nil
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
