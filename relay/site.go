package relay

import (
	"context"

	"scrier/relay/access"
	"scrier/relay/session"
	"scrier/relay/web"
	"scrier/static"
	"scrier/wire"
)

// site is what browsers reach.
func (r *Relay) site() web.Site {
	return web.Site{
		API:    r.api,
		Pages:  web.Pages(web.PagesConfig{Files: static.Files(), Covered: r.tls.Covers, HTTP3: r.tls.Known}),
		Attach: &web.Attacher{Attach: r.attachBrowser, Origin: web.SameOrigin, Log: r.Log, Panics: r.panics},
		Panics: r.panics,
		Guard: web.BrowserConfig{
			Access: r.access, Hosts: r.tls.Hosts, Covered: r.tls.Covers, Log: r.Log,
		},
	}
}

// connectWeb opens a session for the API. Its viewer attaches with a ticket. If it can be asked, and the machine says
// or asks something, the session is returned while it is being opened.
func (r *Relay) connectWeb(ctx context.Context, who access.Operator, req *session.Request) (*session.Session, error) {
	if !req.Answers {
		return r.open(ctx, who, req)
	}
	o, err := r.reserve(ctx, who, req)
	if err != nil {
		return nil, err
	}
	o.Dialogue().Listen()
	done := make(chan error, 1)
	go func() {
		done <- r.panics.Contain("session", func() error { return r.finish(context.WithoutCancel(ctx), o) }, "session", o.ID())
	}()
	select {
	case err = <-done:
	case <-o.Dialogue().Spoke():
		return o.Session, nil
	case <-ctx.Done():
		o.End(wire.Cause(ctx, wire.Cancelled))
		err = <-done
	}
	select {
	case <-o.Dialogue().Spoke():
		err = nil // the viewer is told what was said, and then what became of it
	default:
	}
	return o.Session, err
}
