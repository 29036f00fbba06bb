package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/wire"
)

// Verified is what a verification of the audit log found.
type Verified struct {
	OK      bool   `json:"ok"`
	Records uint64 `json:"records"`          // that were read and contradict nothing
	Head    string `json:"head,omitempty"`   // the root of the tree of all of them, base64
	Detail  string `json:"detail,omitempty"` // what is wrong
}

// verifyTimeout is time for some ten million records.
const verifyTimeout = 2 * time.Minute

// auditVerify reads the whole log as an export would hold it, against the root that this relay
// has kept in memory. It works on one snapshot of 512 records after the other, so appends go on.
func (a *api) auditVerify(w http.ResponseWriter, r *http.Request, _ access.Operator) {
	if !a.verifying.TryLock() { // it keeps one processor and the disk busy
		a.fail(w, wire.Errorf(wire.Busy, "the audit log is being verified already"))
		return
	}
	defer a.verifying.Unlock()
	if err := last(w, verifyTimeout+writeTimeout); err != nil {
		a.fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), verifyTimeout, wire.Errorf(wire.Busy, "the log is too long to be verified within %s", wire.Period(verifyTimeout)).Advise("export it, and verify the export with `scrier audit verify`"))
	defer cancel()
	report, err := verify(ctx, a.Audit)
	if err != nil {
		a.fail(w, err)
		return
	}
	a.write(w, verifiedOf(report))
}

func verifiedOf(r audit.Report) Verified {
	v := Verified{OK: r.Verdict == audit.OK, Records: r.Records, Detail: r.Why}
	if v.OK {
		if lines := strings.SplitN(string(r.Checkpoint), "\n", 4); len(lines) == 4 { // origin, size, root
			v.Head = lines[2]
		}
	}
	return v
}

// verify is [audit.Verify] of a log that is in use.
func verify(ctx context.Context, log *audit.Log) (audit.Report, error) {
	read, write := io.Pipe()
	exported := make(chan error, 1)
	go func() {
		err := log.Export(ctx, write)
		write.CloseWithError(err)
		exported <- err
	}()
	report, err := audit.Verify(read, audit.VerifyOptions{Key: log.VerifierKey()})
	read.CloseWithError(errRead) // the verdict may be there before the end
	if eerr := <-exported; eerr != nil && !errors.Is(eerr, errRead) {
		err = eerr
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return report, err
}

var errRead = errors.New("the verdict is known")

// last gives an answer more time than the server does for ordinary ones.
func last(w http.ResponseWriter, d time.Duration) error {
	err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d))
	if errors.Is(err, http.ErrNotSupported) {
		return nil // a server without deadlines has none to move
	}
	return err
}

// streamed writes an answer of any length as long as the client takes it: each write has a
// deadline of its own.
type streamed struct{ http.ResponseWriter }

func (p *streamed) Write(b []byte) (int, error) {
	if err := last(p.ResponseWriter, writeTimeout); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}
