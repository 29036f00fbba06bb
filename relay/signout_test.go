package relay

import (
	"context"
	"slices"
	"testing"
	"time"

	"scrier/relay/access"
	"scrier/relay/session"
	"scrier/wire"
)

// signedIn signs a browser in, and is its operator as a viewer who attaches from it.
func signedIn(t *testing.T, r *Relay, who access.Operator) session.Viewer {
	t.Helper()
	link, err := r.access.SignInLink(t.Context(), access.Local("test"), who.ID)
	if err != nil {
		t.Fatal(err)
	}
	in, err := r.access.SignInByLink(t.Context(), access.Browser{Source: "192.0.2.1"}, link.Token)
	if err != nil {
		t.Fatal(err)
	}
	v := viewerOf(who)
	v.SignIn = access.SignInID(in.Cookie)
	v.Check = func(typed bool) error {
		if typed {
			return r.access.Touch(context.Background(), v.SignIn)
		}
		return r.access.Counts(context.Background(), v.SignIn)
	}
	return v
}

// A sign-in that nobody used for 30 minutes is over for viewers too: what is typed then does not
// reach the shell, and a ticket of before attaches nobody.
func TestViewersEndWithTheirSignIn(t *testing.T) {
	for what, typed := range map[string]bool{"who types": true, "who watches": false} {
		t.Run(what, func(t *testing.T) {
			var c clock
			r := start(t, c.settings)
			servedBy(t, r, counter)
			p := newPage(t, r, admin(t, r, "ann"), "web1", carriers["WebSocket"])
			v := signedIn(t, r, p.who)
			v.Watch = !typed
			attach := func() error {
				ticket, err := r.sessions.Ticket(p.id, v)
				if err != nil {
					t.Fatal(err)
				}
				p.Framed = wire.NewFramed(p.open(t, r, p.id))
				if err := p.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				if err := p.Send(&wire.Attach{Ticket: ticket, Client: p.client}); err != nil {
					t.Fatal(err)
				}
				_, err = wire.Expect[wire.Attached](p)
				return err
			}
			if err := attach(); err != nil {
				t.Fatal(err)
			}
			c.turn(31 * time.Minute)
			if typed {
				p.typing("3\n")
			} else if err := p.Send(&wire.Ping{N: 1}); err != nil {
				t.Fatal(err)
			}
			if e := p.exit(); e.Code != wire.SignedOut || len(p.shown) > 0 {
				t.Errorf("ended with %+v behind %q", e, p.shown)
			}
			if err := attach(); wire.CodeOf(err) != wire.SignedOut {
				t.Errorf("attached again: %v", err)
			}
		})
	}
}

// H51: the stream of events of an operator who was changed ends at once, not with its next comment.
func TestEventsEndWithTheRight(t *testing.T) {
	r := start(t)
	ann := admin(t, r, "ann")
	server := serverFor(t, r, is(ann))
	f := follow(t, server.Client(), server.URL)
	until[struct{}](f, "comment", nil)
	if _, err := r.access.Update(t.Context(), access.Local("test"), ann.ID, access.User{Role: access.Viewer}); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(f.ends(), "comment") {
		t.Error("the stream ended with its next comment only")
	}
}
