package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/session"
	"scrier/wire"
)

// ConnectRequest asks for a new session.
type ConnectRequest struct {
	EnvoyID  string `json:"envoy_id"`           // or a hostname, or a prefix of one
	Kind     string `json:"kind,omitempty"`     // ssh, rdp or vnc
	Protocol string `json:"protocol,omitempty"` // the kind's other name, as in the addresses of pages
	Port     uint16 `json:"port,omitempty"`
	Login    string `json:"login,omitempty"` // empty: the one that has a key of the operator's
	// SSHPublicKey and Keys, in authorized_keys form, make only these of the operator's keys count. If both are given,
	// the one is among the others.
	SSHPublicKey string   `json:"ssh_public_key,omitempty"`
	Keys         []string `json:"keys,omitempty"`
	Cols         uint16   `json:"cols,omitempty"`
	Rows         uint16   `json:"rows,omitempty"`

	// Answers, for ssh, says that whoever attaches shows what the machine says before there is a shell, and answers what
	// it asks. If it does so, the ticket comes while the session is being opened.
	Answers bool `json:"answers,omitempty"`

	// Channel, for ssh, is what the session begins with: empty is a shell; "hold" is nothing, and keeps it open for files.
	Channel string `json:"channel,omitempty"`

	Console bool           `json:"console,omitempty"` // vnc: the screen of who sits at the machine, who may say no
	View    bool           `json:"view,omitempty"`    // console: look only
	Purpose string         `json:"purpose,omitempty"` // console: shown to who is asked
	Desktop DesktopRequest `json:"desktop,omitzero"`  // rdp and vnc
}

// DesktopRequest is a [session.DesktopRequest].
type DesktopRequest struct {
	Username string        `json:"username,omitempty"`
	Password wire.Secret   `json:"password,omitzero"`
	Domain   string        `json:"domain,omitempty"`
	Security wire.Security `json:"security,omitempty"` // rdp: any, nla or tls
	Keyboard string        `json:"keyboard,omitempty"` // rdp: a layout by guacd's name, e.g. de-de-qwertz
	Width    uint16        `json:"width,omitempty"`    // pixels
	Height   uint16        `json:"height,omitempty"`
	DPI      uint16        `json:"dpi,omitempty"`
	Timezone string        `json:"timezone,omitempty"` // rdp: e.g. Europe/Berlin
}

// AttachRequest asks for the right to see a session.
type AttachRequest struct {
	Watch   bool   `json:"watch,omitempty"`   // read-only
	Channel uint32 `json:"channel,omitempty"` // the number of the session's channel; the first if it is not given
}

// Channels are a session's.
type Channels struct {
	Channels []session.ChannelView `json:"channels"`
	More     bool                  `json:"more"` // there are more than one answer holds
}

// Ticket is the right to attach, for 10 seconds and once, with what a browser needs to use it.
type Ticket struct {
	SessionID  wire.SessionID `json:"session_id"`
	Ticket     string         `json:"ticket"` // base64url; goes into the first frame, never into a URL
	WT         string         `json:"wt"`     // of WebTransport
	WS         string         `json:"ws"`     // of the WebSocket
	CertHashes []string       `json:"cert_hashes"`
}

// Opened is the right to attach to a new session, with the keys that count in it.
type Opened struct {
	Ticket
	Keys         []string `json:"keys,omitempty"`           // ssh
	SSHPublicKey string   `json:"ssh_public_key,omitempty"` // the first of them
}

func (a *api) sessionRoutes() []route {
	return []route{
		{method: "POST", pattern: "/scrier/connect", verb: access.OpenSessions, what: "Open a session and get the right to attach to it", handle: a.connect, in: ConnectRequest{}, out: Opened{}, slow: true},
		{method: "POST", pattern: "/sessions/{session}/attach", verb: access.SeeSessions, what: "Get the right to attach to an open session of one's own, or to watch another's", handle: a.attach, in: AttachRequest{}, out: Ticket{}},
		{method: "GET", pattern: "/sessions", verb: access.SeeSessions, what: "List sessions, newest first", packs: true, handle: a.sessions, out: []session.View{}, query: []param{{"all", "true: closed ones as well"}}},
		{method: "GET", pattern: "/sessions/{session}", verb: access.SeeSessions, what: "Show a session, open or closed", handle: a.session, out: session.View{}},
		{method: "GET", pattern: "/sessions/{session}/channels", verb: access.SeeSessions, what: "Show what a session did: its channels, and the files that passed", handle: a.channels, out: Channels{}, more: "Who may not see the audit log sees those of their own sessions."},
		{method: "DELETE", pattern: "/sessions/{session}", verb: access.EndOwn, what: "End a session", handle: a.killSession, more: "Who may not end sessions of others ends their own."},
	}
}

func (a *api) connect(r *http.Request, who access.Operator) (any, error) {
	req, err := body[ConnectRequest](r)
	if err != nil {
		return nil, err
	}
	request, err := a.request(r.Context(), who, req)
	if err != nil {
		return nil, err
	}
	s, err := a.Connect(r.Context(), who, request)
	if err != nil {
		return nil, err
	}
	secret, err := s.Ticket(a.viewer(r, who))
	if err != nil {
		return nil, err
	}
	opened := Opened{Ticket: a.ticket(r, s.ID(), secret)}
	for _, k := range request.Keys {
		opened.Keys = append(opened.Keys, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))))
	}
	if len(opened.Keys) > 0 {
		opened.SSHPublicKey = opened.Keys[0]
	}
	return opened, nil
}

// request is what the caller asks for, with the keys of theirs that count.
func (a *api) request(ctx context.Context, who access.Operator, c ConnectRequest) (*session.Request, error) {
	kind := cmp.Or(c.Kind, c.Protocol)
	if c.Protocol != "" && c.Protocol != kind {
		return nil, wire.Errorf(wire.BadRequest, "kind and protocol are one thing and differ; give one of the two")
	}
	if kind == "" {
		return nil, wire.Errorf(wire.BadRequest, "kind is missing: it is ssh, rdp or vnc")
	}
	req := &session.Request{
		Kind: wire.Kind(kind), Envoy: c.EnvoyID, Login: c.Login, Port: c.Port, Desktop: session.DesktopRequest(c.Desktop),
		Terminal: session.TerminalRequest{
			Term: "xterm-256color", Size: wire.Size{Cols: c.Cols, Rows: c.Rows}, Env: map[string]string{"LANG": "C.UTF-8"},
		},
	}
	if c.Console {
		req.Console = &wire.Console{View: c.View, Purpose: c.Purpose}
	}
	if c.Cols == 0 || c.Rows == 0 {
		req.Terminal.Size = wire.Size{Cols: 80, Rows: 24} // the viewer tells its own
	}
	if req.Kind != wire.KindSSH {
		return req, nil
	}
	req.Answers = c.Answers
	switch c.Channel {
	case "":
	case string(wire.Hold):
		req.Channel = &wire.Channel{Kind: wire.Hold}
		req.Likes = []wire.Right{wire.MayUpload, wire.MayDownload}
	default:
		return nil, wire.Errorf(wire.BadRequest, "channel: a page's session begins with a shell or with hold, not with %q", wire.Printable(c.Channel))
	}
	keys, err := a.Access.Keys(ctx, who)
	if err == nil {
		keys, err = c.only(keys)
	}
	req.Keys = keys
	return req, err
}

// only are those of the operator's keys that the request names; all, if it names none.
func (c ConnectRequest) only(keys []ssh.PublicKey) ([]ssh.PublicKey, error) {
	lines, field := c.Keys, "keys"
	if lines == nil && c.SSHPublicKey != "" {
		lines, field = []string{c.SSHPublicKey}, "ssh_public_key"
	}
	if lines == nil {
		return keys, nil
	}
	if len(lines) == 0 || len(lines) > len(keys) {
		return nil, wire.Errorf(wire.BadRequest, "%d keys; you have %d that count", len(lines), len(keys))
	}
	var out []ssh.PublicKey
	for _, line := range lines {
		k, _, err := certs.ParsePublicKey([]byte(line))
		if err != nil {
			return nil, wire.Errorf(wire.BadRequest, "%s: what was given %s", field, wire.DetailOf(err))
		}
		if !has(keys, k) {
			return nil, wire.Errorf(wire.NoSSHPubkey, "the key %s is not registered for you", ssh.FingerprintSHA256(k))
		}
		if !has(out, k) {
			out = append(out, k)
		}
	}
	if c.SSHPublicKey == "" || c.Keys == nil {
		return out, nil
	}
	if k, _, err := certs.ParsePublicKey([]byte(c.SSHPublicKey)); err != nil || !has(out, k) {
		return nil, wire.Errorf(wire.BadRequest, "ssh_public_key is not one of keys; give one of the two, or the same key in both")
	}
	return out, nil
}

func has(keys []ssh.PublicKey, k ssh.PublicKey) bool {
	return slices.ContainsFunc(keys, func(h ssh.PublicKey) bool { return bytes.Equal(h.Marshal(), k.Marshal()) })
}

func (a *api) attach(r *http.Request, who access.Operator) (any, error) {
	id, err := wire.ParseSessionID(chi.URLParam(r, "session"))
	if err != nil {
		return nil, err
	}
	req, err := body[AttachRequest](r)
	if err != nil {
		return nil, err
	}
	if err := who.Undoubted(); err != nil {
		return nil, err
	}
	s, err := a.Sessions.Get(r.Context(), id)
	own := err == nil && who.ID != "" && s.OperatorID == who.ID
	watch := err == nil && req.Watch && (own || a.LiveView && who.May(access.WatchSessions) == nil)
	if wire.CodeOf(err) == wire.NotFound || err == nil && !own && !watch {
		// The same words for a session that is somebody else's and for none.
		return nil, wire.Errorf(wire.NotFound, "there is no open session %s", id).Advise("see `scrier sessions list`")
	}
	if err != nil {
		return nil, err
	}
	v := a.viewer(r, who)
	v.Watch, v.Channel = req.Watch, req.Channel
	secret, err := a.Sessions.Ticket(id, v)
	return a.ticket(r, id, secret), err
}

// viewer is the caller as one who sees a session; a browser's sign-in lives as long as they type.
func (a *api) viewer(r *http.Request, who access.Operator) session.Viewer {
	v := session.Viewer{OperatorID: who.ID, Operator: who.Username, Source: who.Source, SignIn: SignIn(r.Context())}
	if v.SignIn != "" {
		ctx, id := context.WithoutCancel(r.Context()), v.SignIn
		v.Check = func(typed bool) error {
			if typed {
				return a.Access.Touch(ctx, id)
			}
			return a.Access.Counts(ctx, id)
		}
	}
	return v
}

type signInKey struct{}

// WithSignIn marks a request with the browser's sign-in that it came with.
func WithSignIn(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, signInKey{}, id)
}

// SignIn is the sign-in of a browser's request; empty for all others.
func SignIn(ctx context.Context) string {
	id, _ := ctx.Value(signInKey{}).(string)
	return id
}

func (a *api) ticket(r *http.Request, id wire.SessionID, secret []byte) Ticket {
	return Ticket{
		SessionID: id, Ticket: base64.RawURLEncoding.EncodeToString(secret),
		WT: "https://" + r.Host + webTransportPath + id.String(), WS: "wss://" + r.Host + webSocketPath + id.String(),
		CertHashes: a.Hashes(r.Host),
	}
}

func (a *api) sessions(r *http.Request, who access.Operator) (any, error) {
	all, err := flagOf(r.URL.Query(), "all")
	if err != nil {
		return nil, err
	}
	list, err := a.Sessions.List(r.Context(), all, maxPage)
	return own(list, who), err
}

// own marks the caller's sessions.
func own(list []session.View, who access.Operator) []session.View {
	for i := range list {
		list[i].Own = who.ID != "" && list[i].OperatorID == who.ID
	}
	return list
}

func (a *api) session(r *http.Request, who access.Operator) (any, error) {
	id, err := wire.ParseSessionID(chi.URLParam(r, "session"))
	if err != nil {
		return nil, err
	}
	s, err := a.Sessions.Get(r.Context(), id)
	if err != nil {
		return nil, err
	}
	s.Own = who.ID != "" && s.OperatorID == who.ID
	return s, nil
}

func (a *api) channels(r *http.Request, who access.Operator) (any, error) {
	id, err := wire.ParseSessionID(chi.URLParam(r, "session"))
	if err != nil {
		return nil, err
	}
	s, err := a.Sessions.Get(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if mayAll := who.May(access.SeeAudit); mayAll != nil && (who.ID == "" || s.OperatorID != who.ID) {
		return nil, mayAll
	}
	var out Channels
	out.Channels, out.More, err = a.Sessions.Channels(r.Context(), id)
	return out, err
}

func (a *api) killSession(r *http.Request, who access.Operator) (any, error) {
	id, err := wire.ParseSessionID(chi.URLParam(r, "session"))
	if err != nil {
		return nil, err
	}
	if mayAll := who.May(access.KillSessions); mayAll != nil {
		s, err := a.Sessions.Get(r.Context(), id)
		if err != nil {
			return nil, err
		}
		if who.ID == "" || s.OperatorID != who.ID {
			return nil, mayAll
		}
	}
	return nil, a.Sessions.Kill(r.Context(), by(who), id)
}

// patience is how much longer than usual an answer may take that waits for an envoy.
const patience = 10 * time.Minute
