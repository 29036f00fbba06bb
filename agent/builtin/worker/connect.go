package worker

import (
	"errors"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// DialTime is how long a connection may take to come about.
const DialTime = 20 * time.Second

// connect does a Dial….
func connect(q Request) (net.Conn, error) {
	d := net.Dialer{Timeout: DialTime}
	if q.Do == DialUnix {
		if err := checkPath(q.Path); err != nil {
			return nil, err
		}
		return d.Dial("unix", string(q.Path))
	}
	var failed error
	for _, host := range addresses(q.Host) {
		c, err := d.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(int(q.Port))))
		if err == nil {
			return c, nil
		}
		failed = err
	}
	return nil, failed
}

// addresses are what a host stands for. localhost is loopback, whatever a name server says.
func addresses(host string) []string {
	if host == "localhost" {
		return []string{"::1", "127.0.0.1"}
	}
	return []string{host}
}

var errPath = errors.New("a socket's path is absolute and has at most 107 bytes")

// checkPath refuses what is no path. One that begins with @ would be no file.
func checkPath(path []byte) error {
	if len(path) == 0 || path[0] != '/' || len(path) > len(unix.RawSockaddrUnix{}.Path)-1 {
		return errPath
	}
	for _, b := range path {
		if b == 0 {
			return errPath
		}
	}
	return nil
}
