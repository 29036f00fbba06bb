package web

import (
	"net/http"
	"net/url"
	"strconv"

	"scrier/relay/access"
	"scrier/relay/fleet"
	"scrier/relay/session"
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
	// Listen is the address that the relay listens on; over the admin socket alone.
	Listen string `json:"listen,omitempty"`
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
		{method: "GET", pattern: "/start", verb: access.SeeSelf, what: "What a page begins with: who is calling, the relay, and what they may see of the fleet and the open sessions", packs: true, handle: a.start, out: Start{}, more: "`next` is the path of the envoys that follow, if there are more."},
		{method: "GET", pattern: "/relay", verb: access.SeeSelf, what: "What this relay is and offers", handle: a.about, out: About{}},
	}
}

// Start is all that a page has to ask for before it shows something.
type Start struct {
	Self     Self           `json:"self"`
	Relay    About          `json:"relay"`
	Envoys   []fleet.Envoy  `json:"envoys"` // as many as one page of the list has; none for roles that see none
	Next     string         `json:"next,omitempty"`
	Sessions []session.View `json:"sessions"` // the open ones
}

func (a *api) start(r *http.Request, who access.Operator) (any, error) {
	s := Start{Self: Self{Operator: who, May: who.Verbs()}, Relay: a.aboutFor(r, who), Envoys: []fleet.Envoy{}, Sessions: []session.View{}}
	if who.May(access.SeeEnvoys) == nil {
		rows, more, err := a.Fleet.Page(r.Context(), wire.EnvoyID{}, maxPage)
		if err != nil {
			return nil, err
		}
		s.Envoys = rows
		if more {
			q := url.Values{"limit": {strconv.Itoa(maxPage)}}
			s.Next = apiPath + "v1/envoys?" + following(q, "after", rows[len(rows)-1].ID.String()).Encode()
		}
	}
	if who.May(access.SeeSessions) == nil {
		list, err := a.Sessions.List(r.Context(), false, maxPage)
		if err != nil {
			return nil, err
		}
		s.Sessions = own(list, who)
	}
	return s, nil
}

func (a *api) about(r *http.Request, who access.Operator) (any, error) {
	return a.aboutFor(r, who), nil
}

func (a *api) aboutFor(r *http.Request, who access.Operator) About {
	about := a.About()
	if who.ID != "" {
		about.Listen = ""
	}
	about.Passkeys, about.PasskeysWhy = passkeysAt(r)
	return about
}
