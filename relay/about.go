package relay

import (
	"time"

	"scrier/relay/web"
	"scrier/wire"
)

// about is what pages have to know of this relay.
func (r *Relay) about() web.About {
	return web.About{
		Version: wire.Version(), Cluster: r.ca.Cluster(), Fingerprint: r.Fingerprint(),
		LiveView: r.Config.Scrier.LiveView, DetachGrace: int64(time.Duration(r.Config.Scrier.DetachGrace) / time.Second),
		MaxSessions: r.Config.Scrier.MaxSessions, Kinds: []wire.Kind{wire.KindSSH},
	}
}
