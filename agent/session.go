package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"scrier/agent/builtin"
	"scrier/agent/keys"
	"scrier/wire"
)

const (
	openTimeout = 10 * time.Second // for the relay to say Open on a stream that it made, and to take the answer
	maxWait     = 2 * time.Minute  // for our own preparations, whatever the relay allows

	// keyLife is how long a session's key stays when nobody says that authentication is over.
	// Taking it away has a time of its own, undoTimeout, which goes on when the link has ended: a
	// key must not stay because its session was cut off.
	// It is the lifetime of its line: sshd may look at it late, behind a slow directory or what it asks first.
	keyLife     = 2 * time.Minute
	undoTimeout = 15 * time.Second

	restAfter = 10 * time.Second // without a session
)

// sessions are those that are open, on this link or an older one that is still ending. Each has a channel
// that is closed when the relay says that its authentication is over.
type sessions struct {
	mu   sync.Mutex
	on   map[wire.SessionID]chan struct{}
	open int         // streams that are served, on all links
	rest *time.Timer // gives memory back when nothing was open for a while; nil: nothing has been
}

// enter takes one of max places until leave.
func (s *sessions) enter(max int) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= max {
		return nil, false
	}
	s.open++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}, true
}

// begin takes a session's id until forget. An id that is taken is refused: two sessions of one id would
// undo each other's traces.
func (s *sessions) begin(id wire.SessionID) (over <-chan struct{}, forget func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on == nil {
		s.on = make(map[wire.SessionID]chan struct{})
	}
	if s.on[id] != nil {
		return nil, nil, wire.Errorf(wire.Conflict, "session %s is open already", id)
	}
	c := make(chan struct{})
	s.on[id] = c
	if s.rest != nil {
		s.rest.Stop()
	}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.on, id)
		if len(s.on) == 0 {
			s.rest = time.AfterFunc(restAfter, giveBack)
		}
	}, nil
}

// giveBack returns to the machine what the sessions took that are over. An idle program hardly allocates, so Go by itself
// would keep it for a long time.
func giveBack() {
	debug.FreeOSMemory() // what pools hold outlives one collection
	debug.FreeOSMemory()
}

// authenticated may be told more than once, and of sessions that are not there.
func (s *sessions) authenticated(id wire.SessionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.on[id]
	if c == nil {
		return
	}
	select {
	case <-c:
	default:
		close(c)
	}
}

// serve runs one session's stream from Open to its end.
func (l *agentLink) serve(ctx context.Context, s wire.Stream) {
	if s.SetDeadline(time.Now().Add(openTimeout)) != nil {
		s.Reset(wire.Internal)
		return
	}
	open, err := wire.Expect[wire.Open](s)
	if err != nil {
		s.Reset(wire.CodeOf(err))
		return
	}
	if s.SetDeadline(time.Time{}) != nil {
		s.Reset(wire.Internal)
		return
	}
	log := l.Log.With("session", open.Session, "operator", wire.Printable(open.Operator))
	if err := l.session(ctx, log, s, open); err != nil {
		log.Warn("session refused or broken", "code", wire.CodeOf(err), "err", err)
		if errors.Is(err, errSpliced) {
			return // the stream was reset with the reason already
		}
		refuse(s, err)
	}
}

// refuse tells the relay why there is no session.
func refuse(s wire.Stream, err error) {
	if answer(s, wire.Refuse(err)) != nil {
		s.Reset(wire.CodeOf(err))
		return
	}
	wire.Finish(s, openTimeout)
}

// answer sends the one message that a session's stream gets. A relay that does not take it does not hold
// anything up.
func answer(s wire.Stream, m wire.Message) error {
	if err := s.SetWriteDeadline(time.Now().Add(openTimeout)); err != nil {
		return err
	}
	if err := wire.Send(s, m); err != nil {
		return err
	}
	return s.SetWriteDeadline(time.Time{})
}

// errSpliced marks errors that came after Opened. From then on the stream is raw, so no message
// can be sent on it, and wire.Splice has reset it.
var errSpliced = errors.New("session ended")

func (l *agentLink) session(ctx context.Context, log *slog.Logger, s wire.Stream, open *wire.Open) error {
	if err := l.Config.allow(open); err != nil {
		return err
	}
	over, forget, err := l.sessions.begin(open.Session)
	if err != nil {
		return err
	}
	defer forget()
	wait := min(time.Duration(open.Timeout)*time.Millisecond, maxWait)
	prep, cancel := context.WithTimeoutCause(ctx, wait, wire.Errorf(wire.AgentTimeout, "the agent needed more than %s", wire.Period(wait)))
	defer cancel()
	if open.Kind != wire.KindSSH {
		return l.serveDesktop(ctx, prep, log, s, open)
	}
	if isRaw(open) {
		return l.serveRaw(ctx, prep, log, s, open)
	}
	operator, err := parseOperator(open)
	if err != nil {
		return err
	}
	if operator.Use, err = l.Config.use(open); err != nil {
		return err
	}
	ephemeral, err := ssh.ParsePublicKey(open.Ephemeral)
	if err != nil || !slices.Contains([]string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSA}, ephemeral.Type()) {
		return wire.Errorf(wire.BadRequest, "the session's key is no Ed25519, ECDSA (P-256) or RSA key")
	}
	if l.builtin != nil {
		return l.serveBuiltin(ctx, prep, s, open, operator, ephemeral)
	}
	return l.serveSSHD(ctx, prep, log, s, open, operator, ephemeral, over)
}

// serveSSHD installs the session's key for the operator's login and joins the stream to sshd. The key goes
// when over is closed, at the latest.
func (l *agentLink) serveSSHD(ctx, prep context.Context, log *slog.Logger, s wire.Stream, open *wire.Open, operator keys.Operator, ephemeral ssh.PublicKey, over <-chan struct{}) error {
	var match keys.Match
	var hostKeys []ssh.PublicKey
	operator.Session = ephemeral
	g, gctx := errgroup.WithContext(prep)
	g.Go(func() (err error) {
		match, err = l.keys.Find(gctx, operator, open.Login)
		return err
	})
	g.Go(func() (err error) {
		hostKeys, err = l.keys.HostKeys(gctx, l.Config.SSH.Addr)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if len(match.Unread) > 0 {
		log.Warn("homes were not looked at, as they do not answer or are too many", "logins", match.Unread)
	}
	target, leave, err := l.dialSSH(prep, log, l.Config.SSH.Addr, match.Approach)
	if err != nil {
		return err
	}
	defer leave()
	defer target.Close()
	// The key is taken away when authentication is over, when nobody has said so in time, or when
	// the stream ends, whichever is first.
	installed, err := l.keys.Install(prep, match, open.Session, ephemeral)
	if err != nil {
		return err
	}
	remove := sync.OnceFunc(func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		if err := installed.Remove(undo); err != nil {
			log.Error("the session's key could not be removed; it expires by itself", "login", match.Login, "code", wire.CodeOf(err), "err", err)
		}
	})
	defer remove()
	var wg sync.WaitGroup
	defer wg.Wait()
	ended, end := context.WithCancel(ctx)
	defer end()
	wg.Go(func() {
		select {
		case <-over:
		case <-time.After(keyLife):
		case <-ended.Done():
		}
		leave()
		remove()
	})
	if err := answer(s, &wire.Opened{Login: match.Login, HostKeys: marshalKeys(hostKeys), Rights: match.Grant.Rights, Gates: l.gates(open)}); err != nil {
		return err
	}
	log.Info("session opened", "login", match.Login, "rights", match.Grant.Rights)
	sent, received, err := wire.Splice(ctx, l.laned(log, s, open), wire.Conn(target))
	log.Info("session ended", "login", match.Login, "in", sent, "out", received)
	return broken(err)
}

// serveRaw joins the stream to sshd, whose greeting comes first. No key is looked for and none is installed: sshd
// alone decides who gets in, and as which login. It is not counted among those who authenticate, as nobody tells
// when that is over.
func (l *agentLink) serveRaw(ctx, prep context.Context, log *slog.Logger, s wire.Stream, open *wire.Open) error {
	hostKeys, err := l.keys.HostKeys(prep, l.Config.SSH.Addr)
	if err != nil {
		return err
	}
	target, leave, err := l.dialSSH(prep, log, l.Config.SSH.Addr, keys.Approach{})
	if err != nil {
		return err
	}
	leave()
	defer target.Close()
	if err := answer(s, &wire.Opened{HostKeys: marshalKeys(hostKeys), Rights: []wire.Right{wire.MayRaw}, Gates: l.gates(open)}); err != nil {
		return err
	}
	log.Info("session opened", "rights", wire.MayRaw)
	sent, received, err := wire.Splice(ctx, l.laned(log, s, open), wire.Conn(target))
	log.Info("session ended", "in", sent, "out", received)
	return broken(err)
}

// broken is the error of a session that ended after Opened. There is none if the relay only hung
// up: most sessions end so.
func broken(err error) error {
	if err == nil || wire.CodeOf(err) == wire.None {
		return nil
	}
	return errors.Join(errSpliced, err)
}

// serveBuiltin checks that the login's authorized_keys holds the operator's key, as sshd would,
// and serves the stream itself; nothing is installed anywhere.
func (l *agentLink) serveBuiltin(ctx, prep context.Context, s wire.Stream, open *wire.Open, operator keys.Operator, ephemeral ssh.PublicKey) error {
	login := l.builtin.Login()
	if open.Login != "" && open.Login != login {
		return wire.Errorf(wire.LoginNotAllowed, "the machine's agent serves the login %s only", login)
	}
	match, err := l.keys.Find(prep, operator, login)
	if err != nil {
		return err
	}
	granted := match.Grant
	if err := answer(s, &wire.Opened{Login: login, HostKeys: marshalKeys(l.builtin.HostKeys()), Rights: granted.Rights, Gates: l.gates(open)}); err != nil {
		return err
	}
	conn := &wire.NetConn{Stream: l.laned(l.Log, s, open), End: func(s wire.Stream) { wire.Finish(s, time.Second) }} // the shell's last words arrive
	return broken(l.builtin.Serve(ctx, conn, builtin.Guest{
		Key: ephemeral, Rights: granted.Rights, Forward: granted.Opens, Listen: granted.Listens, NoSockets: !match.Sockets,
	}))
}

// maxKeys is how many public keys an operator may have in one request.
const maxKeys = 64

// parseOperator reads who wants in. An address with a zone is none: it says something on the relay's host
// alone.
func parseOperator(open *wire.Open) (who keys.Operator, err error) {
	who.Name = open.Operator
	if len(open.Keys) == 0 || len(open.Keys) > maxKeys {
		return who, wire.Errorf(wire.BadRequest, "%d public keys; between 1 and %d are expected", len(open.Keys), maxKeys)
	}
	for _, b := range open.Keys {
		k, err := ssh.ParsePublicKey(b)
		if err != nil {
			return who, &wire.Error{Code: wire.BadRequest, Detail: "malformed public key", Err: err}
		}
		who.Keys = append(who.Keys, k)
	}
	if open.Source == "" {
		return who, nil
	}
	if who.Source, err = netip.ParseAddr(open.Source); err != nil || who.Source.Zone() != "" {
		return who, wire.Errorf(wire.BadRequest, "%.60q is not the operator's address", open.Source)
	}
	return who, nil
}

func marshalKeys(keys []ssh.PublicKey) [][]byte {
	var out [][]byte
	for _, k := range keys {
		out = append(out, k.Marshal())
	}
	return out
}
