package sftp

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// maxPacket is how long a packet may be, as for sftp-server. A longer one ends the conversation.
	maxPacket = 256 << 10

	// maxRead is how much one request may read or write; what else is in a packet has room beside it.
	maxRead = maxPacket - 1024
)

// Config says what a peer may do, and whose files these are.
type Config struct {
	Upload   bool   // change files
	Download bool   // read what is in files
	Login    string // whose home is
	Home     string
}

// A server does one request after the other, so nothing of it is locked.
type server struct {
	Config
	in      *bufio.Reader
	out     *bufio.Writer
	handles handles
	data    []byte // of a read, kept for the next one
	owners  owners
}

// Serve answers the requests that come on in until it ends, which is no error, or until a packet is none. It does not
// close in or out. Whatever was open is closed then.
//
// Its extensions are posix-rename, statvfs, fstatvfs, hardlink, fsync, lsetstat, limits, expand-path,
// copy-data, home-directory and users-groups-by-id, all of them @openssh.com but copy-data and home-directory.
func Serve(in io.Reader, out io.Writer, c Config) error {
	s := &server{Config: c, in: bufio.NewReaderSize(in, 64<<10), out: bufio.NewWriterSize(out, 64<<10)}
	defer s.handles.closeAll()
	first := true
	for {
		r, err := s.read()
		if err == io.EOF {
			return s.out.Flush()
		}
		if err != nil {
			return err
		}
		if first != (r.kind == fxpInit) {
			return fmt.Errorf("%w: type %d", errMalformed, r.kind)
		}
		first = false
		p := s.answer(r)
		if r.bad {
			return errMalformed
		}
		binary.BigEndian.PutUint32(p, uint32(len(p)-4))
		if _, err := s.out.Write(p); err != nil {
			return err
		}
	}
}

// read takes the next packet. Before it waits for bytes, all answers are on their way.
func (s *server) read() (*request, error) {
	head, err := s.peek(4)
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if n < 5 || n > maxPacket {
		return nil, fmt.Errorf("%w: %d bytes", errMalformed, n)
	}
	if s.in.Buffered() < 4+int(n) {
		if err := s.out.Flush(); err != nil {
			return nil, err
		}
	}
	b := make([]byte, 4+n)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return nil, cut(err)
	}
	return &request{kind: b[4], rest: b[5:]}, nil
}

func (s *server) peek(n int) ([]byte, error) {
	if s.in.Buffered() < n {
		if err := s.out.Flush(); err != nil {
			return nil, err
		}
	}
	b, err := s.in.Peek(n)
	if err == io.EOF && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// answer does what a request wants, and says how that went.
func (s *server) answer(r *request) reply {
	if r.kind == fxpInit {
		r.uint32() // the peer's version; whatever it is, it gets on with 3, or goes
		p := newReply(fxpVersion, 3)
		for _, e := range extensions {
			p = p.string(e.name).string(e.version)
		}
		return p
	}
	id := r.uint32()
	p, err := s.do(r, id)
	if p != nil && err == nil {
		return p
	}
	code, text := status(err)
	return newReply(fxpStatus, id).uint32(code).string(text).string("")
}

// do is answer without a status: a nil reply with a nil error is "Success".
func (s *server) do(r *request, id uint32) (reply, error) {
	switch r.kind {
	case fxpOpen:
		return s.open(r, id)
	case fxpClose:
		return nil, s.close(r)
	case fxpRead:
		return s.readFile(r, id)
	case fxpWrite:
		return nil, s.writeFile(r)
	case fxpStat, fxpLstat, fxpFstat:
		return s.stat(r, id)
	case fxpSetstat, fxpFsetstat:
		return nil, s.setstat(r)
	case fxpOpendir:
		return s.opendir(r, id)
	case fxpReaddir:
		return s.readdir(r, id)
	case fxpRemove, fxpMkdir, fxpRmdir, fxpRename, fxpSymlink:
		return nil, s.change(r)
	case fxpRealpath:
		return s.realpath(r.name(), id)
	case fxpReadlink:
		return s.readlink(r, id)
	case fxpExtended:
		name := r.string()
		for _, e := range extensions {
			if e.name == name {
				return e.do(s, r, id)
			}
		}
	}
	return nil, errUnsupported
}
