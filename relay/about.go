package relay

import (
	"time"

	"scrier/relay/web"
	"scrier/wire"
)

// about is what pages have to know of this relay.
func (r *Relay) about() web.About {
	d := r.Config.Scrier.Desktop
	kinds := []wire.Kind{wire.KindSSH}
	if len(r.Config.Scrier.GuacdAddr) > 0 {
		kinds = append(kinds, wire.KindRDP, wire.KindVNC)
	}
	return web.About{
		Version: wire.Version(), Cluster: r.ca.Cluster(), Fingerprint: r.Fingerprint(),
		Listen: r.Addr(), LiveView: r.Config.Scrier.LiveView, DetachGrace: int64(time.Duration(r.Config.Scrier.DetachGrace) / time.Second),
		MaxSessions: r.Config.Scrier.MaxSessions, Kinds: kinds,
		Desktop: web.Desktop{
			ClipboardToEnvoy: d.ClipboardToEnvoy, ClipboardFromEnvoy: d.ClipboardFromEnvoy, Upload: d.Drive.Upload, Download: d.Drive.Download,
			Audio: d.Audio, NativeViewers: d.NativeViewers,
		},
	}
}
