package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"scrier/relay/fleet"
	"scrier/wire"
)

// explain adds what is known of an envoy to an error that it caused: warnings about its clock or its
// disk, and when it was last heard. That its SSH server is silent is no reason why a desktop does not open.
func (r *Relay) explain(ctx context.Context, id wire.EnvoyID, kind wire.Kind, err error) error {
	code, detail := wire.CodeOf(err), wire.DetailOf(err)
	switch code {
	case wire.Internal:
		r.Log.Error("open session", "envoy", id, "err", err)
	case wire.Cancelled, wire.Killed, wire.OperatorChanged, wire.RelayShutdown, wire.RelayLost, wire.AuditUnavailable, wire.Revoked, wire.Quarantined, wire.GuacdUnavailable:
		return err // the envoy has no part in it
	}
	v, verr := r.fleet.Find(context.WithoutCancel(ctx), id.String())
	if verr != nil {
		return err
	}
	if code == wire.AgentTimeout && v.State == fleet.Online { // a warning from a while on anyway
		v.Warnings = append([]string{fmt.Sprintf("last seen %s ago", wire.Rough(r.Now().Sub(v.LastSeen)))}, v.Warnings...)
	}
	if kind != wire.KindSSH {
		v.Warnings = slices.DeleteFunc(v.Warnings, func(w string) bool { return w == fleet.NoSSH })
	}
	if notes := strings.Join(v.Warnings, "; "); notes != "" {
		known := fmt.Sprintf("known of %s: %s", v.Hostname, notes)
		if detail != "" {
			known = detail + " (" + known + ")"
		}
		detail = known
	}
	told := &wire.Error{Code: code, Detail: detail, Err: err}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		told.Advice = e.Advice
	}
	return told
}
