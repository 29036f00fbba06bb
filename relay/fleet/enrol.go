package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"maps"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Limits of what an enrolment may say.
const (
	maxLabels = 32
	maxLabel  = 128 // bytes, of a name or a value
	maxName   = 64
)

// Enrol uses up a token and makes a new identity. It takes the public key from the request and nothing
// else; the relay decides who the machine is. The token is used up in the transaction that makes the
// envoy, so it stays valid when that fails; in that transaction its maker must still have the right to
// make one. Every failure is in the audit log.
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
	key, err := certs.PinOfKey(pub)
	if err != nil {
		return nil, err
	}
	if err := checkLabels(m.Labels); err != nil {
		return nil, err
	}
	hash, now := sha256.Sum256(m.Secret), f.Now()
	var token store.Token
	if err := f.KV.View(ctx, func(tx store.Tx) (err error) {
		if token, err = store.FindToken(tx, hash, now); err == nil {
			err = f.stands(tx, token)
		}
		return err
	}); err != nil {
		return nil, err
	}
	facts := f.timed(m.Facts, m.Time)
	e := store.Envoy{
		ID: wire.NewEnvoyID(), Hostname: cmp.Or(token.Name, facts.Hostname), Enrolled: now, LastSeen: now,
		Labels: map[string]string{}, Generation: 1, Key: key[:], Source: source, Version: facts.Version,
		Follows: token.Name == "",
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
		Fields: map[string]string{"token": token.ID(), "token_by": token.CreatedBy, "hostname": facts.Hostname},
	}); err != nil {
		return nil, err
	}
	left, err := f.replaces(ctx, token, e, source)
	if err != nil {
		return nil, err
	}
	err = f.KV.Update(ctx, func(tx store.Tx) error {
		token, err := store.RedeemToken(tx, hash, now)
		if err == nil {
			err = f.stands(tx, token)
		}
		if err != nil {
			return err // another machine used the token first, or its maker has just lost the right
		}
		if left.Type != "" {
			old, err := store.GetEnvoy(tx, token.Replaces)
			if err != nil {
				return err
			}
			e.HostKeys, e.RDPCertificate = old.HostKeys, old.RDPCertificate // so that others are noticed
			if err := store.DeleteEnvoy(tx, old.ID); err != nil {
				return err
			}
		}
		return store.PutEnvoy(tx, e)
	})
	if err != nil {
		if left.Type != "" {
			f.notDone(ctx, left, err)
		}
		return nil, err
	}
	if left.Type != "" {
		if a := f.agent(token.Replaces); a != nil {
			f.dropAll(a, &wire.Error{Code: wire.Revoked})
		}
		f.changed(token.Replaces, false)
	}
	f.rolls.changed()
	f.changed(e.ID, false)
	f.Log.Info("enrolled", "envoy", e.ID, "name", e.Hostname, "source", source)
	return &wire.Enrolled{Envoy: e.ID, Cluster: f.CA.Cluster(), Chain: chain, Time: wire.Millis(now)}, nil
}

// replaces writes down that an enrolment removes another envoy. An event without a type: it does not, or that one is gone.
func (f *Fleet) replaces(ctx context.Context, token store.Token, e store.Envoy, source string) (audit.Event, error) {
	if token.Replaces == (wire.EnvoyID{}) {
		return audit.Event{}, nil
	}
	var old store.Envoy
	err := f.KV.View(ctx, func(tx store.Tx) (err error) {
		old, err = store.GetEnvoy(tx, token.Replaces)
		return err
	})
	if wire.CodeOf(err) == wire.NoSuchEnvoy {
		return audit.Event{}, nil
	}
	if err != nil {
		return audit.Event{}, err
	}
	left := audit.Event{
		Type: "envoy.remove", Operator: token.CreatedBy, Envoy: old.ID.String(), EnvoyName: old.Hostname, Source: source,
		Fields: map[string]string{"token": token.ID(), "replaced_by": e.ID.String()},
	}
	_, err = f.Journal.Append(ctx, left)
	return left, err
}

func (f *Fleet) refusedEnrolment(ctx context.Context, source, hostname string, err error) {
	e := audit.Event{
		Type: "envoy.enrol_refused", EnvoyName: hostname, Source: source,
		Code: wire.CodeOf(err).String(), Detail: wire.DetailOf(err),
	}
	if v, ok := errors.AsType[*void](err); ok { // the machine is not told which of the ways to be no good it is
		e.Detail, e.Fields = v.why, map[string]string{"token": v.token.ID(), "token_by": v.token.CreatedBy}
	}
	if _, jerr := f.Journal.Append(context.WithoutCancel(ctx), e); jerr != nil {
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
