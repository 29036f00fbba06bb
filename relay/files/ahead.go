package files

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"

	"scrier/wire"
)

// maxSmall is how long a file may be that is read ahead, in bytes. Of those [maxParallel] are in memory.
const maxSmall = 128 << 10

// fetched is a small file's content, or why it is not there.
type fetched struct {
	data []byte
	err  error
}

// lookahead reads the small files of a folder ahead, as each takes several round trips. It is used by one goroutine.
type lookahead struct {
	machine *Machine
	folder  string
	infos   []fs.FileInfo
	next    int                  // the first that was not looked at
	coming  map[int]chan fetched // by their places in infos
	wait    sync.WaitGroup
}

func (m *Machine) ahead(folder string, infos []fs.FileInfo) *lookahead {
	return &lookahead{machine: m, folder: folder, infos: infos, coming: map[int]chan fetched{}}
}

// take gives the i-th file, if it is small; those before it are given already. Nothing is read ahead over a folder, which may
// be a thousand deep: so one folder's files are in memory, and not those of all above it.
func (l *lookahead) take(i int) (fetched, bool) {
	if l.infos[i].IsDir() {
		return fetched{}, false
	}
	for ; l.next < len(l.infos) && (len(l.coming) < maxParallel || l.next <= i); l.next++ {
		info := l.infos[l.next]
		if info.IsDir() && l.next > i {
			break
		}
		if !info.Mode().IsRegular() || info.Size() > maxSmall {
			continue
		}
		to := make(chan fetched, 1)
		l.coming[l.next] = to
		l.wait.Go(func() {
			f := fetched{err: &wire.Error{Code: wire.Internal}} // of a panic
			defer func() { to <- f }()
			_ = l.machine.files.Panics.Contain("files", func() error {
				f = l.machine.fetch(path.Join(l.folder, info.Name()), info.Size())
				return nil
			})
		})
	}
	from, ok := l.coming[i]
	if !ok {
		return fetched{}, false
	}
	delete(l.coming, i)
	f := <-from
	return f, !errors.Is(f.err, errGrown)
}

// stop waits for what is not needed any more.
func (l *lookahead) stop() { l.wait.Wait() }

// errGrown is a file that is no longer as small as the folder's list says.
var errGrown = errors.New("it has grown")

// fetch reads a file of this size.
func (m *Machine) fetch(name string, size int64) fetched {
	file, err := m.Client.Open(name)
	if err != nil {
		return fetched{err: m.fault(err, toRead, name)}
	}
	defer file.Close() // it was only read
	b := make([]byte, size+1)
	n, err := io.ReadFull(file, b)
	switch {
	case err == nil:
		return fetched{err: errGrown}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fetched{data: b[:n]}
	}
	return fetched{err: m.fault(err, toRead, name)}
}
