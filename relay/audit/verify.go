package audit

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"scrier/wire"
)

// Verdict is what [Verify] finds.
type Verdict int

// The verdicts.
const (
	// OK: the export is whole, and every record is what was written.
	OK Verdict = iota + 1
	// IncompleteTail: the export ends early, as after a crash or a broken download. Nothing in it is
	// contradicted, but no signature covers the records beyond [Report.Covered].
	IncompleteTail
	// Tampered: something contradicts a signature, a hash, or the format.
	Tampered
)

// String is the verdict for people.
func (v Verdict) String() string {
	switch v {
	case OK:
		return "ok"
	case IncompleteTail:
		return "incomplete tail"
	case Tampered:
		return "tampered"
	}
	return fmt.Sprintf("verdict %d", int(v))
}

// VerifyOptions say what is known beforehand.
type VerifyOptions struct {
	// Key is the verifier key that is trusted. Without one the key in the export is used. Then Verify
	// finds accidents and simple changes, but not a log that was made up and signed with another key.
	Key string
	// Pinned is a signed checkpoint that was kept from before ([Log.Checkpoint],
	// [Report.Checkpoint]). The export must hold the same records up to there: that shows a log
	// that was cut or rewritten and signed anew by somebody who has the key.
	Pinned []byte
}

// Report is the result of [Verify].
type Report struct {
	Verdict Verdict
	Why     string // for people; empty if OK
	Records uint64 // how many were read and contradict nothing
	Covered uint64 // how many of these a signed checkpoint covers
	// FirstBad is the seq of the first record that is changed, missing or foreign, if Tampered.
	// Where only a signature is contradicted it is the first record after the last good
	// signature: the damage is there or later. That is 0 if it contradicts the pinned checkpoint.
	// If no record is to blame it equals Records.
	FirstBad   uint64
	Key        string    // verifier key the signatures were checked with
	Trusted    bool      // Key came from the options, not from the export itself
	Checkpoint []byte    // the last good checkpoint, to be pinned; nil if none
	Exported   time.Time // when the export was made, if OK
}

// maxLine holds the longest record and the word before it.
const maxLine = (MaxRecord+2)/3*4 + 64

// IsExport says whether r may be an export, by its first line or what there is of it, and gives a reader
// of all of r. It tells somebody who named the wrong file; [Verify] finds everything else.
func IsExport(r io.Reader) (io.Reader, bool) {
	const first = exportFormat + "\n"
	b := bufio.NewReader(r)
	head, _ := b.Peek(len(first)) // Verify meets the error again
	return b, len(head) > 0 && strings.HasPrefix(first, string(head))
}

// Verify reads an export. It takes memory for one record, whatever r holds. The error is about r
// or the options and never about the export: that is what the report is for.
func Verify(r io.Reader, opt VerifyOptions) (Report, error) {
	v := verifier{lines: bufio.NewReaderSize(r, maxLine), digest: sha256.New(), body: make([]byte, maxLine)}
	v.report.Trusted = opt.Key != ""
	if opt.Key != "" {
		if _, err := note.NewVerifier(opt.Key); err != nil {
			return Report{}, wire.Errorf(wire.BadRequest, "the trusted key is not a verifier key: %w", err)
		}
	}
	if len(opt.Pinned) > maxCheckpoint {
		return Report{}, wire.Errorf(wire.BadRequest, "the pinned checkpoint is too long")
	}
	err := v.run(opt)
	if f, ok := errors.AsType[*finding](err); ok {
		v.report.Verdict, v.report.Why = f.verdict, f.why
		if f.verdict == Tampered {
			v.report.FirstBad = f.firstBad
			v.report.Records = min(v.report.Records, f.firstBad)
		}
		return v.report, nil
	}
	if err != nil {
		return v.report, fmt.Errorf("read export: %w", err)
	}
	v.report.Verdict = OK
	return v.report, nil
}
