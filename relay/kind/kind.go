// Package kind is what sessions can be for: each kind is a room of its own below this one. It says
// how a request is checked, what is written down of it, and how it becomes something to look at.
package kind

import (
	"context"
	"slices"

	"scrier/relay/session"
	"scrier/wire"
)

// Kind is one of them.
type Kind interface {
	// Check says what of a request is not well formed, or not allowed by the relay's configuration; the
	// agent has rules of its own. It fills in what the request leaves open.
	Check(*session.Request) error
	// Intent is what the audit log says of a checked request besides its kind, before the envoy hears of
	// it. It holds no secrets.
	Intent(*session.Request) map[string]string
	// Open asks the envoy for a session that is written down, of which it gives the first channel. ctx bounds the opening alone; what was
	// opened ends with the session. When Open fails nothing of it is left.
	Open(ctx context.Context, first *session.Channel, req *session.Request) (session.Shown, error)
}

// Ports are the ports on envoys that sessions may use.
type Ports []uint16

// Allow says whether a port may be used.
func (p Ports) Allow(port uint16) error {
	if !slices.Contains(p, port) {
		return wire.Errorf(wire.PortNotAllowed, "port %d is not in scrier.allowed_ports of server.yaml", port)
	}
	return nil
}
