package audit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxCheckpoint bounds a signed checkpoint, in bytes: three lines, a few extension lines and one
// signature.
const maxCheckpoint = 4 << 10

// checkpoint says that the first size records have this root. Signed, it is a note in the form
// of C2SP's tlog-checkpoint:
//
//	<origin>
//	<size>
//	<base64 of the root>
//	<extension lines, if any>
//
//	— <origin> <base64 of key hash and Ed25519 signature>
type checkpoint struct {
	origin string
	size   uint64
	root   tlog.Hash
	extra  []string
}

func (c checkpoint) text() string {
	lines := append([]string{c.origin, strconv.FormatUint(c.size, 10), c.root.String()}, c.extra...)
	return strings.Join(lines, "\n") + "\n"
}

func (c checkpoint) sign(s note.Signer) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: c.text()}, s)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return signed, nil
}

var errCheckpoint = errors.New("the checkpoint is malformed")

// openCheckpoint checks the signature of the one key and reads the checkpoint. It accepts one
// spelling only: package note would let the unused bits of a signature's base64 and further
// signatures pass.
func openCheckpoint(signed []byte, v note.Verifier) (checkpoint, error) {
	if len(signed) > maxCheckpoint {
		return checkpoint{}, errCheckpoint
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return checkpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return checkpoint{}, err
	}
	signature, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil {
		return checkpoint{}, errCheckpoint
	}
	canonical := fmt.Appendf(nil, "%s\n— %s %s\n", c.text(), v.Name(), base64.StdEncoding.EncodeToString(signature))
	if c.origin != v.Name() || !bytes.Equal(canonical, signed) {
		return checkpoint{}, errCheckpoint
	}
	return c, nil
}

func parseCheckpoint(text string) (checkpoint, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 || len(lines) > 3+maxExtra {
		return checkpoint{}, errCheckpoint
	}
	size, err := strconv.ParseUint(lines[1], 10, 62) // tlog counts with int64
	if err != nil {
		return checkpoint{}, errCheckpoint
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return checkpoint{}, errCheckpoint
	}
	c := checkpoint{origin: lines[0], size: size, root: root}
	if len(lines) > 3 {
		c.extra = lines[3:]
	}
	return c, nil
}

const maxExtra = 8 // extension lines
