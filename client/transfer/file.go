package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/pkg/sftp"
)

// worthAsking is from which size on the place is asked whether it has room, in bytes.
const worthAsking = 1 << 20

// worthSumming is from which size on what is there is compared, in bytes: less is copied sooner.
const worthSumming = 64 << 10

// copying is the copy of one file.
type copying struct {
	*job
	file  *File
	from  Place
	path  string
	is    Entry
	dst   Folder
	to    string
	fresh bool

	moved int64
	left  bool // a part that is of use
}

// run copies the file.
func (c *copying) run() Outcome {
	c.o.Progress.Begin(c.file)
	result, err := c.copy()
	if err != nil {
		result = Failed
	}
	return Outcome{Result: result, Moved: c.moved, Err: err}
}

func (c *copying) copy() (Result, error) {
	there, exists, err := c.look()
	if err != nil {
		return Failed, c.target(err)
	}
	if exists && !there.Mode.IsRegular() {
		return c.direct(func() (Writing, error) { return c.dst.Direct(c.to) })
	}
	if exists {
		if c.o.Continue && c.whole(there) {
			return Kept, c.keep(there)
		}
		if err := c.dst.Writable(c.to, there); err != nil {
			return Failed, c.target(err)
		}
	}
	in, err := c.from.Open(c.path)
	if err != nil {
		return Failed, c.source(err)
	}
	defer in.Close()
	folder, name := c.dst.Split(c.to)
	part := c.dst.Join(folder, PartName(name))
	mode := c.is.Mode.Perm()
	if exists && !c.o.Preserve {
		mode = there.Mode.Perm()
	}
	out, at, err := c.open(in, part, mode)
	if err != nil {
		return Failed, c.target(err)
	}
	err = c.fill(in, out, folder, at)
	if err == nil {
		err = c.finish(out, mode, there, exists)
	}
	if closed := out.Close(); err == nil && closed != nil {
		err = c.target(closed)
	}
	if err == nil {
		err = c.name(part)
	}
	switch {
	case err != nil:
		c.leave(part, at, err)
		return Failed, err
	case at > 0:
		return Continued, nil
	}
	return Copied, nil
}

func (c *copying) source(err error) error { return &sideError{path: c.from.Show(c.path), err: err} }
func (c *copying) target(err error) error {
	return &sideError{path: c.file.To, err: err, target: true}
}

// look finds what has the target's name. A symbolic link stays: what it leads to is the target.
func (c *copying) look() (e Entry, exists bool, err error) {
	if c.fresh {
		return Entry{}, false, nil
	}
	e, err = c.dst.Lstat(c.to)
	if err == nil && e.Mode&fs.ModeSymlink != 0 {
		if e, err = c.dst.Stat(c.to); errors.Is(err, fs.ErrNotExist) {
			return e, false, errDangling
		}
		if err == nil && e.Mode.IsRegular() {
			c.to, err = c.dst.Real(c.to)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return e, false, nil
	case err != nil:
		return e, false, err
	case e.Mode.IsDir():
		return e, true, errFolderHere
	}
	return e, true, nil
}

// direct writes to what is no file, such as a device. Opening it may last for ever: the goroutine that does is left
// behind then, and ends with the program at the latest.
func (c *copying) direct(open func() (Writing, error)) (Result, error) {
	in, err := c.from.Open(c.path)
	if err != nil {
		return Failed, c.source(err)
	}
	defer in.Close()
	type opened struct {
		out Writing
		err error
	}
	ready := make(chan opened, 1)
	go func() {
		out, err := open()
		ready <- opened{out, err}
	}()
	var o opened
	select {
	case o = <-ready:
	case <-c.ctx.Done():
		return Failed, context.Cause(c.ctx)
	}
	if o.err != nil {
		return Failed, c.target(o.err)
	}
	err = c.stream(in, o.out, 0)
	if err != nil && c.moved > 0 {
		c.stuck.Store(true) // it cannot be written once more
	}
	if closed := o.out.Close(); err == nil && closed != nil {
		err = c.target(closed)
	}
	if err != nil {
		return Failed, err
	}
	return Copied, nil
}

// whole says that the target has all of the source already.
func (c *copying) whole(there Entry) bool {
	switch {
	case there.Size != c.is.Size:
		return false
	case there.Changed.Unix() == c.is.Changed.Unix():
		return true
	}
	return c.is.Size >= worthSumming && c.sameSum(c.to, there.Size) == nil
}

// sameSum compares the first n bytes of the source with those of a file of the target, if both places can tell a sum
// without sending them.
func (c *copying) sameSum(p string, n int64) error {
	// The place that may not be able to is asked first.
	var sums [2][]byte
	order := []func() (err error){
		func() (err error) { sums[0], err = c.from.Sum(c.ctx, c.path, n); return },
		func() (err error) { sums[1], err = c.dst.Sum(c.ctx, p, n); return },
	}
	if _, local := c.from.(*Local); local {
		order[0], order[1] = order[1], order[0]
	}
	for _, sum := range order {
		if err := sum(); err != nil {
			return err
		}
	}
	if !bytes.Equal(sums[0], sums[1]) {
		return errDiffers
	}
	return nil
}

var errDiffers = errors.New("it is another file")

// keep gives a target that has all bytes what else it is to have.
func (c *copying) keep(there Entry) error {
	if !c.o.Preserve {
		return nil
	}
	if there.Mode.Perm() != c.is.Mode.Perm() {
		if err := c.dst.Chmod(c.to, c.is.Mode.Perm()); err != nil {
			return c.target(err)
		}
	}
	if there.Changed.Unix() != c.is.Changed.Unix() {
		if err := c.dst.Chtimes(c.to, c.is.Read, c.is.Changed); err != nil {
			return c.target(err)
		}
	}
	return nil
}

// open opens the part file, and says how much of it is right already.
func (c *copying) open(in Reading, part string, mode fs.FileMode) (out Writing, at int64, err error) {
	ours := c.late && c.seen.left(c.dst.Show(part), c.is)
	if c.o.Continue || ours {
		if out, at = c.reopen(in, part, ours); out != nil {
			return out, at, nil
		}
	}
	if out, err = c.dst.Create(part, mode); err == nil {
		return out, 0, nil
	}
	// What an earlier copy left is in the way.
	if e, there := c.dst.Lstat(part); there != nil || e.Mode.IsDir() {
		return nil, 0, err
	}
	if err := c.dst.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	out, err = c.dst.Create(part, mode)
	return out, 0, err
}

// reopen opens what an earlier copy left, if it can be used: as far as it is the same as the source. ours says that this copy has
// written it: without a sum, all counts of it that the place must have taken before the connection was lost.
func (c *copying) reopen(in Reading, part string, ours bool) (Writing, int64) {
	e, err := c.dst.Lstat(part)
	if err != nil || !e.Mode.IsRegular() || e.Size < worthSumming {
		return nil, 0
	}
	out, err := c.dst.Reopen(part)
	if err != nil {
		return nil, 0
	}
	n := min(e.Size, c.is.Size)
	switch err := c.sameSum(part, n); {
	case err == nil:
	case errors.Is(err, errDiffers):
		n = 0
	case ours:
		n = max(n-c.dst.Ahead(), 0)
	default: // one of the two cannot tell: both are read
		n = c.samePrefix(in, part, n)
	}
	if n == 0 || e.Size > n && out.Truncate(n) != nil {
		_ = out.Close() // it is made anew
		return nil, 0
	}
	return out, n
}

// samePrefix is how many of the first n bytes are the same.
func (c *copying) samePrefix(in Reading, part string, n int64) int64 {
	has, err := c.dst.Open(part)
	if err != nil {
		return 0
	}
	defer has.Close()
	a, b := c.piped(in, n), c.piped(has, n)
	defer a.Close()
	defer b.Close()
	var same int64
	left, right := make([]byte, chunk), make([]byte, chunk)
	for same < n && c.ctx.Err() == nil {
		l, errLeft := io.ReadFull(a, left)
		r, errRight := io.ReadFull(b, right)
		size := min(l, r)
		if size == 0 {
			break
		}
		if !bytes.Equal(left[:size], right[:size]) {
			break
		}
		same += int64(size)
		c.o.Progress.At(c.file, same)
		if errLeft != nil || errRight != nil {
			break
		}
	}
	return same
}

// piped reads the first n bytes of a file.
func (c *copying) piped(in Reading, n int64) io.ReadCloser {
	if r := in.Reader(0, n); r != nil {
		return io.NopCloser(r)
	}
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := in.SendTo(&limited{c: c, Writer: w}, 0, n)
		w.CloseWithError(err)
	}()
	return &pipe{PipeReader: r, ended: ended}
}

// pipe is a reader whose writer has ended when Close returns.
type pipe struct {
	*io.PipeReader
	ended chan struct{}
}

func (p *pipe) Close() error {
	err := p.PipeReader.Close()
	<-p.ended
	return err
}

// limited writes no faster than the copy may.
type limited struct {
	c *copying
	io.Writer
}

func (l *limited) Write(p []byte) (int, error) {
	if err := l.c.pace(len(p)); err != nil {
		return 0, err
	}
	return l.Writer.Write(p)
}

// fill copies what the part does not have.
func (c *copying) fill(in Reading, out Writing, folder string, at int64) error {
	if needs := c.is.Size - at; needs >= worthAsking {
		if free, ok := c.dst.Room(folder); ok && free < needs {
			return c.target(&roomError{needs: needs, free: free})
		}
	}
	err := c.stream(in, out, at)
	if unsaid(err) {
		if free, ok := c.dst.Room(folder); ok && free < chunk {
			return c.target(&roomError{needs: c.is.Size - at, free: free})
		}
	}
	return err
}

// unsaid says that the target's server failed and did not say why. The protocol has no number for a full disk.
func unsaid(err error) bool {
	e, ok := errors.AsType[*sideError](err)
	if !ok || !e.target {
		return false
	}
	s, ok := errors.AsType[*sftp.StatusError](err)
	return ok && s.Code == uint32(sftp.ErrSSHFxFailure)
}

// crowded says that a copy may have failed because of what others wrote at the same time.
func (c *copying) crowded(err error) bool { return c.ctx.Err() == nil && (full(err) || unsaid(err)) }

// stream copies from an offset on to the end.
func (c *copying) stream(in Reading, out Writing, at int64) error {
	n := c.is.Size - at
	if c.is.Size == 0 {
		n = -1 // some files say so and have something in them, as those of /proc do
	}
	c.o.Progress.At(c.file, at)
	var moved int64
	var err error
	if r := in.Reader(at, n); r != nil {
		moved, err = out.TakeFrom(&meter{c: c, r: r, at: at}, at, n)
	} else if w := out.Writer(at); w != nil {
		moved, err = in.SendTo(&meter{c: c, w: w, at: at}, at, n)
		if err != nil {
			err = c.sided(err, false)
		}
		return c.enough(moved, n, err)
	} else {
		moved, err = c.relay(in, out, at, n)
	}
	if err != nil {
		err = c.sided(err, true)
	}
	return c.enough(moved, n, err)
}

// relay copies from one machine to the other.
func (c *copying) relay(in Reading, out Writing, at, n int64) (int64, error) {
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := in.SendTo(w, at, n)
		if err != nil && !errors.Is(err, io.ErrClosedPipe) {
			err = c.sided(err, false)
		}
		w.CloseWithError(err)
	}()
	moved, err := out.TakeFrom(&meter{c: c, r: r, at: at}, at, n)
	_ = r.Close()
	<-ended
	return moved, err
}

// sided says on which side an error was, if it does not say so itself.
func (c *copying) sided(err error, target bool) error {
	switch _, told := errors.AsType[*sideError](err); {
	case told || c.ctx.Err() != nil:
		return err
	case target:
		return c.target(err)
	}
	return c.source(err)
}

func (c *copying) enough(moved, n int64, err error) error {
	if err == nil && moved < n {
		return c.source(errShorter)
	}
	return err
}

// meter counts what passes, and lets it pass no faster than it may. It is a reader or a writer.
type meter struct {
	c  *copying
	r  io.Reader
	w  io.Writer
	at int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = m.c.sided(err, false)
	}
	if slow := m.passed(n); slow != nil {
		return n, slow
	}
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	if err != nil {
		return n, m.c.sided(err, true)
	}
	return n, m.passed(n)
}

func (m *meter) passed(n int) error {
	m.at += int64(n)
	m.c.moved += int64(n)
	m.c.o.Progress.At(m.c.file, m.at)
	return m.c.pace(n)
}

// pace waits until n bytes may have passed.
func (c *copying) pace(n int) error {
	for c.limit != nil && n > 0 && c.ctx.Err() == nil {
		some := min(n, c.limit.Burst())
		if err := c.limit.WaitN(c.ctx, some); err != nil {
			break
		}
		n -= some
	}
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return nil
}

// finish gives the part what the target is to have, and looks whether it is whole.
func (c *copying) finish(out Writing, mode fs.FileMode, there Entry, exists bool) error {
	end := Finish{Mode: mode, Exact: exists || c.o.Preserve, UID: -1, GID: -1}
	if c.o.Preserve {
		end.Read, end.Changed = c.is.Read, c.is.Changed
	}
	if exists {
		end.UID, end.GID = there.UID, there.GID
	}
	if err := out.Finish(end); err != nil {
		return c.target(err)
	}
	return nil
}

// name gives the part its name. If somebody else copies to the same file, the part may be theirs by now.
func (c *copying) name(part string) error {
	e, err := c.dst.Lstat(part)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (e.Size != max(c.is.Size, c.moved) || !e.Mode.IsRegular()) {
		return c.target(errStolen)
	}
	if err == nil {
		err = c.dst.Rename(part, c.to)
	}
	if err != nil {
		return c.target(err)
	}
	return nil
}

// leave takes away what is of no use to a later copy: nothing, or what fills a disk.
func (c *copying) leave(part string, at int64, err error) {
	some := at+c.moved > 0
	switch {
	case errors.Is(err, errStolen): // it is not ours
		return
	case some && !full(err):
		c.left = true
		if c.o.Again != nil {
			c.seen.leave(c.dst.Show(part), c.is)
		}
		return
	case c.dst.Lost() != nil:
		return
	}
	_ = c.dst.Remove(part) // the error that there was tells more
}
