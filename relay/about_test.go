package relay

import (
	"testing"

	"scrier/relay/access"
	"scrier/relay/web"
)

// Where the relay listens is for who is on its host, as `scrier doctor` is; operators know where they reached it.
func TestAboutTellsWhereItListens(t *testing.T) {
	r := start(t)
	ann := newPerson(t, r, "ann", access.Admin)
	if got := answer[web.About](t, callAs(t, r, access.Local("root"), "GET", "/relay", nil)); got.Listen != r.Addr() {
		t.Errorf("root is told %q", got.Listen)
	}
	who := access.Operator{ID: ann.user.ID, Username: "ann", Role: access.Admin, Epoch: 1}
	if got := answer[web.About](t, callAs(t, r, who, "GET", "/relay", nil)); got.Listen != "" || got.Fingerprint != r.Fingerprint() {
		t.Errorf("an operator is told %+v", got)
	}
	if got := answer[web.Start](t, callAs(t, r, who, "GET", "/start", nil)); got.Relay.Listen != "" {
		t.Errorf("an operator is told %q", got.Relay.Listen)
	}
}
