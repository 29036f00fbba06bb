package stories

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for anything to become true. It is no measure of speed:
// the machine may be busy with other tests.
const patience = 60 * time.Second

// world is what one script has made: it takes all of it away again.
type world struct {
	dir, relay, sshd string
	users            []string
	later            [][]string
	mu               sync.Mutex
	procs            map[string]*process
	past             []*process          // those whose name was given to another
	screens          map[string]*screen  // by name; of the script alone
	rfbs             map[string]*rfb     // by address; of the script alone
	desktops         []string            // names of X servers and the like; of the script alone
	seats            map[string]*display // by user; of the script alone
	soon             sync.WaitGroup      // what runs beside the script
	guacd            string              // the port of one that was started
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

func (w *world) end(t testing.TB) {
	w.soon.Wait()
	for _, v := range w.rfbs {
		v.close()
	}
	for _, name := range w.desktops {
		w.endX(name)
	}
	w.mu.Lock()
	procs := w.past
	for _, p := range w.procs {
		procs = append(procs, p)
	}
	w.mu.Unlock()
	for _, p := range procs {
		if !p.ended() {
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGCONT)
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
			<-p.done
		}
	}
	if w.guacd != "" {
		if err := endGuacd(w.guacd); err != nil {
			t.Error(err)
		}
	}
	for i := len(w.later) - 1; i >= 0; i-- {
		c := exec.Command(w.later[i][0], w.later[i][1:]...)
		c.Dir = w.dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("later %q: %v: %s", w.later[i], err, out)
		}
	}
	for _, u := range w.users {
		// Only where there was a desktop: a worker of another script's agent may just look through the home.
		if len(w.desktops) > 0 || len(w.seats) > 0 || w.procs["xrdp"] != nil {
			if err := endAll(u); err != nil {
				t.Error(err)
			}
		}
		if err := removeUser(u); err != nil {
			t.Error(err)
		}
	}
	for _, p := range procs {
		log := p.out.String()
		if strings.Contains(log, "WARNING: DATA RACE") || strings.Contains(log, "panic: ") {
			t.Errorf("%s went wrong", p.name)
		}
		if t.Failed() {
			if len(log) > 8<<10 {
				log = "…" + log[len(log)-8<<10:]
			}
			t.Logf("%s said:\n%s", p.name, log)
		}
	}
}

// accounts orders useradd and userdel: they would wait for one another for whole seconds.
var accounts sync.Mutex

func removeUser(name string) error {
	accounts.Lock()
	defer accounts.Unlock()
	var out []byte
	var err error
	// A user's last processes may take a moment to go.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, err = exec.Command("userdel", "-f", "-r", name).CombinedOutput()
		if err == nil {
			return nil
		}
		if _, err := user.Lookup(name); err != nil {
			return nil
		}
	}
	return fmt.Errorf("userdel: %w: %s", err, out)
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

// lastPort is the one that freePort gave last. It is below those that the kernel gives to
// sockets that ask for any, so that none of them takes it before its owner does.
var lastPort atomic.Int32

const firstPort, portRange = 20000, 12000

// freePort is an address on which nothing listens, neither on TCP nor on UDP.
func freePort() (string, error) {
	for range 1000 {
		n := firstPort + (int32(os.Getpid())*37+lastPort.Add(1))%portRange
		addr := fmt.Sprintf("127.0.0.1:%d", n)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		_ = u.Close()
		return addr, nil
	}
	return "", fmt.Errorf("find a free port: none")
}
