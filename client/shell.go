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
	"sync"
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
	Key      ssh.Signer // only this key counts; nil: all that are registered
	NoSkip   bool       // show all output, also what waits when Ctrl-C is typed
	Terminal *Terminal
	Messages io.Writer // for what is said to the person, usually standard error
}

// Shell opens a session and is its terminal until it ends. status is the remote shell's, or
// [wire.NoStatus] if a signal ended it or the person left; an error means that there was none.
func (r *Relay) Shell(ctx context.Context, req ShellRequest) (status int, err error) {
	first, err := r.first(ctx, req)
	if err != nil {
		return 0, err
	}
	stream, err := r.link.Open(ctx)
	if err != nil {
		return 0, err
	}
	f := wire.NewFramed(stream)
	stop := context.AfterFunc(ctx, func() { stream.Reset(wire.Cancelled) })
	defer stop()
	if err := f.Send(first); err != nil {
		return 0, r.ended(err)
	}
	attached, err := wire.Expect[wire.Attached](f)
	if err != nil {
		stream.Reset(wire.Cancelled)
		if ctx.Err() != nil {
			return 0, wire.Cause(ctx, wire.Cancelled)
		}
		return 0, r.ended(err)
	}
	if attached.Kind != wire.KindSSH {
		stream.Reset(wire.Protocol)
		return 0, wire.Errorf(wire.Protocol, "the relay attached this terminal to a session of kind %q", wire.Printable(string(attached.Kind)))
	}
	if !stop() { // from here on the end of ctx is an orderly one
		return 0, wire.Cause(ctx, wire.Cancelled)
	}
	return r.attach(ctx, f, req, attached)
}

// first is the message that begins the stream.
func (r *Relay) first(ctx context.Context, req ShellRequest) (wire.Message, error) {
	if req.Attach != "" {
		return r.ticket(ctx, req)
	}
	c := &wire.Connect{
		Envoy: req.Envoy, Kind: wire.KindSSH, Login: req.Login, Size: req.Terminal.Size(),
		Term: os.Getenv("TERM"), Env: language(os.Environ()), Skip: !req.NoSkip, Prompt: true, Modes: req.Terminal.Modes(),
	}
	if req.Key == nil {
		return c, nil
	}
	return c, r.prove(c, req.Key)
}

// ticket asks for the right to attach to a session that is open.
func (r *Relay) ticket(ctx context.Context, req ShellRequest) (*wire.Attach, error) {
	data, err := r.Do(ctx, "POST", "/sessions/"+Escape(req.Attach)+"/attach", struct{}{})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Ticket string `json:"ticket"`
	}
	a := &wire.Attach{Size: req.Terminal.Size(), Client: make([]byte, 16), Skip: !req.NoSkip, Prompt: true}
	rand.Read(a.Client)
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("read the relay's answer: %w", err)
	}
	if a.Ticket, err = base64.RawURLEncoding.DecodeString(answer.Ticket); err != nil {
		return nil, fmt.Errorf("read the relay's ticket: %w", err)
	}
	return a, nil
}

// ended returns the reason for the end of the link, if the link has ended, and else err.
func (r *Relay) ended(err error) error {
	if r.link.Err() != nil {
		return r.why()
	}
	return err
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

// errLeft is the person's ~.
var errLeft = errors.New("disconnected")

// attach connects the terminal with the session. There is no queue between them: if the terminal is
// slow, flow control stops the stream.
func (r *Relay) attach(ctx context.Context, f *wire.Framed, req ShellRequest, a *wire.Attached) (int, error) {
	t := req.Terminal
	// Say which account it is before anything is typed: somebody may have put the key into the account
	// of another user.
	fmt.Fprintf(req.Messages, "Connected to %s as %s.\n", wire.Printable(a.Envoy), wire.Printable(a.Login))
	restore, err := t.Raw()
	if err != nil {
		f.Reset(wire.ViewerLost)
		return 0, err
	}
	defer restore()
	program := ctx
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var exit *wire.Exit
	var wg sync.WaitGroup
	typed := newCredit(a.Window)
	shown := newProgress(a, func(m *wire.Ack) error { return f.Send(m) })
	defer shown.stop()
	var left leftover
	keys := newKeyboard(f, t, req.Messages, typed)
	keys.most = min(maxHeld, int(a.Window))
	wg.Go(func() {
		var err error
		exit, err = output(ctx, f, t, req.Messages, keys, shown, &left)
		end(err)
	})
	wg.Go(func() {
		for size := range t.Resizes(ctx) {
			if err := keys.resize(size); err != nil {
				return // output sees the end of the stream
			}
		}
	})
	// Reading the terminal cannot be interrupted in every case; this goroutine ends with the
	// process at the latest, and takes nothing once the session is over.
	go func() {
		if err := keys.run(ctx); err != nil {
			end(err)
		}
	}()
	select {
	case <-ctx.Done():
	case <-t.Done():
		end(wire.Errorf(wire.Cancelled, "ended by a signal"))
	}
	why := context.Cause(ctx)
	restore()
	done := make(chan struct{})
	go func() { defer close(done); wg.Wait() }()
	if !errors.Is(why, errExit) {
		// A person who disconnects, or ends this program, ends the session. A connection that breaks
		// leaves it open.
		leaves := errors.Is(why, errLeft) || wire.CodeOf(why) == wire.Cancelled || program.Err() != nil
		if !leaves || f.SetDeadline(time.Now().Add(stuckTerminal)) != nil || f.CloseWrite() != nil {
			f.Reset(wire.ViewerLost)
		}
		select {
		case <-done:
		case <-time.After(stuckTerminal):
		}
	} else {
		<-done
	}
	select {
	case <-done:
		if undo := left.undo(); undo != "" {
			_, _ = t.Write([]byte(undo)) // a terminal that is gone needs nothing
		}
	default: // the terminal takes nothing
	}
	switch {
	case errors.Is(why, errLeft):
		fmt.Fprintf(req.Messages, "Disconnected from %s.\n", wire.Printable(a.Envoy))
		return wire.NoStatus, nil // no success: nobody knows what became of the shell
	case !errors.Is(why, errExit):
		if r.link.Err() != nil {
			return 0, r.why()
		}
		return 0, why
	case exit.Code != wire.None:
		fmt.Fprintln(req.Messages) // what follows must not stand behind the prompt
		return 0, &wire.Error{Code: exit.Code, Detail: wire.Printable(exit.Detail)}
	case exit.Signal != "":
		fmt.Fprintf(req.Messages, "The remote shell was ended by SIG%s.\n", wire.Printable(exit.Signal))
		return wire.NoStatus, nil
	}
	return int(exit.Status), nil
}

// stuckTerminal is how long a terminal that takes no more output may hold up the end.
const stuckTerminal = time.Second

var errExit = errors.New("the session ended")

// output writes what the session shows, until its end.
func output(ctx context.Context, f *wire.Framed, t *Terminal, messages io.Writer, keys *keyboard, shown *progress, left *leftover) (*wire.Exit, error) {
	for live := false; ; {
		if !live && shown.live() { // only once: input that has to wait for an Ack holds what goLive needs
			live = true
			if err := keys.goLive(ctx); err != nil {
				return nil, err
			}
		}
		m, err := f.Receive()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, lost(err)
		}
		switch m := m.(type) {
		case *wire.Data:
			if err := show(t, left, m.Bytes); err != nil {
				return nil, err
			}
			if err := shown.add(len(m.Bytes)); err != nil {
				return nil, lost(err)
			}
		case *wire.Skip:
			if err := show(t, left, m.Screen); err != nil {
				return nil, err
			}
			if m.More {
				continue
			}
			if err := shown.skip(m.To); err != nil {
				return nil, lost(err)
			}
		case *wire.Ack:
			keys.credit.arrived(m.Offset)
		case *wire.Watchers:
			fmt.Fprintf(messages, "\r\n[scrier] %s\r\n", watching(m.Names))
		case *wire.Notice:
			fmt.Fprintf(messages, "\r\n[scrier] %s\r\n", wire.Printable(m.Text))
		case *wire.Exit:
			return m, errExit
		default:
			return nil, wire.Errorf(wire.Protocol, "unexpected %T from the relay", m)
		}
	}
}

// show writes what a session shows, and notes what of it would outlive the session.
func show(t *Terminal, left *leftover, p []byte) error {
	if before := left.feed(p); before != "" {
		if _, err := t.Write([]byte(before)); err != nil {
			return fmt.Errorf("write to the terminal: %w", err)
		}
	}
	if _, err := t.Write(p); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}

// lost is the end of the connection to the relay.
func lost(err error) error {
	return &wire.Error{Code: wire.RelayUnreachable, Detail: "the connection to the relay was lost", Err: err}
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
