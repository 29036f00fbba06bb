package builtin

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"scrier/agent/account"
)

// A pty is a pseudo-terminal of the kernel's. The master is in non-blocking mode under Go's
// poller, so that Close and deadlines end a Read; that is why it is opened here.
type pty struct {
	master, slave *os.File
	name          string // of the slave, e.g. /dev/pts/3
}

// openPTY opens a terminal of a size, with the modes that the peer asks for.
func openPTY(size unix.Winsize, modes string) (*pty, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	p := &pty{master: os.NewFile(uintptr(fd), "/dev/ptmx")}
	if err := p.openSlave(fd, size, modes); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pty) openSlave(fd int, size unix.Winsize, modes string) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return fmt.Errorf("name terminal: %w", err)
	}
	p.name = "/dev/pts/" + strconv.Itoa(n)
	slave, err := unix.Open(p.name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	p.slave = os.NewFile(uintptr(slave), p.name)
	t, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("get terminal's modes: %w", err)
	}
	t.Iflag |= unix.IUTF8 // environ sets a UTF-8 language; the peer's modes may clear this
	applyModes(t, modes)
	if err := unix.IoctlSetTermios(slave, unix.TCSETS, t); err != nil {
		return fmt.Errorf("set terminal's modes: %w", err)
	}
	if err := unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, &size); err != nil {
		return fmt.Errorf("set terminal's size: %w", err)
	}
	return nil
}

// give makes the terminal the account's own, as login(1) does. tty is the group that terminals
// belong to, so that wall(1) can write to them; 0 where there is none.
func (p *pty) give(a account.Account, tty uint32) error {
	gid, mode := tty, os.FileMode(0o620)
	if tty == 0 {
		gid, mode = a.GID, 0o600
	}
	if err := p.slave.Chown(int(a.UID), int(gid)); err != nil {
		return fmt.Errorf("give terminal away: %w", err)
	}
	if err := p.slave.Chmod(mode); err != nil {
		return fmt.Errorf("give terminal away: %w", err)
	}
	return nil
}

func (p *pty) resize(size unix.Winsize) error {
	return p.control(func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size) })
}

// foreground is the process group that gets what is typed.
func (p *pty) foreground() (pgid int, err error) {
	err = p.control(func(fd int) error {
		pgid, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return pgid, err
}

// interrupt sends one of the keyboard's own signals to the foreground group. The kernel itself looks
// up the group, so the signal cannot go to a group that has just taken over its number.
func (p *pty) interrupt(sig unix.Signal) error {
	return p.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCSIG, int(sig)) })
}

// typeEOF types the end-of-file character.
func (p *pty) typeEOF() error {
	eof := byte(4)
	err := p.control(func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			eof = t.Cc[unix.VEOF]
		}
		return err
	})
	if err == nil {
		_, err = p.master.Write([]byte{eof})
	}
	return err
}

// control runs an ioctl on the master without taking it from the poller, as Fd would.
func (p *pty) control(do func(fd int) error) error {
	c, err := p.master.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	if err := c.Control(func(fd uintptr) { done = do(int(fd)) }); err != nil {
		return err
	}
	return done
}

func (p *pty) close() {
	p.master.Close()
	if p.slave != nil {
		p.slave.Close()
	}
}
