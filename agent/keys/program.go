package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// output runs a program of the system and returns at most limit bytes of what it prints. Its
// environment is fixed: no locale, no LD_ variables, no TZ.
func output(ctx context.Context, limit int64, argv ...string) (stdout, stderr []byte, status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	var errText bytes.Buffer
	cmd.Stderr = &capped{w: &errText, left: 4 << 10}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, 0, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, 0, fmt.Errorf("run %s: %w", argv[0], err)
	}
	stdout, err = io.ReadAll(io.LimitReader(pipe, limit+1))
	if err == nil && int64(len(stdout)) > limit {
		err = fmt.Errorf("it prints more than %d bytes", limit)
	}
	if err != nil {
		cancel()
	}
	werr := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](werr); ok && exit.Exited() {
		status, werr = exit.ExitCode(), nil
	}
	if ctx.Err() != nil && err == nil {
		err = context.Cause(ctx)
	}
	if err = errors.Join(err, werr); err != nil {
		return nil, nil, 0, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return stdout, errText.Bytes(), status, nil
}

// capped drops what is over its limit.
type capped struct {
	w    io.Writer
	left int
}

func (c *capped) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.left -= n
	if _, err := c.w.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}
