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

// connectWeb opens a session for the API. Its viewer attaches with a ticket.
func (r *Relay) connectWeb(ctx context.Context, who access.Operator, req *session.Request) (wire.SessionID, error) {
	s, err := r.open(ctx, who, req)
	if err != nil {
		return wire.SessionID{}, err
	}
	return s.ID(), nil
}
