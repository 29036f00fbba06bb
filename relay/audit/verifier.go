package audit

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"scrier/wire"
)

// verifier reads an export from its beginning to the first thing that is wrong.
type verifier struct {
	lines  *bufio.Reader
	digest hash.Hash // of the lines before the current one
	body   []byte    // decoded line
	key    note.Verifier
	pinned checkpoint
	tree   tree
	last   tlog.Hash // leaf of the newest record
	report Report
}

// finding ends the reading with a verdict that is not OK.
type finding struct {
	verdict  Verdict
	firstBad uint64
	why      string
}

func (f *finding) Error() string { return f.why }

func bad(firstBad uint64, format string, args ...any) error {
	return &finding{Tampered, firstBad, fmt.Sprintf(format, args...)}
}

func (v *verifier) run(opt VerifyOptions) error {
	if err := v.header(opt); err != nil {
		return err
	}
	for {
		line, err := v.next()
		if err != nil {
			return err
		}
		word, body, err := v.parse(line)
		if err != nil {
			return err
		}
		switch word {
		case endWord:
			return v.end(body)
		case recordWord:
			err = v.record(body)
		case checkpointWord:
			err = v.checkpoint(body)
		default:
			err = bad(v.tree.size, "a line is not of this format")
		}
		if err != nil {
			return err
		}
	}
}

// next returns the next line without its end, valid until the one after.
func (v *verifier) next() ([]byte, error) {
	line, err := v.lines.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, bad(v.tree.size, "a line is too long")
	case errors.Is(err, io.EOF):
		if !beginning(line) {
			return nil, bad(v.tree.size, "the last line is not the beginning of anything")
		}
		return nil, &finding{verdict: IncompleteTail, why: "it ends before its signed end"}
	case err != nil:
		return nil, err
	}
	return line[:len(line)-1], nil
}

// beginning says whether a line that was cut off can be what is left of an export's line.
func beginning(line []byte) bool {
	if strings.HasPrefix(exportFormat, string(line)) {
		return true
	}
	for _, word := range []string{keyWord, recordWord, checkpointWord, endWord} {
		data, whole := bytes.CutPrefix(line, []byte(word))
		switch {
		case strings.HasPrefix(word, string(line)), whole && word == keyWord:
			return true
		case whole:
			data = bytes.TrimRight(data, "=")
			return len(bytes.Trim(data, base64Alphabet)) == 0
		}
	}
	return false
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// parse splits a line, and adds it to the digest unless it is the last line. Everything can be spelt
// in one way only: base64 with unused bits set, or with carriage returns, which Go would skip, is
// refused.
func (v *verifier) parse(line []byte) (word string, body []byte, err error) {
	space := bytes.IndexByte(line[:min(len(line), len(checkpointWord))], ' ')
	if space < 0 || bytes.IndexByte(line, '\r') >= 0 {
		return "", nil, bad(v.tree.size, "a line is not of this format")
	}
	word = string(line[:space+1])
	n, err := base64.StdEncoding.Strict().Decode(v.body, line[space+1:])
	if err != nil {
		return "", nil, bad(v.tree.size, "a line is not of this format")
	}
	if word != endWord {
		v.count(line)
	}
	return word, v.body[:n], nil
}

func (v *verifier) count(line []byte) {
	v.digest.Write(line)
	v.digest.Write([]byte{'\n'})
}

// header reads the two lines that say what this is and who signed it.
func (v *verifier) header(opt VerifyOptions) error {
	line, err := v.next()
	if err != nil {
		return err
	}
	if string(line) != exportFormat {
		return bad(0, "it is not an export of this format (%s)", exportFormat)
	}
	v.count(line)
	if line, err = v.next(); err != nil {
		return err
	}
	v.count(line)
	key, ok := strings.CutPrefix(string(line), keyWord)
	if !ok || len(key) > maxCheckpoint {
		return bad(0, "it does not name its key")
	}
	v.report.Key = key
	if opt.Key != "" && key != opt.Key {
		v.report.Key = opt.Key
		return bad(0, "it is signed by another key than the trusted one: %s", wire.Printable(key))
	}
	if v.key, err = note.NewVerifier(key); err != nil {
		return bad(0, "its key is malformed")
	}
	if opt.Pinned == nil {
		return nil
	}
	switch v.pinned, err = openCheckpoint(opt.Pinned, v.key); {
	case err == nil:
		return nil
	case errors.As(err, new(*note.UnverifiedNoteError)) && opt.Key == "":
		return bad(0, "it is signed by another key than the pinned checkpoint")
	}
	return wire.Errorf(wire.BadRequest, "the pinned checkpoint is not one of this log: %w", err)
}

// record takes the next record, which must follow the last one.
func (v *verifier) record(data []byte) error {
	seq := v.tree.size
	r, err := decodeRecord(data)
	switch {
	case err != nil:
		return bad(seq, "record %d: %v", seq, err)
	case r.Seq != seq:
		return bad(seq, "record %d is expected, record %d is there", seq, r.Seq)
	case r.Prev != v.last:
		return v.blame(leaf(data))
	}
	v.last = leaf(data)
	v.add(v.last)
	if v.tree.size == v.pinned.size && v.tree.root() != v.pinned.root {
		v.report.Covered = 0 // the export contradicts the pinned checkpoint, so none of its signatures counts
		return bad(0, "its first %d records are not those of the pinned checkpoint", v.pinned.size)
	}
	return nil
}

func (v *verifier) add(h tlog.Hash) {
	var stored [64]tlog.Hash // the nodes are of no interest here
	v.tree.add(h, stored[:0])
	v.report.Records = v.tree.size
}

// blame finds which of two records that do not follow each other was changed. It is the second, but
// if a third record follows the second rightly, it is the first, unless a signature covers that.
func (v *verifier) blame(second tlog.Hash) error {
	seq := v.tree.size
	why := fmt.Sprintf("record %d does not follow the one before it", seq)
	if seq == 0 || v.report.Covered == seq {
		return bad(seq, "%s", why)
	}
	line, err := v.next()
	if err != nil {
		if _, ok := errors.AsType[*finding](err); ok {
			return bad(seq-1, "%s", why) // it may be either, as nothing comes after them
		}
		return err
	}
	if word, body, err := v.parse(line); err == nil && word == recordWord {
		third, err := decodeRecord(body)
		if err == nil && third.Seq == seq+1 && third.Prev != second {
			return bad(seq, "%s", why)
		}
	}
	return bad(seq-1, "%s", why)
}

// checkpoint takes a checkpoint of all records before it.
func (v *verifier) checkpoint(signed []byte) error {
	covered := v.report.Covered
	c, err := openCheckpoint(signed, v.key)
	switch {
	case err != nil:
		return bad(covered, "the checkpoint after record %d: %v", v.tree.size, err)
	case len(c.extra) > 0:
		return bad(v.tree.size, "the checkpoint after record %d is of another kind", v.tree.size)
	case c.size == covered:
		return bad(v.tree.size, "the checkpoint of %d records is there twice", c.size)
	}
	return v.cover(c, signed)
}

// cover compares a signed checkpoint with the records that were read.
func (v *verifier) cover(c checkpoint, signed []byte) error {
	switch size := v.tree.size; {
	case c.size > size:
		return bad(size, "%d records are signed, but there are only %d", c.size, size)
	case c.size < size:
		return bad(max(c.size, v.report.Covered), "%d records are there, but only %d are signed", size, c.size)
	case c.root != v.tree.root():
		return bad(v.report.Covered, "the records from %d to %d are not those that were signed", v.report.Covered, size-1)
	}
	v.report.Covered = c.size
	v.report.Checkpoint = bytes.Clone(signed)
	return nil
}

// end takes the last line, which signs all lines before it.
func (v *verifier) end(signed []byte) error {
	c, err := openCheckpoint(signed, v.key)
	if err != nil {
		return bad(v.report.Covered, "the end: %v", err)
	}
	digest := tlog.Hash(v.digest.Sum(nil))
	if len(c.extra) != 2 || !strings.HasPrefix(c.extra[0], digestWord) || !strings.HasPrefix(c.extra[1], timeWord) {
		return bad(v.tree.size, "the end is of another kind")
	}
	exported, err := time.Parse(time.RFC3339, c.extra[1][len(timeWord):])
	if err != nil {
		return bad(v.tree.size, "the end is of another kind")
	}
	if err := v.cover(c, signed); err != nil {
		return err
	}
	if c.extra[0] != digestWord+digest.String() {
		return bad(v.tree.size, "it is not the export that was signed, although every record is")
	}
	switch _, err := v.lines.ReadByte(); {
	case err == nil:
		return bad(v.tree.size, "something follows its end")
	case !errors.Is(err, io.EOF):
		return err
	}
	if v.pinned.size > c.size {
		return bad(c.size, "it ends with %d records, the pinned checkpoint has %d: it was cut, or is older", c.size, v.pinned.size)
	}
	v.report.Exported = exported
	return nil
}
