package keys

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"scrier/agent/account"
	"scrier/agent/keys/line"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// scanBudget bounds one Find, even when homes do not answer.
const scanBudget = 10 * time.Second

const maxHomes = 2000 // one scan looks at no more homes

// candidate is one login during a Find.
type candidate struct {
	account.Account
	daemon daemon
	files  []string // with their tokens replaced
	match  *Match   // if the operator's key gives what the session needs here
	barred string   // if the operator's key is here and does not, where it is and the reason
	err    *wire.Error
	unread bool // the operator's key is here, in a file that sshd does not read for its owner or mode
	shell  worker.Shell

	private []uint32 // groups that may write the user's files
}

// Find returns the login that holds one of the operator's keys, on a line that would give the
// operator what the session needs, from where they are, on terms that a session can keep. With login "" it looks at
// all logins that this agent serves and refuses to choose between two. The codes of its errors are [wire.PubkeyNotAuthorized],
// [wire.KeyRestricted], [wire.AmbiguousLogin], [wire.AccountNotLoginable],
// [wire.LoginNotAllowed], [wire.KeyTypeRefused], and for one login alone what is wrong with its file.
func (k *Keys) Find(ctx context.Context, who Operator, login string) (Match, error) {
	caller := ctx
	ctx, cancel := budget(ctx, scanBudget, "looking for the operator's key")
	defer cancel()
	if len(who.Keys) > worker.MaxKeys {
		return Match{}, wire.Errorf(wire.BadRequest, "%d keys, at most %d are looked for", len(who.Keys), worker.MaxKeys)
	}
	usable := Operator{Source: who.Source, Name: who.Name, Session: who.Session, Use: who.Use}
	for _, key := range who.Keys {
		if key == nil {
			continue
		}
		if cert, ok := key.(*ssh.Certificate); ok {
			key = cert.Key
		}
		if _, ok := line.NewKey(key); ok {
			usable.Keys = append(usable.Keys, key)
		}
	}
	if len(usable.Keys) == 0 {
		return Match{}, wire.Errorf(wire.PubkeyNotAuthorized, "none of %d keys is strong enough", len(who.Keys))
	}
	found, others, err := k.accounts(ctx, login)
	if err != nil {
		return Match{}, err
	}
	candidates, unread := k.candidates(ctx, found, others, login == "")
	var commands atomic.Int32
	commands.Store(maxCommands)
	var group errgroup.Group
	group.SetLimit(cap(k.pool.slots))
	for _, c := range candidates {
		if c.err == nil {
			group.Go(func() error {
				c.err = k.look(ctx, c, usable, &commands)
				return nil
			})
		}
	}
	_ = group.Wait() // each candidate has its own error
	if caller.Err() != nil {
		return Match{}, wire.Cause(caller, wire.Cancelled)
	}
	return k.choose(caller, candidates, unread, login, usable) // when time is over, what was found before counts
}

// candidates finds out which files sshd reads for each account, and refuses files that two of
// them share. unread are the logins that are left out.
func (k *Keys) candidates(ctx context.Context, found, others []account.Account, scan bool) (all []*candidate, unread []string) {
	for _, a := range found {
		switch {
		case len(all) >= maxHomes, scan && k.pool.isSlow(a.UID, k.cfg.Now()):
			unread = append(unread, a.Login)
		default:
			all = append(all, &candidate{Account: a})
		}
	}
	accounts := make([]account.Account, len(all))
	for i, c := range all {
		accounts[i] = c.Account
	}
	k.supplementary(ctx, accounts)
	for i, c := range all {
		c.Account = accounts[i]
	}
	loginable := all
	for _, a := range others {
		if !noShell(a.Shell) {
			loginable = append(slices.Clip(loginable), &candidate{Account: a})
		}
	}
	var group errgroup.Group
	group.SetLimit(cap(k.pool.slots))
	for _, c := range loginable {
		group.Go(func() error {
			c.err = k.configure(ctx, c)
			return nil
		})
	}
	_ = group.Wait()
	owner := map[string]uint32{}
	twice := map[string]bool{}
	for _, c := range loginable {
		for _, file := range c.files {
			if uid, ok := owner[file]; ok && uid != c.UID {
				twice[file] = true
			}
			owner[file] = c.UID
		}
	}
	for _, c := range all {
		for _, file := range c.files {
			if twice[file] && c.err == nil {
				c.err = wire.Errorf(wire.KeyfileShared, "%s serves %s and others", file, c.Login)
			}
		}
	}
	return all, unread
}

// configure asks sshd about the candidate.
func (k *Keys) configure(ctx context.Context, c *candidate) *wire.Error {
	d, err := k.daemonFor(ctx, c.Account, k.usual)
	if err != nil {
		return worker.FileError(err)
	}
	c.daemon = d
	if !d.publicKeys {
		return wire.Errorf(wire.KeyfileUnsupported, "sshd takes no public keys from %s", c.Login)
	}
	patterns, dropin := d.files, false
	if k.cfg.Mode == Dropin {
		patterns = nil
		for _, pattern := range d.files {
			if file, err := expand(pattern, c.Account); err == nil && file == k.dropinFile(c.Login) {
				dropin = true
			} else {
				patterns = append(patterns, pattern)
			}
		}
		if !dropin {
			return wire.Errorf(wire.KeyfileUnsupported, "sshd does not read %s: see AuthorizedKeysFile in sshd_config", k.dropinFile(c.Login))
		}
		if len(patterns) == 0 && d.command == nil { // sshd gets the operators' own keys from elsewhere
			patterns = []string{".ssh/authorized_keys"}
		}
	}
	if len(patterns) == 0 && d.command == nil {
		return wire.Errorf(wire.KeyfileUnsupported, "AuthorizedKeysFile is none for %s", c.Login)
	}
	for _, pattern := range patterns {
		if shared(pattern) {
			return wire.Errorf(wire.KeyfileShared, "%s serves every login", wire.Printable(pattern))
		}
		file, err := expand(pattern, c.Account)
		if err != nil {
			return worker.FileError(err)
		}
		if !slices.Contains(c.files, file) {
			c.files = append(c.files, file)
		}
	}
	return nil
}

// look sends a worker to the candidate's files and judges what it has found.
func (k *Keys) look(ctx context.Context, c *candidate, who Operator, commands *atomic.Int32) *wire.Error {
	q := worker.Request{
		Task: worker.Look, Files: c.files, Strict: c.daemon.strict, Now: k.cfg.Now().Unix(), UTC: c.daemon.utc,
		DNS: c.daemon.dns, Environment: c.daemon.environment, Shell: c.Shell,
		Follow: k.cfg.Mode == Dropin,
	}
	for _, key := range who.Keys {
		q.Keys = append(q.Keys, key.Marshal())
	}
	if who.Source.IsValid() {
		q.Source = who.Source.String()
	}
	r, err := k.askLook(ctx, c, q)
	if err != nil {
		return worker.FileError(err)
	}
	c.shell = r.Shell
	var bad *wire.Error
	var printed []line.Finding // by the command, which is asked when it is needed
	for i, key := range who.Keys {
		var file worker.Result
		var best worker.Found
		at := -1
		where := ""
		ask := func() *wire.Error {
			if c.daemon.command == nil || best.Standing >= line.Restricted || !c.daemon.takes(key) {
				return nil
			}
			if printed == nil {
				var err error
				printed, err = k.askCommand(ctx, c, who, commands)
				if err != nil && c.daemon.commandFirst && wire.CodeOf(err) == wire.KeyfileTimeout {
					return worker.FileError(err) // sshd would wait, and perhaps never come to the files
				}
				if err != nil && bad == nil {
					bad = worker.FileError(err)
				}
			}
			if f := printed[i]; f.Standing > best.Standing {
				best = worker.NewFound(i, f)
				at, where = -1, "what AuthorizedKeysCommand prints"
			}
			return nil
		}
		if c.daemon.commandFirst {
			if err := ask(); err != nil {
				return err
			}
		}
		for n, f := range r.Files { // sshd reads the files in order, until a line in one of them accepts the key
			if best.Standing >= line.Restricted {
				break
			}
			if f.Code != wire.None {
				unread := slices.ContainsFunc(f.Found, func(l worker.Found) bool { return l.Key == i })
				if bad == nil || unread && !c.unread {
					bad = &wire.Error{Code: f.Code, Detail: c.Login + ": " + f.Detail}
				}
				c.unread = c.unread || unread
				continue
			}
			if hit := slices.IndexFunc(f.Found, func(l worker.Found) bool { return l.Key == i }); hit >= 0 && f.Found[hit].Standing > best.Standing {
				file, best, at, where = f, f.Found[hit], n, c.files[n]
			}
		}
		if !c.daemon.commandFirst {
			if err := ask(); err != nil {
				return err
			}
		}
		given, _ := best.Grant()
		grant, why := who.Use.grant(given, c.daemon, c.Account.Shell)
		switch {
		case best.Standing == line.Absent:
			continue
		case len(given.Rights) == 0:
			why = best.Reason.String()
		case !c.daemon.takes(key):
			why = "sshd takes no key of its type or size, see PubkeyAcceptedAlgorithms and RequiredRSASize"
		case k.revoked(ctx, c.daemon, key):
			why = "it is in sshd's RevokedKeys"
		case c.daemon.verify && securityKey(key):
			why = "sshd's PubkeyAuthOptions has verify-required, and no relay can show that you were verified"
		case why != "":
		default:
			if at < 0 && k.cfg.Mode == Home {
				var err *wire.Error
				if at, err = c.commandHome(r.Files); err != nil {
					return err
				}
				file, where = r.Files[at], c.files[at]
			}
			c.match = &Match{
				Login: c.Login, File: where, Key: key, Grant: grant, Sockets: given.OpensSockets(),
				who: c.Account, size: file.Size, tail: file.Tail, zone: line.Zone{Local: time.Local, UTC: c.daemon.utc}, strict: c.daemon.strict,
				private: c.private,
			}
			if best.Before != 0 {
				c.match.NotAfter = time.Unix(best.Before, 0)
			}
			return nil
		}
		if best.Reason == line.From {
			why += " " + q.Source
		}
		c.barred = fmt.Sprintf("line %d of %s: %s", best.Line, where, why)
	}
	return bad
}

// choose makes one answer of all candidates': the only match, or the refusal that tells the operator
// most.
func (k *Keys) choose(ctx context.Context, all []*candidate, unread []string, login string, who Operator) (Match, error) {
	var matches, locked, barred, loose, failed []*candidate
	for _, c := range all {
		switch {
		case c.match != nil:
			if err := k.loginable(ctx, c.daemon, c.Account, c.shell); err != nil {
				c.err = worker.FileError(err)
				locked = append(locked, c)
			} else if key := who.Session; key != nil && !c.daemon.takes(key) {
				c.err = wire.Errorf(wire.KeyTypeRefused, "sshd's PubkeyAcceptedAlgorithms for %s are %s", c.Login, shortened(c.daemon.algorithms))
				locked = append(locked, c)
			} else {
				matches = append(matches, c)
			}
		case c.barred != "":
			barred = append(barred, c)
		case c.unread:
			loose = append(loose, c)
		case c.err != nil:
			failed = append(failed, c)
			if c.err.Code == wire.KeyfileTimeout {
				unread = append(unread, c.Login)
			}
		}
	}
	slices.Sort(unread)
	switch {
	case len(matches) > 1:
		return Match{}, wire.Errorf(wire.AmbiguousLogin, "%s", names(matches))
	case len(matches) == 1:
		m := *matches[0].match
		m.Unread, m.Approach = unread, k.approach(ctx, matches[0], who.Name)
		return m, nil
	case len(locked) > 0:
		return Match{}, locked[0].err
	case len(barred) > 0:
		return Match{}, wire.Errorf(wire.KeyRestricted, "the key of %s, %s", barred[0].Login, barred[0].barred)
	case len(loose) > 0:
		return Match{}, loose[0].err
	case len(failed) > 0 && len(all) == 1:
		return Match{}, failed[0].err
	}
	var detail []string
	if login != "" {
		detail = append(detail, "not by "+login)
	}
	others := 0
	for _, c := range failed {
		switch {
		case c.err.Code == wire.KeyfileTimeout: // counted with unread, below
		case others < 5:
			detail = append(detail, fmt.Sprintf("%s: %s", c.Login, c.err.Code))
			others++
		}
	}
	if len(unread) > 0 {
		detail = append(detail, fmt.Sprintf("%d homes were not looked at: name one with --login", len(unread)))
	}
	return Match{}, &wire.Error{Code: wire.PubkeyNotAuthorized, Detail: wire.Printable(strings.Join(detail, "; "))}
}

// shortened is a list for a message.
func shortened(names []string) string {
	const most = 300 // bytes
	text := strings.Join(names, ", ")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return wire.Printable(text)
}

// securityKey says whether a key is one of those whose signatures tell if their owner was verified.
func securityKey(key ssh.PublicKey) bool {
	return key.Type() == ssh.KeyAlgoSKED25519 || key.Type() == ssh.KeyAlgoSKECDSA256
}

func names(all []*candidate) string {
	logins := make([]string, len(all))
	for i, c := range all {
		logins[i] = wire.Printable(c.Login)
	}
	slices.Sort(logins)
	return strings.Join(logins, ", ")
}
