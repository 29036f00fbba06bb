package relay

import (
	"net"
	"slices"
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

// Where something in front of the relay has another port, that is what everybody is told.
func TestAddress(t *testing.T) {
	for _, c := range []struct{ address, origin, tells string }{
		{"relay.example.com:443", "https://relay.example.com", "relay.example.com:443"},
		{"relay.example.com:8444", "https://relay.example.com:8444", "relay.example.com:8444"},
		{"[2001:db8::1]:443", "https://[2001:db8::1]", "[2001:db8::1]:443"},
	} {
		r := start(t, func(s *Settings) { s.Config.Hosts, s.Config.Address = []string{"other.example.com"}, c.address })
		if got := r.origin(); got != c.origin {
			t.Errorf("%s: pages are at %s", c.address, got)
		}
		if got := r.address(); got != c.tells {
			t.Errorf("%s: the address is %s", c.address, got)
		}
		host, _, err := net.SplitHostPort(c.address)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(r.tls.Hosts, host) {
			t.Errorf("%s: the relay does not answer to it: %q", c.address, r.tls.Hosts)
		}
	}
}
