package files

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync"

	"scrier/wire"
)

// exists is a [wire.Conflict] if there is something.
func (m *Machine) exists(name string) error {
	switch info, err := m.Lstat(name); {
	case err == nil:
		return taken(name, info)
	case !errors.Is(err, fs.ErrNotExist):
		return m.fault(err, toRead, name)
	}
	return nil
}

// taken is a name that is not free.
func taken(name string, info fs.FileInfo) error {
	if info.IsDir() {
		return wire.Errorf(wire.Conflict, "%s is there already, and is a folder", wire.Printable(name)).Advise("take another name")
	}
	return wire.Errorf(wire.Conflict, "%s is there already", wire.Printable(name)).Advise("take another name, or say that it may be overwritten")
}

// Mkdir makes a folder.
func (m *Machine) Mkdir(name string) error {
	name, err := check(name)
	if err != nil {
		return err
	}
	if err := m.exists(name); err != nil {
		return err
	}
	return m.fault(m.Client.Mkdir(name), toMake, name)
}

// Rename gives a file or folder another name, which must be free.
func (m *Machine) Rename(from, to string) error {
	from, err := check(from)
	if err == nil {
		to, err = check(to)
	}
	if err != nil {
		return err
	}
	if _, err := m.Lstat(from); err != nil {
		return m.fault(err, toRename, from)
	}
	if err := m.exists(to); err != nil {
		return err
	}
	err = m.Client.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) { // the folder that it is to go to
		return m.fault(err, toRename, path.Dir(to))
	}
	return m.fault(err, toRename, from)
}

// maxParallel is how many small things are done at a time where there are many: each takes a round trip or some.
const maxParallel = 16

// maxDepth is how deep folders are gone into. Paths end before that.
const maxDepth = 1000

// Remove removes a file, a link, or a folder: an empty one, or any if recursive. What cannot be removed stays, and the rest
// goes.
func (m *Machine) Remove(ctx context.Context, name string, recursive bool) error {
	if name == "" {
		return wire.Errorf(wire.BadRequest, "path is missing")
	}
	name, err := check(name)
	if err != nil {
		return err
	}
	switch base := path.Base(path.Clean(name)); base {
	case "/", ".", "..":
		return wire.Errorf(wire.BadRequest, "%s is not removed from here", wire.Printable(name))
	}
	info, err := m.Lstat(name)
	if err != nil {
		return m.fault(err, toRemove, name)
	}
	if !info.IsDir() {
		return m.fault(m.Client.Remove(name), toRemove, name)
	}
	if !recursive {
		err := m.RemoveDirectory(name)
		if err != nil {
			if infos, lerr := m.ReadDirContext(ctx, name); lerr == nil && len(infos) > 0 {
				return wire.Errorf(wire.Conflict, "%s is not empty", wire.Printable(name)).Advise("say recursive to remove all that is in it")
			}
		}
		return m.fault(err, toRemove, name)
	}
	r := removal{Machine: m, ctx: ctx}
	r.folder(name, 0)
	if r.left > 1 {
		e := wire.Errorf(wire.CodeOf(r.first), "%d things could not be removed; the first: %s", r.left, wire.DetailOf(r.first))
		return e
	}
	return r.first
}

// removal removes a folder with all that is in it.
type removal struct {
	*Machine
	ctx  context.Context
	held int // folders that wait for their turn, of all depths

	left  int
	first error
}

// failed says whether something stays.
func (r *removal) failed(err error) bool {
	if err == nil || wire.CodeOf(err) == wire.NotFound { // somebody else was faster
		return false
	}
	if r.left++; r.first == nil {
		r.first = err
	}
	return true
}

// folder removes a folder, and says whether it is gone.
func (r *removal) folder(name string, depth int) bool {
	for {
		if r.ctx.Err() != nil {
			return !r.failed(wire.Cause(r.ctx, wire.Cancelled))
		}
		if depth > maxDepth {
			return !r.failed(wire.Errorf(wire.FileFailed, "%s is too deep", wire.Printable(name)))
		}
		infos, err := r.read(r.ctx, name)
		if err != nil {
			return !r.failed(err)
		}
		all := len(infos)
		stays := r.plain(name, infos)
		infos = slices.DeleteFunc(infos, func(i fs.FileInfo) bool { return !i.IsDir() })
		if r.held+len(infos) > maxPending {
			return !r.failed(wire.Errorf(wire.FileFailed, "%s: the folders above it have too many others", wire.Printable(name)))
		}
		r.held += len(infos)
		for _, info := range infos {
			stays = !r.folder(path.Join(name, info.Name()), depth+1) || stays
		}
		r.held -= len(infos)
		if stays {
			return false
		}
		if all < maxNames-2 { // all that there was
			return !r.failed(r.fault(r.RemoveDirectory(name), toRemove, name))
		}
	}
}

// plain removes what is no folder, several at a time, and says whether something stays. What stays is noted by name.
func (r *removal) plain(folder string, infos []fs.FileInfo) (stays bool) {
	infos = slices.DeleteFunc(slices.Clone(infos), fs.FileInfo.IsDir)
	errs := make([]error, len(infos))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(maxParallel, len(infos)) {
		wg.Go(func() {
			for i := range next {
				if r.ctx.Err() == nil {
					name := path.Join(folder, infos[i].Name())
					errs[i] = r.files.Panics.Contain("files", func() error { return r.fault(r.Client.Remove(name), toRemove, name) })
				}
			}
		})
	}
	for i := range infos {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		stays = r.failed(err) || stays
	}
	return stays
}
