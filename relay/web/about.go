package web

import (
	"net/http"

	"scrier/relay/access"
	"scrier/wire"
)

// About is what a page has to know of the relay before it offers anything.
type About struct {
	Version     string      `json:"version"`
	Cluster     string      `json:"cluster"`
	Fingerprint string      `json:"fingerprint"`
	LiveView    bool        `json:"live_view"`
	Passkeys    bool        `json:"passkeys"`
	PasskeysWhy string      `json:"passkeys_why"` // why there are none
	DetachGrace int64       `json:"detach_grace"` // seconds
	MaxSessions int         `json:"max_sessions"`
	Kinds       []wire.Kind `json:"kinds"` // of sessions
	Desktop     Desktop     `json:"desktop"`
}

// Desktop is what the relay's policy allows with remote desktops.
type Desktop struct {
	ClipboardToEnvoy   bool `json:"clipboard_to_envoy"`
	ClipboardFromEnvoy bool `json:"clipboard_from_envoy"`
	Upload             bool `json:"upload"`
	Download           bool `json:"download"`
	Audio              bool `json:"audio"`
	NativeViewers      bool `json:"native_viewers"`
}

func (a *api) aboutRoutes() []route {
	return []route{
		{method: "GET", pattern: "/relay", verb: access.SeeSelf, what: "What this relay is and offers", handle: a.about, out: About{}},
	}
}

func (a *api) about(r *http.Request, _ access.Operator) (any, error) {
	about := a.About()
	about.Passkeys, about.PasskeysWhy = passkeysAt(r)
	return about, nil
}
