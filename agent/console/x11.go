package console

import (
	"bytes"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

func isViewable(xwininfo []byte) bool { return bytes.Contains(xwininfo, []byte("IsViewable")) }

// x11vnc is its command line. It serves its standard input and nobody else: it must not listen
// (-rfbport 0 and both families off), read its user's configuration (-norc) or run commands
// (-nocmds), nor be controlled by other X clients (-noremote, -novncconnect). It must not switch off
// the keyboard's repetition (-repeat), as it could not switch it on again when it is killed. With
// -onetile it has three segments of shared memory and not forty.
func x11vnc(program string, s *screen, view bool) []string {
	argv := []string{
		program, "-inetd", "-norc", "-display", s.display, "-nopw", "-quiet", "-safer", "-nocmds", "-noremote", "-novncconnect",
		"-rfbport", "0", "-no6", "-noipv6", "-nolookup", "-noxrecord", "-nowireframe", "-noncache", "-onetile", "-repeat",
	}
	if s.authority != "" {
		argv = append(argv, "-auth", s.authority)
	}
	if view {
		// Who may look may not read or write the clipboard either.
		return append(argv, "-viewonly", "-nosel")
	}
	return append(argv, "-clear_keys") // keys that are held down when the sharing ends are released
}

// serveX11 starts x11vnc on one end of a socket pair and returns the other.
func (c *Console) serveX11(s *screen, view bool) (*child, wire.HalfCloser, error) {
	program, err := c.programs.need("x11vnc", "x11vnc")
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	ch, err := c.start(s.person, job{
		argv: x11vnc(program, s, view), env: c.screenEnv(s), stdin: theirs, stdout: theirs,
		death: unix.SIGTERM, // lets it free its shared memory; it also ends when its socket does
	})
	if err != nil {
		ours.Close()
		return nil, nil, wire.Errorf(wire.DesktopFailed, "%w", err)
	}
	return ch, ours, nil
}

// socketPair is a connected pair that has no name anywhere.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	f := os.NewFile(uintptr(pair[0]), "console")
	defer f.Close()
	theirs = os.NewFile(uintptr(pair[1]), "console")
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}
