package keys

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// The worker ends by itself after this time, in case the agent that waits for it is gone.
const workerLife = 5 * time.Second

// Work is the main of the worker process: it reads one request from stdin, does it as the user
// that the process runs as, writes one answer to stdout, and returns the exit status. It
// refuses to run as root and for another user than the request names.
//
// It first gives up what it does not need: core dumps, being traced by the user's other
// processes, files of more than twice the largest size it handles.
func Work(stdin io.Reader, stdout io.Writer) int {
	defer time.AfterFunc(workerLife, func() { os.Exit(int(wire.KeyfileTimeout)) }).Stop()
	if err := harden(); err != nil {
		return int(wire.Internal)
	}
	return worker{}.work(stdin, stdout)
}

func harden() error {
	unix.Umask(0o077)
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set non-dumpable: %w", err)
	}
	for what, limit := range map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_FSIZE:  2 * maxFile,
		unix.RLIMIT_NOFILE: 64,
		unix.RLIMIT_CPU:    uint64(workerLife / time.Second),
		// No limit on the address space: the Go runtime reserves far more than it uses.
	} {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("set limit %d: %w", what, err)
		}
	}
	return nil
}

// worker does the work in a home. The zero value is what runs; tests set the fields.
type worker struct {
	at         func(point string) // crash points
	noOpenat2  bool               // walk by single components, as on kernels before 5.6
	noExchange bool               // rename over the old file, as on NFS
}

func (w worker) reach(point string) {
	if w.at != nil {
		w.at(point)
	}
}

func (w worker) work(stdin io.Reader, stdout io.Writer) int {
	var q request
	if err := readStrict(stdin, maxRequest, &q); err != nil {
		return int(wire.BadRequest)
	}
	if uid := os.Geteuid(); uid == 0 || uid != os.Getuid() || uint32(uid) != q.UID {
		return int(wire.Forbidden)
	}
	if len(q.Files) == 0 || len(q.Files) > maxPaths || len(q.Keys) > maxKeys || len(q.Lines) > maxLines {
		return int(wire.BadRequest)
	}
	var a reply
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

func (w worker) file(q request, path string) (answerFile, error) {
	p, err := w.place(q, path)
	if isMissing(err) {
		return answerFile{Missing: true}, nil
	}
	if err != nil {
		return answerFile{}, err
	}
	defer p.close()
	switch q.Task {
	case taskLook:
		return w.look(q, p)
	case taskInstall:
		return w.install(q, p)
	case taskClean:
		return w.clean(q, p)
	}
	return answerFile{}, wire.Errorf(wire.Internal, "no task %d", q.Task)
}

// fail puts err into the answer.
func (a *answerFile) fail(err error) {
	if err == nil {
		return
	}
	if isMissing(err) {
		a.Missing = true
		return
	}
	e := fileError(err)
	a.Code, a.Detail = e.Code, e.Detail
	if len(a.Detail) > maxDetail {
		a.Detail = a.Detail[:maxDetail]
	}
	a.Detail = wire.Printable(a.Detail)
	if len(a.Detail) > maxDetail {
		a.Detail = "" // escapes made it longer
	}
}

// look matches the operator's keys against one file.
func (w worker) look(q request, p *place) (answerFile, error) {
	f, err := p.open()
	if err != nil {
		return answerFile{}, err
	}
	defer f.close()
	content, err := f.read()
	if err != nil {
		return answerFile{}, err
	}
	a := answerFile{Size: int64(len(content)), Tail: endsInNewline(content)}
	ask := asked{now: time.Unix(q.Now, 0), zone: q.zone(), names: q.Names}
	var index []int
	for i, blob := range q.Keys {
		key, err := ssh.ParsePublicKey(blob)
		if err != nil {
			return a, wire.Errorf(wire.Internal, "read key: %w", err)
		}
		if k, ok := newAskedKey(key); ok {
			ask.keys = append(ask.keys, k)
			index = append(index, i)
		}
	}
	for _, s := range q.Sources {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return a, wire.Errorf(wire.Internal, "read source: %w", err)
		}
		ask.sources = append(ask.sources, addr)
	}
	for i, found := range ask.find(content) {
		if found.standing == absent {
			continue
		}
		line := answerLine{Key: index[i], Standing: found.standing, Reason: found.reason, Verify: found.verifyRequired}
		if !found.validBefore.IsZero() {
			line.Before = found.validBefore.Unix()
		}
		for j, addr := range ask.sources {
			for _, s := range found.sources {
				if s == addr {
					line.Sources = append(line.Sources, j)
				}
			}
		}
		a.Found = append(a.Found, line)
	}
	return a, nil
}

// zone: local times are read as this machine's zone has them; the worker's environment is
// empty, so that is /etc/localtime, sshd's own unless its service sets TZ.
func (q request) zone() zone { return zone{local: time.Local, utc: q.UTC} }
