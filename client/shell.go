package client

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/wire"
)

// ShellRequest is what [Relay.Shell] needs.
type ShellRequest struct {
	Envoy    string
	Attach   string // instead of Envoy: the id of a session that is open
	Login    string
	Command  string     // for the login's shell; empty: that shell itself
	Key      ssh.Signer // only this key counts; nil: all that are registered
	NoSkip   bool       // show all output, also what waits when Ctrl-C is typed
	Share    bool       // one of the operator's sessions that is open already will do
	Terminal *Terminal
	Messages io.Writer // for what is said to the person, usually standard error

	// Session, if not nil, is an open one on which the shell is one more channel; Envoy, Login and Key have no meaning then.
	Session *Session
	Agent   bool // the programs there reach the operator's SSH agent, if [Session.ListenAgent] listens
	// Rejoined hears that the terminal has come back to its session over another connection, which r is, after the one
	// before was lost with all that was on it. It must not block. nil: nobody hears it.
	Rejoined func(r *Relay)
}

// Shell opens a session and is its terminal until it ends. status is the remote shell's, or
// [wire.NoStatus] if a signal ended it or the person left; of a command that a signal ended it is 128 and the signal's number. An error means that there was none.
func (r *Relay) Shell(ctx context.Context, req ShellRequest) (status int, err error) {
	first, client, err := r.first(ctx, req)
	if err != nil {
		return 0, err
	}
	f, attached, err := r.join(ctx, first, dialogue{terminal: req.Terminal, messages: req.Messages})
	if err != nil {
		return 0, err
	}
	return r.attach(ctx, f, req, attached, client)
}

// join opens a stream that begins with first and becomes a viewer's. d is what the person hears and is asked meanwhile.
func (r *Relay) join(ctx context.Context, first wire.Message, d dialogue) (*wire.Framed, *wire.Attached, error) {
	stream, err := r.link.Open(ctx)
	if err != nil {
		return nil, nil, r.ended(err)
	}
	lanes := r.lanes
	if c, ok := first.(*wire.Connect); ok && carries(c.Channel) {
		stream = lanes.laned(r.link.Context(), stream, c)
	}
	f := wire.NewFramed(stream)
	stop := context.AfterFunc(ctx, func() { stream.Reset(wire.Cancelled) })
	defer stop()
	if err := f.Send(first); err != nil {
		return nil, nil, r.ended(err)
	}
	d.Framed = f
	d.gates = func(m *wire.Gates) error {
		c, _ := first.(*wire.Connect)
		return lanes.gates(stream, c, m)
	}
	attached, err := d.attached(ctx)
	if err != nil {
		stream.Reset(wire.Cancelled)
		if ctx.Err() != nil {
			return nil, nil, wire.Cause(ctx, wire.Cancelled)
		}
		return nil, nil, r.ended(err)
	}
	if attached.Kind != wire.KindSSH {
		stream.Reset(wire.Protocol)
		return nil, nil, wire.Errorf(wire.Protocol, "the relay attached this terminal to a session of kind %q", wire.Printable(string(attached.Kind)))
	}
	if c, ok := first.(*wire.Connect); ok && c.Channel != nil && !attached.Channel {
		stream.Reset(wire.VersionMismatch)
		return nil, nil, wire.Errorf(wire.VersionMismatch, "the relay is older than this program, and opens shells only")
	}
	if c, ok := first.(*wire.Connect); ok && attached.Part == 0 && needsChannels(c) {
		wire.Finish(stream, closeWait) // it has opened something else, which is to end
		return nil, nil, errNoChannels
	}
	if c, ok := first.(*wire.Connect); ok && c.Session != (wire.SessionID{}) && attached.Session != c.Session {
		stream.Reset(wire.Protocol)
		return nil, nil, errOther
	}
	if !stop() { // from here on the end of ctx is an orderly one
		return nil, nil, wire.Cause(ctx, wire.Cancelled)
	}
	r.beat()
	return f, attached, nil
}

// errNoChannels says that there is more to a session than the relay knows.
var errNoChannels = &wire.Error{Code: wire.VersionMismatch, Detail: "the relay is older than this program: its sessions have no channels for files and forwards"}

// needsChannels says whether a request means something else to a relay that does not know of several channels.
func needsChannels(c *wire.Connect) bool {
	return len(c.Needs) > 0 || c.Session != (wire.SessionID{}) || c.Channel != nil && c.Channel.Kind != wire.Program
}

// first is the message that begins the stream, and what it calls this viewer.
func (r *Relay) first(ctx context.Context, req ShellRequest) (m wire.Message, client []byte, err error) {
	if req.Attach != "" {
		a, err := r.ticket(ctx, req, req.Attach, r.terminalOf(ctx, req.Attach))
		if err != nil {
			return nil, nil, err
		}
		return a, a.Client, nil
	}
	c := &wire.Connect{
		Envoy: req.Envoy, Kind: wire.KindSSH, Login: req.Login, Size: req.Terminal.Size(), Client: newClient(),
		Term: os.Getenv("TERM"), Env: language(os.Environ()), Skip: !req.NoSkip, Paint: true, Prompt: true, Modes: req.Terminal.Modes(), Answers: true,
		Share: req.Share,
	}
	if req.Command != "" || req.Agent {
		c.Channel = &wire.Channel{Command: []byte(req.Command), Agent: req.Agent}
	}
	if req.Session != nil {
		c.Session = req.Session.ID()
	}
	if req.Key == nil || req.Session != nil {
		return c, c.Client, nil
	}
	return c, c.Client, r.prove(c, req.Key)
}

// terminalOf is the channel of a session that is open which a terminal can show: its first may hold the session for forwards, or
// have ended. 0: nobody knows, and the first is meant.
func (r *Relay) terminalOf(ctx context.Context, session string) uint32 {
	data, err := r.Do(ctx, "GET", "/sessions/"+Escape(session)+"/channels", nil)
	if err != nil {
		return 0 // whoever attaches hears why, or the relay is older than channels
	}
	var all struct {
		Channels []struct {
			Number uint32            `json:"number"`
			Open   bool              `json:"open"`
			What   map[string]string `json:"what"`
		} `json:"channels"`
	}
	if json.Unmarshal(data, &all) != nil {
		return 0
	}
	for _, kind := range []string{"shell", "exec"} { // a command has a terminal with -t
		for _, c := range all.Channels {
			if c.Open && c.What["channel"] == kind {
				return c.Number
			}
		}
	}
	return 0
}

func newClient() []byte {
	id := make([]byte, 16)
	rand.Read(id)
	return id
}

// ticket asks for the right to attach to a session that is open, to its channel of a number; 0: to the first.
func (r *Relay) ticket(ctx context.Context, req ShellRequest, session string, part uint32) (*wire.Attach, error) {
	ticket, err := r.right(ctx, session, part)
	if err != nil {
		return nil, err
	}
	return &wire.Attach{
		Ticket: ticket, Size: req.Terminal.Size(), Client: newClient(), Skip: !req.NoSkip, Paint: true, Prompt: true, Answers: true,
	}, nil
}

// right is what the relay gives for that.
func (r *Relay) right(ctx context.Context, session string, part uint32) (ticket []byte, err error) {
	data, err := r.Do(ctx, "POST", "/sessions/"+Escape(session)+"/attach", struct {
		Channel uint32 `json:"channel,omitempty"` // relays that are older know no field of this name
	}{part})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Ticket string `json:"ticket"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("read the relay's answer: %w", err)
	}
	if ticket, err = base64.RawURLEncoding.DecodeString(answer.Ticket); err != nil {
		return nil, fmt.Errorf("read the relay's ticket: %w", err)
	}
	return ticket, nil
}

// ended returns the reason for the end of the link, if the link has ended, and else err.
func (r *Relay) ended(err error) error {
	if r.link.Err() != nil {
		return r.why()
	}
	return err
}

// ended is why a session ended, as the relay says.
func ended(code wire.Code, detail string) error {
	e := &wire.Error{Code: code, Detail: wire.Printable(detail)}
	if code == wire.Expired { // the code is also a login's
		return e.Advise("open the session again")
	}
	return e
}

// prove signs that the operator holds the key that the request names.
func (r *Relay) prove(c *wire.Connect, key ssh.Signer) error {
	exporter, err := r.link.Peer().Export(certs.ExporterLabel, certs.ExporterSize)
	if err != nil {
		return fmt.Errorf("bind the proof to its connection: %w", err)
	}
	message, err := certs.KeyMessage(exporter, c.Envoy, c.Login)
	if err != nil {
		return err
	}
	c.Key = key.PublicKey().Marshal()
	c.Proof, err = sign(key, certs.NamespaceKey(r.Login.Cluster), message)
	return err
}

// attach connects the terminal with the session, until that ends or the person leaves.
func (r *Relay) attach(ctx context.Context, f *wire.Framed, req ShellRequest, a *wire.Attached, client []byte) (int, error) {
	t := req.Terminal
	// Say which account it is before anything is typed: somebody may have put the key into the account
	// of another user.
	fmt.Fprintf(req.Messages, "Connected to %s as %s%s.\n", wire.Printable(a.Envoy), wire.Printable(a.Login), r.overTCP())
	restore, err := t.Raw()
	if err != nil {
		f.Reset(wire.ViewerLost)
		return 0, err
	}
	defer restore()
	l := &lifeline{
		relay: r, req: req, terminal: t, restore: restore, program: ctx,
		session: a.Session, part: a.Part, client: client, grace: time.Duration(a.Grace) * time.Second, input: newInput(), offset: a.Offset,
	}
	if l.grace == 0 {
		l.grace = usualGrace
	}
	l.keys = &keyboard{terminal: t, messages: req.Messages, input: l.input}
	l.input.resume(a.Typed, uint64(a.Window))
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	// Reading the terminal cannot be interrupted in every case; this goroutine ends with the
	// process at the latest, and takes nothing once the session is over.
	go func() {
		if err := l.keys.run(ctx); err != nil {
			end(err)
		}
	}()
	go func() {
		select {
		case <-ctx.Done():
		case <-t.Done():
			end(wire.Errorf(wire.Cancelled, "ended by a signal"))
		}
	}()
	exit, free, why := l.run(ctx, newAttachment(l, f, a))
	restore()
	if undo := ""; free { // else the terminal takes nothing
		if undo = l.left.undo(); undo != "" {
			_, _ = t.Write([]byte(undo)) // a terminal that is gone needs nothing
		}
	}
	switch {
	case errors.Is(why, errLeft):
		fmt.Fprintf(req.Messages, "Disconnected from %s.\n", wire.Printable(a.Envoy))
		if l.apart {
			fmt.Fprintf(req.Messages, "The session may still be open: `%s` goes on with it.\n", l.command())
		}
		return wire.NoStatus, nil // no success: nobody knows what became of the shell
	case !errors.Is(why, errExit):
		if r.link.Err() != nil && !broke(r.link) {
			return 0, r.why()
		}
		return 0, l.advise(why)
	case exit.Code != wire.None:
		fmt.Fprintln(req.Messages) // what follows must not stand behind the prompt
		return 0, ended(exit.Code, exit.Detail)
	case exit.Signal != "" && req.Command != "":
		fmt.Fprintf(req.Messages, "The command was ended by SIG%s.\n", wire.Printable(exit.Signal))
		return statusOf(exit), nil
	case exit.Signal != "":
		fmt.Fprintf(req.Messages, "The remote shell was ended by SIG%s.\n", wire.Printable(exit.Signal))
		return wire.NoStatus, nil
	}
	return int(exit.Status), nil
}

// language is the part of the environment that says how text is shown.
func language(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		k, v, _ := strings.Cut(e, "=")
		if (k == "LANG" || strings.HasPrefix(k, "LC_")) && v != "" {
			env[k] = v
		}
	}
	return env
}
