package transfer

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"scrier/wire"
)

const (
	// maxDepth is how deep folders may lie in each other, as with scp.
	maxDepth = 64

	// maxNames is what the listings may take that are read at a time, one for each folder above the file, in bytes.
	maxNames = 128 << 20

	// places are shared by the files under way, a file has from minPlaces to all of them, one for each placeSize bytes of it. So 32
	// small files are copied at a time, and large ones one after the other.
	places    = 64
	minPlaces = 2
	placeSize = 64 << 10
)

// Source is what is to be copied.
type Source struct {
	Place   Place
	Path    string
	Pattern bool // the path may be a pattern, as scp's
}

// Options are how.
type Options struct {
	Recursive bool  // folders too, and what symbolic links in them lead to
	Preserve  bool  // times and modes
	Continue  bool  // go on with what is there already
	Rate      int64 // bytes a second at most; 0: as fast as it goes
	Progress  Progress
	// Again gives the places anew, in the order of the sources and the target last, when the connection to one of them was lost:
	// lost is why. Then the copy goes on where it was. An error ends it with that. nil: it ends with lost.
	Again func(ctx context.Context, lost error) ([]Place, error)
}

// Summary is what [Run] did, in files.
type Summary struct {
	Copied, Kept, LeftOut, Failed int64
	Moved                         int64 // bytes
	Parts                         bool  // something unfinished is left
}

// Run copies sources to a path of a place. An error is one that ended all: those of single files are told to the Progress.
func Run(ctx context.Context, sources []Source, to Place, path string, o Options) (Summary, error) {
	c := &course{o: o}
	if o.Rate > 0 {
		c.limit = rate.NewLimiter(rate.Limit(o.Rate), int(min(max(o.Rate/8, 1), chunk)))
	}
	err := c.leg(ctx, sources, to, path)
	for err != nil && o.Again != nil && ctx.Err() == nil && !c.stuck.Load() && lostOf(sources, to) != nil {
		anew, aerr := o.Again(ctx, err)
		if aerr != nil {
			err = aerr
			break
		}
		sources = slices.Clone(sources)
		for i := range sources {
			sources[i].Place = anew[i]
		}
		to = anew[len(sources)]
		err = c.leg(ctx, sources, to, path)
	}
	return Summary{
		Copied: c.copied.Load(), Kept: c.kept.Load(), LeftOut: c.leftOut.Load(), Failed: c.failed.Load(), Moved: c.moved.Load(), Parts: c.parts.Load(),
	}, err
}

// lostOf is why one of the places is lost; nil: none is.
func lostOf(sources []Source, to Place) error {
	for _, at := range append(placesOf(sources), to) {
		if lost := at.Lost(); lost != nil {
			return lost
		}
	}
	return nil
}

// leg copies what is not copied yet, until all is or a connection is lost.
func (c *course) leg(ctx context.Context, sources []Source, to Place, path string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	j := &job{course: c, ctx: ctx, cancel: cancel, room: semaphore.NewWeighted(places)}
	for _, at := range append(placesOf(sources), to) {
		defer context.AfterFunc(ctx, func() { at.End(context.Cause(ctx)) })()
	}
	err := j.run(sources, to, path)
	j.files.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	c.late = true
	return err
}

func placesOf(sources []Source) (all []Place) {
	for _, s := range sources {
		if !slices.Contains(all, s.Place) {
			all = append(all, s.Place)
		}
	}
	return all
}

// course is one Run, with what of it outlives a connection.
type course struct {
	o     Options
	limit *rate.Limiter
	late  bool // a connection was lost before
	seen  seen
	stuck atomic.Bool // something cannot go on over another connection

	// What had the target's name in the beginning, once that is known.
	known, exists bool
	target        Entry

	copied, kept, leftOut, failed, moved atomic.Int64
	parts                                atomic.Bool
}

// job is a course as far as the connections hold.
type job struct {
	*course
	ctx    context.Context // its end is that of all
	cancel context.CancelCauseFunc
	room   *semaphore.Weighted
	files  sync.WaitGroup
}

// run is one goroutine: it finds what there is, and makes the folders.
func (j *job) run(sources []Source, to Place, path string) error {
	var all []Source
	for _, s := range sources {
		if !s.Pattern {
			all = append(all, s)
			continue
		}
		paths, err := expand(s.Place, s.Path, maxNames)
		if err != nil {
			j.refuse(s.Place, s.Path, err)
		}
		for _, p := range paths {
			all = append(all, Source{Place: s.Place, Path: p})
		}
	}
	if !j.known {
		target, err := to.Stat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return wire.Errorf(wire.BadRequest, "%s: %s", to.Show(path), Reason(err))
		}
		j.known, j.exists, j.target = true, err == nil, target
	}
	switch {
	case j.exists && j.target.Mode.IsDir():
		return j.into(all, to, path)
	case len(all) > 1:
		return wire.Errorf(wire.BadRequest, "%s is no folder: several files need one", to.Show(path))
	case len(all) == 1:
		j.onto(all[0], to, path, j.exists, j.target)
	}
	return nil
}

// into copies to a folder that is there.
func (j *job) into(all []Source, to Place, path string) error {
	dst, err := to.Below(path)
	if err != nil {
		return wire.Errorf(wire.BadRequest, "%s: %s", to.Show(path), Reason(err))
	}
	root := j.root(dst)
	taken := map[string]bool{}
	for _, s := range all {
		if j.ctx.Err() != nil {
			break
		}
		_, name := s.Place.Split(s.Path)
		same := dst.Same(name)
		switch {
		case name != "." && taken[same]:
			j.refuse(s.Place, s.Path, errClash)
		case name != "." && dst.Check(name) != nil:
			j.refuse(s.Place, s.Path, dst.Check(name))
		default:
			taken[same] = true
			j.source(s, root, name)
		}
	}
	root.done()
	return nil
}

// onto copies one thing to a path that is no folder.
func (j *job) onto(s Source, to Place, path string, exists bool, target Entry) {
	if _, local := to.(*Local); exists && (!target.Mode.IsRegular() || local && standard(path) != nil) {
		j.device(s, to, path)
		return
	}
	folder, name := to.Split(path)
	if link, err := to.Lstat(path); err == nil && link.Mode&fs.ModeSymlink != 0 {
		real, err := to.Real(path) // what it leads to is written, and the link stays
		if !exists || err != nil {
			j.refuse(to, path, errDangling)
			return
		}
		folder, name = to.Split(real)
	}
	if name == "." {
		j.refuse(to, path, fs.ErrNotExist)
		return
	}
	e, err := s.Place.Stat(s.Path)
	switch {
	case err != nil:
		j.refuse(s.Place, s.Path, err)
		return
	case exists && e.Mode.IsDir():
		j.refuse(to, path, errFileHere)
		return
	case !exists && !e.Mode.IsDir() && strings.HasSuffix(path, "/"):
		j.refuse(to, path, fs.ErrNotExist)
		return
	}
	dst, err := to.Below(folder)
	if err != nil {
		j.refuse(to, folder, err)
		return
	}
	root := j.root(dst)
	if err := dst.Check(name); err != nil {
		j.refuse(to, path, err)
	} else {
		j.source(s, root, name)
	}
	root.done()
}

// source copies one of the sources to a name in a folder; "." is the folder itself.
func (j *job) source(s Source, into *folder, name string) {
	e, err := s.Place.Stat(s.Path)
	if err != nil {
		j.refuse(s.Place, s.Path, err)
		return
	}
	if !e.Mode.IsDir() {
		j.file(s.Place, s.Path, e, into, name)
		return
	}
	if !j.o.Recursive {
		j.refuse(s.Place, s.Path, errIsFolder)
		return
	}
	real, err := s.Place.Real(s.Path)
	if err != nil {
		j.refuse(s.Place, s.Path, err)
		return
	}
	t := &tree{job: j, from: s.Place}
	if where, same := into.dst.Where(s.Place); same {
		target, err := s.Place.Real(where)
		if err == nil && strings.HasPrefix(s.Place.Join(target, name)+"/", strings.TrimRight(real, "/")+"/") {
			j.refuse(s.Place, s.Path, errInside)
			return
		}
	}
	t.folder(s.Path, e, into, name, []string{real})
}

// refuse tells that something was not copied.
func (j *job) refuse(at Place, path string, err error) {
	if lost := at.Lost(); lost != nil {
		j.cancel(lost)
	}
	j.end(&File{From: at.Show(path)}, Outcome{Result: Failed, Err: err})
}

// end tells how a file ended.
func (j *job) end(f *File, o Outcome) {
	if o.Result == Failed && j.ctx.Err() != nil && j.o.Again != nil {
		j.moved.Add(o.Moved)
		j.o.Progress.Stop(f) // it may go on
		return
	}
	if j.o.Again != nil && !j.seen.first(f) && j.late {
		return // it was told before a connection was lost
	}
	switch o.Result {
	case Copied, Continued:
		j.copied.Add(1)
	case Kept:
		j.kept.Add(1)
	case LeftOut:
		j.leftOut.Add(1)
	case Failed:
		j.failed.Add(1)
		if j.ctx.Err() != nil { // one reason for all
			return
		}
	}
	j.moved.Add(o.Moved)
	j.o.Progress.End(f, o)
}

// file copies a file in a goroutine of its own.
func (j *job) file(from Place, path string, e Entry, into *folder, name string) {
	to := into.dst.Join(into.path, name)
	f := &File{From: from.Show(path), To: into.dst.Show(to), Size: e.Size}
	if j.late && j.seen.has(f) {
		return
	}
	if !e.Mode.IsRegular() {
		j.end(f, Outcome{Result: Failed, Err: errNotRegular})
		return
	}
	weight := min(max(e.Size/placeSize, minPlaces), places)
	if j.room.Acquire(j.ctx, weight) != nil {
		return
	}
	into.pending.Add(1)
	j.files.Go(func() {
		defer into.done()
		defer func() { j.room.Release(weight) }()
		began := time.Now()
		c := &copying{job: j, file: f, from: from, path: path, is: e, dst: into.dst, to: to, fresh: into.fresh}
		out := c.run()
		if weight < places && c.crowded(out.Err) {
			// What the others have written by now may be what it had no room for: it is tried again alone.
			j.room.Release(weight)
			weight = 0
			if j.room.Acquire(j.ctx, places) == nil {
				weight = places
				c = &copying{job: j, file: f, from: from, path: path, is: e, dst: into.dst, to: to, fresh: into.fresh}
				out = c.run()
			}
		}
		out.Took = time.Since(began)
		for _, at := range []Place{from, into.dst} {
			if lost := at.Lost(); lost != nil && out.Err != nil {
				j.cancel(lost)
			}
		}
		if c.left {
			j.parts.Store(true)
		}
		j.end(f, out)
	})
}

// device copies a file to what is none, such as /dev/stdout.
func (j *job) device(s Source, to Place, path string) {
	e, err := s.Place.Stat(s.Path)
	switch {
	case err != nil:
	case e.Mode.IsDir():
		err = errFileHere
	case !e.Mode.IsRegular():
		err = errNotRegular
	}
	if err != nil {
		j.refuse(s.Place, s.Path, err)
		return
	}
	c := &copying{job: j, from: s.Place, path: s.Path, is: e, file: &File{From: s.Place.Show(s.Path), To: to.Show(path), Size: e.Size}}
	j.o.Progress.Begin(c.file)
	began := time.Now()
	result, err := c.direct(func() (Writing, error) { return to.Direct(path) })
	for _, at := range []Place{s.Place, to} {
		if lost := at.Lost(); lost != nil && err != nil {
			j.cancel(lost)
		}
	}
	j.end(c.file, Outcome{Result: result, Moved: c.moved, Took: time.Since(began), Err: err})
}

// A folder is one that is written to. What it is to have in the end is set when all that is in it has ended.
type folder struct {
	job     *job
	above   *folder
	dst     Folder
	path    string // in dst
	fresh   bool   // it was made by this copy: nothing is in it that this copy has not put there
	pending atomic.Int64
	finish  func() error // nil: it stays as it is
}

func (j *job) root(dst Folder) *folder {
	f := &folder{job: j, dst: dst, path: "."}
	f.pending.Store(1)
	f.finish = dst.Close
	return f
}

func (f *folder) below(name string) *folder {
	f.pending.Add(1)
	b := &folder{job: f.job, above: f, dst: f.dst, path: f.dst.Join(f.path, name)}
	b.pending.Store(1)
	return b
}

// done counts one thing as ended: something in the folder, or the finding of what is in it.
func (f *folder) done() {
	if f.pending.Add(-1) > 0 {
		return
	}
	if f.finish != nil {
		if err := f.finish(); err != nil {
			f.job.refuse(f.dst, f.path, err)
		}
	}
	if f.above != nil {
		f.above.done()
	}
}

// tree is one folder's copy. It is used by one goroutine.
type tree struct {
	*job
	from Place
	held int64 // what the listings take that are in use
}

// folder copies a folder to a name in another one. above are the paths, without symbolic links, of the folder and of those
// above it in the source.
func (t *tree) folder(path string, e Entry, into *folder, name string, above []string) {
	if len(above) > maxDepth {
		t.refuse(t.from, path, errDeep)
		return
	}
	to := into
	if name != "." {
		to = into.below(name)
		defer to.done()
		if err := t.make(to, e); err != nil {
			t.refuse(to.dst, to.path, err)
			return
		}
	}
	entries, size, err := t.from.List(path, maxNames-t.held)
	if err != nil {
		t.refuse(t.from, path, err)
		return
	}
	t.held += size
	defer func() { t.held -= size }()
	taken := make(map[string]bool, len(entries))
	for _, e := range sortEntries(entries) {
		if t.ctx.Err() != nil {
			return
		}
		t.entry(t.from.Join(path, e.Name), e, to, above, taken)
	}
}

// entry copies what is in a folder.
func (t *tree) entry(path string, e Entry, to *folder, above []string, taken map[string]bool) {
	if err := to.dst.Check(e.Name); err != nil {
		t.refuse(t.from, path, err)
		return
	}
	same := to.dst.Same(e.Name)
	if taken[same] {
		t.refuse(t.from, path, errClash)
		return
	}
	taken[same] = true
	real := t.from.Join(above[len(above)-1], e.Name)
	if e.Mode&fs.ModeSymlink != 0 {
		target, err := t.from.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = errDangling
		}
		if err == nil && target.Mode.IsDir() {
			real, err = t.from.Real(path)
		}
		if err != nil {
			t.refuse(t.from, path, err)
			return
		}
		target.Name = e.Name
		e = target
	}
	switch {
	case e.Mode.IsDir() && slices.Contains(above, real):
		t.refuse(t.from, path, errLoop)
	case e.Mode.IsDir():
		t.folder(path, e, to, e.Name, append(above, real))
	case !e.Mode.IsRegular():
		t.end(&File{From: t.from.Show(path)}, Outcome{Result: LeftOut, Err: errNotRegular})
	case isPart(e.Name):
		t.end(&File{From: t.from.Show(path)}, Outcome{Result: LeftOut, Err: errPart})
	default:
		t.file(t.from, path, e, to, e.Name)
	}
}

// make makes a folder, if it is not there yet, and remembers what it is to have in the end.
func (t *tree) make(f *folder, e Entry) error {
	if !f.above.fresh {
		there, err := f.dst.Lstat(f.path)
		if err == nil && there.Mode&fs.ModeSymlink != 0 {
			there, err = f.dst.Stat(f.path)
		}
		switch {
		case err == nil && !there.Mode.IsDir():
			return errFileHere
		case err == nil && t.late && t.seen.made(f.dst.Show(f.path)):
			f.finish = func() error { return t.settle(f, e, true) }
			return nil
		case err == nil:
			if t.o.Preserve {
				f.finish = func() error { return t.settle(f, e, false) }
			}
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if err := f.dst.Mkdir(f.path, e.Mode); err != nil {
		return err
	}
	if t.o.Again != nil {
		t.seen.make(f.dst.Show(f.path))
	}
	f.fresh = true
	f.finish = func() error { return t.settle(f, e, true) }
	return nil
}

// settle gives a folder its mode and times.
func (t *tree) settle(f *folder, e Entry, made bool) error {
	end := Finish{Mode: e.Mode, Exact: t.o.Preserve}
	if end.Exact || made && e.Mode&0o700 != 0o700 {
		has, err := f.dst.Stat(f.path)
		if err != nil {
			return err
		}
		if mode := end.of(has.Mode); mode != has.Mode.Perm() {
			if err := f.dst.Chmod(f.path, mode); err != nil {
				return err
			}
		}
	}
	if t.o.Preserve {
		return f.dst.Chtimes(f.path, e.Read, e.Changed)
	}
	return nil
}
