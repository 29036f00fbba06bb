package builtin

import (
	"io"
	"os"
	"time"

	"golang.org/x/crypto/ssh"
)

// Once a session's first process has ended, others that it left behind may hold its output open
// for ever. What the process wrote itself is in the kernel by then and is read without waiting,
// so only waiting and plenty must end the session.
const (
	lingerQuiet = 300 * time.Millisecond // a silence of so long ends the output
	lingerWait  = 5 * time.Second        // so much waiting, all silences together, ends it too
	lingerBytes = 4 << 20                // and so does so much output; a pipe holds 1 MiB at most
)

// eofGrace tells a peer that sent EOF from one that is gone: both read as EOF, but of the second
// the channel's end follows at once, and its shell must see a hang-up, not an end of input.
const eofGrace = 200 * time.Millisecond

// An output is a file to which processes write, and where that goes.
type output struct {
	from *os.File
	to   io.Writer
}

// drain copies until the end of the file, or of the session; exited is closed when the session's
// first process has ended. A peer that is slow to take the bytes loses none.
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
		if err != nil { // EOF, EIO of a terminal that nobody holds, silence, closed
			return
		}
	}
}

// hurry wakes a drain that waits for output of a process that has ended.
func (o output) hurry() { _ = o.from.SetReadDeadline(time.Now().Add(lingerQuiet)) }

// feed copies the peer's bytes to the process until the peer sends EOF, or is gone. What the
// process does not want is thrown away, so that the peer is not held up for ever.
//
// A terminal has no end of file to pass on; the character for it is typed instead, as nothing
// else will ever be: a shell that waits for a command ends.
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
