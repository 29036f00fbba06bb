package wire

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// LaneToken is how long the token of a lane is, in bytes.
const LaneToken = 32

// laneTimeout is how long a lane may take until it is bound to its stream.
const laneTimeout = 10 * time.Second

// Lane says whose lane a connection is. The relay's answer has no token.
type Lane struct {
	Token []byte `cbor:"1,keyasint"` // [LaneToken] bytes, used once
}

// DialLane has a stream go on over a connection of its own to the relay at addr, host:port, which knows the token. If this fails before
// the relay has agreed, the stream is as it was; one that has agreed has begun to move, and if its answer does not arrive within 10 s the
// stream breaks, with [Internal]. [NotFound] says that the relay has no stream for the token (any more), and [Busy] that one side has no memory for it. conf is as for the stream's
// link, with ALPNLane; ctx is the link's, and relay what that was dialled as: its name is sent, as for the link.
func DialLane(ctx context.Context, conf *tls.Config, relay, addr string, token []byte, s *Laned) error {
	if s != nil && s.Full() {
		return errFull
	}
	dialing, cancel := context.WithTimeout(ctx, laneTimeout)
	defer cancel()
	tcp, err := new(net.Dialer).DialContext(dialing, "tcp", addr)
	if err != nil {
		return err
	}
	ForBulk(tcp)
	conf = named(conf, relay).Clone()
	conf.DynamicRecordSizingDisabled = true // nobody waits for the first byte of much
	conn := tls.Client(tcp, conf)
	if err := askLane(dialing, conn, token); err != nil {
		_ = tcp.Close() // nothing of the stream is on it
		return err
	}
	s.Move(ctx, conn)
	return nil
}

var errFull = Errorf(Busy, "there is no memory for one more lane")

func askLane(ctx context.Context, conn *tls.Conn, token []byte) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.NetConn().Close() }) // frees whoever waits
	defer stop()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := Send(conn, &Lane{Token: token}); err != nil {
		return err
	}
	if _, err := Expect[Lane](conn); err != nil {
		return err
	}
	if !stop() {
		return context.Cause(ctx)
	}
	return nil
}

// AcceptLane serves a connection whose handshake is through: find gives the stream of a token, and the context of its link; it
// gives each once. A connection without a stream is closed.
func AcceptLane(conn *tls.Conn, find func(token []byte) (context.Context, *Laned)) error {
	err := conn.SetDeadline(time.Now().Add(laneTimeout))
	var m *Lane
	if err == nil {
		m, err = Expect[Lane](conn)
	}
	if err != nil {
		_ = conn.NetConn().Close()
		return err
	}
	ctx, s := find(m.Token)
	switch {
	case s == nil:
		err = Errorf(NotFound, "no stream waits for this lane")
	case s.Full():
		err = errFull
	}
	if err != nil {
		_ = Send(conn, Refuse(err)) // it may be gone
		_ = conn.Close()
		return err
	}
	if err = Send(conn, &Lane{}); err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.NetConn().Close()
		return err
	}
	s.Move(ctx, conn)
	return nil
}
