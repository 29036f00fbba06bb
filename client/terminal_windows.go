package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/windows"
	"golang.org/x/term"

	"scrier/wire"
)

// lookEvery is how often the window's size is looked at: a console sends no signal when it changes, and its
// events would have to be read between the keys.
const lookEvery = 4 * resizeEvery

// A console is what a Terminal needs on Windows.
type console struct {
	raw    bool
	mode   uint32        // of the output, as it was found
	typed  chan []byte   // what a goroutine reads, which can't be woken, so that Read can
	rest   []byte        // of it, for the next Read
	closed chan struct{} // by restore
}

func openControlling() (in, out *os.File, err error) {
	if in, err = os.OpenFile("CONIN$", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	if out, err = os.OpenFile("CONOUT$", os.O_RDWR, 0); err != nil {
		in.Close()
		return nil, nil, err
	}
	return in, out, nil
}

// Raw makes the terminal raw until restore is called, which may be done often and from anywhere,
// best by defer. From here on the end of the window or of the login gives the terminal back and closes
// [Terminal.Done].
func (t *Terminal) Raw() (restore func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cooked != nil {
		return nil, errors.New("make terminal raw: it was before")
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	was, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		signal.Stop(signals)
		return nil, fmt.Errorf("make terminal raw: %w", err)
	}
	out := windows.Handle(t.out.Fd())
	if windows.GetConsoleMode(out, &t.mode) == nil {
		_ = windows.SetConsoleMode(out, t.mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING|windows.DISABLE_NEWLINE_AUTO_RETURN)
	}
	t.cooked, t.raw, t.typed, t.closed = was, true, make(chan []byte), make(chan struct{})
	go t.listen(t.typed, t.closed)
	go func() {
		select {
		case <-signals:
			t.giveBack()
			close(t.done)
		case <-t.closed:
		}
	}()
	return sync.OnceFunc(func() {
		signal.Stop(signals)
		t.giveBack()
	}), nil
}

// giveBack restores the terminal for good.
func (t *Terminal) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.raw {
		return
	}
	t.raw = false
	close(t.closed)
	_ = term.Restore(int(t.in.Fd()), t.cooked) // a terminal that is gone needs nothing
	_ = windows.SetConsoleMode(windows.Handle(t.out.Fd()), t.mode)
}

// listen reads keys until the terminal was given back and one more came. It does not use os.File, for which
// Ctrl-Z ends the input.
func (t *Terminal) listen(typed chan<- []byte, closed <-chan struct{}) {
	defer close(typed)
	units := make([]uint16, 4<<10)
	kept := 0 // the first half of a character, from the last read
	for {
		var n uint32
		if err := windows.ReadConsole(windows.Handle(t.in.Fd()), &units[kept], uint32(len(units)-kept), &n, nil); err != nil {
			return
		}
		all := units[:kept+int(n)]
		kept = 0
		if len(all) > 0 && all[len(all)-1]&0xfc00 == 0xd800 {
			kept = 1
		}
		text := []byte(string(utf16.Decode(all[:len(all)-kept])))
		if kept > 0 {
			units[0] = all[len(all)-1]
		}
		if len(text) == 0 {
			continue
		}
		select {
		case typed <- text:
		case <-closed:
			return
		}
	}
}

// Read reads what is typed. It returns [os.ErrClosed] once the terminal was restored.
func (t *Terminal) Read(b []byte) (int, error) {
	t.mu.Lock()
	typed, closed := t.typed, t.closed
	t.mu.Unlock()
	if typed == nil {
		return t.in.Read(b)
	}
	if len(t.rest) == 0 {
		select {
		case text, ok := <-typed:
			if !ok {
				return 0, os.ErrClosed
			}
			t.rest = text
		case <-closed:
			return 0, os.ErrClosed
		}
	}
	n := copy(b, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// Resizes yields the present size, and every later one, until ctx ends; then the channel is
// closed. Only the latest size is kept for a reader that is slow.
func (t *Terminal) Resizes(ctx context.Context) <-chan wire.Size {
	look := time.NewTicker(lookEvery)
	return sizes(ctx, t, look.C, look.Stop)
}

// Suspend does nothing: no shell could continue this program.
func (t *Terminal) Suspend() error { return errors.New("suspend: Windows has no job control") }
