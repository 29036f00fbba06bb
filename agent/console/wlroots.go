package console

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

const (
	listenTime = 5 * time.Second // until wayvnc listens
	listenPoll = 20 * time.Millisecond
)

// wayvncConfig is used instead of the user's own, which could open a port or demand a password.
const wayvncConfig = "enable_auth=false\n"

// serveWlroots starts wayvnc on a Unix socket in a new folder, connects, and removes the folder, so
// that nobody can connect a second time. The folder is also the program's XDG_RUNTIME_DIR: newer
// versions make a control socket there, and it is removed too.
func (c *Console) serveWlroots(ctx context.Context, s *screen, view bool) (_ *child, _ wire.HalfCloser, err error) {
	program, err := c.programs.need("wayvnc", "wayvnc")
	if err != nil {
		return nil, nil, err
	}
	// Two folders: the inner one belongs to the user, the outer one to the agent. So the user cannot
	// put another folder in the place of the inner one.
	outer, err := os.MkdirTemp("", "scrier-console-")
	if err != nil {
		return nil, nil, wire.Errorf(wire.Internal, "make folder: %w", err)
	}
	defer os.RemoveAll(outer)
	inner, config := filepath.Join(outer, "user"), filepath.Join(outer, "config")
	if err := prepare(outer, inner, config, s.person); err != nil {
		return nil, nil, wire.Errorf(wire.Internal, "make folder: %w", err)
	}
	socket := filepath.Join(inner, "vnc")
	argv := []string{program, "-C", config, "-L", "warning", "-u"}
	if view {
		argv = append(argv, "-d")
	}
	ch, err := c.start(s.person, job{
		argv: append(argv, socket),
		env:  c.env(s.person, "XDG_RUNTIME_DIR="+inner, "WAYLAND_DISPLAY="+s.wayland),
	})
	if err != nil {
		return nil, nil, wire.Errorf(wire.DesktopFailed, "%w", err)
	}
	conn, err := c.dialOwn(ctx, ch, socket, s.uid)
	if err != nil {
		return nil, nil, errOr(ch.stop(), wire.Errorf(wire.CodeOf(err), "%s", wire.DetailOf(err)))
	}
	return ch, conn, nil
}

func prepare(outer, inner, config string, p person) error {
	if err := os.WriteFile(config, []byte(wayvncConfig), 0o600); err != nil {
		return err
	}
	if err := os.Chmod(config, 0o644); err != nil { // the umask may have taken bits away
		return err
	}
	if err := os.Mkdir(inner, 0o700); err != nil {
		return err
	}
	if p.who != nil {
		if err := os.Lchown(inner, int(p.who.UID), int(p.who.GID)); err != nil {
			return err
		}
	}
	return os.Chmod(outer, 0o711)
}

// dialOwn connects to a socket that the user has made. The user may have put another in its place,
// for instance a link to a socket of root's; so the process that answers must be the user's.
func (c *Console) dialOwn(ctx context.Context, ch *child, socket string, uid uint32) (*net.UnixConn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listenTime, wire.Errorf(wire.DesktopFailed, "wayvnc does not listen"))
	defer cancel()
	tick := time.NewTicker(listenPoll)
	defer tick.Stop()
	for {
		select {
		case <-ch.done:
			return nil, wire.Errorf(wire.ConsoleUnsupported,
				"wayvnc ended at once: the compositor does not let it see the screen, only those of the wlroots family do; or use RDP or VNC of its own")
		case <-ctx.Done():
			return nil, wire.Cause(ctx, wire.Cancelled)
		case <-tick.C:
		}
		if conn, err := dialAs(socket, uid); err == nil {
			return conn, nil
		} else if wire.CodeOf(err) == wire.ListenerUntrusted {
			return nil, err
		}
	}
}

func dialAs(socket string, uid uint32) (*net.UnixConn, error) {
	fd, err := unix.Open(socket, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.Uid != uid {
		return nil, wire.Errorf(wire.ListenerUntrusted, "the server's socket is not what it should be")
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: "/proc/self/fd/" + strconv.Itoa(fd)})
	if err != nil {
		return nil, err
	}
	if got, err := peerUID(conn); err != nil || got != uid {
		conn.Close()
		return nil, wire.Errorf(wire.ListenerUntrusted, "the server at the socket is not the user's")
	}
	return conn, nil
}

func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, fmt.Errorf("ask for the peer: %w", failed)
	}
	return cred.Uid, nil
}
