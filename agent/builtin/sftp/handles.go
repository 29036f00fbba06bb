package sftp

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// maxHandles bounds the files and folders that one peer has open at a time.
const maxHandles = 1024

// A handle is an open file or folder.
type handle struct {
	fd     int
	append bool     // what is written goes to the end
	folder *os.File // owns fd; nil: it is no folder
	told   bool     // of the folder: "." and ".."
}

func (h *handle) close() error {
	if h.folder != nil {
		return h.folder.Close()
	}
	return unix.Close(h.fd)
}

// handles are those of one peer. A number is never used twice, so that one that was closed means nothing else later.
type handles struct {
	last uint32
	open map[uint32]*handle
}

func (h *handles) full() bool { return len(h.open) >= maxHandles }

func (h *handles) add(x *handle) uint32 {
	if h.open == nil {
		h.open = make(map[uint32]*handle)
	}
	for h.last++; h.open[h.last] != nil; h.last++ { // after four thousand million
	}
	h.open[h.last] = x
	return h.last
}

// handle reads a handle's name, and finds it if it is a file's, or a folder's.
func (s *server) handle(r *request, folder bool) (*handle, error) {
	h := s.handles.open[r.handle()]
	if h == nil || (h.folder != nil) != folder {
		return nil, errNoHandle
	}
	return h, nil
}

// errNoHandle is a failure for sftp-server, and not a missing file, where something is read or written.
var errNoHandle = errors.New("no such handle")

// any finds a handle of either kind.
func (s *server) any(r *request) (*handle, error) {
	h := s.handles.open[r.handle()]
	if h == nil {
		return nil, unix.EBADF
	}
	return h, nil
}

func (r *request) handle() uint32 {
	b := request{rest: r.bytes()}
	n := b.uint32()
	if b.bad || len(b.rest) > 0 {
		return 0 // no handle's
	}
	return n
}

func (h *handles) closeAll() {
	for _, x := range h.open {
		_ = x.close()
	}
}
