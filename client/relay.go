package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"scrier/certs"
	"scrier/network"
	"scrier/roads"
	"scrier/wire"
)

// Relay is a relay that takes requests: over the operator's link, or over its admin socket.
type Relay struct {
	Login Login // zero over the admin socket
	// SSHKeys is where the keys are with which changes are signed; that of the login unless it is set.
	SSHKeys SSHKeyConfig

	link    wire.Link
	lanes   laner                 // for channels of bulk on link
	lanesOf func(wire.Link) laner // nil: no link has any
	http    *http.Client
	// redial connects once more; nil: there is no way to.
	redial func(context.Context) (wire.Link, error)
	reason *atomic.Pointer[string]                  // why the link that was made last is over its road
	beats  bool                                     // the relay is asked whether a link lives, once something is on it
	hasty  bool                                     // a link that is silent is left as soon as there is another one: all on it goes on there
	pulse  *pulse                                   // of link; nil: nobody asks
	probe  func(context.Context) (wire.Link, error) // connects over QUIC, where that may be better; nil: it may not
	prober *prober                                  // of link, which is over TCP; nil: nobody looks for a better one
	left   []wire.Link                              // for better ones; what is open on them goes on
}

// Dial connects with a login.
func Dial(ctx context.Context, l Login, now func() time.Time) (*Relay, error) {
	var reason atomic.Pointer[string]
	redial := func(ctx context.Context) (wire.Link, error) {
		link, why, err := dial(ctx, l.Relay, certs.Client{ALPN: wire.ALPNClient, Pin: &l.pin, Cert: l.cert, Now: now}, l.Roads)
		if err == nil {
			reason.Store(&why)
		}
		return link, err
	}
	link, err := redial(ctx)
	if err != nil {
		return nil, (&Relay{Login: l}).advise(err)
	}
	r := Over(link)
	r.Login, r.redial, r.reason, r.beats = l, redial, &reason, true
	r.probe = l.Roads.prober(l.Relay, certs.Client{ALPN: wire.ALPNClient, Pin: &l.pin, Cert: l.cert, Now: now})
	if l.Roads.Transport != wire.OnlyQUIC { // which wants none
		tls, until := certs.Client{ALPN: wire.ALPNLane, Pin: &l.pin, Cert: l.cert, Now: now}.TLS(), new(atomic.Int64)
		memory := new(wire.LaneMemory)
		r.lanesOf = func(link wire.Link) laner {
			peer := link.Peer()
			if peer.Road == wire.TCP { // which needs none
				return laner{}
			}
			return laner{until: until, memory: memory, line: wire.LineOf(link), dial: func(ctx context.Context, token []byte, s *wire.Laned) error {
				return wire.DialLane(ctx, tls, l.Relay, peer.Addr.String(), token, s)
			}}
		}
		r.lanes = r.lanesOf(link)
	}
	return r, nil
}

// beat has the relay asked from now on whether the link lives: there is something on it that stays.
func (r *Relay) beat() {
	if r.beats && (r.pulse == nil || r.pulse.link != r.link) {
		r.pulse = newPulse(r.link, r.redial, network.Watch(r.link.Context()))
		if r.hasty {
			r.pulse.patient = 0
		}
		go r.pulse.run() // ends with the link
	}
	if r.beats && r.probe != nil && r.prober == nil && r.link.Peer().Road == wire.TCP {
		ctx := r.link.Context()
		r.prober = newProber(r.probe, r.redial, roads.Elsewhere(ctx, network.Watch(ctx)), roads.FirstProbe())
		go r.prober.run(ctx)
	}
}

// adopt takes the better link that was found in place of the one there is, which stays for what is open on it. Nobody else may use
// r meanwhile. old is nil if there is none.
func (r *Relay) adopt() (old wire.Link) {
	link, pulse := r.prober.take()
	if link == nil {
		return nil
	}
	old = r.link
	r.http.CloseIdleConnections()
	r.pulse.retire()
	r.link, r.pulse, r.prober, r.left = link, pulse, nil, append(r.left, old)
	if r.lanesOf != nil {
		r.lanes = r.lanesOf(link)
	}
	if r.reason != nil {
		r.reason.Store(new(string))
	}
	return old
}

// Over is the relay at the far end of a link, which it owns from now on.
func Over(link wire.Link) *Relay {
	r := &Relay{link: link}
	r.http = &http.Client{Transport: &http.Transport{DialContext: r.call}}
	return r
}

// relink connects once more, in place of a link that is no good. Nobody else may use r meanwhile.
// One that has come back meanwhile stays.
func (r *Relay) relink(ctx context.Context) error {
	dial := r.redial
	if r.pulse != nil {
		dial = r.pulse.another
	}
	link, err := dial(ctx)
	if err != nil {
		return err
	}
	if r.pulse.isRevived() && r.link.Err() == nil {
		return link.Close(wire.None, "")
	}
	r.http.CloseIdleConnections()
	_ = r.link.Close(errUnanswered.Code, errUnanswered.Detail) // most likely it is dead
	r.pulse.close()                                            // what it has found meanwhile nobody wants
	r.link = link
	if r.lanesOf != nil {
		r.lanes = r.lanesOf(link)
	}
	r.prober.close(true) // it was for the link that is gone
	r.prober = nil
	r.beat()
	return nil
}

// Hasty has a link that is silent left as soon as there is another one, for programs that go on there without a loss: from now on,
// also while something is being opened. It is to be called before anything else.
func (r *Relay) Hasty() {
	r.hasty = true
	r.beat()
}

// Lost says that the link was lost, and that there may be another one.
func (r *Relay) Lost() bool { return r.redial != nil && broke(r.link) }

// Again connects once more, after [Relay.Lost]. It tries for as long as a relay usually keeps a session that nobody has. Nothing else
// may use the relay meanwhile.
func (r *Relay) Again(ctx context.Context) error {
	_, err := again(ctx, usualGrace+linkNotice, func(ctx context.Context) (wire.Link, error) { return r.link, r.relink(ctx) })
	return err
}

// bound is the relay over the link that it has now, whatever becomes of r.
func (r *Relay) bound() *Relay {
	same := *r
	return &same
}

// adminSocket is the socket's name in a relay's state directory.
const adminSocket = "admin.sock"

// DialState connects to the relay that runs on this host with the given state directory.
func DialState(ctx context.Context, state string) (*Relay, error) {
	path := filepath.Join(state, adminSocket)
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, noSocket(state, err)
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	return &Relay{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}, nil
}

// noSocket says why there is no way to the relay of a state directory.
func noSocket(state string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return wire.Errorf(wire.RelayUnreachable, "you may not use the admin socket in %s (%w)", state, err).Advise("run this as root or as the relay's user")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return wire.Errorf(wire.RelayUnreachable, "no relay is running on %s (%w)", state, err).
			Advise("name the state directory of a relay that runs on this host; without --state your current relay is asked (`scrier relays list`)")
	}
	return wire.Errorf(wire.RelayUnreachable, "the admin socket in %s cannot be used (%w)", state, err).Advise("check --state")
}

// Close ends the connection.
func (r *Relay) Close() error {
	r.http.CloseIdleConnections()
	r.pulse.close()
	r.prober.close(false)
	for _, link := range r.left {
		_ = link.Close(wire.None, "") // it may have ended
	}
	if r.link != nil {
		return r.link.Close(wire.None, "")
	}
	return nil
}

// Address is where the relay was reached; empty over its admin socket.
func (r *Relay) Address() string {
	if r.link == nil {
		return ""
	}
	return r.link.Peer().Addr.String()
}

// Road is what the connection goes over, and why, if that is not the best; both are empty over the admin socket.
func (r *Relay) Road() (road wire.Road, why string) {
	if r.link == nil {
		return "", ""
	}
	road = r.link.Peer().Road
	if r.reason != nil && road == wire.TCP {
		why = *r.reason.Load()
	}
	return road, why
}

// overTCP is what a person is told when a session comes over a road that is slower where packets are lost.
func (r *Relay) overTCP() string {
	switch road, why := r.Road(); {
	case road != wire.TCP:
		return ""
	case why == "":
		return ", over TCP"
	default:
		return ", over TCP: " + why
	}
}

// call opens a stream for HTTP.
func (r *Relay) call(ctx context.Context, _, _ string) (net.Conn, error) {
	s, err := r.link.Open(ctx)
	if err != nil {
		return nil, err
	}
	if err := wire.Send(s, &wire.Call{}); err != nil {
		s.Reset(wire.None)
		return nil, err
	}
	return &wire.NetConn{Stream: s, Remote: r.link.Peer().Addr}, nil
}

// maxAnswer bounds what a relay can make us hold; exports are streamed.
const maxAnswer = 64 << 20

// Do asks the API. in, if not nil, is sent as JSON; the answer is returned as it came.
func (r *Relay) Do(ctx context.Context, method, path string, in any) (json.RawMessage, error) {
	resp, err := r.send(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the relay's answer: %w", err)
	}
	return data, nil
}

// Export streams an answer to w.
func (r *Relay) Export(ctx context.Context, path string, w io.Writer) error {
	resp, err := r.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read the relay's answer: %w", err)
	}
	return nil
}

func (r *Relay) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	resp, err := r.ask(ctx, method, path, body, "")
	if wire.CodeOf(err) != wire.ProofRequired || r.link == nil {
		return resp, err
	}
	proof, err := r.signChange(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	return r.ask(ctx, method, path, body, proof)
}

const apiPath = "/api/v1"

// ask sends one request; proof, if any, is the signature under it.
func (r *Relay) ask(ctx context.Context, method, path string, body []byte, proof string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://relay"+apiPath+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if proof != "" {
		req.Header.Set("Scrier-Proof", proof)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, r.failed(err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	var p wire.Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&p); err != nil || p.Code == wire.None {
		return nil, wire.Errorf(wire.Internal, "the relay answered %s", resp.Status)
	}
	return nil, r.advise(p.Err())
}

// failed tells why a request got no answer: the code that its stream or the link ended with, or
// that there was none.
func (r *Relay) failed(err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code != wire.None {
		return r.advise(e)
	}
	if r.link == nil {
		return (&wire.Error{Code: wire.RelayUnreachable, Detail: "the relay broke off before it had answered over its admin socket", Err: err}).
			Advise("see the relay's log on this host")
	}
	if r.link.Err() != nil {
		return r.why()
	}
	return &wire.Error{Code: wire.RelayUnreachable, Detail: "the relay did not answer", Err: err}
}

// why tells how the link ended. A certificate that the relay refuses ends it without a code.
func (r *Relay) why() error { return r.whyOf(r.link) }

// whyOf is why for a link that may not be the relay's any more.
func (r *Relay) whyOf(link wire.Link) error {
	err := link.Err()
	if broke(link) {
		err = &wire.Error{Code: wire.RelayUnreachable, Detail: "the connection to the relay was lost", Err: err}
	}
	return r.advise(err)
}

// advise names the relay in what the person can do: the commands in the hint work as they stand there.
func (r *Relay) advise(err error) error {
	e, ok := errors.AsType[*wire.Error](err)
	if !ok || r.Login.Relay == "" {
		return err
	}
	told := *e // it may be the link's, which others hold too
	switch e.Code {
	case wire.Unauthenticated, wire.Expired, wire.OperatorChanged:
		return told.Advise("log in again with `scrier login %s`", r.Login.Relay)
	case wire.RelayUntrusted:
		if e.Advice != "" { // it is no relay at all
			return err
		}
		return told.Advise("%s", setUpAnew(r.Login.Relay))
	}
	return err
}

// setUpAnew is what to do when a relay shows another fingerprint than the one that is known.
func setUpAnew(relay string) string {
	return fmt.Sprintf("compare the fingerprint with what the relay's administrator says; only if the relay was set up anew: `scrier logout --forget --relay %s`, then `scrier login %[1]s`", relay)
}

// Escape makes a name part of a path.
func Escape(name string) string { return url.PathEscape(name) }
