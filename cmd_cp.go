//go:build !agentonly

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"scrier/client"
	"scrier/client/transfer"
	"scrier/wire"
)

func cpCommand() *cobra.Command {
	var o cpOptions
	c := &cobra.Command{
		Use:   "cp [-r] [-p] [--continue] [--limit RATE] SRC… DST",
		Short: "Copy files to, from or between envoys",
		Long: `Copy files as scp does, over SFTP. SRC and DST are files and folders of this machine, or [USER@]ENVOY:PATH. A PATH that does
not begin with / is below the login's home, as is one behind ~/; an empty one is the home. A local name that has a
colon before its first / is written with ./ in front. Several sources need a folder as DST. With an envoy on both sides the bytes pass
through this program.

A SRC of an envoy may have * ? and [a-z], which the envoy's files are looked up for (quote it, so that your shell leaves it alone).
Symbolic links are followed. What a link of DST leads to is written, as long as it does not lead out of the folder
that was named.

A file has its name only when all of it is there. Until then it is .NAME.scrier-part beside it; --continue goes on
with that, after comparing what is there with the source. It leaves files alone that are there already: of the same
size, and the same time or content. With -p that is known at once; otherwise the envoy is asked for a SHA-256, or else the file is
copied again.

What fails is told on standard error, file by file, and the rest is copied. Progress is shown there too: a bar on a
terminal, else one line for each file.
` + exitHelp("0    all is there", wire.CopyIncomplete, wire.BadRequest, wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable, wire.NoSuchEnvoy,
			wire.AmbiguousEnvoy, wire.EnvoyOffline, wire.AgentTimeout, wire.AgentLost, wire.Limit, wire.PubkeyNotAuthorized, wire.NoSSHPubkey, wire.AmbiguousLogin,
			wire.KeyRestricted, wire.ChannelNotAllowed, wire.LoginNotAllowed, wire.TargetRefused, wire.AuthFailed, wire.Cancelled, wire.AuditUnavailable) +
			"  All codes are in docs/errors.md.\n",
		Example: `  scrier cp report.pdf web1:
  scrier cp -r -p web1:/var/log/nginx logs
  scrier cp 'deploy@web1:app/*.jar' web2:/srv/app/
  scrier cp --continue --limit 10M disk.img web1:/var/tmp/`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 || slices.Contains(args, "") {
				return wire.Errorf(wire.Usage, "`%s` takes one SRC or more, and one DST; see `%[1]s --help`", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, args) },
	}
	c.Flags().BoolVarP(&o.recursive, "recursive", "r", false, "copy folders, with all that is in them")
	c.Flags().BoolVarP(&o.preserve, "preserve", "p", false, "keep times and modes")
	c.Flags().BoolVar(&o.goOn, "continue", false, "go on with what is there already")
	c.Flags().StringVar(&o.limit, "limit", "", "copy at most `RATE` bytes a second, such as 500K or 10M")
	c.Flags().StringVar(&o.keyFile, "ssh-key-file", "", "use only this key of yours: a private key `FILE` or a .pub")
	c.Flags().StringVar(&o.relay, "relay", "", "use the relay at `HOST:PORT` instead of the current one")
	transportFlag(c.Flags(), &o.transport)
	c.Flags().BoolVar(&o.json, "json", false, "tell what happens as JSON, one object a line, on standard output")
	return c
}

// cpOptions are the flags of `scrier cp`.
type cpOptions struct {
	recursive, preserve, goOn, json bool
	limit, keyFile, relay           string
	transport                       string
}

// cpEnd is a file or folder, as the command line names it.
type cpEnd struct {
	envoy, login string // empty: it is this machine's
	path         string
}

func (e cpEnd) machine() string {
	if e.login != "" {
		return e.login + "@" + e.envoy
	}
	return e.envoy
}

// parseEnd parts ENVOY:PATH, as scp does: what has a / before its first colon is a file of this machine.
func parseEnd(arg string) (cpEnd, error) {
	colon := strings.IndexByte(arg, ':')
	slash := strings.IndexByte(arg, '/')
	drive := runtime.GOOS == "windows" && colon == 1 && len(arg) > 1
	switch {
	case strings.HasPrefix(arg, "scp://"), strings.HasPrefix(arg, "sftp://"):
		return cpEnd{}, wire.Errorf(wire.Usage, "%s is a URL: write ENVOY:PATH", wire.Printable(arg))
	case strings.HasPrefix(arg, "["), strings.Contains(arg, "@[") && (slash < 0 || strings.Index(arg, "@[") < slash):
		if strings.Contains(arg, "]:") {
			return cpEnd{}, wire.Errorf(wire.Usage, "%s has an address: write the envoy's name, or ./ in front of a file of this machine", wire.Printable(arg))
		}
		return cpEnd{path: arg}, nil
	case colon <= 0, slash >= 0 && slash < colon, drive:
		return cpEnd{path: arg}, nil
	}
	var e cpEnd
	var err error
	if e.envoy, e.login, err = loginAt(arg[:colon], ""); err != nil {
		return cpEnd{}, err
	}
	e.path, err = homePath(arg[colon+1:])
	return e, err
}

// homePath is a path as an SFTP server takes it, which begins in the login's home. It knows no ~.
func homePath(p string) (string, error) {
	switch rest, tilde := strings.CutPrefix(p, "~"); {
	case p == "" || p == "~":
		return ".", nil
	case !tilde:
		return p, nil
	case strings.Trim(rest, "/") == "":
		return "./", nil
	case rest[0] == '/':
		return strings.TrimLeft(rest, "/"), nil
	}
	return "", wire.Errorf(wire.Usage, "%s is in somebody else's home: write that path, or ./ in front of a name that begins with ~", wire.Printable(p))
}

var ratePattern = regexp.MustCompile(`^([0-9]{1,12})([KMG]?)(?:I?B)?$`)

// parseRate reads how many bytes a second may pass.
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	m := ratePattern.FindStringSubmatch(strings.ToUpper(strings.TrimSuffix(s, "/s")))
	if m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		n <<= map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}[m[2]]
		if err == nil && n > 0 && n < 1<<50 {
			return n, nil
		}
	}
	return 0, wire.Errorf(wire.Usage, "--limit: %q is not a number of bytes a second, such as 500K or 10M", wire.Printable(s))
}

func (o *cpOptions) run(c *cobra.Command, args []string) error {
	var ends []cpEnd
	remote := false
	for _, arg := range args {
		e, err := parseEnd(arg)
		if err != nil {
			return err
		}
		ends = append(ends, e)
		remote = remote || e.envoy != ""
	}
	rate, err := parseRate(o.limit)
	if err != nil {
		return err
	}
	to := ends[len(ends)-1]
	switch {
	case !remote:
		return wire.Errorf(wire.Usage, "neither SRC nor DST is ENVOY:PATH: `cp` copies on this machine").
			Advise("behind an envoy's name stands a colon, also where no path follows: `web1:`")
	case c.Flags().Changed("limit") && o.limit == "":
		return named("limit", o.limit)
	case o.json && to.envoy == "" && (to.path == "/dev/stdout" || to.path == "/dev/fd/1"):
		return wire.Errorf(wire.Usage, "--json and the file would both be on standard output")
	}
	m := &machines{options: o, rate: rate, local: transfer.NewLocal(), open: map[string]*machine{}}
	defer m.close()
	summary, err := m.copy(c.Context(), ends[:len(ends)-1], to)
	if err == nil && summary.Failed > 0 {
		err = wire.Errorf(wire.CopyIncomplete, "%d of %d", summary.Failed, summary.Failed+summary.Copied+summary.Kept)
	}
	if err = interrupted(c.Context(), err); err != nil && summary.Parts && wire.CodeOf(err) != wire.CopyIncomplete {
		return unfinished(err, args)
	}
	return err
}

// unfinished says how to go on with what is left.
func unfinished(err error, args []string) error {
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		e = wire.Errorf(wire.Internal, "%w", err)
	}
	copied := *e
	return copied.Advise("what was copied of a file is beside its name, in .NAME.scrier-part; the same command with --continue goes on there")
}

// machines are the envoys of one copy.
type machines struct {
	options *cpOptions
	rate    int64
	local   *transfer.Local
	relay   *client.Relay
	key     map[string]*client.SSHKey
	open    map[string]*machine // by [USER@]ENVOY

	rejoined time.Time // when rejoin was tried last
}

// machine is one of them.
type machine struct {
	session *client.Session
	place   *transfer.Remote
	req     client.SessionRequest // that it was opened with
}

func (m *machine) close() {
	_ = m.place.Close()
	_ = m.session.Close()
}

func (m *machines) close() {
	for _, one := range m.open {
		one.close()
	}
	for _, k := range m.key {
		k.Close()
	}
	if m.relay != nil {
		m.relay.Close()
	}
}

func (m *machines) copy(ctx context.Context, from []cpEnd, to cpEnd) (transfer.Summary, error) {
	dial := target{relay: m.options.relay, transport: m.options.transport}
	var err error
	if m.relay, err = dial.dial(ctx); err != nil {
		return transfer.Summary{}, err
	}
	m.relay.Hasty()
	needs := map[string][]wire.Right{}
	for _, e := range from {
		if e.envoy != "" && !slices.Contains(needs[e.machine()], wire.MayDownload) {
			needs[e.machine()] = append(needs[e.machine()], wire.MayDownload)
		}
	}
	if to.envoy != "" {
		needs[to.machine()] = append(needs[to.machine()], wire.MayUpload)
	}
	all := append(slices.Clone(from), to)
	places, err := m.first(ctx, append([]cpEnd{to}, from...), needs)
	if err != nil {
		return transfer.Summary{}, err
	}
	target := places[0]
	var sources []transfer.Source
	for i, e := range from {
		sources = append(sources, transfer.Source{Place: places[1+i], Path: e.path, Pattern: e.envoy != ""})
	}
	show, say, done := m.options.progress()
	again := func(ctx context.Context, lost error) ([]transfer.Place, error) {
		began := time.Now()
		if err := m.again(ctx, lost); err != nil {
			return nil, err
		}
		say(fmt.Sprintf("scrier: the connection to the relay was lost, and is there again after %d s; the copy goes on", int(time.Since(began).Seconds())))
		return m.places(ctx, all, needs)
	}
	summary, err := transfer.Run(ctx, sources, target, to.path, transfer.Options{
		Recursive: m.options.recursive, Preserve: m.options.preserve, Continue: m.options.goOn, Rate: m.rate, Progress: show, Again: again,
	})
	done(summary)
	return summary, m.why(ctx, err)
}

// places are where all of a copy's paths are.
func (m *machines) places(ctx context.Context, all []cpEnd, needs map[string][]wire.Right) (places []transfer.Place, err error) {
	for _, e := range all {
		at, err := m.place(ctx, e, needs)
		if err != nil {
			return nil, err
		}
		places = append(places, at)
	}
	return places, nil
}

// maxOpenings is how often a copy begins to open its sessions, each time because the connection to the relay was lost meanwhile.
const maxOpenings = 5

// first is places for the first time. If the connection to the relay is lost before all are open, all are opened anew.
func (m *machines) first(ctx context.Context, all []cpEnd, needs map[string][]wire.Right) ([]transfer.Place, error) {
	for n := 1; ; n++ {
		places, err := m.places(ctx, all, needs)
		if err == nil || n == maxOpenings || ctx.Err() != nil || !m.relay.Lost() {
			return places, err
		}
		for name, one := range m.open {
			one.close()
			delete(m.open, name)
		}
		if err := m.relay.Again(ctx); err != nil {
			return nil, err
		}
	}
}

// again has the machines at hand over another connection, if it was the connection to the relay that was lost.
func (m *machines) again(ctx context.Context, lost error) error {
	if m.rejoin(ctx) {
		return nil
	}
	names := slices.Sorted(maps.Keys(m.open))
	for _, name := range names { // the end of a link may be known to its sessions a moment later
		if endOf(ctx, m.open[name].session) == nil || !m.open[name].session.Lost() {
			return lost
		}
	}
	for _, name := range names {
		old := m.open[name]
		for session := old.session; ; {
			next, err := session.Again(ctx, &old.req)
			if err != nil {
				return err
			}
			one, err := m.files(ctx, name, next)
			if err == nil {
				one.req, m.open[name] = old.req, one
				break
			}
			if !next.Lost() {
				return err
			}
			session = next // it was lost once more
		}
		old.close()
	}
	return nil
}

// rejoinEvery is how long the last channel of its own must have held for another one: a machine may break each at once.
const rejoinEvery = 5 * time.Second

// rejoin has a copy go on over other channels of its sessions, if those that it had broke and nothing else did: they had connections
// of their own, which do not go another way through the network as the link does. A session that ended because its machine's connection
// broke is opened anew, if the machine is there at once.
func (m *machines) rejoin(ctx context.Context) (there bool) {
	if time.Since(m.rejoined) < rejoinEvery {
		return false
	}
	for name, old := range m.open {
		lost := old.place.Lost()
		if lost == nil {
			continue
		}
		var one *machine
		var err error
		broke, ok := errors.AsType[*wire.Error](lost)
		switch ended := endOf(ctx, old.session); {
		case ok && broke.Code == wire.Internal && ended == nil && ctx.Err() == nil:
			one, err = m.files(ctx, name, old.session)
		case wire.CodeOf(ended) == wire.AgentLost:
			req := old.req
			req.Terminal, req.New = nil, true // nobody waits for a question any more, and one that is shared may be the old one
			one, _, err = m.connect(ctx, name, req)
		default:
			return false
		}
		if err != nil {
			return false
		}
		_ = old.place.Close()
		if one.session != old.session {
			_ = old.session.Close()
		}
		one.req, m.open[name], there = old.req, one, true
	}
	m.rejoined = time.Now()
	return there
}

// why is what ended a session, instead of what that led to.
func (m *machines) why(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	for _, one := range m.open {
		if one.place.Lost() == nil || ctx.Err() != nil {
			continue
		}
		if ended := endOf(ctx, one.session); ended != nil && wire.CodeOf(ended) != wire.Cancelled {
			return ended
		}
	}
	if _, ok := errors.AsType[*wire.Error](err); ok && (wire.CodeOf(err) != wire.Cancelled || ctx.Err() != nil) {
		return err
	}
	return wire.Errorf(wire.AgentLost, "the machine's SFTP server is gone: %s", transfer.Reason(err))
}

// place is where a path is. An envoy's session is opened once.
func (m *machines) place(ctx context.Context, e cpEnd, needs map[string][]wire.Right) (transfer.Place, error) {
	if e.envoy == "" {
		return m.local, nil
	}
	name := e.machine()
	if one := m.open[name]; one != nil {
		return one.place, nil
	}
	key, err := oneKey(ctx, sshKeys(m.options.keyFile, e.envoy, e.login))
	if err != nil {
		return nil, err
	}
	req := client.SessionRequest{Envoy: e.envoy, Login: e.login, Needs: needs[name], Messages: os.Stderr}
	if key != nil {
		if m.key == nil {
			m.key = map[string]*client.SSHKey{}
		}
		m.key[name], req.Key = key, key
	}
	if m.options.goOn {
		req.Likes = []wire.Right{wire.MayExec, wire.MayDownload}
	}
	if terminal, err := client.ControllingTerminal(); err == nil {
		req.Terminal = terminal
	}
	one, shared, err := m.connect(ctx, name, req)
	if shared && (err != nil && ctx.Err() == nil || err == nil && m.options.goOn && !compares(one.session)) {
		// One that was open already may be about to end, or be allowed less than is needed to compare what is there.
		if one != nil {
			one.close()
		}
		req.New = true
		one, _, err = m.connect(ctx, name, req)
	}
	if err != nil {
		return nil, err
	}
	m.open[name] = one
	return one.place, nil
}

// connect opens a session, or joins one, and its SFTP channel.
func (m *machines) connect(ctx context.Context, name string, req client.SessionRequest) (one *machine, shared bool, err error) {
	session, err := m.relay.Open(ctx, req)
	if err != nil {
		return nil, !req.New && wire.CodeOf(err) == wire.Cancelled, err
	}
	if one, err = m.files(ctx, name, session); one != nil {
		one.req = req
	}
	return one, session.Shared(), err
}

// files opens a session's SFTP channel. Without one the session is closed.
func (m *machines) files(ctx context.Context, name string, session *client.Session) (*machine, error) {
	conn, err := session.SFTP(ctx)
	if err != nil {
		_ = session.Close()
		return nil, err
	}
	cfg := transfer.RemoteConfig{Name: name, Conn: conn}
	if m.rate > 0 { // what is under way is no more than what passes in a quarter of a second
		cfg.Requests = int(min(max(m.rate/4/(32<<10), 1), 128))
	}
	if m.options.goOn && slices.Contains(session.Rights(), wire.MayExec) {
		cfg.Sum = (&summing{session: session, turns: make(chan struct{}, 2)}).sum
	}
	place, err := transfer.NewRemote(ctx, cfg)
	if err != nil {
		why := endOf(ctx, session)
		_ = session.Close()
		if why != nil {
			return nil, why
		}
		return nil, wire.Errorf(wire.TargetRefused, "%s: the machine's SSH server gives no files over SFTP: %s", name, transfer.Reason(err)).
			Advise("see `Subsystem sftp` in sshd_config on that machine, and that its SFTP server is installed")
	}
	return &machine{session: session, place: place}, nil
}

// endWait is how long the reason of a session's end may come behind the end of its channels.
const endWait = 2 * time.Second

// endOf is what a session has ended with, or is about to; nil: it goes on.
func endOf(ctx context.Context, s *client.Session) error {
	late := time.NewTimer(endWait)
	defer late.Stop()
	select {
	case <-s.Done():
	case <-ctx.Done():
	case <-late.C:
	}
	return s.Err()
}

// compares says whether what lies on the machine can be compared with something.
func compares(s *client.Session) bool {
	return slices.Contains(s.Rights(), wire.MayExec) || slices.Contains(s.Rights(), wire.MayDownload)
}

// progress is how a person is told what happens, and say what else is. done ends it.
func (o *cpOptions) progress() (p transfer.Progress, say func(line string), done func(transfer.Summary)) {
	fd := int(os.Stderr.Fd())
	say = func(line string) { fmt.Fprintln(os.Stderr, line) }
	switch {
	case o.json:
		j := &transfer.JSON{Out: os.Stdout}
		return j, say, j.Summary
	case term.IsTerminal(fd):
		b := transfer.NewBars(os.Stderr, func() int {
			columns, _, err := term.GetSize(fd)
			if err != nil || columns < 1 {
				return 80
			}
			return columns
		})
		return b, b.Say, func(transfer.Summary) { b.Close() }
	}
	return &transfer.Lines{Out: os.Stderr}, say, func(transfer.Summary) {}
}

// summing has an envoy tell the SHA-256 of a file's beginning, by a command there.
type summing struct {
	session *client.Session
	cannot  atomic.Bool   // it could not once
	turns   chan struct{} // sums under way: sshd allows a session few channels (MaxSessions)
}

// sumRate is how many bytes a second an envoy hashes at least.
const sumRate = 10 << 20

var sumPattern = regexp.MustCompile(`(?m)^([0-9a-f]{64})\b`)

func (s *summing) sum(ctx context.Context, path string, n int64) ([]byte, error) {
	if s.cannot.Load() {
		return nil, errors.ErrUnsupported
	}
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n/sumRate)*time.Second)
	defer cancel()
	script := "head -c " + strconv.FormatInt(n, 10) + " < " + quoted(path) + " | { sha256sum 2>/dev/null || shasum -a 256 2>/dev/null; }"
	out, err := s.output(ctx, "sh -c "+quoted(script))
	m := sumPattern.FindSubmatch(out)
	if err != nil || m == nil {
		s.cannot.Store(true)
		return nil, errors.ErrUnsupported
	}
	return hex.DecodeString(string(m[1]))
}

// output is what a command prints, as far as it is short.
func (s *summing) output(ctx context.Context, command string) ([]byte, error) {
	p, err := s.session.Program(ctx, client.ProgramRequest{Command: []byte(command)})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	defer context.AfterFunc(ctx, func() { _ = p.Close() })()
	if err := p.CloseWrite(); err != nil {
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, p.Stderr()) }() // ends with p
	var out bytes.Buffer
	if _, err := io.CopyN(&out, p, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read what the command prints: %w", err)
	}
	return out.Bytes(), nil
}

// quoted is a word of a shell's that stands for itself.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
