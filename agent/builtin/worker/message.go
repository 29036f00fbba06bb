package worker

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The things that [Sockets] does.
const (
	DialTCP     = "dial-tcp"     // Host and Port; the answer has the connection
	DialUnix    = "dial-unix"    // Path; the same
	ListenTCP   = "listen-tcp"   // at loopback: Host is localhost for both its addresses, or one of them; port 0 is any
	ListenUnix  = "listen-unix"  // at Path
	ListenAgent = "listen-agent" // in a new folder of the account's own; the answer has the path
	Close       = "close"        // the listener that Number began; there is no answer
)

// A Request is what the agent asks of [Sockets]. Requests are answered in any order.
type Request struct {
	Number uint32 `json:"number"` // chosen by the agent, never twice
	Do     string `json:"do"`
	Host   string `json:"host,omitempty"`
	Port   uint16 `json:"port,omitempty"`
	Path   []byte `json:"path,omitempty"` // a file's name need not be text
}

// A Reply answers a request, or tells of a connection that came to a listener. With a connection comes its file descriptor.
type Reply struct {
	Number uint32 `json:"number"` // of the request; of an arrival, of the one that began the listener
	Error  string `json:"error,omitempty"`
	Port   uint16 `json:"port,omitempty"` // where a ListenTCP listens
	Path   []byte `json:"path,omitempty"` // where a ListenAgent listens

	Arrived    bool   `json:"arrived,omitempty"`
	Origin     string `json:"origin,omitempty"` // who connected; empty with a unix socket
	OriginPort uint16 `json:"origin_port,omitempty"`
}

// maxMessage bounds one message. A host has at most 255 bytes and a path 107.
const maxMessage = 4096

var errMessage = errors.New("malformed message of a worker")

// Send writes a message, with the file descriptor of a connection if there is one. It may be called concurrently.
func Send(to *net.UnixConn, m any, with syscall.Conn) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return errMessage
	}
	if with == nil {
		_, err = to.Write(b)
		return err
	}
	raw, err := with.SyscallConn()
	if err != nil {
		return err
	}
	if failed := raw.Control(func(fd uintptr) { _, _, err = to.WriteMsgUnix(b, unix.UnixRights(int(fd)), nil) }); failed != nil {
		return failed
	}
	return err
}

// Receive reads a message, and the connection that came with it, if any. What sends may be hostile: nothing else
// than a connection is taken.
func Receive(from *net.UnixConn, m any) (net.Conn, error) {
	b, oob := make([]byte, maxMessage+1), make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := from.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	c, err := connection(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if n > maxMessage || json.Unmarshal(b[:n], m) != nil {
		if c != nil {
			c.Close()
		}
		return nil, errMessage
	}
	return c, nil
}

// connection makes a connection of the one descriptor in a control message, and closes all others.
func connection(oob []byte) (net.Conn, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, errMessage
	}
	var fds []int
	for _, m := range messages {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	if len(fds) == 0 {
		return nil, nil
	}
	var files []*os.File
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "connection"))
	}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if len(files) > 1 {
		return nil, errMessage
	}
	c, err := net.FileConn(files[0])
	if err != nil {
		return nil, errMessage
	}
	switch c := c.(type) {
	case *net.TCPConn:
		return c, nil
	case *net.UnixConn:
		if c.LocalAddr().Network() == "unix" {
			return c, nil
		}
	}
	c.Close()
	return nil, errMessage
}
