//go:build !agentonly

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"scrier/certs"
	"scrier/client"
	"scrier/relay/audit"
	"scrier/wire"
)

func auditCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{
		Use: "audit", Short: "Read, export and verify the audit log",
		Long: `The audit log holds every login, enrolment, connect, disconnect, revocation and change of operators
and tokens. It is a Merkle log with signed checkpoints: what was changed, taken out or put in later
is found by "verify", which needs nothing but an export.`,
	})
	t.flags(c)
	c.AddCommand(auditList(&t), auditExport(&t), auditVerify(&t))
	return c
}

// auditRow is what the table shows of a record.
type auditRow struct {
	Seq                          uint64
	Time                         time.Time
	Type, Operator, Source, Code string
	Envoy                        string `json:"envoy_name"`
	Session                      string `json:"session_id"`
	Detail                       string
	Fields                       map[string]string
}

// auditColumns are what a list of records can show.
var auditColumns = []column[auditRow]{
	{name: "seq", cell: func(r auditRow) string { return fmt.Sprint(r.Seq) }, compare: byNumber(func(r auditRow) uint64 { return r.Seq })},
	{name: "time", cell: func(r auditRow) string { return client.Stamp(r.Time) }, compare: byTime(func(r auditRow) time.Time { return r.Time })},
	{name: "type", cell: func(r auditRow) string { return r.Type }},
	{name: "operator", cell: func(r auditRow) string { return r.Operator }},
	{name: "envoy", cell: func(r auditRow) string { return r.Envoy }},
	{name: "session", cell: func(r auditRow) string { return r.Session }},
	{name: "source", cell: func(r auditRow) string { return r.Source }},
	{name: "code", cell: func(r auditRow) string { return r.Code }},
	{name: "detail", cell: auditRow.notes},
}

// notes are all that a record has beside its columns. A value that could be taken for several fields stands in quotes:
// some, such as a command, are what an operator chose.
func (r auditRow) notes() string {
	notes := []string{}
	if r.Detail != "" {
		notes = append(notes, r.Detail)
	}
	var fields []string
	for _, k := range slices.Sorted(maps.Keys(r.Fields)) {
		v := r.Fields[k]
		if strings.ContainsAny(v, ` "=;`) {
			v = strconv.Quote(v)
		}
		fields = append(fields, k+"="+v)
	}
	if len(fields) > 0 {
		notes = append(notes, strings.Join(fields, " "))
	}
	return strings.Join(notes, "; ")
}

func auditList(t *target) *cobra.Command {
	l := listing[auditRow]{columns: auditColumns}
	var limit int
	var follow bool
	c := &cobra.Command{
		Use:   "list [--limit N] [--sort COLUMN[-]] [--columns A,B,C] [--watch] [--json]",
		Short: "List the newest records",
		Long: `List the newest records of the audit log, oldest first. --sort sorts those that are listed, and not the whole log.

--watch goes on until Ctrl-C and prints each record that is written, within two seconds; with --json each is an object
on a line of its own. A relay that is started anew is waited for.
` + exitHelp("0    listed\n120  --watch was ended by Ctrl-C", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
		Example: `  scrier audit list --limit 1000 --sort operator --columns time,operator,type,envoy
  scrier audit list --watch --json | jq 'select(.type == "operator.login_refused")'`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := l.prepare(); err != nil {
				return err
			}
			if follow {
				if l.sort != "" {
					return wire.Errorf(wire.Usage, "--watch prints records as they are written: leave --sort out")
				}
				tail := auditTail{lines: lines[auditRow]{watcher: &watcher[auditRow]{listing: &l}, out: c.OutOrStdout(), err: c.ErrOrStderr()}, target: t, limit: limit}
				return enough(c, tail.follow(c.Context()))
			}
			data, err := t.do(c, "GET", fmt.Sprintf("/audit?limit=%d", limit), nil)
			if err != nil {
				return err
			}
			return l.print(c, data, nil)
		},
	}
	c.Flags().IntVar(&limit, "limit", 200, "show the newest `N`, at most 1000")
	l.flags(c)
	c.Flags().BoolVar(&follow, "watch", false, "go on, and print what is written")
	return c
}

func auditExport(t *target) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "export [--output F]",
		Short: "Export the whole log, for `audit verify`",
		Long:  "Export the whole log with its signed checkpoints, for \"audit verify\" anywhere.\n" + exitHelp("0    exported", wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable),
		Args:  exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "" || output == "-" {
				return export(c.Context(), t, c.OutOrStdout())
			}
			return exportTo(c.Context(), t, output)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "write to `FILE` (default: standard output)")
	return c
}

// exportTo replaces a file by an export when the export is whole, and leaves it alone otherwise.
func exportTo(ctx context.Context, t *target, path string) error {
	real := path
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return wire.Errorf(wire.BadRequest, "cannot write the export: %s is a folder; name the file in it", path)
	} else if err == nil && !info.Mode().IsRegular() { // a device or a pipe, which nothing takes the place of
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return unwritten(path, err)
		}
		return errors.Join(exportInto(ctx, t, path, f), f.Close())
	} else if err == nil {
		if real, err = filepath.EvalSymlinks(path); err != nil {
			return unwritten(path, err)
		}
	}
	f, err := os.CreateTemp(filepath.Dir(real), "."+filepath.Base(real)+"-*")
	if err != nil {
		return unwritten(path, err)
	}
	if err = exportInto(ctx, t, path, f); err == nil {
		err = unwritten(path, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = unwritten(path, os.Rename(f.Name(), real))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// unwritten says that a file of the user's cannot be written, by the name that they gave.
func unwritten(path string, err error) error {
	if err == nil {
		return nil
	}
	return wire.Errorf(wire.BadRequest, "cannot write the export: %w", certs.About(path, err))
}

// exportInto is export to a file that the user has named so.
func exportInto(ctx context.Context, t *target, path string, f *os.File) error {
	w := &sink{Writer: f}
	if err := export(ctx, t, w); w.err == nil {
		return err
	}
	return unwritten(path, w.err)
}

// sink keeps the error of a file, which is not one of the relay's.
type sink struct {
	io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

func export(ctx context.Context, t *target, w io.Writer) error {
	r, err := t.dial(ctx)
	if err != nil {
		return err
	}
	return interrupted(ctx, errors.Join(r.Export(ctx, "/audit/export", w), r.Close()))
}

// The verdicts of `audit verify` as exit statuses; they are below those of errors.
const (
	exitTampered   = 1
	exitIncomplete = 2
)

func auditVerify(t *target) *cobra.Command {
	var key string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify [FILE] [--key KEY] [--json]",
		Short: "Check that nobody changed the log",
		Long: `Check an export: every record's hash, the chain from record to record, the Merkle tree and the signed
checkpoints. It works offline. Without FILE the log of the relay is fetched and checked; "-" is
standard input. With --key only checkpoints signed by that key count; keep the key that the first
verify prints somewhere else.
` + exitHelp(`0    ok: the log is whole and unchanged
1    tampered: something contradicts a hash or a signature; the first bad record is named
2    incomplete tail: what is there is unchanged, but the end is missing`, wire.BadRequest, wire.Forbidden, wire.RelayUnreachable),
		Example: `  scrier audit export --output audit.log && scrier audit verify audit.log
  scrier audit verify --key 'scrier-relay/…+…+…' audit.log`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return wire.Errorf(wire.Usage, "`%s` takes at most one FILE; see `%s --help`", c.CommandPath(), c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			in, err := verifyInput(c, t, args)
			if err != nil {
				return err
			}
			whole, ok := audit.IsExport(in)
			if !ok {
				return errors.Join(wire.Errorf(wire.BadRequest, "%s is not an export of an audit log", strings.Join(args, "")).
					Advise("make one with `scrier audit export --output FILE`, and verify that FILE"), in.Close())
			}
			report, err := audit.Verify(whole, audit.VerifyOptions{Key: key})
			if err = errors.Join(err, in.Close()); err != nil {
				return err
			}
			if asJSON {
				return verdictJSON(c.OutOrStdout(), report)
			}
			return verdict(c.OutOrStdout(), report, key == "")
		},
	}
	c.Flags().StringVar(&key, "key", "", "the verifier `KEY` to trust instead of the one in the export")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// verifyInput opens the file, standard input, or a pipe from the relay.
func verifyInput(c *cobra.Command, t *target, args []string) (io.ReadCloser, error) {
	switch {
	case slices.Equal(args, []string{"-"}):
		return io.NopCloser(c.InOrStdin()), nil
	case len(args) == 1:
		f, err := os.Open(args[0])
		if err != nil {
			return nil, wire.Errorf(wire.BadRequest, "cannot read the export: %w", err)
		}
		return f, nil
	}
	// Fetched as a whole first: a broken connection must not look like an incomplete log.
	f, err := os.CreateTemp("", "scrier-audit-*")
	if err != nil {
		return nil, wire.Errorf(wire.BadRequest, "cannot keep the log while it is verified: %w", err).Advise("set TMPDIR to a folder with room; or export the log to a file, and verify that")
	}
	temp := temporary{f}
	_ = os.Remove(f.Name()) // at once, where an open file can be removed
	w := &sink{Writer: f}
	if err := export(c.Context(), t, w); err != nil {
		if w.err != nil {
			err = wire.Errorf(wire.BadRequest, "cannot keep the log while it is verified: %w", w.err).Advise("set TMPDIR to a folder with room; or export the log to a file, and verify that")
		}
		return nil, errors.Join(err, temp.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, temp.Close())
	}
	return temp, nil
}

// temporary is a file that is gone when it is closed.
type temporary struct{ *os.File }

func (t temporary) Close() error {
	err := t.File.Close()
	if rerr := os.Remove(t.Name()); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

func verdict(w io.Writer, r audit.Report, keyFromExport bool) error {
	switch r.Verdict {
	case audit.OK:
		fmt.Fprintf(w, "ok: %d records\n", r.Records)
	case audit.IncompleteTail:
		fmt.Fprintf(w, "incomplete tail: %d records are unchanged, then the log breaks off: %s\n", r.Records, wire.Printable(r.Why))
	default:
		fmt.Fprintf(w, "tampered: the first bad record is %d: %s\n", r.FirstBad, wire.Printable(r.Why))
	}
	if keyFromExport && r.Key != "" {
		fmt.Fprintf(w, "checked with the export's own key: %s\n", wire.Printable(r.Key))
	}
	return exitOf(r.Verdict)
}

// verdictJSON is verdict for programs.
func verdictJSON(w io.Writer, r audit.Report) error {
	v := struct {
		Verdict    string    `json:"verdict"` // ok, incomplete_tail or tampered
		Records    uint64    `json:"records"` // that are unchanged
		Covered    uint64    `json:"covered"` // of these, by a signed checkpoint
		FirstBad   *uint64   `json:"first_bad,omitempty"`
		Why        string    `json:"why,omitempty"`
		Key        string    `json:"key,omitempty"`
		Trusted    bool      `json:"trusted"` // the key is the one that --key names, and not the export's own
		Checkpoint string    `json:"checkpoint,omitempty"`
		Exported   time.Time `json:"exported,omitzero"`
	}{
		Verdict: strings.ReplaceAll(r.Verdict.String(), " ", "_"), Records: r.Records, Covered: r.Covered, Why: r.Why,
		Key: r.Key, Trusted: r.Trusted, Checkpoint: string(r.Checkpoint), Exported: r.Exported.UTC(),
	}
	if r.Verdict == audit.Tampered {
		v.FirstBad = &r.FirstBad
	}
	return errors.Join(printValue(w, v), exitOf(r.Verdict))
}

// exitOf is a verdict as an exit status.
func exitOf(v audit.Verdict) error {
	switch v {
	case audit.OK:
		return nil
	case audit.IncompleteTail:
		return exitStatus(exitIncomplete)
	}
	return exitStatus(exitTampered)
}
