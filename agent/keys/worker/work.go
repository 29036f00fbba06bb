package worker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"scrier/agent/keys/line"
	"scrier/wire"
)

// workerLife is when the worker ends by itself, in case the agent that waits for it is gone.
const workerLife = 5 * time.Second

// Worker does the work in a home. The zero value is what runs; tests set the fields.
type Worker struct {
	At         func(point string) // called at each point where a crash is tried
	NoOpenat2  bool               // walk by single components, as on kernels before 5.6
	NoExchange bool               // rename over the old file, as on NFS
}

// Work is the main of the worker process: it reads one request from stdin, does it as the user
// that the process runs as, writes one answer to stdout, and returns the exit status. It
// refuses to run as root and for another user than the request names.
//
// It first gives up what it does not need: core dumps, being traced by the user's other
// processes, files of more than twice the largest size it handles.
func (w Worker) Work(stdin io.Reader, stdout io.Writer) int {
	defer time.AfterFunc(workerLife, func() { os.Exit(int(wire.KeyfileTimeout)) }).Stop()
	if err := harden(); err != nil {
		return int(wire.Internal)
	}
	return w.work(stdin, stdout)
}

func harden() error {
	unix.Umask(0o077)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set non-dumpable: %w", err)
	}
	for what, limit := range map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_FSIZE:  2 * line.MaxFile,
		unix.RLIMIT_NOFILE: 64,
		unix.RLIMIT_CPU:    uint64(workerLife / time.Second),
		// There is no limit on the address space: the Go runtime reserves far more than it uses.
	} {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("set limit %d: %w", what, err)
		}
	}
	return nil
}

func (w Worker) reach(point string) {
	if w.At != nil {
		w.At(point)
	}
}

func (w Worker) work(stdin io.Reader, stdout io.Writer) int {
	var q Request
	if err := readStrict(stdin, maxRequest, &q); err != nil {
		return int(wire.BadRequest)
	}
	if uid := os.Geteuid(); uid == 0 || uid != os.Getuid() || uint32(uid) != q.UID {
		return int(wire.Forbidden)
	}
	if len(q.Files) == 0 && q.Task != Look || len(q.Files) > MaxPaths || len(q.Keys) > MaxKeys || len(q.Lines) > MaxLines || len(q.Private) > MaxPrivate ||
		q.Follow && q.Task != Look {
		return int(wire.BadRequest)
	}
	var a Reply
	if q.Task == Look && q.Shell != "" {
		a.Shell = lookAtShell(q.Shell)
	}
	for _, path := range q.Files {
		file, err := w.file(q, path)
		file.fail(err)
		a.Files = append(a.Files, file)
	}
	b, err := cbor.Marshal(a)
	if err != nil || len(b) > maxAnswer {
		return int(wire.Internal)
	}
	if _, err := stdout.Write(b); err != nil {
		return int(wire.Internal)
	}
	return 0
}

func (w Worker) file(q Request, path string) (Result, error) {
	p, err := w.place(q, path)
	if isMissing(err) {
		return Result{Missing: true}, nil
	}
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	switch q.Task {
	case Look:
		return w.look(q, p)
	case Install:
		return w.install(q, p)
	case Clean:
		return w.clean(q, p)
	}
	return Result{}, wire.Errorf(wire.Internal, "no task %d", q.Task)
}

// fail puts err into the answer.
func (a *Result) fail(err error) {
	if err == nil {
		return
	}
	if isMissing(err) {
		a.Missing = true
		return
	}
	if g, ok := errors.AsType[*groupError](err); ok {
		a.Group = g.gid
	}
	e := FileError(err)
	a.Code, a.Detail = e.Code, e.Detail
	if len(a.Detail) > maxDetail {
		a.Detail = a.Detail[:maxDetail]
	}
	a.Detail = wire.Printable(a.Detail)
	if len(a.Detail) > maxDetail {
		a.Detail = "" // its escapes are longer than what they stand for
	}
}
