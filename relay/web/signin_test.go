package web

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/wire"
)

// A link signs one browser in, and the two halves of the secret are nowhere but there.
func TestLinkSignsIn(t *testing.T) {
	d := newDesk(t)
	ann := d.operator("ann", access.Viewer)
	b := d.tab()
	b.want("before", b.call("GET", "/self", nil), wire.Unauthenticated)
	token := d.link(ann)
	in := decode[SignedIn](t, b.call("POST", "/signin/link", LinkToken{token}))
	if in.Username != "ann" || in.Role != access.Viewer {
		t.Errorf("%+v", in)
	}
	me := decode[Self](t, b.call("GET", "/self", nil))
	if me.ID != ann.ID || !slices.Equal(me.May, (access.Operator{Role: access.Viewer}).Verbs()) || len(me.May) == 0 {
		t.Errorf("%+v", me)
	}
	b.want("what the role may not", b.call("GET", "/users", nil), wire.Forbidden)

	other := d.tab()
	other.want("used", other.call("POST", "/signin/link", LinkToken{token}), wire.LinkInvalid)
	late := d.link(ann)
	d.turn(15 * time.Minute)
	other.want("expired", other.call("POST", "/signin/link", LinkToken{late}), wire.LinkInvalid)
	for what, token := range map[string]string{"empty": "", "short": "abc", "unknown": strings.Repeat("A", 43), "padded": late + "="} {
		other.want(what, other.call("POST", "/signin/link", LinkToken{token}), wire.LinkInvalid)
	}
	if other.cookie != "" {
		t.Error("a refused browser has a cookie")
	}
	if links, ins, refused := d.records("operator.link"), d.records("operator.signin"), d.records("operator.signin_refused"); len(links) != 2 || len(ins) != 1 || len(refused) != 6 {
		t.Errorf("audit: %d links, %d sign-ins, %d refused", len(links), len(ins), len(refused))
	} else if links[0].Operator != "local:test" || links[0].Fields["username"] != "ann" || ins[0].Operator != "ann" || ins[0].Fields["method"] != "link" || ins[0].Source != "192.0.2.1" || ins[0].Fields["link_by"] != "local:test" {
		t.Errorf("audit: %+v %+v", links[0], ins[0])
	}
	// Neither stored nor logged.
	everything := d.said.String()
	for k, v := range d.state() {
		everything += k + v
	}
	for _, kind := range []string{"operator.link", "operator.signin", "operator.signin_refused"} {
		for _, r := range d.records(kind) {
			everything += r.Detail
			for _, v := range r.Fields {
				everything += v
			}
		}
	}
	for what, secret := range map[string]string{"the cookie": b.cookie, "a link": token} {
		if strings.Contains(everything, secret) {
			t.Errorf("%s was written down", what)
		}
	}
}

// Of a hundred browsers that open one link at once, one is signed in.
func TestLinkIsUsedOnce(t *testing.T) {
	d := newDesk(t)
	token := d.link(d.operator("ann", access.Admin))
	var wg sync.WaitGroup
	var won, lost atomic.Int32
	for i := range 100 {
		wg.Go(func() {
			b := d.tab()
			b.source = "192.0.2." + string(rune('0'+i%10)) // so that their failures do not slow them down
			switch code := codeOf(t, b.call("POST", "/signin/link", LinkToken{token})).Code; code {
			case wire.None:
				won.Add(1)
			case wire.LinkInvalid, wire.Busy:
				lost.Add(1)
			default:
				t.Errorf("a loser got %s", code)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 99 || len(d.records("operator.signin")) != 1 {
		t.Errorf("%d signed in, %d did not, %d records", won.Load(), lost.Load(), len(d.records("operator.signin")))
	}
}

// Guessing is slowed down by where it comes from, and nobody else is.
func TestGuessingLinksIsSlowed(t *testing.T) {
	d := newDesk(t)
	ann := d.operator("ann", access.Admin)
	b, other := d.tab(), d.tab()
	other.source = "198.51.100.1"
	for range 10 {
		b.want("a guess", b.call("POST", "/signin/link", LinkToken{strings.Repeat("A", 43)}), wire.LinkInvalid)
	}
	good := d.link(ann)
	b.want("one guess more", b.call("POST", "/signin/link", LinkToken{good}), wire.Busy)
	other.want("somebody else", other.call("POST", "/signin/link", LinkToken{good}), wire.None)
	d.turn(time.Minute)
	b.signIn(ann)
}

// What cannot be written down does not happen, and the link stays good.
func TestSignInIsWrittenDownFirst(t *testing.T) {
	d := newDesk(t)
	token := d.link(d.operator("ann", access.Admin))
	before := d.state()
	d.deaf.Store(true)
	b := d.tab()
	b.want("without an audit log", b.call("POST", "/signin/link", LinkToken{token}), wire.AuditUnavailable)
	if b.cookie != "" || !d.unchanged(before, d.log.Size()) {
		t.Errorf("cookie %t, state %v", b.cookie != "", d.state())
	}
	d.deaf.Store(false)
	b.want("with it again", b.call("POST", "/signin/link", LinkToken{token}), wire.None)
}

// A sign-in ends when nothing was done for 30 minutes, and after 12 hours in any case.
func TestSignInsExpire(t *testing.T) {
	d := newDesk(t)
	ann := d.operator("ann", access.Admin)
	b := d.tab()
	b.signIn(ann)
	d.turn(29 * time.Minute)
	b.want("29 minutes", b.call("GET", "/self", nil), wire.None)
	d.turn(29 * time.Minute)
	b.want("29 minutes more", b.call("GET", "/self", nil), wire.None)
	d.turn(30*time.Minute + time.Second)
	b.want("idle", b.call("GET", "/self", nil), wire.SignedOut)
	if err := d.access.Touch(t.Context(), access.SignInID(b.cookie)); wire.CodeOf(err) != wire.SignedOut {
		t.Errorf("an idle one came back: %v", err)
	}
	b.signIn(ann)
	id := access.SignInID(b.cookie)
	for range 35 { // a viewer in whom somebody types
		d.turn(20 * time.Minute)
		if err := d.access.Touch(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	b.want("11 hours 40", b.call("GET", "/self", nil), wire.None)
	d.turn(20 * time.Minute)
	b.want("12 hours", b.call("GET", "/self", nil), wire.SignedOut)
	// The next sign-in sweeps what is over.
	d.tab().signIn(ann)
	n := 0
	for k := range d.state() {
		if strings.HasPrefix(k, "signin/") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d rows", n)
	}
	if seen := d.said.String(); strings.Contains(seen, "in use") {
		t.Error(seen)
	}
}

// Use is written down at most once a minute.
func TestUseIsWrittenDownRarely(t *testing.T) {
	d := newDesk(t)
	b := d.tab()
	b.signIn(d.operator("ann", access.Admin))
	before := d.state()
	for range 50 {
		d.turn(time.Second)
		b.want("a request", b.call("GET", "/self", nil), wire.None)
	}
	if !d.unchanged(before, d.log.Size()) {
		t.Error("50 requests in 50 seconds were written down")
	}
	d.turn(time.Minute)
	b.want("a minute later", b.call("GET", "/self", nil), wire.None)
	if d.unchanged(before, d.log.Size()) {
		t.Error("a minute's use was not")
	}
}

// A browser that signs in again has a new cookie, and the old one is worth nothing.
func TestSignInRotates(t *testing.T) {
	d := newDesk(t)
	ann, bob := d.operator("ann", access.Admin), d.operator("bob", access.Viewer)
	b := d.tab()
	b.signIn(ann)
	first, id := b.cookie, access.SignInID(b.cookie)
	b.signIn(bob)
	if b.cookie == first {
		t.Error("the cookie is the same")
	}
	thief := d.tab()
	thief.cookie = first
	thief.want("the old cookie", thief.call("GET", "/self", nil), wire.SignedOut)
	if got := d.signOuts(); !slices.Equal(got, []string{ann.ID + "/" + id}) {
		t.Errorf("told: %q", got)
	}
	// A cookie that somebody else planted is not taken over.
	planted := d.tab()
	planted.cookie = strings.Repeat("B", 43)
	planted.signIn(ann)
	if planted.cookie == strings.Repeat("B", 43) {
		t.Error("a planted cookie was taken")
	}
}

// H51: whatever changes an operator ends all of their sign-ins and links.
func TestChangedOperatorIsSignedOut(t *testing.T) {
	for name, c := range map[string]struct {
		change func(d *desk, id string) error
		code   wire.Code
	}{
		"role": {func(d *desk, id string) error {
			_, err := d.access.Update(d.t.Context(), access.Local("test"), id, access.User{Role: access.Viewer})
			return err
		}, wire.OperatorChanged},
		"keys": {func(d *desk, id string) error {
			_, err := d.access.Update(d.t.Context(), access.Local("test"), id, access.User{Keys: []string{}})
			return err
		}, wire.OperatorChanged},
		"deleted": {func(d *desk, id string) error { return d.access.Delete(d.t.Context(), access.Local("test"), id) }, wire.SignedOut},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			ann := d.operator("ann", access.Admin)
			b, other := d.tab(), d.tab()
			b.signIn(ann)
			other.signIn(ann)
			link := d.link(ann)
			if err := c.change(d, ann.ID); err != nil {
				t.Fatal(err)
			}
			for _, b := range []*tab{b, other} {
				b.want(name, b.call("GET", "/self", nil), c.code)
				if err := d.access.Touch(t.Context(), access.SignInID(b.cookie)); wire.CodeOf(err) != c.code {
					t.Errorf("a viewer goes on: %v", err)
				}
			}
			b.want("a link from before", d.tab().call("POST", "/signin/link", LinkToken{link}), wire.LinkInvalid)
			if name == "deleted" {
				return
			}
			b.signIn(asNow(t, d, ann))
			if all := decode[[]access.SignIn](t, b.call("GET", "/self/signins", nil)); len(all) != 1 || !all[0].Current {
				t.Errorf("those from before are listed: %+v", all)
			}
		})
	}
}

// asNow is an operator as they are now.
func asNow(t *testing.T, d *desk, u access.User) access.User {
	t.Helper()
	all, err := d.access.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all[slices.IndexFunc(all, func(o access.User) bool { return o.ID == u.ID })]
}

// One sees one's own sign-ins, and ends one, this one or all.
func TestSignOut(t *testing.T) {
	d := newDesk(t)
	ann, bob := d.operator("ann", access.Admin), d.operator("bob", access.Admin)
	a, b, c, other := d.tab(), d.tab(), d.tab(), d.tab()
	for _, x := range []*tab{a, b, c} {
		x.signIn(ann)
		d.turn(time.Second)
	}
	other.signIn(bob)
	all := decode[[]access.SignIn](t, a.call("GET", "/self/signins", nil))
	if len(all) != 3 || !all[2].Current || all[0].Current || all[0].Method != "link" || all[0].Source != "192.0.2.1" || !strings.Contains(all[0].Agent, `Mozilla/5.0 \x1b[31mred`) {
		t.Fatalf("%+v", all)
	}
	if !all[0].Expires.Equal(all[0].Seen.Add(30*time.Minute)) || all[0].ID == "" {
		t.Errorf("%+v", all[0])
	}
	idB := access.SignInID(b.cookie)
	other.want("another's", other.call("DELETE", "/self/signins/"+idB, nil), wire.NotFound)
	a.want("one that is not", a.call("DELETE", "/self/signins/nothing", nil), wire.NotFound)
	b.want("it counts", b.call("GET", "/self", nil), wire.None)
	resp := a.call("DELETE", "/self/signins/"+idB, nil)
	a.want("one of my own", resp, wire.None)
	if resp.StatusCode != http.StatusNoContent || len(resp.Cookies()) != 0 {
		t.Errorf("status %d, cookies %v", resp.StatusCode, resp.Cookies())
	}
	b.want("it is over", b.call("GET", "/self", nil), wire.SignedOut)

	idA, cookieA := access.SignInID(a.cookie), a.cookie
	a.want("sign out", a.call("POST", "/signout", struct{}{}), wire.None)
	if a.cookie != "" {
		t.Error("the cookie is still there")
	}
	a.cookie = cookieA
	a.want("signed out", a.call("GET", "/self", nil), wire.SignedOut)

	link := d.link(ann)
	a.signIn(ann)
	c.want("everywhere", c.call("DELETE", "/self/signins", nil), wire.None)
	if c.cookie != "" {
		t.Error("the cookie is still there")
	}
	a.want("here too", a.call("GET", "/self", nil), wire.SignedOut)
	a.want("and the links", d.tab().call("POST", "/signin/link", LinkToken{link}), wire.LinkInvalid)
	other.want("others are not meant", other.call("GET", "/self", nil), wire.None)
	if got := d.signOuts(); !slices.Equal(got, []string{ann.ID + "/" + idB, ann.ID + "/" + idA, ann.ID + "/"}) {
		t.Errorf("told: %q", got)
	}
	if n := len(d.records("operator.signout")); n != 3 {
		t.Errorf("%d records of sign-outs", n)
	}
}

// Links lead to where the relay was reached; a new operator gets one.
func TestLinkAddresses(t *testing.T) {
	d := newDesk(t)
	ann := d.operator("ann", access.Admin)
	b := d.tab()
	b.signIn(ann)
	bob := decode[Created](t, b.call("POST", "/users", access.User{Username: "bob", Role: access.Viewer}))
	for what, l := range map[string]Link{
		"a new operator's": *bob.Link,
		"another's":        decode[Link](t, b.call("POST", "/users/bob/links", struct{}{})),
		"my own":           decode[Link](t, b.call("POST", "/self/links", struct{}{})),
	} {
		path, token, _ := strings.Cut(l.URL, "#")
		if path != "https://"+relayHost+"/signin" || l.Path != "/signin#"+token || time.Until(l.Expires) > 15*time.Minute || time.Until(l.Expires) < 14*time.Minute {
			t.Errorf("%s: %+v", what, l)
		}
		d.tab().want(what, d.tab().call("POST", "/signin/link", LinkToken{token}), wire.None)
	}
	b.want("nobody's", b.call("POST", "/users/nobody/links", struct{}{}), wire.NotFound)
	viewer := d.tab()
	viewer.signIn(bob.User)
	viewer.want("another's, as a viewer", viewer.call("POST", "/users/ann/links", struct{}{}), wire.Forbidden)
	viewer.want("my own, as a viewer", viewer.call("POST", "/self/links", struct{}{}), wire.None)
}
