package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"scrier/certs"
	"scrier/wire"
)

// enrolTimeout bounds the whole enrolment.
const enrolTimeout = 30 * time.Second

// Enrolment is a request to become an envoy.
type Enrolment struct {
	Relay  string // host:port
	Token  string
	State  State
	Labels map[string]string
	Now    func() time.Time
	Config Config // of the agent: the way to the relay counts
}

// Enroll makes a key on this machine, spends the token for a certificate, and writes both to the
// state directory. The token's pin is all that is trusted: a relay with another CA is refused
// before the secret is sent.
func Enroll(ctx context.Context, e Enrolment) (wire.EnvoyID, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	token, err := certs.ParseToken(e.Token)
	if err != nil {
		return wire.EnvoyID{}, err
	}
	if err := certs.MakeState(e.State.Dir); err != nil {
		return wire.EnvoyID{}, err
	}
	if err := e.State.check(); err != nil {
		return wire.EnvoyID{}, err
	}
	unlock, err := e.State.lock()
	if err != nil {
		return wire.EnvoyID{}, err
	}
	defer unlock.Close()
	if old, err := e.State.load(); err == nil {
		return wire.EnvoyID{}, wire.Errorf(wire.Conflict, "this machine is enrolled already, as %s at %s", old.Envoy, old.Relay).
			Advise("to enrol it anew, stop its agent and remove %s first", e.State.enrolmentPath())
	} else if _, serr := os.Stat(e.State.enrolmentPath()); !errors.Is(serr, fs.ErrNotExist) {
		return wire.EnvoyID{}, err
	}
	key, err := certs.NewKey()
	if err != nil {
		return wire.EnvoyID{}, err
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		return wire.EnvoyID{}, err
	}
	proxy, err := e.Config.proxy()
	if err != nil {
		return wire.EnvoyID{}, err
	}
	link, err := wire.Dialer{TLS: certs.Client{ALPN: wire.ALPNClient, Pin: &token.Pin, Now: e.Now}.TLS(), Transport: e.Config.Transport, Proxy: proxy}.Dial(ctx, e.Relay)
	if err, ok := errors.AsType[*wire.Error](err); ok && err.Code == wire.RelayUntrusted && err.Advice == "" {
		return wire.EnvoyID{}, err.Advise("the token is another relay's: check --relay, or make a token at the relay at %s", e.Relay)
	}
	if err != nil {
		return wire.EnvoyID{}, err
	}
	defer link.Close(wire.None, "")
	answer, err := ask(ctx, link, &wire.Enrol{
		Secret: token.Secret[:], CSR: csr, Labels: e.Labels,
		Facts: facts{}.read(), Time: wire.Millis(e.Now()),
	})
	if err != nil {
		return wire.EnvoyID{}, err
	}
	id, err := certs.Issued(token.Pin, answer.Chain)
	if err != nil {
		return wire.EnvoyID{}, err
	}
	if id.Role != certs.RoleAgent || id.ID != answer.Envoy.String() || id.Cluster != answer.Cluster {
		return wire.EnvoyID{}, wire.Errorf(wire.Protocol, "the relay enrolled this machine as %s, and sent the certificate of %s", answer.Envoy, id)
	}
	if _, err := e.State.replace(key, answer.Chain); err != nil {
		return wire.EnvoyID{}, err
	}
	// The enrolment is written last: without it nothing else in the directory is used.
	data, err := json.MarshalIndent(enrolment{Relay: e.Relay, Envoy: answer.Envoy, Cluster: answer.Cluster, Pin: token.Pin.String()}, "", "  ")
	if err != nil {
		return wire.EnvoyID{}, fmt.Errorf("save enrolment: %w", err)
	}
	return answer.Envoy, certs.WriteFile(e.State.enrolmentPath(), append(data, '\n'))
}

func ask(ctx context.Context, link wire.Link, m *wire.Enrol) (*wire.Enrolled, error) {
	s, err := link.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Reset(wire.None)
	if deadline, ok := ctx.Deadline(); ok {
		if err := s.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if err := wire.Send(s, m); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	answer, err := wire.Expect[wire.Enrolled](s)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	return answer, nil
}
