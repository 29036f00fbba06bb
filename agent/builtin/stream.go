package builtin

import (
	"io"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
)

// When a session's first process has ended, processes that it left in the background may keep its
// output open for ever, and even write to it. What the first process itself has written is in the
// kernel by then: it can be read without waiting, and is at most what a pipe holds. So the output is
// over when there was nothing to read for a while, or when more came than a pipe can hold.
const (
	lingerQuiet = 300 * time.Millisecond // the output is over when nothing came for this long
	lingerWait  = 5 * time.Second        // or when all waiting together took this long
	lingerBytes = 4 << 20                // or when this much came; a pipe holds at most 1 MiB
)

// eofGrace is how long to wait before an end of input is believed. A peer that is gone looks like
// one that has sent EOF, but then the channel's end follows at once: its shell must get a hang-up
// and not an end of input.
const eofGrace = 200 * time.Millisecond

// An output is a file to which processes write, and the writer to which that is copied.
type output struct {
	from *os.File
	to   io.Writer
}

// drain copies until the file ends, or until the output is over after the session's first process
// has ended, which closes exited. If the peer reads slowly, that takes longer, but nothing is lost.
func (o output) drain(exited <-chan struct{}) {
	buf := make([]byte, 32<<10)
	wait, room := lingerWait, lingerBytes
	for wait > 0 && room > 0 {
		lingering := false
		select {
		case <-exited:
			lingering = true
			_ = o.from.SetReadDeadline(time.Now().Add(min(lingerQuiet, wait)))
		default:
		}
		asked := time.Now()
		n, err := o.from.Read(buf)
		if lingering {
			wait -= time.Since(asked)
			room -= n
		}
		if n > 0 {
			if _, err := o.to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil { // end of file, EIO (nobody has the terminal open), the deadline, or closed
			return
		}
	}
}

// hurry wakes up a drain that began to wait before the process ended: it shall wait no longer than
// lingerQuiet.
func (o output) hurry() { _ = o.from.SetReadDeadline(time.Now().Add(lingerQuiet)) }

// feed copies the peer's bytes to the process until the peer sends EOF, or is gone. Once the process
// reads no more, they are thrown away, so that the peer can go on sending.
//
// A pipe can be closed to say that the input is over; a terminal cannot. So when the peer has sent
// EOF, the end-of-file character (Ctrl-D) is typed, and a shell that waits for a command ends.
func (p *process) feed(channel ssh.Channel) {
	if _, err := io.Copy(p.stdin, channel); err != nil {
		_, _ = io.Copy(io.Discard, channel)
	}
	if p.pty == nil {
		_ = p.stdin.Close()
		return
	}
	timer := time.NewTimer(eofGrace)
	defer timer.Stop()
	select {
	case <-p.cut:
	case <-p.exited:
	case <-timer.C:
		_ = p.pty.typeEOF()
	}
}
