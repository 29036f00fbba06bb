package console

import (
	"context"
	"slices"

	"scrier/sockets"
	"scrier/wire"
)

const ownPort = 5900 // where the servers of GNOME and KDE listen

// ownServer says whether the desktop's own VNC server can be used, and if not, how to switch it on.
func (c *Console) ownServer(s *screen, q Request, view bool) error {
	how := "GNOME under Wayland shows its screen through its own server only: the user switches it on in Settings > System > Remote Desktop, " +
		"or with `grdctl vnc enable`; or open the desktop by RDP"
	if s.kind == kde {
		how = "KDE under Wayland shows its screen through its own server only: the user starts krfb and switches on desktop sharing; or open the desktop by RDP"
	}
	switch {
	case q.Port == nil || !listens(ownPort, s.uid):
		return wire.Errorf(wire.ConsoleUnsupported, "%s", how)
	case view:
		return wire.Errorf(wire.ConsoleUnsupported, "the desktop's own server cannot be held to looking only, which is all that was asked for or is allowed")
	}
	return nil
}

// dialOwnServer connects to it. Request.Port refuses if anybody but the user listens there.
func dialOwnServer(ctx context.Context, s *screen, q Request) (wire.HalfCloser, error) {
	conn, err := q.Port(ctx, ownPort, s.uid)
	if err != nil {
		return nil, err
	}
	half, ok := conn.(wire.HalfCloser)
	if !ok {
		conn.Close()
		return nil, wire.Errorf(wire.Internal, "the connection has no half-close")
	}
	return half, nil
}

// listens says whether a server of uid takes connections to a port of this machine's loopback.
func listens(port uint16, uid uint32) bool {
	all, err := sockets.Listeners(port)
	return err == nil && slices.ContainsFunc(all, func(l sockets.Listener) bool { return l.UID == uid })
}
