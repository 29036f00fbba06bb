package client

import (
	"fmt"
	"sync"
	"time"
)

// status is the terminal's last line while there is no connection. Nothing scrolls for it; when the session is
// there again, the relay paints its screen over it.
type status struct {
	quit chan struct{}
	once sync.Once
	done chan struct{}
}

// status shows the line until it is stopped.
func (l *lifeline) status() *status {
	s := &status{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		began := time.Now()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			l.line(fmt.Sprintf(" No connection to the relay for %d s; trying again. Ctrl-C or ~. leaves. ", int(time.Since(began).Seconds())))
			select {
			case <-tick.C:
			case <-s.quit:
				l.line("")
				return
			}
		}
	}()
	return s
}

// stop takes the line away. A terminal that takes nothing is not waited for.
func (s *status) stop() {
	s.once.Do(func() { close(s.quit) })
	select {
	case <-s.done:
	case <-time.After(stuckTerminal):
	}
}

// line writes the last line of the terminal; CAN ends what was cut off. A terminal that is gone fails its next Read.
func (l *lifeline) line(text string) {
	size := l.terminal.Size()
	text = text[:min(len(text), max(int(size.Cols)-1, 0))]
	if text != "" {
		text = "\x1b[0;7m" + text
	}
	fmt.Fprintf(l.terminal, "\x18\x1b7\x1b[%d;1H%s\x1b[m\x1b[K\x1b8", size.Rows, text)
}
