package keys

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/keys/line"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// cleanBudget is the time for taking back what a failed install may have left. It does not end with
// the caller's context.
const cleanBudget = 8 * time.Second

const maxRetry = 5 // so often an install is tried while others change the file

// Installed is an ephemeral key whose line is in a file. Every Installed must be removed.
//
//	journalled -> installed -> removed
//	                     \---> neutralised -> removed (by a later removal on the same file, or a sweep)
type Installed struct {
	k    *Keys
	m    Match
	rec  *record
	turn chan struct{} // holds one token while a Remove runs
	gone bool          // guarded by turn

	// neutralised says that the key does not work any more, but its line is still there as a comment,
	// because the disk is full for example. The next removal from the same file or the next sweep
	// takes it out. Only tests look at it.
	neutralised atomic.Bool
}

// Install adds the session's ephemeral key, of ed25519, ECDSA with P-256 or RSA, to the login of a Match. A session
// that has a key already is refused ([wire.Conflict]). After an error no usable line stays; only where
// the home does not answer there may be one, until it expires.
func (k *Keys) Install(ctx context.Context, m Match, session wire.SessionID, key ssh.PublicKey) (*Installed, error) {
	if m.who.Login == "" {
		return nil, wire.Errorf(wire.Internal, "install without a match")
	}
	expiry := k.cfg.Now().Add(k.cfg.Lifetime)
	if !m.NotAfter.IsZero() && m.NotAfter.Before(expiry) {
		expiry = m.NotAfter
	}
	if key == nil {
		return nil, wire.Errorf(wire.KeyUnusable, "no ephemeral key")
	}
	sources := k.sources
	if own := m.Approach.From; own.IsValid() {
		sources = append(slices.Clip(sources), own)
	}
	eph, ok := line.NewEphemeral(line.Ephemeral{Grant: m.Grant, Agent: k.cfg.Agent, Session: session, Sources: sources, Expiry: expiry}, key)
	if !ok { // the grant has room, as it was found to have
		return nil, wire.Errorf(wire.KeyUnusable, "the ephemeral key is %s, which no session has", wire.Printable(key.Type()))
	}
	rec := &record{
		Session: session, Login: m.Login, UID: m.who.UID, File: m.File, Mode: k.cfg.Mode,
		Time: k.cfg.Now().UTC().Truncate(time.Second), Expiry: eph.Expiry.UTC(), Line: eph.Text(m.zone), Size: m.size, Tail: m.tail,
	}
	if k.cfg.Mode == Dropin {
		rec.File = k.dropinFile(m.Login)
	}
	i := &Installed{k: k, m: m, rec: rec, turn: make(chan struct{}, 1)}
	lock, err := k.lock(ctx, rec)
	if err != nil {
		return nil, err
	}
	defer lock.release()
	k.reach("journal")
	if err := k.journal.create(rec); err != nil {
		return nil, err
	}
	k.reach("journalled")
	unknown := false
	if k.cfg.Mode == Dropin {
		err = k.dropinAdd(rec)
	} else {
		unknown, err = k.add(ctx, m, rec, lock)
	}
	if err != nil {
		i.undo(ctx, lock, unknown || wire.CodeOf(err) == wire.KeyfileNoSpace)
		return nil, worker.FileError(err)
	}
	k.reach("installed")
	return i, nil
}

// add has a worker append the line. If the file's size is not as in the journal, the worker does
// nothing, the journal is corrected, and the worker is asked again: after a crash the journal must
// say where the line begins.
func (k *Keys) add(ctx context.Context, m Match, rec *record, lock *fileLock) (unknown bool, err error) {
	for range maxRetry {
		q := worker.Request{
			Task: worker.Install, Files: []string{rec.File}, Strict: m.strict, Private: m.private, Now: k.cfg.Now().Unix(), UTC: true,
			Line: rec.Line, Size: rec.Size, Tail: rec.Tail,
		}
		r, unknown, err := k.ask(ctx, m.who, q, lock.file)
		if err != nil {
			return unknown, err
		}
		f := r.Files[0]
		switch {
		case f.Missing:
			return false, wire.Errorf(wire.KeyfileChanged, "%s is gone", rec.File)
		case f.Code != wire.None:
			return false, &wire.Error{Code: f.Code, Detail: f.Detail}
		case !f.Changed:
			return false, nil
		}
		rec.Size, rec.Tail = f.Size, f.Tail
		if err := k.journal.write(rec); err != nil {
			return false, err
		}
	}
	return true, wire.Errorf(wire.KeyfileChanged, "%s keeps changing", rec.File)
}

// undo takes back a failed Install. The journal entry is removed only if surely no line is left.
func (i *Installed) undo(ctx context.Context, lock *fileLock, written bool) {
	if !written || i.k.cfg.Mode == Dropin {
		if err := i.k.journal.drop(i.rec); err != nil {
			i.k.cfg.Log.Warn("journal entry stays", "session", i.rec.Session, "err", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanBudget)
	defer cancel()
	if err := i.k.take(ctx, i.m.who, []*record{i.rec}, lock, false); err != nil {
		i.rec.release() // the entry stays, and a sweep will act on it
		i.k.cfg.Log.Warn("an install that failed may have left a line", "session", i.rec.Session, "login", i.rec.Login,
			"expires", i.rec.Expiry, "err", err)
	}
}

// Remove takes the key away. It may be called more than once, from several goroutines, and again
// after an error. A line that cannot be taken out is neutralised, which is no error; if that fails
// too, the line stays until it expires.
func (i *Installed) Remove(ctx context.Context) error {
	select {
	case i.turn <- struct{}{}:
		defer func() { <-i.turn }()
	case <-ctx.Done():
		return wire.Cause(ctx, wire.Busy)
	}
	if i.gone {
		return nil
	}
	k := i.k
	lock, err := k.lock(ctx, i.rec)
	if err != nil {
		return err
	}
	defer lock.release()
	k.reach("removing")
	if i.rec.Mode == Dropin {
		err = k.dropinTake(i.rec)
	} else {
		records := append([]*record{i.rec}, k.takePending(i.rec.File)...)
		err = k.take(ctx, i.m.who, records, lock, false)
	}
	if e, ok := errors.AsType[*neutralisedError](err); ok {
		i.gone = true
		i.neutralised.Store(true)
		k.cfg.Log.Warn("key.neutralised", "session", i.rec.Session, "login", i.rec.Login, "code", e.err.Code, "detail", e.err.Detail)
		return nil
	}
	if err != nil {
		i.rec.release() // from now on a sweep may try as well
		return worker.FileError(err)
	}
	i.gone = true
	return nil
}

// neutralisedError says that the lines are only neutralised, and why.
type neutralisedError struct{ err *wire.Error }

func (e *neutralisedError) Error() string { return "neutralised only: " + e.err.Error() }

// take has a worker take the lines of records, which are all of one file, out of it, and removes
// their journal entries. Entries of lines that were only neutralised stay, and are kept in pending.
// With torn the worker also looks for incomplete appends.
func (k *Keys) take(ctx context.Context, who account.Account, records []*record, lock *fileLock, torn bool) error {
	q := worker.Request{Task: worker.Clean, Files: []string{records[0].File}, Now: k.cfg.Now().Unix(), UTC: true, Sweep: torn}
	for _, rec := range records {
		addLine(&q, rec, torn)
	}
	r, _, err := k.ask(ctx, who, q, lock.file)
	if err != nil {
		k.keepPending(records[1:])
		return err
	}
	f := r.Files[0]
	k.reach("taken")
	if f.Code == wire.None {
		var errs []error
		for _, rec := range records {
			errs = append(errs, k.journal.drop(rec))
		}
		return errors.Join(errs...)
	}
	why := &wire.Error{Code: f.Code, Detail: f.Detail}
	if f.Off {
		k.keepPending(records)
		return &neutralisedError{why}
	}
	k.keepPending(records[1:])
	return why
}

// addLine puts one record's line among those to be taken out.
func addLine(q *worker.Request, rec *record, torn bool) {
	q.Lines = append(q.Lines, rec.Line)
	q.Sessions = append(q.Sessions, rec.Session.String())
	if torn {
		q.Torn = append(q.Torn, worker.Torn{Size: rec.Size, Text: line.Addition(rec.Line, rec.Tail)})
	}
}

const maxPending = 64 // for one file; the sweep takes out what is beyond

func (k *Keys) keepPending(records []*record) {
	k.pendingMu.Lock()
	defer k.pendingMu.Unlock()
	for _, rec := range records {
		rec.release() // from now on a sweep may try as well
		if len(k.pending[rec.File]) < maxPending {
			k.pending[rec.File] = append(k.pending[rec.File], rec)
		}
	}
}

func (k *Keys) takePending(file string) []*record {
	k.pendingMu.Lock()
	defer k.pendingMu.Unlock()
	records := k.pending[file]
	delete(k.pending, file)
	return records
}
