package audit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	backlog  = 256              // requests that wait for the writer; more wait in their callers
	maxBatch = 512              // requests that share one commit
	maxWait  = 10 * time.Second // for a disk that does not answer
)

// request is something for the writer to do. All that one request asks for is done in one commit.
type request struct {
	event      *Event // append it
	use        use    // of the reserve
	checkpoint bool   // sign everything up to here
	probe      bool   // find out whether the log can be written
	begun      time.Time
	answer     chan answer
}

// use is how a request may use the reserve.
type use uint8

const (
	nothing use = iota
	share       // see [Log.AppendOwn]
	all         // see [Log.AppendEnd]
)

type answer struct {
	record Record
	signed []byte
	err    error
}

// Append adds an event. When it returns nil the record is durable. Every error is
// [wire.AuditUnavailable]; nothing may start then. After an error the record may be there all the
// same, for instance when ctx ended while it was written.
//
// Append refuses once the free space is down to the reserve, as the reserve is kept for [Log.AppendEnd]
// and, a part of it, for [Log.AppendOwn].
func (l *Log) Append(ctx context.Context, e Event) (Record, error) {
	return l.append(ctx, e, nothing)
}

// AppendEnd is Append for what must end whatever the disk says: a session, or a right that an
// administrator takes away. It goes on when the disk is full, until the reserve is used up. Nothing that
// anybody can repeat as they like belongs here.
func (l *Log) AppendEnd(ctx context.Context, e Event) (Record, error) {
	return l.append(ctx, e, all)
}

// AppendOwn is Append for an event by which an operator ends something of their own, such as a sign-in.
// It goes on when the disk is full, too, but only with [ShareOfOne] records of one operator and
// [ShareOfAll] in all: what anybody who is logged in can repeat must not use the reserve up.
func (l *Log) AppendOwn(ctx context.Context, e Event) (Record, error) {
	return l.append(ctx, e, share)
}

// AppendSoon is Append for much that has happened one after the other. It returns when the event has its place behind
// those of earlier calls, so that many share a commit. written, which must be called, waits for what Append gives.
func (l *Log) AppendSoon(ctx context.Context, e Event) (written func() error) {
	e = e.bounded()
	if e.Type == "" {
		return func() error { return errUntyped }
	}
	answered := l.begin(ctx, &request{event: &e, use: nothing})
	return func() error {
		_, err := answered()
		return err
	}
}

func (l *Log) append(ctx context.Context, e Event, u use) (Record, error) {
	e = e.bounded()
	if e.Type == "" {
		return Record{}, errUntyped
	}
	a, err := l.ask(ctx, &request{event: &e, use: u})
	return a.record, err
}

var errUntyped = unavailable(errors.New("an event has no type"))

// Checkpoint signs everything that is durable and returns the signed note. It is what a witness
// keeps ([VerifyOptions.Pinned]).
func (l *Log) Checkpoint(ctx context.Context) (signed []byte, err error) {
	a, err := l.ask(ctx, &request{checkpoint: true, use: all})
	return a.signed, err
}

// Healthy says whether the log can be written right now, with room for what it has begun; if
// the last write failed, it tries another. It waits for the writes that are under way.
func (l *Log) Healthy() error {
	_, err := l.ask(context.Background(), &request{probe: true})
	return err
}

// ask hands a request to the writer and waits for the answer.
func (l *Log) ask(ctx context.Context, r *request) (answer, error) { return l.begin(ctx, r)() }

// begin hands a request to the writer. answered waits for the answer.
func (l *Log) begin(ctx context.Context, r *request) (answered func() (answer, error)) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, fmt.Errorf("no answer from the disk in %v", maxWait))
	r.answer = make(chan answer, 1)
	r.begun = time.Now()
	if err := l.hand(ctx, r); err != nil {
		cancel()
		return func() (answer, error) { return answer{}, unavailable(err) }
	}
	return func() (answer, error) {
		defer cancel()
		return l.answered(ctx, r)
	}
}

func (l *Log) hand(ctx context.Context, r *request) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	select {
	case <-l.quit:
		return errClosed
	default:
	}
	select {
	case l.requests <- r:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.done:
		return errClosed
	}
}

func (l *Log) answered(ctx context.Context, r *request) (answer, error) {
	select {
	case a := <-r.answer:
		return a, a.err
	case <-ctx.Done():
		return answer{}, unavailable(context.Cause(ctx))
	case <-l.done:
	}
	select { // the answer may have come with the end
	case a := <-r.answer:
		return a, a.err
	default:
		return answer{}, unavailable(errClosed)
	}
}
