package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// keyboard reads what is typed, for as long as the session is shown: it goes on while there is no connection, and
// while the shell takes nothing. Escapes take effect at once; the rest becomes input.
type keyboard struct {
	terminal *Terminal
	messages io.Writer
	input    *input
	offline  atomic.Bool // there is no connection: Ctrl-C leaves
	read     time.Time   // when something was read last
	deaf     bool        // the person was told that something was dropped
}

const (
	ctrlC = 0x03

	// apart is how long a key comes after what was read before it; what is pasted follows at once.
	apart = 50 * time.Millisecond
)

// run reads until the input ends, or the person leaves.
func (k *keyboard) run(ctx context.Context) error {
	var escapes Escapes
	buf := make([]byte, 16<<10)
	for {
		n, err := k.terminal.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		out, actions := escapes.Feed(buf[:n])
		if errors.Is(err, io.EOF) {
			out = append(out, escapes.Flush()...)
		}
		if k.offline.Load() && bytes.IndexByte(out, ctrlC) >= 0 {
			return errLeft
		}
		k.typed(ctx, out)
		for _, a := range actions {
			switch a {
			case Disconnect:
				k.input.flush()
				return errLeft
			case Help:
				fmt.Fprint(k.messages, strings.ReplaceAll(HelpText, "\n", "\r\n"))
			case Suspend:
				k.terminal.Suspend()
			}
		}
		if errors.Is(err, io.EOF) {
			k.input.end()
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from the terminal: %w", err)
		}
	}
}

// typed makes input of what was typed.
func (k *keyboard) typed(ctx context.Context, p []byte) {
	now := time.Now()
	alone := len(p) == 1 && p[0] == ctrlC && now.Sub(k.read) >= apart
	k.read = now
	if alone {
		if n := k.input.interrupt(); n > 0 {
			k.say("The shell does not read: Ctrl-C comes behind what it was sent before. The rest of what you pasted, %d bytes, is dropped.", n)
		}
	}
	wait := fullWait
	if k.deaf {
		wait = 0
	}
	n := k.input.add(ctx, p, wait)
	if n > 0 && !k.deaf {
		k.say("The shell does not read: what you type is dropped until it does. ~. disconnects.")
	}
	k.deaf = n > 0
	k.read = time.Now() // it may have waited
}

func (k *keyboard) say(format string, args ...any) {
	fmt.Fprintf(k.messages, "\r\n[scrier] "+format+"\r\n", args...)
}
