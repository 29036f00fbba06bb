package keys

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"scrier/agent/account"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// Swept is what a sweep has done. The numbers count lines.
type Swept struct {
	Removed     int
	Neutralised int // made comments, because the file could not be replaced
	Failed      []Failure
	// Unread are files that could not be looked through, and of which nothing says that this
	// agent ever wrote to them: no entry of its journal, and no line that was found there.
	Unread []Failure
}

// Failure is a login whose file could not be cleaned, and why. What is left there expires by
// itself.
type Failure struct {
	Login  string
	Code   wire.Code
	Detail string
}

// Sweep takes away the lines that the journal knows of and whose agent process is gone. It leaves
// alone the lines of sessions that are still open, in this process or another.
func (k *Keys) Sweep(ctx context.Context) (Swept, error) {
	var s sweep
	if err := k.sweepJournal(ctx, &s); err != nil {
		return s.Swept, err
	}
	if k.cfg.Mode == Dropin {
		return s.Swept, k.sweepDropin(ctx, &s)
	}
	return s.Swept, nil
}

// SweepAll does what Sweep does. Then it looks through the files of all logins, and takes out lines
// of this agent that have expired, and lines of other agents that have surely expired more than five
// minutes ago.
func (k *Keys) SweepAll(ctx context.Context) (Swept, error) {
	var s sweep
	var err error
	if s.written, s.unsure, err = k.journal.files(); err != nil { // before entries go
		return s.Swept, err
	}
	if err := k.sweepJournal(ctx, &s); err != nil {
		return s.Swept, err
	}
	if k.root {
		if err := k.sweepDropin(ctx, &s); err != nil {
			return s.Swept, err
		}
	}
	found, others, err := k.accounts(ctx, "")
	if err != nil {
		return s.Swept, err
	}
	candidates, unread := k.candidates(ctx, found, others, true)
	for _, login := range unread { // the journal's part has told of their files that it knows
		s.noteLocked(Failure{login, wire.KeyfileTimeout, "not looked at"}, !s.unsure)
	}
	var group errgroup.Group
	group.SetLimit(cap(k.pool.slots))
	for _, c := range candidates {
		for _, file := range c.files {
			group.Go(func() error {
				k.sweepFile(ctx, c.Account, file, nil, &s)
				return nil
			})
		}
	}
	_ = group.Wait()
	slices.SortFunc(s.Failed, Failure.compare)
	slices.SortFunc(s.Unread, Failure.compare)
	return s.Swept, context.Cause(ctx)
}

func (f Failure) compare(g Failure) int {
	return cmp.Or(cmp.Compare(f.Login, g.Login), cmp.Compare(f.Detail, g.Detail))
}

// sweep is a sweep under way.
type sweep struct {
	written map[target]bool // files to which this agent has written, as its journal says
	unsure  bool            // the journal has entries that cannot be read

	mu   sync.Mutex
	told map[target]bool // files that are in Failed or Unread already
	Swept
}

func (s *sweep) add(removed, neutralised int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Removed += removed
	s.Neutralised += neutralised
}

func (s *sweep) fail(login string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := worker.FileError(err)
	s.Failed = append(s.Failed, Failure{login, e.Code, e.Detail})
}

// failFile notes that a file could not be cleaned, once for each file. unread says that it could not
// be read, so that it is not known whether it holds lines of this agent.
func (s *sweep) failFile(t target, login string, err error, unread bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told[t] {
		return
	}
	if s.told == nil {
		s.told = map[target]bool{}
	}
	s.told[t] = true
	e := worker.FileError(err)
	s.noteLocked(Failure{login, e.Code, e.Detail}, unread && !s.written[t] && !s.unsure)
}

// noteLocked puts f where it belongs. The caller holds the lock, or no goroutine runs.
func (s *sweep) noteLocked(f Failure, unread bool) {
	if unread {
		s.Unread = append(s.Unread, f)
	} else {
		s.Failed = append(s.Failed, f)
	}
}

// sweepJournal groups the abandoned records by file and takes their lines away.
func (k *Keys) sweepJournal(ctx context.Context, s *sweep) error {
	records, broken, err := k.journal.abandoned(k.cfg.Now())
	if err != nil {
		return err
	}
	if broken > 0 {
		k.cfg.Log.Warn("journal entries could not be read; their lines expire by themselves", "entries", broken)
	}
	byFile := map[target][]*record{}
	for _, rec := range records {
		if rec.Mode == Dropin {
			k.sweepRecord(ctx, rec, s)
			continue
		}
		byFile[rec.target()] = append(byFile[rec.target()], rec)
	}
	var group errgroup.Group
	group.SetLimit(cap(k.pool.slots))
	for where, records := range byFile {
		group.Go(func() error {
			a, is, err := k.recorded(ctx, records[0])
			if err != nil {
				s.fail(records[0].Login, err)
			}
			if is != same {
				for _, rec := range records {
					if is == another || err == nil && k.cfg.Now().After(rec.Expiry) {
						s.drop(k, rec)
					} else {
						rec.release()
					}
				}
				return nil
			}
			for len(records) > 0 {
				n := min(len(records), worker.MaxLines)
				k.sweepFile(ctx, a, where.file, records[:n], s)
				records = records[n:]
			}
			return nil
		})
	}
	_ = group.Wait()
	return nil
}

// sweepRecord takes back one session's drop-in.
func (k *Keys) sweepRecord(ctx context.Context, rec *record, s *sweep) {
	defer rec.release()
	lock, err := k.lock(ctx, rec)
	if err == nil {
		defer lock.release()
		err = k.dropinTake(rec)
	}
	if err != nil {
		s.fail(rec.Login, err)
		return
	}
	s.add(1, 0)
}

func (s *sweep) drop(k *Keys, rec *record) {
	if err := k.journal.drop(rec); err != nil {
		s.fail(rec.Login, err)
	}
}

// identity is what has become of a record's login.
type identity int

const (
	unknown identity = iota // it was deleted, or the directory that has it does not answer; or that cannot be told
	same
	another // another user has its name now
)

// recorded is the account of a record's login, if that is still the same user.
func (k *Keys) recorded(ctx context.Context, rec *record) (account.Account, identity, error) {
	a, ok, err := k.database.Login(ctx, rec.Login)
	switch {
	case err != nil || !ok:
		return account.Account{}, unknown, err
	case a.UID != rec.UID || a.UID == 0:
		return account.Account{}, another, nil
	}
	one := []account.Account{a}
	k.supplementary(ctx, one)
	return one[0], same, nil
}

// sweepFile takes out of one file the lines of records, and all that are recognised as lines of an
// agent and are over.
func (k *Keys) sweepFile(ctx context.Context, a account.Account, file string, records []*record, s *sweep) {
	free := func() {
		for _, rec := range records {
			rec.release()
		}
	}
	where := target{a.UID, file}
	lock, err := k.locks.acquire(ctx, a.UID, file)
	if err != nil {
		s.failFile(where, a.Login, err, false)
		free()
		return
	}
	defer lock.release()
	q := worker.Request{Task: worker.Clean, Files: []string{file}, Now: k.cfg.Now().Unix(), UTC: true, Sweep: true}
	for _, rec := range records {
		addLine(&q, rec, true)
	}
	r, started, err := k.ask(ctx, a, q, lock.file)
	if err != nil {
		s.failFile(where, a.Login, err, len(records) == 0 && (started || wire.CodeOf(err) == wire.KeyfileTimeout))
		free()
		return
	}
	f := r.Files[0]
	s.add(f.Removed, f.Neutralised)
	if f.Code == wire.None {
		for _, rec := range records {
			s.drop(k, rec)
		}
		return
	}
	free()
	if !f.Off || len(records) > 0 {
		s.failFile(where, a.Login, &wire.Error{Code: f.Code, Detail: f.Detail}, len(records) == 0 && f.Left == 0)
	}
}
