package session

import (
	"context"
	"time"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// View is a session as the API shows one.
type View struct {
	ID        wire.SessionID `json:"id"`
	EnvoyID   wire.EnvoyID   `json:"envoy_id"`
	EnvoyName string         `json:"envoy_name"`
	Operator  string         `json:"operator"`
	Own       bool           `json:"own"` // the caller's; set by who answers
	Login     string         `json:"login"`
	Kind      string         `json:"kind"`
	Channel   string         `json:"channel,omitempty"` // of an open one of kind ssh: what whoever attaches sees, e.g. shell or hold
	State     store.State    `json:"state"`
	Attached  bool           `json:"attached"`
	Watchers  []string       `json:"watchers"`
	Reason    string         `json:"reason"` // the code's name, or "exit"; empty while open
	Detail    string         `json:"detail,omitempty"`
	Sent      uint64         `json:"sent"`     // bytes to the envoy
	Received  uint64         `json:"received"` // bytes from the envoy
	Created   time.Time      `json:"created"`
	Opened    time.Time      `json:"opened,omitzero"`
	Closed    time.Time      `json:"closed,omitzero"`
	Ends      time.Time      `json:"ends,omitzero"` // when it ends unless its owner comes back

	OperatorID string `json:"-"`
}

// List is the sessions that are not closed, those whose record is missing first, or all of them, newest
// first.
func (t *Table) List(ctx context.Context, all bool, limit int) ([]View, error) {
	var rows []store.Session
	if err := t.KV.View(ctx, func(tx store.Tx) (err error) {
		if all {
			rows, err = store.Sessions(tx, limit, wire.SessionID{})
			return err
		}
		if rows, err = store.ClosingSessions(tx); err != nil {
			return err
		}
		open, err := store.OpenSessions(tx)
		rows = append(rows, open...)
		return err
	}); err != nil {
		return nil, err
	}
	out := make([]View, 0, len(rows))
	for _, r := range rows {
		out = append(out, t.view(r))
	}
	return out, nil
}

// Get is one session, open or closed.
func (t *Table) Get(ctx context.Context, id wire.SessionID) (View, error) {
	var row store.Session
	err := t.KV.View(ctx, func(tx store.Tx) (err error) {
		row, err = store.GetSession(tx, id)
		return err
	})
	if err != nil {
		return View{}, err
	}
	return t.view(row), nil
}

func (t *Table) view(r store.Session) View {
	v := View{
		ID: r.ID, EnvoyID: r.Envoy, EnvoyName: r.EnvoyName, Operator: r.Operator, OperatorID: r.OperatorID, Login: r.Login,
		Kind: r.Kind, State: r.State, Sent: r.Sent, Received: r.Received,
		Created: r.Created, Opened: r.Opened, Closed: r.Closed, Watchers: []string{},
	}
	if r.State == store.Closed || r.State == store.Closing {
		v.Reason, v.Detail = reason(r.Code, ""), detailOf(r.Code, r.Reason)
	} else if s := t.find(r.ID); s != nil {
		v.Sent, v.Received = s.sent.Load(), s.received.Load()
		v.Attached, v.Watchers = s.present()
		v.Ends = s.ends().UTC()
		if shown := s.shown(); len(shown) > 0 {
			v.Channel = shown[0].fields["channel"]
		}
	}
	return v
}

func (t *Table) find(id wire.SessionID) *Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live[id]
}

// Find is an open session.
func (t *Table) Find(id wire.SessionID) (*Session, error) {
	if s := t.find(id); s != nil {
		return s, nil
	}
	return nil, wire.Errorf(wire.NotFound, "there is no open session %s", id).Advise("see `scrier sessions list`")
}

// Own is an open session of an operator's own. For one of another's and for none there are the same words.
func (t *Table) Own(id wire.SessionID, operatorID string) (*Session, error) {
	s := t.find(id)
	if s == nil || operatorID == "" || s.row.OperatorID != operatorID {
		return nil, wire.Errorf(wire.NotFound, "there is no open session %s", id).Advise("see `scrier sessions list`")
	}
	return s, nil
}

// Kill ends one open session. If the audit log cannot be written it ends all the same: who did it is in
// the record of its end, which the row keeps.
func (t *Table) Kill(ctx context.Context, by audit.Event, id wire.SessionID) error {
	s, err := t.Find(id)
	if err != nil {
		return err
	}
	by.Type, by.Session, by.Envoy, by.EnvoyName = "session.kill", id.String(), s.row.Envoy.String(), s.row.EnvoyName
	if _, err := t.Journal.AppendEnd(ctx, by); err != nil {
		t.Log.Error("audit", "session", id, "err", err)
		t.look()
	}
	s.End(wire.Errorf(wire.Killed, "ended by %s", by.Operator))
	return nil
}

// EndWhere asks for the end of all open sessions that match.
func (t *Table) EndWhere(match func(store.Session) bool, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.live {
		if match(s.row) {
			s.End(why)
		}
	}
}

// EndAll asks for the end of all open sessions, and lets no new ones begin.
func (t *Table) EndAll(why error) {
	t.mu.Lock()
	if t.over == nil {
		close(t.leaving)
	}
	t.over = why
	t.mu.Unlock()
	t.EndWhere(func(store.Session) bool { return true }, why)
}

// Wait returns when no session is live, or ctx ends.
func (t *Table) Wait(ctx context.Context) error {
	for {
		t.mu.Lock()
		n := len(t.live)
		t.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
