package access

import (
	"context"
	"log/slog"
	"time"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// Journal is the part of the audit log that is needed here.
type Journal interface {
	Append(ctx context.Context, e audit.Event) (audit.Record, error)
	AppendEnd(ctx context.Context, e audit.Event) (audit.Record, error) // also when the disk is nearly full
	AppendOwn(ctx context.Context, e audit.Event) (audit.Record, error) // the same, bounded: what they end of their own
}

// Config is what [Access] works with.
type Config struct {
	KV      store.KV
	CA      *certs.CA
	Journal Journal
	Now     func() time.Time
	Log     *slog.Logger
	// Changed is called after an operator's keys or role changed, or the operator was deleted, or has proved for
	// the first time who they are: it ends what the operator has open. It must not block for long.
	Changed func(operatorID string)
	// SignedOut, if not nil, is called after a web sign-in was ended by signing out or by signing in
	// anew: it ends what was opened with it. An empty signin stands for all of the operator. It must
	// not block for long.
	SignedOut func(operatorID, signin string)
	Inline    InlineKeys // empty: [InlineSession]
}

// Access keeps the operators. Its methods may be called concurrently.
type Access struct {
	Config
	attempts *attempts
	pace     *pace
	flows    flows
	proofs   *proofs
	sweeps   sweeps
}

// New makes an Access.
func New(c Config) *Access {
	return &Access{Config: c, attempts: newAttempts(c.Now), pace: newPace(c.Now), proofs: newProofs()}
}

// Admit says whether an identity from a certificate is still valid: the operator exists, and neither
// keys nor role have changed since it was issued.
func (a *Access) Admit(id certs.Identity) error {
	_, err := a.Identify(context.Background(), id)
	return err
}

// Identify finds the operator behind an identity; see [Access.Admit].
func (a *Access) Identify(ctx context.Context, id certs.Identity) (Operator, error) {
	if id.Role != certs.RoleOperator {
		return Operator{}, wire.Errorf(wire.Unauthenticated, "not an operator's identity")
	}
	var o store.Operator
	err := a.KV.View(ctx, func(tx store.Tx) (err error) {
		o, err = store.GetOperator(tx, id.ID)
		return err
	})
	if wire.CodeOf(err) == wire.NotFound || err == nil && o.Epoch != id.Generation {
		return Operator{}, &wire.Error{Code: wire.OperatorChanged}
	}
	if err != nil {
		return Operator{}, err
	}
	return Operator{ID: o.ID, Username: o.Username, Role: Role(o.Role), Epoch: o.Epoch}, nil
}

// Current says, within a transaction, whether an operator is still what they were when they proved who
// they are: neither deleted nor changed. The host's administrator always is.
func Current(tx store.Tx, who Operator) error {
	if who.ID == "" {
		return nil
	}
	o, err := store.GetOperator(tx, who.ID)
	if wire.CodeOf(err) == wire.NotFound || err == nil && o.Epoch != who.Epoch {
		return &wire.Error{Code: wire.OperatorChanged}
	}
	return err
}
