package session

import (
	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// Request is what an operator asks for, by whichever way it came: a CLI's Connect or the API. Its maker
// has looked up the operator's keys and, if it was asked to, proved that the operator holds one.
type Request struct {
	Kind  wire.Kind
	Envoy string // hostname, id, or a prefix of one that only one envoy has
	Login string // empty: the one that holds one of Keys
	Port  uint16 // 0: the kind's usual one
	Keys  []ssh.PublicKey
	// Named says that Keys is the one that the operator named and proved to hold; Inline, that it does not count for them
	// otherwise.
	Named, Inline bool
	// HostKeys, if there are any, are those of which the machine must show one, in authorized_keys form; kind ssh.
	HostKeys []string

	Terminal TerminalRequest // kind ssh
	Channel  *wire.Channel   // kind ssh: what is opened; nil: the login's shell in a terminal
	// Needs and Likes are what further channels may need, as in [wire.Connect]; kind ssh.
	Needs, Likes []wire.Right
	// Client is who asks for it, as in [wire.Attach]: a program without a terminal is for no other viewer.
	Client []byte
	// Numbered says that this viewer comes back to such a program if its link breaks.
	Numbered bool
	Desktop  DesktopRequest // kinds rdp and vnc
	Console  *wire.Console  // kind vnc: the screen of who sits at the machine
	Native   bool           // kinds rdp and vnc: the caller shows the desktop by itself
	// Answers says that whoever attaches can be told and asked before the session is open, see [Dialogue]; kind ssh.
	Answers bool
}

// TerminalRequest is the terminal that a shell gets.
type TerminalRequest struct {
	Term  string // as in TERM
	Size  wire.Size
	Env   map[string]string // LANG and LC_* alone reach the machine
	Modes []byte            // of the person's own terminal (RFC 4254, 8); empty: the usual
}

// DesktopRequest is what a desktop server is told. The password goes to guacd and nowhere else: it is
// not stored, logged or recorded.
type DesktopRequest struct {
	Username string
	Password wire.Secret
	Domain   string
	Security wire.Security // rdp: any, nla or tls
	Keyboard string        // rdp: a layout by guacd's name, e.g. de-de-qwertz
	Width    uint16        // pixels
	Height   uint16
	DPI      uint16
	Timezone string // rdp: e.g. Europe/Berlin
}
