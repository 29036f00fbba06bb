// Package access decides who may do what: operators and their keys, their sign-in, and the one
// table of roles.
//
// What the table does not allow is denied. Every route, command and session asks [Operator.May], and
// nothing else decides.
package access

import (
	"slices"

	"scrier/relay/store"
	"scrier/wire"
)

// Role is what an operator is to a relay.
type Role string

// The roles.
const (
	Admin      Role = "admin"      // everything
	Opener     Role = "operator"   // opens sessions, and administers nothing
	Viewer     Role = "viewer"     // sees envoys and sessions
	Compliance Role = "compliance" // sees sessions and the audit log
)

// Roles lists them all.
func Roles() []Role { return []Role{Admin, Opener, Viewer, Compliance} }

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", wire.Errorf(wire.BadRequest, "%q is not a role; there are admin, operator, viewer and compliance", wire.Printable(s))
}

// Verb is something that can be done with a relay.
type Verb string

// The verbs.
const (
	SeeSelf      Verb = "see yourself"
	SeeEnvoys    Verb = "see envoys"
	ChangeEnvoys Verb = "change envoys"
	SeeSessions  Verb = "see sessions"
	OpenSessions Verb = "open sessions"
	EndOwn       Verb = "end your own sessions"
	KillSessions Verb = "end sessions"
	SeeAudit     Verb = "see the audit log"
	SeeMetrics   Verb = "see metrics"
	SeeUsers     Verb = "see operators"
	ChangeUsers  Verb = "change operators"
	MakeTokens   Verb = "make enrolment tokens"
	// WatchSessions also needs scrier.live_view of server.yaml.
	WatchSessions Verb = "watch sessions"
)

// allowed is the whole policy.
var allowed = map[Role][]Verb{
	Admin: {
		SeeSelf, SeeEnvoys, ChangeEnvoys, SeeSessions, OpenSessions, EndOwn, KillSessions,
		SeeAudit, SeeMetrics, SeeUsers, ChangeUsers, MakeTokens, WatchSessions,
	},
	Opener:     {SeeSelf, SeeEnvoys, SeeSessions, OpenSessions, EndOwn},
	Viewer:     {SeeSelf, SeeEnvoys, SeeSessions},
	Compliance: {SeeSelf, SeeSessions, SeeAudit, SeeMetrics, WatchSessions},
}

// Operator is who asks: an operator who proved it, or the administrator of the relay's host.
type Operator struct {
	ID       string `json:"id"` // empty for the host's administrator
	Username string `json:"username"`
	Role     Role   `json:"role"`
	Source   string `json:"-"` // where from, for the audit log
	Epoch    uint64 `json:"-"` // of the operator's row when they proved who they are; see [Current]

	// Of a browser: its sign-in, and who made the link that it signed in by, if that was another operator and this
	// one has not proved since that it is they who came.
	SignIn string `json:"-"`
	Doubt  string `json:"doubt,omitempty"`

	// Of who went through [Access.Prove]: what the change was signed with, or that they have nothing to sign with.
	Proof string `json:"-"`
	First bool   `json:"-"`
}

// Maker is the operator as who makes something for somebody else.
func (o Operator) Maker() store.Maker { return store.Maker{ID: o.ID, Epoch: o.Epoch} }

// Local is whoever may use the relay's admin socket: user is the name of the OS account.
func Local(user string) Operator {
	return Operator{Username: "local:" + user, Role: Admin, Source: "admin socket"}
}

// Verbs is all that the operator may do.
func (o Operator) Verbs() []Verb {
	return slices.DeleteFunc(slices.Clone(allowed[o.Role]), func(v Verb) bool { return o.May(v) != nil })
}

// May says whether the operator may do v; the error is [wire.Forbidden]. Whoever came by another operator's link may
// look, and nothing more, until they have proved who they are: [wire.Unconfirmed].
func (o Operator) May(v Verb) error {
	if !slices.Contains(allowed[o.Role], v) {
		return wire.Errorf(wire.Forbidden, "%s has the role %s, which may not %s", o.Username, o.Role, v)
	}
	switch v {
	case SeeSelf, SeeEnvoys, SeeSessions, SeeAudit, SeeMetrics, SeeUsers:
		return nil
	}
	return o.Undoubted()
}

// Undoubted is [wire.Unconfirmed] for whoever came by another operator's link and has not proved who they are.
func (o Operator) Undoubted() error {
	if o.Doubt == "" {
		return nil
	}
	return wire.Errorf(wire.Unconfirmed, "%s made the link; prove that you are %s", o.Doubt, o.Username)
}
