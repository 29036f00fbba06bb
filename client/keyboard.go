package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"scrier/wire"
)

// maxHeld is how much may be typed while history is shown, in bytes; then the terminal is not read
// until it has been. It is less than the relay takes without an acknowledgement.
const maxHeld = 64 << 10

// keyboard sends what is typed, and the terminal's size, in the order in which they came: a program that
// runs because of a key has the size that the terminal had by then.
//
// While history is shown, what is typed is held. Old output may hold questions to the terminal, which
// answers them once more; these answers must not reach the shell. When history has been shown they are
// dropped, and the rest is sent.
type keyboard struct {
	*wire.Framed
	terminal *Terminal
	messages io.Writer
	credit   *credit

	typing sync.Mutex // what was typed goes out in its order
	held   []byte
	most   int           // may be held
	live   bool          // history has been shown
	shown  chan struct{} // closed when live

	mu   sync.Mutex // a size, and the key behind it; input that has to wait does not hold it
	size wire.Size  // as the relay knows it
}

func newKeyboard(f *wire.Framed, t *Terminal, messages io.Writer, c *credit) *keyboard {
	return &keyboard{Framed: f, terminal: t, messages: messages, credit: c, most: maxHeld, shown: make(chan struct{})}
}

// goLive sends what was held, once history has been shown.
func (k *keyboard) goLive(ctx context.Context) error {
	k.typing.Lock()
	defer k.typing.Unlock()
	if k.live {
		return nil
	}
	k.live = true
	close(k.shown)
	held := k.held
	k.held = nil
	return k.send(ctx, withoutReplies(held))
}

// run sends what is typed until the input ends, or the person leaves.
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
		if serr := k.typed(ctx, out); serr != nil {
			if ctx.Err() != nil {
				return nil // the session is over
			}
			return serr
		}
		for _, a := range actions {
			switch a {
			case Disconnect:
				return errLeft
			case Help:
				fmt.Fprint(k.messages, strings.ReplaceAll(HelpText, "\n", "\r\n"))
			case Suspend:
				k.terminal.Suspend()
			}
		}
		if errors.Is(err, io.EOF) {
			select { // what is held comes first
			case <-k.shown:
			case <-ctx.Done():
				return nil
			}
			k.typing.Lock()
			defer k.typing.Unlock()
			return k.Send(&wire.EOF{})
		}
		if err != nil {
			return fmt.Errorf("read from the terminal: %w", err)
		}
	}
}

// typed sends what was typed, or holds it.
func (k *keyboard) typed(ctx context.Context, p []byte) error {
	for {
		k.typing.Lock()
		if k.live || len(k.held)+len(p) <= k.most {
			break
		}
		k.typing.Unlock()
		select {
		case <-k.shown:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer k.typing.Unlock()
	if !k.live {
		k.held = append(k.held, p...)
		return nil
	}
	return k.send(ctx, p)
}

// send sends what was typed; typing is held.
func (k *keyboard) send(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), wire.MaxData)
		if err := k.credit.take(ctx, n); err != nil {
			return err
		}
		if err := k.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (k *keyboard) write(p []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.resizeLocked(k.terminal.Size()); err != nil {
		return err
	}
	frame := append(make([]byte, wire.DataHeader, wire.DataHeader+len(p)), p...)
	if err := k.WriteData(wire.DataFrame(frame, len(p))); err != nil {
		return lost(err)
	}
	return nil
}

// resize tells the terminal's size, if the relay knows another one.
func (k *keyboard) resize(size wire.Size) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.resizeLocked(size)
}

func (k *keyboard) resizeLocked(size wire.Size) error {
	if size == k.size {
		return nil
	}
	k.size = size
	if err := k.Send(&wire.Resize{Size: size}); err != nil {
		return lost(err)
	}
	return nil
}
