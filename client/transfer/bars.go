package transfer

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"scrier/wire"
)

// redraw is how often a bar is drawn anew.
const redraw = 250 * time.Millisecond

// Bars shows one line for each file on a terminal. Of those under way it is the one with most before it.
type Bars struct {
	out   io.Writer
	width func() int // columns

	mu      sync.Mutex
	running map[*File]*bar
	drawn   bool // there is a bar in the line of the cursor
	stop    chan struct{}
	stopped chan struct{}
}

// bar is a file under way.
type bar struct {
	began, first, offset int64 // first is where it began to move; began is a time in Unix nanoseconds
	moving               bool
}

// NewBars shows bars until Close.
func NewBars(out io.Writer, width func() int) *Bars {
	b := &Bars{out: out, width: width, running: map[*File]*bar{}, stop: make(chan struct{}), stopped: make(chan struct{})}
	go b.draw()
	return b
}

// Close takes the last bar away. It must be called once.
func (b *Bars) Close() {
	close(b.stop)
	<-b.stopped
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
}

func (b *Bars) draw() {
	defer close(b.stopped)
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
		}
		b.mu.Lock()
		var most *File
		for f, at := range b.running {
			if most == nil || f.Size-at.offset > most.Size-b.running[most].offset {
				most = f
			}
		}
		if most != nil {
			b.clear()
			at := b.running[most]
			fmt.Fprint(b.out, b.line(most, at.offset, at.offset-at.first, time.Duration(time.Now().UnixNano()-at.began), true))
			b.drawn = true
		}
		b.mu.Unlock()
	}
}

func (b *Bars) clear() {
	if b.drawn {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.drawn = false
	}
}

// Begin implements [Progress].
func (b *Bars) Begin(f *File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[f] = &bar{began: time.Now().UnixNano()}
}

// At implements [Progress].
func (b *Bars) At(f *File, offset int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.running[f]; at != nil {
		if !at.moving {
			at.moving, at.first = true, offset
		}
		at.offset = offset
	}
}

// End implements [Progress].
func (b *Bars) End(f *File, o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, f)
	b.clear()
	if o.Result == Copied || o.Result == Continued {
		fmt.Fprintln(b.out, b.line(f, max(f.Size, o.Moved), o.Moved, o.Took, false))
		return
	}
	fmt.Fprintln(b.out, told(f, o))
}

// Stop implements [Progress].
func (b *Bars) Stop(f *File) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, f)
	b.clear()
}

// Say writes a line between the files.
func (b *Bars) Say(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
	fmt.Fprintln(b.out, line)
}

// line is a file's bar: its name, how much of it there is, and how fast it comes.
func (b *Bars) line(f *File, offset, moved int64, took time.Duration, more bool) string {
	percent := 100
	if f.Size > 0 {
		percent = int(min(offset, f.Size) * 100 / f.Size)
	}
	speed := float64(moved) / max(took.Seconds(), 0.001)
	var numbers string
	if more {
		left := "--:--"
		if speed > 0 {
			left = clock(time.Duration(float64(f.Size-offset)/speed) * time.Second)
		}
		numbers = fmt.Sprintf(" %3d%% %10s %10s/s %8s left", percent, Bytes(offset), Bytes(int64(speed)), left)
	} else {
		numbers = fmt.Sprintf(" %3d%% %10s %10s/s %8s     ", percent, Bytes(offset), Bytes(int64(speed)), clock(took))
	}
	room := max(b.width()-1-len(numbers), 8)
	name, columns := fit(wire.Printable(f.From), room)
	return name + strings.Repeat(" ", room-columns) + numbers
}

// fit cuts a name in front, as its end tells more. Letters of East Asia are two columns wide.
func fit(name string, room int) (string, int) {
	runes := []rune(name)
	columns := 0
	for i := len(runes) - 1; i >= 0; i-- {
		wide := 1
		if runes[i] >= 0x1100 {
			wide = 2
		}
		if columns+wide > room-1 && i > 0 || columns+wide > room {
			return "…" + string(runes[i+1:]), columns + 1
		}
		columns += wide
	}
	return name, columns
}

func clock(d time.Duration) string {
	s := int64(d.Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", min(s/3600, 999), s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}
