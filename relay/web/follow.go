package web

import (
	"context"
	"net/http"
	"time"

	"scrier/relay/access"
	"scrier/wire"
)

const (
	writeTimeout = 10 * time.Second // for a page to take a piece
	piece        = 64 << 10
	checkTimeout = 5 * time.Second // to find out whether the operator still counts
)

func (a *api) eventRoutes() []route {
	return []route{{
		method: "GET", pattern: "/events", verb: access.SeeSelf, what: "Follow the fleet and the sessions", raw: a.events, media: "text/event-stream",
		more: "Server-sent events: `envoy` with an Envoy, `envoy-gone` with its id, `session` with a session, as far as the caller may see them. " +
			"They tell the new state and never the past: open the stream first and list then, and list anew when it was broken.",
	}}
}

// events is the stream of one open page. It ends with the page, the relay, the operator's right to
// it, or when the page does not read.
func (a *api) events(w http.ResponseWriter, r *http.Request, who access.Operator) {
	s, leave, err := a.Events.open(who)
	if err != nil {
		a.fail(w, err)
		return
	}
	defer leave()
	if !still(r.Context(), who) { // whoever ended the streams of this operator before now did not find this one
		a.fail(w, &wire.Error{Code: wire.OperatorChanged})
		return
	}
	rc := http.NewResponseController(w)
	// The servers' deadline is for answers that are over soon; here each piece has one of its own.
	if err := rc.SetWriteDeadline(time.Now().Add(a.Events.write)); err != nil {
		a.fail(w, wire.Errorf(wire.Internal, "this way in cannot stream: %w", err))
		return
	}
	write := func(p []byte) bool {
		if err := rc.SetWriteDeadline(time.Now().Add(a.Events.write)); err != nil {
			return false
		}
		if _, err := w.Write(p); err != nil {
			return false
		}
		if rc.Flush() != nil {
			return false
		}
		// Over HTTP/2 a deadline that passes ends the stream even when nothing waits to be written.
		return rc.SetWriteDeadline(time.Time{}) == nil
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	if !write([]byte("retry: 2000\n: scrier\n\n")) {
		return
	}
	ping := time.NewTicker(a.Events.ping)
	defer ping.Stop()
	for {
		var out []byte
		lost := false
		select {
		case <-r.Context().Done():
			return
		case <-a.Events.ended:
			return
		case <-ping.C:
			if !still(r.Context(), who) {
				return
			}
			out = []byte(":\n\n")
		case <-s.wake:
			out, lost = s.take(piece)
		}
		if len(out) > 0 && !write(out) || lost {
			return
		}
	}
}

// still says whether the operator is who they were, with the same role.
func still(ctx context.Context, who access.Operator) bool {
	caller, ok := ctx.Value(callerKey{}).(Caller)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	now, err := caller(ctx)
	return err == nil && now.ID == who.ID && now.Username == who.Username && now.Role == who.Role
}
