package relay

import (
	"testing"

	"scrier/relay/access"
	"scrier/relay/fleet"
	"scrier/relay/web"
	"scrier/wire"
)

// One answer has all that a page begins with, and nothing that its role does not list.
func TestStart(t *testing.T) {
	r := start(t)
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	enrolled(t, r, "web2")
	ann := newPerson(t, r, "ann", access.Admin)
	v, err := ann.connect("web1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who      access.Operator
		envoys   int
		sessions int
	}{
		{access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin}, 2, 1},
		{access.Operator{ID: "v", Username: "vera", Role: access.Viewer}, 2, 1},
		{access.Operator{ID: "c", Username: "carl", Role: access.Compliance}, 0, 1},
	} {
		s := answer[struct {
			Self     struct{ Username string }
			Relay    web.About
			Envoys   []fleet.Envoy
			Next     string
			Sessions []struct{ Own bool }
		}](t, callAs(t, r, c.who, "GET", "/start", nil))
		if s.Self.Username != c.who.Username || s.Relay.Cluster == "" || s.Next != "" || len(s.Envoys) != c.envoys || len(s.Sessions) != c.sessions {
			t.Errorf("%s begins with %+v", c.who.Username, s)
		}
		if len(s.Sessions) == 1 && s.Sessions[0].Own != (c.who.ID == ann.user.ID) {
			t.Errorf("%s: the session is own: %v", c.who.Username, s.Sessions[0].Own)
		}
	}
	if resp := call(t, r, "DELETE", "/sessions/"+v.attached.Session.String(), nil); resp.StatusCode != 204 {
		t.Error(resp.Status)
	}
	_ = v.exit(t)
	settled(t, r)
}
