package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"scrier/relay/allowance"
	"scrier/wire"
)

const (
	// answerTime is what a person has for all answers of one login: sshd's LoginGraceTime, which ends the connection
	// then, whatever we do.
	answerTime = 2 * time.Minute

	maxSaid = 12 << 10 // bytes, of all that a machine says in one login
)

// Dialogue is what a machine says and asks while a session is being opened, and who is told and asked: the viewer of
// the session's owner, as soon as there is one.
//
//	Reserve --> silent --- Said, Ask ---> speaking --- Over ---> over
//
// Viewers that attach before the end wait here; they go on to the session's first stage, or are told why there is
// none. The first one is given what was said, also behind the end.
type Dialogue struct {
	session *Session

	mu       sync.Mutex
	heard    bool             // a viewer shows what is said, and answers
	changed  chan struct{}    // closed, and made anew, when anything below changes
	spoke    chan struct{}    // closed when something is said or asked
	open     bool             // spoke is not closed yet
	said     string           // clean
	size     int              // of what was said, before it was cleaned
	asked    uint32           // how often
	taken    bool             // there was more than one viewer
	only     []byte           // whom alone it is for; nil: for every viewer of the owner's
	ask      *question        // nil: none is open
	seat     *listener        // nil: nobody is attached
	client   []byte           // of the last one; nil: nobody was
	patience time.Duration    // what is left of answerTime
	limit    *allowance.Limit // of the opening
	step     string
	login    string
	over     bool
	err      error
}

// question is one that waits for its answer.
type question struct {
	message *wire.Ask
	answer  chan *wire.Answer // holds one
	resume  func()            // the limit of the opening goes on
}

// listener is an attached viewer.
type listener struct {
	Viewer
	greeted bool
	said    int    // how much of what was said it has been sent, in bytes
	asked   uint32 // the last question that it has been sent
	end     *wire.Exit
}

func newDialogue(s *Session) *Dialogue {
	return &Dialogue{session: s, changed: make(chan struct{}), spoke: make(chan struct{}), open: true, patience: answerTime}
}

// Dialogue is the session's.
func (s *Session) Dialogue() *Dialogue { return s.dialogue }

// Listen says that whoever opens the session can be told and asked. Without it what is said goes nowhere, and a question
// is an error.
func (d *Dialogue) Listen() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = true
}

// Only says that the session is for one viewer alone, the one with this [wire.Attach.Client].
func (d *Dialogue) Only(client []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.only = client
}

// Spoke is closed when the machine has said or asked something.
func (d *Dialogue) Spoke() <-chan struct{} { return d.spoke }

// Within gives the opening of the session a limit, which stands still while a question is open. stop must be called.
func (d *Dialogue) Within(ctx context.Context, limit time.Duration, late func(step string) error) (_ context.Context, stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ctx, d.limit = allowance.New(ctx, limit, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		return late(d.step)
	})
	return ctx, d.limit.Stop
}

// Step notes what the opening waits for; empty is the machine's agent.
func (d *Dialogue) Step(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.step = what
}

// As notes the login on the machine, for those who are told and asked.
func (d *Dialogue) As(login string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.login = login
}

func (d *Dialogue) changedLocked() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Dialogue) spokeLocked() {
	if d.open {
		d.open = false
		close(d.spoke)
	}
	d.changedLocked()
}

// Said takes text of the machine's, which need not be clean. What is too much is left out.
func (d *Dialogue) Said(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	room := maxSaid - d.size
	if !d.heard || d.over || room <= 0 {
		return
	}
	if d.said != "" {
		d.said += "\n"
	}
	d.said += wire.Lines(text, room)
	d.size += len(text) + 1
	d.spokeLocked()
}

// Ask asks whoever opens the session. It ends with an answer, with ctx, or when nobody gives one in time. The caller
// wipes the answer.
func (d *Dialogue) Ask(ctx context.Context, a *wire.Ask) (*wire.Answer, error) {
	q, patience, err := d.begin(a)
	if err != nil {
		return nil, err
	}
	since := time.Now()
	defer func() { d.close(q, time.Since(since)) }()
	late := time.NewTimer(patience)
	defer late.Stop()
	grace := d.session.Grace()
	var away <-chan time.Time // runs while nobody is attached
	for {
		d.mu.Lock()
		changed, alone := d.changed, d.seat == nil
		d.mu.Unlock()
		if !alone {
			away = nil
		} else if away == nil {
			away = time.After(grace)
		}
		select {
		case answer := <-q.answer:
			return answer, nil
		case <-changed:
		case <-away:
			return nil, wire.Errorf(wire.LoginUnanswered, "nobody was attached for %s", wire.Period(grace))
		case <-late.C:
			return nil, wire.Errorf(wire.LoginUnanswered, "no answer within %s, which is for all answers of one login", wire.Period(answerTime))
		case <-ctx.Done():
			return nil, wire.Cause(ctx, wire.Cancelled)
		}
	}
}

// begin opens a question, for which there is so much time.
func (d *Dialogue) begin(a *wire.Ask) (*question, time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.heard {
		return nil, 0, wire.Errorf(wire.LoginUnanswered, "whoever opened the session cannot be asked")
	}
	d.asked++
	a.ID, a.Envoy, a.Login = d.asked, d.session.row.EnvoyName, d.login
	q := &question{message: a, answer: make(chan *wire.Answer, 1), resume: func() {}}
	if d.limit != nil {
		q.resume = d.limit.Pause()
	}
	d.ask = q
	d.spokeLocked()
	return q, d.patience, nil
}

// close ends a question for which a person took some time.
func (d *Dialogue) close(q *question, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.patience = max(d.patience-took, 0)
	d.ask = nil
	q.resume()
	select {
	case late := <-q.answer: // in the moment in which it ended otherwise
		late.Wipe()
	default:
	}
	d.changedLocked()
}

// TakenOver says whether another viewer has come since the first.
func (d *Dialogue) TakenOver() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.taken
}

// Over ends the dialogue: the session is open, or err says why it will not be.
func (d *Dialogue) Over(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over, d.err = true, err
	d.changedLocked()
}

// untold says that the opening has failed, and that nobody who may attach has been told why.
func (d *Dialogue) untold() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over && d.err != nil && d.heard
}

// end ends the viewer that matches, alone.
func (d *Dialogue) end(match func(Viewer) bool, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seat != nil && match(d.seat.Viewer) {
		d.dismissLocked(wire.ExitOf(why))
	}
}

func (d *Dialogue) dismissLocked(exit *wire.Exit) {
	d.seat.end = exit
	d.seat = nil
	d.changedLocked()
}

// enter takes a viewer in, and ends the one before. Who comes back by itself leaves it to who has taken its place.
func (d *Dialogue) enter(v *listener, a *wire.Attach) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.only != nil && !bytes.Equal(d.only, a.Client) {
		return wire.Errorf(wire.Conflict, "the session is opened for a program without a terminal, which only the command that started it shows").Advise("open a session of your own")
	}
	if a.Back && d.client != nil && !bytes.Equal(d.client, a.Client) {
		return &wire.Error{Code: wire.TakenOver}
	}
	d.taken = d.client != nil
	d.client = append([]byte{}, a.Client...)
	if d.seat != nil {
		d.dismissLocked(&wire.Exit{Code: wire.TakenOver})
	}
	d.seat = v
	d.changedLocked()
	return nil
}

func (d *Dialogue) leave(v *listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seat == v {
		d.seat = nil
		d.changedLocked()
	}
}

// attend serves the owner's viewer until the session is open: then it says true. An error has not been told to the
// viewer; otherwise its last frame was sent, or its stream is reset.
func (d *Dialogue) attend(ctx context.Context, f *wire.Framed, who Viewer, a *wire.Attach) (bool, error) {
	v := &listener{Viewer: who}
	if err := d.enter(v, a); err != nil {
		return false, err
	}
	defer d.leave(v)
	if v.Check != nil { // again, now that it is found by whoever ends viewers
		if err := v.Check(false); err != nil {
			return false, err
		}
	}
	for {
		messages, changed, over, err := d.due(v)
		for _, m := range messages {
			if err := f.Send(m); err != nil {
				f.Reset(wire.ViewerLost)
				return false, nil
			}
		}
		if changed == nil { // the last one is an Exit
			return false, nil
		}
		if over {
			return err == nil, err
		}
		select {
		case <-changed:
		case <-f.ReceiveAhead():
			if more, err := d.receive(f, v); !more {
				return false, err
			}
		case <-ctx.Done():
			return false, wire.Cause(ctx, wire.Cancelled)
		}
	}
}

// due is what a viewer is to be sent now, and what tells that there is more; nil: it is to end.
func (d *Dialogue) due(v *listener) (messages []wire.Message, changed <-chan struct{}, over bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.end != nil {
		return []wire.Message{v.end}, nil, false, nil
	}
	if text := d.said[min(v.said, len(d.said)):]; text != "" || !v.greeted && !d.over {
		messages = append(messages, &wire.Said{Envoy: d.session.row.EnvoyName, Login: d.login, Text: strings.TrimPrefix(text, "\n")})
		v.said, v.greeted = len(d.said), true
	}
	if d.ask != nil && v.asked != d.ask.message.ID {
		v.asked = d.ask.message.ID
		messages = append(messages, d.ask.message)
	}
	if d.over { // later viewers need not be told again
		d.said = ""
		err = d.err
		if err != nil {
			d.heard = false
		}
	}
	return messages, d.changed, d.over, err
}

// receive takes a message of a viewer's.
func (d *Dialogue) receive(f *wire.Framed, v *listener) (more bool, _ error) {
	m, err := f.Receive()
	switch code := wire.CodeOf(err); {
	case code == wire.Cancelled, code == wire.Internal && errors.Is(err, io.EOF): // a terminal's; a page says so in a frame
		d.giveUp(v)
		f.Reset(wire.Cancelled)
		return false, nil
	case code == wire.Protocol:
		return false, err
	case err != nil:
		f.Reset(wire.ViewerLost)
		return false, nil
	}
	switch m := m.(type) {
	case *wire.Ping:
		if err := f.Send(&wire.Pong{N: m.N}); err != nil {
			f.Reset(wire.ViewerLost)
			return false, nil
		}
	case *wire.Answer:
		if err := d.take(v, m); err != nil {
			return false, err
		}
	default:
		return false, wire.Errorf(wire.Protocol, "unexpected %T from a viewer of a session that is being opened", m)
	}
	return true, nil
}

// giveUp ends the session for a viewer, unless somebody else has it by now.
func (d *Dialogue) giveUp(v *listener) {
	d.mu.Lock()
	may := d.seat == v && !d.over
	d.mu.Unlock()
	if may {
		d.session.End(wire.Errorf(wire.Cancelled, "the operator gave up"))
	}
}

// take takes an answer. One that comes too late is none.
func (d *Dialogue) take(v *listener, a *wire.Answer) error {
	if v.Check != nil {
		if err := v.Check(true); err != nil {
			a.Wipe()
			return err
		}
	}
	if a.Cancel {
		a.Wipe()
		d.giveUp(v)
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seat != v || d.ask == nil || d.ask.message.ID != a.ID {
		a.Wipe()
		return nil
	}
	good := len(a.Texts) == len(d.ask.message.Questions)
	for _, t := range a.Texts {
		good = good && len(t) <= wire.MaxAnswer
	}
	if !good {
		a.Wipe()
		return wire.Errorf(wire.Protocol, "%d questions want as many answers of at most %d bytes each", len(d.ask.message.Questions), wire.MaxAnswer)
	}
	select {
	case d.ask.answer <- a:
	default: // it was answered already
		a.Wipe()
	}
	return nil
}
