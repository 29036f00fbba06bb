package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"scrier/relay/access"
	"scrier/relay/web"
	"scrier/wire"
)

// AdminSocket is the socket's name in the relay's state directory.
const AdminSocket = "admin.sock"

// adminSocket serves the API to the administrator of the relay's host: root, or the user that
// the relay runs as. The kernel tells who is calling.
type adminSocket struct{ net.Listener }

func listenAdmin(path string) (*adminSocket, error) {
	// No other relay uses this state directory, as the store is locked: a socket that is there was left
	// by one that has ended.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, &wire.Error{Code: wire.BadConfig, Detail: "cannot make the admin socket: " + err.Error(), Err: err}
	}
	if len(path) > 107 {
		return nil, wire.Errorf(wire.BadConfig, "the state directory's path is too long for a socket in it (%d bytes, at most 107)", len(path))
	}
	old := unix.Umask(0o177) // the socket must never be open to others, not even for a moment
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, &wire.Error{Code: wire.BadConfig, Detail: "cannot make the admin socket: " + err.Error(), Err: err}
	}
	return &adminSocket{l}, nil
}

func (s *adminSocket) serve(ctx context.Context, api http.Handler, log *slog.Logger) error {
	return serveAPI(ctx, s.Listener, api, func(conn net.Conn) web.Caller {
		who, err := peer(conn.(*net.UnixConn))
		if err != nil {
			log.Warn("admin socket", "err", err)
		}
		return func(context.Context) (access.Operator, error) { return who, err }
	})
}

// peer reads the caller's credentials from the kernel (SO_PEERCRED, unix(7)).
func peer(conn *net.UnixConn) (access.Operator, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return access.Operator{}, err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(cerr, err); err != nil {
		return access.Operator{}, err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Getuid() {
		return access.Operator{}, wire.Errorf(wire.Forbidden, "the admin socket is for root and the relay's own user, not for uid %d", cred.Uid)
	}
	name := strconv.Itoa(int(cred.Uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return access.Local(name), nil
}

func (s *adminSocket) close() error {
	if err := s.Listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
