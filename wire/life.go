package wire

import "context"

// Life is what implementations of [Link] embed: whether the link lives, and how it ended.
type Life struct {
	ctx context.Context
	end context.CancelCauseFunc
}

// NewLife begins a life.
func NewLife() Life {
	ctx, end := context.WithCancelCause(context.Background())
	return Life{ctx, end}
}

// End ends it; only the first call counts.
func (l Life) End(err error) { l.end(&ended{err}) }

// Context implements [Link].
func (l Life) Context() context.Context { return l.ctx }

// Err implements [Link].
func (l Life) Err() error { return linkErr(l.ctx) }

// linkErr is [Link.Err] of the link that a context is of; nil also if it is of none.
func linkErr(ctx context.Context) error {
	if e, ok := context.Cause(ctx).(*ended); ok {
		return e.err
	}
	return nil
}

// ended is the cause of a link's context. It does not unwrap, so that the peer's code is seen only
// by those who ask the link for it: the peer must not choose the reason for which everything that
// runs in the context ends.
type ended struct{ err error }

func (e *ended) Error() string { return "the link ended: " + e.err.Error() }
