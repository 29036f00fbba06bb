package client

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"scrier/wire"
)

// resizeEvery is the shortest time between two resizes: a window that is dragged changes its
// size hundreds of times a second, and only the last counts.
const resizeEvery = 100 * time.Millisecond

// A Terminal is the person's own terminal. It can be made raw, and is given back as it was on
// every way out, panics and signals included. Its methods are safe for concurrent use.
type Terminal struct {
	in, out *os.File
	done    chan struct{} // closed by a signal that ends the program

	mu     sync.Mutex
	cooked *term.State // how the terminal was found; set by Raw
	console
}

// OpenTerminal takes the terminal that in is, and out, which usually is the same. If in is no
// terminal the error is [wire.NoTerminal].
func OpenTerminal(in, out *os.File) (*Terminal, error) {
	if !term.IsTerminal(int(in.Fd())) {
		return nil, &wire.Error{Code: wire.NoTerminal}
	}
	return &Terminal{in: in, out: out, done: make(chan struct{})}, nil
}

// ControllingTerminal opens the terminal that this program was started in, wherever its standard input comes from.
// Without one the error is [wire.NoTerminal]. It stays open.
func ControllingTerminal() (*Terminal, error) {
	in, out, err := openControlling()
	if err != nil {
		return nil, &wire.Error{Code: wire.NoTerminal, Err: err}
	}
	return OpenTerminal(in, out)
}

// Done is closed when a signal asks the program to end; the terminal is restored by then.
func (t *Terminal) Done() <-chan struct{} { return t.done }

// Write shows b.
func (t *Terminal) Write(b []byte) (int, error) { return t.out.Write(b) }

// Size is the terminal's size now; 80 by 24 if it does not say.
func (t *Terminal) Size() wire.Size {
	for _, f := range []*os.File{t.out, t.in} {
		cols, rows, err := term.GetSize(int(f.Fd()))
		if err == nil && cols > 0 && rows > 0 {
			return wire.Size{Cols: uint16(cols), Rows: uint16(rows)}.Clamp()
		}
	}
	return wire.Size{Cols: 80, Rows: 24}
}

// sizes yields the present size, and looks again whenever it may have changed. stop is called in the end.
func sizes[T any](ctx context.Context, t *Terminal, changed <-chan T, stop func()) <-chan wire.Size {
	out := make(chan wire.Size, 1)
	go func() {
		defer close(out)
		defer stop()
		timer := time.NewTimer(0)
		defer timer.Stop()
		var last wire.Size
		for {
			if size := t.Size(); size != last {
				last = size
				select {
				case <-out:
				default:
				}
				out <- size // there is room, as nobody else sends
			}
			select {
			case <-timer.C: // no earlier than resizeEvery after the last
			case <-ctx.Done():
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			timer.Reset(resizeEvery)
		}
	}()
	return out
}
