package keys

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/keys/keystest"
	"scrier/agent/keys/line"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// TestWorkerIsTheUser stops a worker in the middle of its work and looks at its process.
func TestWorkerIsTheUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.find()
	k := w.open(w.cfg, hangEnv+"opened")
	eph, _ := keystest.NewKey(t)
	done := make(chan error, 1)
	go func() {
		_, err := k.Install(context.Background(), m, wire.NewSessionID(), eph)
		done <- err
	}()
	var status, limits string
	largest := fmt.Sprintf("Max file size             %d ", 2*line.MaxFile)
	keystest.Eventually(t, "worker runs", func() bool {
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			b, _ := os.ReadFile("/proc/" + e.Name() + "/status")
			cmd, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
			if strings.Contains(string(cmd), workerArg) && strings.Contains(string(b), fmt.Sprintf("Uid:\t%d\t", w.u.UID)) {
				l, _ := os.ReadFile("/proc/" + e.Name() + "/limits")
				if strings.Contains(string(l), largest) { // harden has run
					status, limits = string(b), string(l)
					return true
				}
			}
		}
		return false
	})
	id := w.u.UID
	for _, want := range []string{
		fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d\n", id, id, id, id), fmt.Sprintf("Gid:\t%d\t%d\t%d\t%d\n", id, id, id, id), "Groups:\t64242 \n",
		"NoNewPrivs:\t1\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	if !strings.Contains(limits, largest) {
		t.Errorf("limits\n%s", limits)
	}
	keystest.WantCode(t, <-done, wire.KeyfileTimeout)
	// The undo hung as well. The journal entry stays, and a sweep acts on it.
	_, err := w.k.Sweep(context.Background())
	w.Must(err)
	if got := w.Read(w.u.File()); strings.Contains(got, keystest.Marker) {
		t.Error(got)
	}
	w.tidy()
}

// TestHostileWorkers: whatever a worker answers, the agent survives and takes it for an error.
func TestHostileWorkers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := worker.Reply{Files: []worker.Result{{Found: []worker.Found{{Standing: line.Eligible, Line: 1, Rights: []wire.Right{wire.MayShell, wire.MayExec, wire.MayForward}}}}}}
	marshal := func(change func(r *worker.Reply)) []byte {
		r := good
		r.Files = []worker.Result{good.Files[0]}
		r.Files[0].Found = []worker.Found{good.Files[0].Found[0]}
		change(&r)
		b, err := cbor.Marshal(r)
		w.Must(err)
		return b
	}
	lies := map[string][]byte{
		"nothing":            {},
		"not CBOR":           []byte("hello\n"),
		"cut":                marshal(func(*worker.Reply) {})[:10],
		"more behind":        append(marshal(func(*worker.Reply) {}), 0),
		"unknown key":        {0xa1, 0x18, 0x63, 0x00},
		"duplicate key":      {0xa2, 0x01, 0x80, 0x01, 0x80},
		"endless array":      {0xa1, 0x01, 0x9f},
		"huge array":         {0xa1, 0x01, 0x9a, 0xff, 0xff, 0xff, 0xff},
		"deep":               bytes.Repeat([]byte{0x81}, 1000),
		"tag":                {0xc0, 0xa1, 0x01, 0x80},
		"no file":            marshal(func(r *worker.Reply) { r.Files = nil }),
		"two files":          marshal(func(r *worker.Reply) { r.Files = append(r.Files, r.Files[0]) }),
		"another key":        marshal(func(r *worker.Reply) { r.Files[0].Found[0].Key = 1 }),
		"negative key":       marshal(func(r *worker.Reply) { r.Files[0].Found[0].Key = -1 }),
		"no line":            marshal(func(r *worker.Reply) { r.Files[0].Found[0].Line = 0 }),
		"a negative line":    marshal(func(r *worker.Reply) { r.Files[0].Found[0].Line = -1 }),
		"a line too far":     marshal(func(r *worker.Reply) { r.Files[0].Found[0].Line = line.MaxRead + 1 }),
		"unknown standing":   marshal(func(r *worker.Reply) { r.Files[0].Found[0].Standing = 9 }),
		"unknown reason":     marshal(func(r *worker.Reply) { r.Files[0].Found[0].Reason = line.ReasonEnd }),
		"key twice":          marshal(func(r *worker.Reply) { r.Files[0].Found = append(r.Files[0].Found, r.Files[0].Found[0]) }),
		"unknown right":      marshal(func(r *worker.Reply) { r.Files[0].Found[0].Rights = []wire.Right{"fly"} }),
		"raw":                marshal(func(r *worker.Reply) { r.Files[0].Found[0].Rights = []wire.Right{wire.MayRaw} }),
		"another line":       marshal(func(r *worker.Reply) { r.Files[0].Found[0].Open = []string{"a\n:1"} }),
		"another option":     marshal(func(r *worker.Reply) { r.Files[0].Found[0].Listen = []string{`a",pty,x="b:1`} }),
		"no port":            marshal(func(r *worker.Reply) { r.Files[0].Found[0].Open = []string{"localhost"} }),
		"too many permits":   marshal(func(r *worker.Reply) { r.Files[0].Found[0].Open = slices.Repeat([]string{"a:1"}, line.MaxPermits+1) }),
		"a code of another":  marshal(func(r *worker.Reply) { r.Files[0].Code = wire.Revoked }),
		"a number too large": marshal(func(r *worker.Reply) { r.Files[0].Removed = line.MaxFile + 1 }),
		"negative size":      marshal(func(r *worker.Reply) { r.Files[0].Size = -1 }),
		"long detail":        marshal(func(r *worker.Reply) { r.Files[0].Detail = strings.Repeat("x", 4096) }),
	}
	lie := filepath.Join(w.Dir, "lie")
	k := w.open(w.cfg, lieEnv+lie)
	for name, b := range lies {
		w.Must(os.WriteFile(lie, b, 0o644))
		_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "scralice")
		if wire.CodeOf(err) != wire.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A user may lie about their own files, if the answer is well formed.
	w.Must(os.WriteFile(lie, marshal(func(*worker.Reply) {}), 0o644))
	if _, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "scralice"); err != nil {
		t.Error(err)
	}
	// Escape sequences in the answer do not reach a terminal.
	w.Must(os.WriteFile(lie, marshal(func(r *worker.Reply) {
		r.Files[0] = worker.Result{Code: wire.KeyfileSymlink, Detail: "\x1b[31mred\x07"}
	}), 0o644))
	_, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "scralice")
	keystest.WantCode(t, err, wire.KeyfileSymlink)
	if strings.ContainsAny(err.Error(), "\x1b\x07") {
		t.Errorf("%q", err.Error())
	}
	// Too much of it is cut.
	_, err = w.open(w.cfg, babbleEnv).Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "scralice")
	keystest.WantCode(t, err, wire.Internal)
}

// deadFileSystem mounts a FUSE file system whose server takes requests and never answers, like
// an NFS server that is gone. A process that waits for it cannot even be killed.
func deadFileSystem(t testing.TB, dir string) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("FUSE is needed: %v", err)
	}
	if err := unix.Mount("dead", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fd)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 1<<20)
		for {
			n, err := unix.Read(fd, b)
			if err == unix.EINTR || err == unix.EAGAIN {
				continue
			}
			if err != nil || n < 40 {
				return // unmounted
			}
			if op := binary.NativeEndian.Uint32(b[4:]); op == 26 { // FUSE_INIT
				answer := make([]byte, 16+64)
				binary.NativeEndian.PutUint32(answer, uint32(len(answer)))
				copy(answer[8:16], b[8:16]) // unique
				binary.NativeEndian.PutUint32(answer[16:], 7)
				binary.NativeEndian.PutUint32(answer[20:], 31)
				binary.NativeEndian.PutUint32(answer[16+20:], 4096) // max_write
				unix.Write(fd, answer)
			}
		}
	}()
	t.Cleanup(func() {
		unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH)
		<-ended
		unix.Close(fd)
	})
}

// TestDeadHome: one home never answers (H4). The others are found, within the budget; the dead
// one costs one process, not one a session.
func TestDeadHome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dead := w.User("scrdead")
	deadFileSystem(t, dead.Home)
	ctx := context.Background()
	m, err := w.k.Find(ctx, Operator{Keys: []ssh.PublicKey{w.key}}, "")
	if err != nil || m.Login != "scralice" || len(m.Unread) != 1 || m.Unread[0] != "scrdead" {
		t.Fatalf("%+v %v", m, err)
	}
	if m, err = w.k.Find(ctx, Operator{Keys: []ssh.PublicKey{w.key}}, ""); err != nil || len(m.Unread) != 1 {
		t.Errorf("%+v %v", m, err)
	}
	for range 5 {
		_, err = w.k.Find(ctx, Operator{Keys: []ssh.PublicKey{w.key}}, "scrdead")
		keystest.WantCode(t, err, wire.KeyfileTimeout)
	}
	w.k.pool.mu.Lock()
	stuck := w.k.pool.stuck[uint32(dead.UID)]
	w.k.pool.mu.Unlock()
	if stuck != 1 {
		t.Errorf("%d workers are stuck", stuck)
	}
	keystest.WantCode(t, w.k.Close(), wire.KeyfileTimeout)
	// When the file system is unmounted, the worker dies.
	unix.Unmount(dead.Home, unix.MNT_FORCE|unix.MNT_DETACH)
	keystest.Eventually(t, "the worker dies", func() bool {
		w.k.pool.mu.Lock()
		defer w.k.pool.mu.Unlock()
		return len(w.k.pool.stuck) == 0
	})
}
