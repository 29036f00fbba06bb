package stories

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for anything to become true. It is no measure of speed:
// the machine may be busy with other tests.
const patience = 60 * time.Second

// world is what one script has made.
type world struct {
	ctx              context.Context // ends the commands of a story that hangs
	dir, relay, sshd string
	ports            int // that address gave; of the script alone
	later            [][]string
	mu               sync.Mutex
	procs            map[string]*process
	past             []*process          // those whose name was given to another
	screens          map[string]*screen  // by name; of the script alone
	rfbs             map[string]*rfb     // by address; of the script alone
	seats            map[string]*display // by user; of the script alone
	soon             sync.WaitGroup      // what runs beside the script
}

// process is one that a script started.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *syncBuffer
	done chan struct{}
	err  error
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// end ends what the script started, and says what of it went wrong. All else ends with the machine.
func (w *world) end(s *story) {
	w.soon.Wait()
	for _, v := range w.rfbs {
		v.close()
	}
	for _, p := range w.all() {
		if !p.ended() {
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGCONT)
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			<-p.done
		}
	}
	for i := len(w.later) - 1; i >= 0; i-- {
		c := exec.Command(w.later[i][0], w.later[i][1:]...)
		c.Dir = w.dir
		if out, err := c.CombinedOutput(); err != nil {
			s.Errorf("later %q: %v: %s", w.later[i], err, out)
		}
	}
	w.quote(s)
}

func (w *world) all() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.AppendSeq(slices.Clone(w.past), maps.Values(w.procs))
}

// quote looks for what no program may say, and tells what all of them said if the story failed.
func (w *world) quote(s *story) {
	for _, p := range w.all() {
		log := p.out.String()
		if strings.Contains(log, "WARNING: DATA RACE") || strings.Contains(log, "panic: ") {
			s.Errorf("%s went wrong", p.name)
		}
	}
	for _, p := range w.all() {
		if log := p.out.String(); s.Failed() {
			if len(log) > 8<<10 {
				log = "…" + log[len(log)-8<<10:]
			}
			s.Logf("%s said:\n%s", p.name, log)
		}
	}
}

// start runs a process under a name; its output is in $WORK/NAME.log and, for failures, here.
func (w *world) start(ts *testscript.TestScript, name string, argv ...string) *process {
	w.free(ts, name)
	log, err := os.OpenFile(ts.MkAbs(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	p := &process{name: name, out: new(syncBuffer), done: make(chan struct{})}
	p.cmd = command(ts, argv[0], argv[1:]...)
	p.cmd.Stdout = multi{p.out, log}
	p.cmd.Stderr = p.cmd.Stdout
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second
	ts.Check(p.cmd.Start())
	w.adopt(p)
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
		_ = log.Close()
	}()
	return p
}

// free makes sure that no running process has the name.
func (w *world) free(ts *testscript.TestScript, name string) {
	if p := w.find(name); p != nil && !p.ended() {
		ts.Fatalf("%s is running already", name)
	}
}

// adopt remembers a process under its name.
func (w *world) adopt(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.procs[p.name]; old != nil {
		w.past = append(w.past, old)
	}
	w.procs[p.name] = p
}

func (w *world) find(name string) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.procs[name]
}

func (w *world) mustFind(ts *testscript.TestScript, name string) *process {
	p := w.find(name)
	if p == nil {
		ts.Fatalf("no process %s was started", name)
	}
	return p
}

type multi []interface{ Write([]byte) (int, error) }

func (m multi) Write(p []byte) (int, error) {
	for _, w := range m {
		if n, err := w.Write(p); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// poll waits until ok, or fails with what ok says is missing.
func poll(ts *testscript.TestScript, what string, ok func() error) {
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// address is one on which nothing listens: the machine is the story's own, and the kernel gives ports
// from 32768 on to sockets that ask for any.
func (w *world) address() string {
	w.ports++
	return fmt.Sprintf("127.0.0.1:%d", 20000+w.ports)
}
