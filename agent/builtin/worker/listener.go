package worker

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// A listener is what one request made: two sockets for localhost, else one.
type listener struct {
	at     []net.Listener
	port   uint16
	path   string // of a unix socket
	file   unix.Stat_t
	folder *os.File // of the socket's own, locked for as long as the listener is there; nil if it has none
}

// newListener does a Listen…. The caller sees to it that no other runs, as the umask is changed.
func newListener(q Request) (*listener, error) {
	switch q.Do {
	case ListenTCP:
		return listenTCP(q.Host, q.Port)
	case ListenUnix:
		if err := checkPath(q.Path); err != nil {
			return nil, err
		}
		l := &listener{path: string(q.Path)}
		return l, l.bind()
	}
	return listenAgent()
}

// listenAgent listens where nobody else of this machine can connect, but root.
func listenAgent() (*listener, error) {
	sweep()
	path, err := os.MkdirTemp(agentFolders, agentFolder+"*") // 0700
	if err != nil {
		return nil, err
	}
	l := &listener{path: filepath.Join(path, agentSocket)}
	if l.folder, err = os.Open(path); err == nil {
		if err = unix.Flock(int(l.folder.Fd()), unix.LOCK_EX); err == nil {
			err = l.bind()
		}
	}
	if err != nil {
		l.close()
		_ = os.Remove(path)
		return nil, err
	}
	return l, nil
}

// bind makes the socket, for its owner alone. It never takes the place of another file, as sshd does not
// (StreamLocalBindUnlink no).
func (l *listener) bind() error {
	was := unix.Umask(0o177)
	at, err := net.Listen("unix", l.path)
	unix.Umask(was)
	if err != nil {
		return err
	}
	at.(*net.UnixListener).SetUnlinkOnClose(false) // close does, after a look
	if err := unix.Lstat(l.path, &l.file); err != nil {
		at.Close()
		return err
	}
	l.at = []net.Listener{at}
	return nil
}

// close also removes the socket, if it is still the one that was made.
func (l *listener) close() {
	for _, at := range l.at {
		at.Close()
	}
	if l.path == "" {
		return
	}
	var now unix.Stat_t
	if unix.Lstat(l.path, &now) == nil && now.Dev == l.file.Dev && now.Ino == l.file.Ino {
		_ = unix.Unlink(l.path)
	}
	if l.folder != nil {
		_ = unix.Rmdir(l.folder.Name())
		l.folder.Close()
	}
}

// portTries is how often a port is looked for that is free at both addresses.
const portTries = 10

// listenTCP listens at loopback, whatever it is asked for.
func listenTCP(host string, port uint16) (*listener, error) {
	switch host {
	case "127.0.0.1":
		return listenAt("tcp4", port)
	case "::1":
		return listenAt("tcp6", port)
	}
	for try := 1; ; try++ {
		l, err := listenAt("tcp4", port)
		if err != nil {
			return nil, err
		}
		other, err := listenAt("tcp6", l.port)
		switch {
		case err == nil:
			l.at = append(l.at, other.at...)
			return l, nil
		case !errors.Is(err, unix.EADDRINUSE): // this machine has no IPv6
			return l, nil
		}
		l.close()
		if port != 0 || try == portTries {
			return nil, err
		}
	}
}

func listenAt(network string, port uint16) (*listener, error) {
	host := "127.0.0.1"
	if network == "tcp6" {
		host = "::1"
	}
	at, err := net.Listen(network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	return &listener{at: []net.Listener{at}, port: uint16(at.Addr().(*net.TCPAddr).Port)}, nil
}

// Where the sockets of forwarded agents are: each in a folder that is its owner's alone.
const (
	agentFolders = "/tmp"
	agentFolder  = "scrier-agent-"
	agentSocket  = "agent"
)

// maxSweep bounds how many folders one sweep looks at.
const maxSweep = 100

// sweep removes the account's sockets of forwarded agents whose worker was killed: nobody has their folders locked.
func sweep() {
	folders, err := filepath.Glob(filepath.Join(agentFolders, agentFolder+"*"))
	if err != nil {
		return
	}
	for _, path := range folders[:min(len(folders), maxSweep)] {
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || st.Uid != uint32(os.Getuid()) || st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		folder, err := os.Open(path)
		if err != nil {
			continue
		}
		// A folder without a socket may be about to get one.
		if unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && unix.Unlink(filepath.Join(path, agentSocket)) == nil {
			_ = unix.Rmdir(path)
		}
		folder.Close()
	}
}
