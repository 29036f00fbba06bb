package audit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// The lines of an export; doc.go tells what they mean.
const (
	exportFormat   = "scrier-audit-export/1"
	keyWord        = "key "
	recordWord     = "record "
	checkpointWord = "checkpoint "
	endWord        = "end "

	digestWord = "digest " // extension lines of the end's checkpoint
	timeWord   = "time "
)

// exportChunk is how much is read in one go, so that a slow reader of an export does not hold a
// snapshot, and with it the file's free pages.
const exportChunk = 512 // records

// Export writes the log as it is now to w, in the form that [Verify] reads. It works as long as
// the log can be read, also when it cannot be written.
func (l *Log) Export(ctx context.Context, w io.Writer) error {
	end := l.snapshot()
	e := exporter{to: w, digest: sha256.New()}
	e.w = bufio.NewWriterSize(io.MultiWriter(w, e.digest), 64<<10)
	e.line(exportFormat, nil)
	e.line(keyWord+l.key.public, nil)
	for from := uint64(0); from < end.tree.size; from += exportChunk {
		if err := context.Cause(ctx); err != nil {
			return fmt.Errorf("export audit log: %w", err)
		}
		lines, err := l.readLines(from, min(from+exportChunk, end.tree.size))
		if err != nil {
			return fmt.Errorf("export audit log: %w", err)
		}
		for _, line := range lines {
			e.line(line.word, line.data)
		}
		if e.err != nil {
			break
		}
	}
	if err := e.end(l, end); err != nil {
		return fmt.Errorf("export audit log: %w", err)
	}
	return nil
}

type exportLine struct {
	word string
	data []byte
}

// readLines returns the records from <= seq < to, and after each the checkpoint that ends with
// it. What is in the file is exported as it is, damaged or not; Verify finds out.
func (l *Log) readLines(from, to uint64) (lines []exportLine, err error) {
	err = l.file.DB.View(func(tx *bbolt.Tx) error {
		records := tx.Bucket(recordsBucket).Cursor()
		checkpoints := tx.Bucket(checkpointsBucket)
		for k, v := records.Seek(key(from)); k != nil && number(k) < to; k, v = records.Next() {
			lines = append(lines, exportLine{recordWord, append([]byte(nil), v...)})
			if signed := checkpoints.Get(key(number(k) + 1)); signed != nil {
				lines = append(lines, exportLine{checkpointWord, append([]byte(nil), signed...)})
			}
		}
		return nil
	})
	return lines, err
}

type exporter struct {
	to     io.Writer
	w      *bufio.Writer
	digest hash.Hash
	err    error // the first; later lines do nothing
	base64 []byte
}

func (e *exporter) line(word string, data []byte) {
	if e.err != nil {
		return
	}
	e.base64 = base64.StdEncoding.AppendEncode(e.base64[:0], data)
	_, e.err = e.w.WriteString(word)
	if e.err == nil {
		_, e.err = e.w.Write(e.base64)
	}
	if e.err == nil {
		e.err = e.w.WriteByte('\n')
	}
}

// end signs what was written. It signs the root that this process has kept in memory, and computes
// none from the file: else a record that was changed in the file would get a good signature.
func (e *exporter) end(l *Log, at head) error {
	if e.err == nil {
		e.err = e.w.Flush()
	}
	if e.err != nil {
		return e.err
	}
	digest := tlog.Hash(e.digest.Sum(nil))
	signed, err := checkpoint{origin: l.cfg.Name, size: at.tree.size, root: at.tree.root(), extra: []string{
		digestWord + digest.String(),
		timeWord + l.cfg.Now().UTC().Format(time.RFC3339),
	}}.sign(l.key.signer)
	if err != nil {
		return err
	}
	e.line(endWord, signed)
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return e.err
}
