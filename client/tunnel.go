package client

import (
	"context"

	"scrier/wire"
)

// Tunnel opens a session for the bytes of the machine's own SSH server, which nobody else can read. Who is let in there, and
// as whom, is between that server and the SSH client that speaks to it.
func (r *Relay) Tunnel(ctx context.Context, envoy string) (Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, channelWait, wire.Errorf(wire.RelayUnreachable, "the session did not open within %s", wire.Period(channelWait)))
	defer cancel()
	stream, err := r.link.Open(ctx)
	if err != nil {
		return nil, r.ended(err)
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset(wire.Cancelled) })
	defer stop()
	c := &wire.Connect{Envoy: envoy, Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.Tunnel}, Needs: []wire.Right{wire.MayRaw}}
	a, err := new(wire.Attached), wire.Send(stream, c)
	if err == nil {
		a, err = wire.Expect[wire.Attached](stream)
	}
	if err == nil && a.Part == 0 { // an older relay has opened a shell
		err = errNoChannels
	}
	if err == nil && stop() {
		r.beat()
		return &conn{Stream: stream, session: &Session{life: wire.NewLife(), relay: r, link: r.link}, stop: func() bool { return true }}, nil
	}
	stream.Reset(wire.Cancelled)
	if ctx.Err() != nil {
		return nil, wire.Cause(ctx, wire.Cancelled)
	}
	return nil, r.ended(err)
}
