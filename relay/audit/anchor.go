package audit

import (
	"errors"
	"fmt"
	"io"
	"os"

	"scrier/relay/boltfile"
)

// The anchor is a copy of a recent checkpoint in a file of its own beside the log, from before its first
// record on. It lags at most one interval behind and is never ahead of what is durable, so a log that is
// shorter than its anchor was replaced. If somebody replaces both files, only a checkpoint that is kept elsewhere
// shows it ([VerifyOptions.Pinned]).
func anchorPath(path string) string { return path + ".head" }

// readAnchor returns nil if there is none.
func readAnchor(path string) ([]byte, error) {
	f, err := boltfile.OpenBeside(anchorPath(path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read anchor: %w", err)
	}
	defer f.Close()
	signed, err := io.ReadAll(io.LimitReader(f, maxCheckpoint+1))
	if err != nil {
		return nil, fmt.Errorf("read anchor: %w", err)
	}
	return signed, nil
}

func writeAnchor(path string, signed []byte) error {
	if err := boltfile.Replace(anchorPath(path), signed); err != nil {
		return fmt.Errorf("write anchor: %w", err)
	}
	return nil
}
