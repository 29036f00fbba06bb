package session_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// login is a session that is being opened, in a synctest bubble.
type login struct {
	*testing.T
	table *session.Table
	*session.Channel
	*session.Dialogue
}

// opening runs a test with a session whose machine has something to say.
func opening(t *testing.T, f func(*testing.T, *login)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		table, _ := sessiontest.Table(t)
		s := sessiontest.Reserve(t, table)
		l := &login{t, table, s, s.Dialogue()}
		l.Listen()
		l.As("deploy")
		f(t, l)
		if err := s.Close(wire.None, ""); err != nil {
			t.Error(err)
		}
	})
}

// answerer is a viewer; served is what its Serve returned.
type answerer struct {
	*login
	*wire.Framed
	served chan error
}

func (l *login) attach(who session.Viewer) *answerer {
	return l.attachAs(who, &wire.Attach{Client: make([]byte, 16), Answers: true})
}

func (l *login) attachAs(who session.Viewer, a *wire.Attach) *answerer {
	near, far := wiretest.Streams()
	v := &answerer{l, wire.NewFramed(near), make(chan error, 1)}
	l.T.Cleanup(func() { near.Reset(wire.None) })
	go func() {
		f := wire.NewFramed(far)
		err := l.Serve(context.Background(), f, who, a)
		if err != nil {
			_ = f.Send(wire.Refuse(err))
		}
		v.served <- err
	}()
	return v
}

// next is the next message, of which the type is given by an example.
func next[M wire.Message](v *answerer) (none M) {
	v.T.Helper()
	m, err := v.Receive()
	got, ok := m.(M)
	if !ok {
		v.T.Fatalf("%T %+v, %v, not %T", m, m, err, none)
	}
	return got
}

// result is what an Ask came to.
type result struct {
	texts string
	err   error
}

func (l *login) asks(ctx context.Context, q ...wire.Question) <-chan result {
	c := make(chan result, 1)
	go func() {
		a, err := l.Ask(ctx, &wire.Ask{Text: "please", Questions: q})
		r := result{err: err}
		if a != nil {
			for _, t := range a.Texts {
				r.texts += string(t) + ";"
			}
			a.Wipe()
		}
		c <- r
	}()
	synctest.Wait()
	return c
}

var code = wire.Question{Text: "Code:"}

// The owner's viewer is told and asked, and goes on to the session.
func TestDialogue(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		v := l.attach(session.Viewer{OperatorID: "1"})
		if m := next[*wire.Said](v); m.Text != "" || m.Login != "deploy" {
			t.Errorf("greeted with %+v", m)
		}
		l.Said("Welcome\x1b[2J\n\u202e")
		if m := next[*wire.Said](v); m.Text != "Welcome\\x1b[2J\n\\u202e" {
			t.Errorf("told %q", m.Text)
		}
		if err := v.Send(&wire.Ping{N: 5}); err != nil {
			t.Fatal(err)
		}
		if m := next[*wire.Pong](v); m.N != 5 {
			t.Errorf("%+v", m)
		}
		got := l.asks(t.Context(), code, wire.Question{Text: "Name:", Echo: true})
		m := next[*wire.Ask](v)
		if m.ID != 1 || m.Text != "please" || len(m.Questions) != 2 || m.Questions[0] != code || !m.Questions[1].Echo || m.Login != "deploy" {
			t.Errorf("asked %+v", m)
		}
		if err := v.Send(&wire.Answer{ID: 1, Texts: [][]byte{[]byte("123"), nil}}); err != nil {
			t.Fatal(err)
		}
		if r := <-got; r.err != nil || r.texts != "123;;" {
			t.Errorf("answered %+v", r)
		}
		p := newPlayed()
		if err := l.Show(t.Context(), session.Shown{Login: "deploy", Stage: p}); err != nil {
			t.Fatal(err)
		}
		l.Over(nil)
		if err := <-v.served; err != nil { // played serves nobody
			t.Error(err)
		}
		p.end <- &wire.Exit{}
		<-p.dismissed
	})
}

// Only a viewer that owns the session and can answer comes before there is a stage.
func TestDialogueIsTheOwners(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		l.Said("hello")
		for what, a := range map[string]struct {
			watch, answers bool
		}{"who watches": {true, true}, "an older one": {false, false}} {
			near, far := wiretest.Streams()
			err := l.Serve(t.Context(), wire.NewFramed(far), session.Viewer{Watch: a.watch}, &wire.Attach{Answers: a.answers})
			if wire.CodeOf(err) != wire.NotFound {
				t.Errorf("%s: %v", what, err)
			}
			near.Reset(wire.None)
		}
		refused := errors.New("signed out")
		v := l.attach(session.Viewer{Check: func(bool) error { return refused }})
		if err := <-v.served; !errors.Is(err, refused) {
			t.Errorf("who was signed out: %v", err)
		}
	})
}

// Whoever attaches last is asked, with all that was said; the one before is told, and not heard any more.
func TestDialogueIsTakenOver(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		first := l.attach(session.Viewer{})
		next[*wire.Said](first)
		l.Said("hello")
		next[*wire.Said](first)
		got := l.asks(t.Context(), code)
		next[*wire.Ask](first)
		second := l.attach(session.Viewer{})
		if m := next[*wire.Said](second); m.Text != "hello" {
			t.Errorf("the second is told %q", m.Text)
		}
		if m := next[*wire.Ask](second); m.ID != 1 {
			t.Errorf("the second is asked %+v", m)
		}
		if m := next[*wire.Exit](first); m.Code != wire.TakenOver {
			t.Errorf("the first ends with %+v", m)
		}
		_ = first.Send(&wire.Answer{ID: 1, Texts: [][]byte{[]byte("wrong")}}) // its stream may have ended
		if err := second.Send(&wire.Answer{ID: 9, Texts: [][]byte{[]byte("of another question")}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := second.Send(&wire.Answer{ID: 1, Texts: [][]byte{[]byte("right")}}); err != nil {
			t.Fatal(err)
		}
		if r := <-got; r.texts != "right;" {
			t.Errorf("answered %+v", r)
		}
		l.Over(errors.New("enough"))
		<-second.served
	})
}

// A session for one viewer alone is taken over by nobody while it is opened.
func TestDialogueIsForOneViewer(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		l.Only(make([]byte, 16))
		mine := l.attach(session.Viewer{OperatorID: "1"})
		next[*wire.Said](mine)
		page := l.attachAs(session.Viewer{OperatorID: "1"}, &wire.Attach{Client: []byte("another one, say"), Answers: true})
		if m := next[*wire.Refused](page); m.Code != wire.Conflict {
			t.Errorf("refused with %v", m.Code)
		}
		<-page.served
		l.Over(&wire.Error{Code: wire.AuthFailed})
		if m := next[*wire.Refused](mine); m.Code != wire.AuthFailed {
			t.Errorf("the one that it is for hears %v", m.Code)
		}
		<-mine.served
	})
}

// Who has been taken over ends nothing, in whatever moment they give up.
func TestDialogueIsGivenUpByWhoHasIt(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		second := make(chan *answerer, 1)
		first := l.attach(session.Viewer{Check: func(typed bool) error {
			if typed {
				second <- l.attach(session.Viewer{})
				time.Sleep(time.Second)
			}
			return nil
		}})
		got := l.asks(l.Context(), code)
		if err := first.Send(&wire.Answer{Cancel: true}); err != nil {
			t.Fatal(err)
		}
		v := <-second
		<-first.served
		if err := v.Send(&wire.Answer{ID: 1, Texts: [][]byte{[]byte("right")}}); err != nil {
			t.Fatal(err)
		}
		if r := <-got; r.texts != "right;" {
			t.Errorf("answered %+v", r)
		}
		l.Over(errors.New("enough"))
		<-v.served
	})
}

// Who comes back by itself leaves the session to who has taken it over, also while that one has no connection.
func TestDialogueIsNotTakenBack(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		one := &wire.Attach{Client: []byte("one"), Answers: true}
		again := &wire.Attach{Client: []byte("one"), Answers: true, Back: true}
		for range 2 {
			v := l.attachAs(session.Viewer{}, one)
			next[*wire.Said](v)
			v.Reset(wire.ViewerLost)
			<-v.served
			one = again
		}
		second := l.attachAs(session.Viewer{}, &wire.Attach{Client: []byte("two"), Answers: true})
		next[*wire.Said](second)
		for range 2 {
			if m := next[*wire.Refused](l.attachAs(session.Viewer{}, again)); m.Code != wire.TakenOver {
				t.Errorf("refused with %+v", m)
			}
			second.Reset(wire.ViewerLost) // its connection breaks
			synctest.Wait()
		}
		<-second.served
	})
}

// Who signs out in the moment in which they attach is told nothing.
func TestDialogueAfterSigningOut(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		l.Said("hello")
		asked := 0
		v := l.attach(session.Viewer{Check: func(bool) error {
			if asked++; asked == 1 {
				return nil
			}
			return &wire.Error{Code: wire.SignedOut}
		}})
		if m := next[*wire.Refused](v); m.Code != wire.SignedOut {
			t.Errorf("refused with %+v", m)
		}
		<-v.served
	})
}

// What a viewer sends that is no answer ends it, and the question waits for another one.
func TestDialogueWithBadAnswers(t *testing.T) {
	for what, m := range map[string]wire.Message{
		"too many":  &wire.Answer{ID: 1, Texts: [][]byte{nil, nil}},
		"none":      &wire.Answer{ID: 1},
		"too long":  &wire.Answer{ID: 1, Texts: [][]byte{make([]byte, wire.MaxAnswer+1)}},
		"a key":     &wire.Data{Bytes: []byte("x")},
		"a message": &wire.Hello{},
	} {
		t.Run(what, func(t *testing.T) {
			opening(t, func(t *testing.T, l *login) {
				v := l.attach(session.Viewer{})
				next[*wire.Said](v)
				got := l.asks(t.Context(), code)
				next[*wire.Ask](v)
				if d, ok := m.(*wire.Data); ok {
					if err := v.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), d.Bytes...), 1)); err != nil {
						t.Fatal(err)
					}
				} else if err := v.Send(m); err != nil {
					t.Fatal(err)
				}
				if err := <-v.served; wire.CodeOf(err) != wire.Protocol {
					t.Errorf("served with %v", err)
				}
				v = l.attach(session.Viewer{})
				next[*wire.Said](v)
				next[*wire.Ask](v)
				if err := v.Send(&wire.Answer{ID: 1, Texts: [][]byte{nil}}); err != nil {
					t.Fatal(err)
				}
				if r := <-got; r.err != nil {
					t.Error(r.err)
				}
				l.Over(errors.New("enough"))
				<-v.served
			})
		})
	}
}

// Nobody has to answer for ever, and the machine's time stands still meanwhile.
func TestDialogueEnds(t *testing.T) {
	unanswered := func(t *testing.T, r result, why string) {
		t.Helper()
		if wire.CodeOf(r.err) != wire.LoginUnanswered || !strings.Contains(wire.DetailOf(r.err), why) {
			t.Errorf("it ended with %+v", r)
		}
	}
	for what, f := range map[string]func(*testing.T, *login){
		"nobody is there": func(t *testing.T, l *login) {
			start := time.Now()
			unanswered(t, <-l.asks(t.Context(), code), "nobody was attached for 1m")
			if took := time.Since(start); took != time.Minute {
				t.Errorf("after %s", took)
			}
		},
		"they leave": func(t *testing.T, l *login) {
			v := l.attach(session.Viewer{})
			got := l.asks(t.Context(), code)
			v.Reset(wire.ViewerLost)
			unanswered(t, <-got, "nobody was attached")
		},
		"they come back": func(t *testing.T, l *login) {
			got := l.asks(t.Context(), code)
			time.Sleep(50 * time.Second)
			v := l.attach(session.Viewer{})
			time.Sleep(30 * time.Second)
			if err := v.Send(&wire.Answer{ID: 1, Texts: [][]byte{nil}}); err != nil {
				t.Fatal(err)
			}
			if r := <-got; r.err != nil {
				t.Error(r.err)
			}
		},
		"they think for too long": func(t *testing.T, l *login) {
			ctx, stop := l.Within(t.Context(), time.Second, func(string) error { return errors.New("too late") })
			defer stop()
			v := l.attach(session.Viewer{})
			first := l.asks(ctx, code)
			time.Sleep(100 * time.Second)
			if err := v.Send(&wire.Answer{ID: 1, Texts: [][]byte{nil}}); err != nil {
				t.Fatal(err)
			}
			if r := <-first; r.err != nil || ctx.Err() != nil {
				t.Fatalf("%v, %v", r.err, context.Cause(ctx))
			}
			start := time.Now()
			unanswered(t, <-l.asks(ctx, code), "no answer within 2m")
			if took := time.Since(start); took != 20*time.Second {
				t.Errorf("the second question had %s", took)
			}
			time.Sleep(2 * time.Second)
			if context.Cause(ctx) == nil || context.Cause(ctx).Error() != "too late" {
				t.Errorf("the limit ended with %v", context.Cause(ctx))
			}
		},
		"they give up": func(t *testing.T, l *login) {
			v := l.attach(session.Viewer{})
			got := l.asks(l.Context(), code)
			if err := v.Send(&wire.Answer{Cancel: true}); err != nil {
				t.Fatal(err)
			}
			if r := <-got; wire.CodeOf(r.err) != wire.Cancelled {
				t.Errorf("it ended with %+v", r)
			}
		},
		"their terminal goes": func(t *testing.T, l *login) {
			v := l.attach(session.Viewer{})
			got := l.asks(l.Context(), code)
			if err := v.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if r := <-got; wire.CodeOf(r.err) != wire.Cancelled {
				t.Errorf("it ended with %+v", r)
			}
		},
		"they sign out": func(t *testing.T, l *login) {
			v := l.attach(session.Viewer{SignIn: "x"})
			next[*wire.Said](v)
			got := l.asks(t.Context(), code)
			next[*wire.Ask](v)
			l.table.EndViewers(func(v session.Viewer) bool { return v.SignIn == "x" }, &wire.Error{Code: wire.SignedOut})
			if m := next[*wire.Exit](v); m.Code != wire.SignedOut {
				t.Errorf("told %+v", m)
			}
			unanswered(t, <-got, "nobody was attached")
		},
		"their sign-in has ended": func(t *testing.T, l *login) {
			v := l.attach(session.Viewer{Check: func(typed bool) error {
				if typed {
					return &wire.Error{Code: wire.SignedOut}
				}
				return nil
			}})
			got := l.asks(t.Context(), code)
			if err := v.Send(&wire.Answer{ID: 1, Texts: [][]byte{nil}}); err != nil {
				t.Fatal(err)
			}
			if err := <-v.served; wire.CodeOf(err) != wire.SignedOut {
				t.Errorf("served with %v", err)
			}
			unanswered(t, <-got, "nobody was attached")
		},
	} {
		t.Run(what, func(t *testing.T) { opening(t, f) })
	}
}

// Who opened the session and cannot be asked is not; what is said goes nowhere.
func TestDialogueWithNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := sessiontest.Table(t)
		s := sessiontest.Reserve(t, table)
		l := &login{t, table, s, s.Dialogue()}
		l.Said("hello")
		select {
		case <-l.Spoke():
			t.Error("it counts as said")
		default:
		}
		if r := <-l.asks(t.Context(), code); wire.CodeOf(r.err) != wire.LoginUnanswered {
			t.Errorf("it ended with %+v", r)
		}
		if err := s.Close(wire.None, ""); err != nil {
			t.Error(err)
		}
	})
}

// However much a machine says, a little is kept, and fits into a message.
func TestDialogueIsBounded(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		for range 10_000 {
			l.Said(strings.Repeat("\x00\ufe00", 1000))
		}
		v := l.attach(session.Viewer{})
		if m := next[*wire.Said](v); len(m.Text) > wire.MaxControl-1024 || len(m.Text) < 1024 {
			t.Errorf("%d bytes are told", len(m.Text))
		}
		l.Over(errors.New("enough"))
		<-v.served
	})
}

// A session that has not opened is there for the page that was given a ticket meanwhile, once.
func TestDialogueOfASessionThatDidNotOpen(t *testing.T) {
	opening(t, func(t *testing.T, l *login) {
		l.Said("You may not come in.")
		why := wire.Errorf(wire.AuthFailed, "no")
		if err := l.Close(wire.AuthFailed, "no"); err != nil {
			t.Fatal(err)
		}
		l.Over(why)
		for i, want := range []wire.Code{wire.None, wire.NotFound} {
			ticket, err := l.Session.Ticket(session.Viewer{})
			if err != nil {
				t.Fatal(err)
			}
			s, _, err := l.table.Redeem(ticket)
			if wire.CodeOf(err) != want {
				t.Fatalf("ticket %d: %v", i, err)
			}
			if err != nil {
				continue
			}
			if s != l.Session {
				t.Fatal("another session")
			}
			v := l.attach(session.Viewer{})
			if m := next[*wire.Said](v); m.Text != "You may not come in." {
				t.Errorf("told %q", m.Text)
			}
			if m := next[*wire.Refused](v); m.Code != wire.AuthFailed {
				t.Errorf("refused with %+v", m)
			}
			if err := <-v.served; !errors.Is(err, why) {
				t.Errorf("served with %v", err)
			}
		}
		if v := state(t, l.table, l.Channel); v.State != store.Closed {
			t.Errorf("it is %s", v.State)
		}
	})
}
