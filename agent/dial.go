package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"scrier/agent/keys"
	"scrier/wire"
)

const (
	targetDial   = 5 * time.Second
	ownDial      = 2 * time.Second // from an operator's own address: a packet filter may know 127.0.0.1 alone
	greetingWait = 5 * time.Second // an SSH server speaks first; one that does not is taken as it is
	maxGreeting  = 256             // bytes that are looked at

	turnedAwayFor = 40 * time.Second // how long a server may go on turning connections away
	closedFor     = 8 * time.Second  // the same, if it closes them without a word
	firstRetry    = 100 * time.Millisecond
	lastRetry     = 3 * time.Second

	answerReserve = 5 * time.Second // of a session's time, for what comes after the connection
)

// startups bounds the connections to sshd that are authenticating, as sshd itself does by MaxStartups: one
// more would be dropped. It is first come, first served.
type startups struct {
	mu      sync.Mutex
	held    int
	waiting []*startup
}

type startup struct {
	most int
	turn chan struct{}
}

// enter waits until fewer than most connections are authenticating; 0 is any number. leave gives the place
// back, and may be called more than once.
func (s *startups) enter(ctx context.Context, most int) (leave func(), err error) {
	leave = sync.OnceFunc(s.leave)
	s.mu.Lock()
	if most == 0 || (s.held < most && len(s.waiting) == 0) {
		s.held++
		s.mu.Unlock()
		return leave, nil
	}
	w := &startup{most, make(chan struct{})}
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	select {
	case <-w.turn:
		return leave, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waiting {
		if s.waiting[i] == w {
			s.waiting = append(s.waiting[:i:i], s.waiting[i+1:]...)
			s.admit() // it may have kept others from their turn
			return nil, wire.Cause(ctx, wire.Cancelled)
		}
	}
	s.held-- // it had its turn at the same moment
	s.admit()
	return nil, wire.Cause(ctx, wire.Cancelled)
}

func (s *startups) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	s.admit()
}

// admit gives free places to who waits. The caller holds the lock.
func (s *startups) admit() {
	for len(s.waiting) > 0 && s.held < s.waiting[0].most {
		s.held++
		close(s.waiting[0].turn)
		s.waiting = s.waiting[1:]
	}
}

// sshConn is a connection to an SSH server, with the bytes that were read of its greeting already.
type sshConn struct {
	*net.TCPConn
	head []byte
}

func (c *sshConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.TCPConn.Read(p)
}

// dialSSH connects to sshd when a place is free, and goes on trying while sshd turns connections away, within
// the session's time. leave must be called when authentication is over.
func (a *Agent) dialSSH(ctx context.Context, log *slog.Logger, addr string, how keys.Approach) (conn *sshConn, leave func(), err error) {
	if end, ok := ctx.Deadline(); ok {
		left := time.Until(end)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, left-min(answerReserve, left/2), wire.Errorf(wire.TurnedAway,
			"at most %d connections may authenticate at a time (%s), and others took all places", how.Startups, how.Limits))
		defer cancel()
	}
	leave, err = a.startups.enter(ctx, how.Startups)
	if err != nil {
		return nil, nil, err
	}
	conn, err = keepDialing(ctx, log, addr, how)
	if err != nil {
		leave()
		return nil, nil, err
	}
	return conn, leave, nil
}

// keepDialing tries until the server greets, for as long as it turns connections away.
func keepDialing(ctx context.Context, log *slog.Logger, addr string, how keys.Approach) (*sshConn, error) {
	from := how.From
	began := time.Now()
	var turned error // how it was turned away before
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		conn, err := dialTarget(ctx, addr, from)
		if err != nil && from.IsValid() && ctx.Err() == nil { // also if it is refused: a packet filter may do that
			own := err
			if conn, err = dialTarget(ctx, addr, netip.Addr{}); err == nil {
				log.Warn("sshd cannot be reached from the operator's own address on loopback; the usual one is taken", "from", from, "err", own)
			}
			from = netip.Addr{}
		}
		if err != nil {
			if turned != nil && !errors.Is(err, syscall.ECONNREFUSED) { // the time is over, or sshd's queue is full
				err = turned
			}
			return nil, err
		}
		words, head := greeting(ctx, conn)
		if words == "" {
			return &sshConn{conn, head}, nil
		}
		turned = turnedAway(addr, conn.LocalAddr(), words, how)
		conn.Close()
		limit := turnedAwayFor
		if words == closedAtOnce {
			limit = closedFor
		}
		pause := wait/2 + rand.N(wait)
		if end, ok := ctx.Deadline(); time.Since(began)+pause > limit || ok && time.Until(end) < pause {
			return nil, turned
		}
		log.Debug("sshd turns the connection away; trying again", "words", words, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, turned
		}
	}
}

func turnedAway(addr string, local net.Addr, words string, how keys.Approach) error {
	from, _, _ := net.SplitHostPort(local.String())
	why := ""
	if how.Limits != "" {
		why = "; it has " + how.Limits
	}
	return wire.Errorf(wire.TurnedAway, "sshd at %s, asked from %s: %s%s", addr, from, words, why)
}

const closedAtOnce = "it closes the connection without a word"

// greeting waits for the server's first bytes. words says that it turns the connection away. Nothing was sent to the
// server yet, or its words could be lost: a close with unread bytes is a reset.
func greeting(ctx context.Context, conn net.Conn) (words string, head []byte) {
	end := time.Now().Add(greetingWait)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	if conn.SetReadDeadline(end) != nil {
		return closedAtOnce, nil
	}
	broken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(broken)
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() { // its time is over, which is the deadline's too: the connection is taken as it is
			<-broken
		}
		_ = conn.SetReadDeadline(time.Time{}) // if it fails, so does what follows
	}()
	buffer := make([]byte, maxGreeting)
	for len(head) < maxGreeting {
		n, err := conn.Read(buffer[len(head):])
		head = buffer[:len(head)+n]
		refusal, more := refusal(head)
		switch {
		case refusal != "":
			return refusal, nil
		case errors.Is(err, io.EOF) && len(head) == 0, errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			return closedAtOnce, nil
		case err != nil || !more: // who closes after words of its own, or says nothing, is left to the client
			return "", head
		}
	}
	return "", head
}

// refusals are what OpenSSH says before its version when it drops a connection: the first since 9.8, for
// MaxStartups and PerSourcePenalties alike.
var refusals = []string{"Not allowed at this time", "Exceeded MaxStartups"}

// refusal reads one of those. more says that what is there may be the beginning of one.
func refusal(head []byte) (words string, more bool) {
	for _, r := range refusals {
		if bytes.HasPrefix(head, []byte(r)) {
			return fmt.Sprintf("%q", r), false
		}
		more = more || strings.HasPrefix(r, string(head))
	}
	return "", more
}

// dialTarget connects to an address, from one on loopback if that is valid.
func dialTarget(ctx context.Context, addr string, from netip.Addr) (*net.TCPConn, error) {
	var dialer net.Dialer
	wait := targetDial
	if from.IsValid() {
		wait = ownDial
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, &wire.Error{Code: wire.TargetRefused, Detail: "no SSH server answers at " + addr, Err: err}
	}
	return conn.(*net.TCPConn), nil
}
