package keys

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

// locks makes sure that only one install or removal of a file happens at a time: a channel for each
// file within this process, and a flock between processes. The lock files are in the agent's own
// folder, where no user can lock them. They are never removed.
type locks struct {
	dir  string
	mu   sync.Mutex
	held map[string]*heldLock
}

type heldLock struct {
	turn  chan struct{} // holds one token while the lock is taken
	users int
}

// lockBudget bounds the wait for other sessions of the same file.
const lockBudget = 20 * time.Second

// fileLock is a lock that is held. A worker that inherits the file holds it too, until it ends.
type fileLock struct {
	locks *locks
	name  string
	file  *os.File
}

// lock takes the lock of a record's file. Drop-in files are root's, whichever login they are for.
func (k *Keys) lock(ctx context.Context, rec *record) (*fileLock, error) {
	if rec.Mode == Dropin {
		return k.locks.acquire(ctx, 0, rec.File)
	}
	return k.locks.acquire(ctx, rec.UID, rec.File)
}

func (l *locks) acquire(ctx context.Context, uid uint32, path string) (*fileLock, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockBudget, wire.Errorf(wire.Busy, "another session's work on the same file takes too long"))
	defer cancel()
	sum := sha256.Sum256([]byte(path))
	name := strconv.FormatUint(uint64(uid), 10) + "-" + hex.EncodeToString(sum[:12]) + ".lock"
	l.mu.Lock()
	h := l.held[name]
	if h == nil {
		h = &heldLock{turn: make(chan struct{}, 1)}
		l.held[name] = h
	}
	h.users++
	l.mu.Unlock()
	select {
	case h.turn <- struct{}{}:
	case <-ctx.Done():
		l.leave(name)
		return nil, wire.Cause(ctx, wire.Busy)
	}
	file, err := l.flock(ctx, name)
	if err != nil {
		<-h.turn
		l.leave(name)
		return nil, err
	}
	return &fileLock{locks: l, name: name, file: file}, nil
}

func (l *locks) flock(ctx context.Context, name string) (*os.File, error) {
	if err := makeFolder(l.dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, wire.Errorf(wire.Internal, "open lock: %w", err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			file.Close()
			return nil, wire.Errorf(wire.Internal, "lock: %w", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			file.Close()
			return nil, wire.Cause(ctx, wire.Busy)
		}
	}
}

// release gives the lock back. It closes the file and does not unlock it: if a worker hangs, the
// lock stays taken until that worker ends.
func (f *fileLock) release() {
	f.file.Close()
	f.locks.mu.Lock()
	h := f.locks.held[f.name]
	f.locks.mu.Unlock()
	<-h.turn
	f.locks.leave(f.name)
}

func (l *locks) leave(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[name]; h != nil {
		if h.users--; h.users == 0 {
			delete(l.held, name)
		}
	}
}

// makeFolder makes a folder of the agent's own and refuses one that others can write.
func makeFolder(dir string, mode os.FileMode) error {
	_, err := os.Lstat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if fresh { // the umask may have taken bits away, and sshd must be able to enter
		if err := os.Chmod(dir, mode); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o022 != 0 || st.Uid != uint32(os.Geteuid()) {
		return wire.Errorf(wire.BadConfig, "%s must be a folder that only the agent can write", dir)
	}
	return nil
}
