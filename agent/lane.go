package agent

import (
	"log/slog"

	"scrier/wire"
)

// laneAfter is how many bytes a session's stream has carried when it gets a connection of its own, if its link knows nothing of its
// line ([wire.Line.After]): what a person types and reads does not come to that soon, and stays on QUIC.
const laneAfter = 4 << 20

// hasLane says that a session's stream may have a lane.
func (l *agentLink) hasLane(open *wire.Open) bool {
	return len(open.Lane) == wire.LaneToken && l.link.Peer().Road != wire.TCP && l.Config.Transport != wire.OnlyQUIC
}

// gates says that a session's stream has gates.
func (l *agentLink) gates(open *wire.Open) bool { return open.Gates && l.hasLane(open) }

// laned is a session's stream behind Opened, which gets a lane of its own when it carries much. It stays as it is when there is no way
// to the relay over TCP.
func (l *agentLink) laned(log *slog.Logger, s wire.Stream, open *wire.Open) wire.Stream {
	if !l.hasLane(open) {
		return s
	}
	var laned *wire.Laned
	laned = wire.NewLaned(s, laneAfter, func() {
		if err := wire.DialLane(l.link.Context(), l.lanes, l.enrolment.Relay, l.link.Peer().Addr.String(), open.Lane, laned); err != nil {
			log.Info("a session that carries much stays on its link, as there is no connection of its own", "err", err)
			return
		}
		log.Info("a session that carries much has a connection of its own")
	})
	if l.gates(open) {
		_ = laned.Gates(&l.Agent.lanes, wire.LineOf(l.link)) // nothing has been written or read
	}
	return laned
}
