package stories

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// raceOptions end a program that has a race with a status of its own, and keep the race detector
// from sleeping for a second at the end of each command.
const raceOptions = "exitcode=40 halt_on_error=1 atexit_sleep_ms=0"

// tell tells one story of script/*.txtar on the machine that it has for itself, with the real program,
// a real sshd and OS users. Beside testscript's own commands there are:
//
//	user NAME [SHELL]            make an OS user; $NAME is its login, $NAME_home its home
//	authorize USER KEY.pub [OPTIONS]
//	                             put a public key into a user's authorized_keys
//	sshd [LINE…]                 start sshd on $SSHD, or start it anew, with these lines added to
//	                             its configuration, $SSHD_CONFIG
//	relay [NAME] [ARG…]          start a relay with state in ./relay (or ./NAME), and wait until it
//	                             serves; it listens on $RELAY and has $FINGERPRINT (or, with a
//	                             NAME, $NAME_addr and $NAME_fingerprint)
//	tomorrow NAME                make a relay that is not running believe that it is tomorrow: its
//	                             CA is not valid before that
//	expired NAME                 let the certificate of NAME's agent have ended an hour ago
//	token [ARG…]                 make an enrolment token, $TOKEN
//	enrol NAME [ARG…]            enrol an agent named NAME with state in ./NAME
//	policy NAME LINE…            write its agent.yaml: these lines, and an "ssh:" line for $SSHD
//	                             unless one is among them; if the agent runs, start it anew
//	agent NAME [ARG…]            start it, and wait until the relay has admitted it
//	operator NAME ROLE           make an operator with a key in ./NAME/.ssh, log in, be this operator
//	as NAME                      be this operator, or nobody in particular, from here on: HOME is
//	                             ./NAME, SCRIER_HOME is ./NAME/scrier
//	start NAME COMMAND…          run anything in the background; its output goes to NAME.log
//	signal SIGNAL NAME           send a signal to a process that was started by name
//	end NAME                     the same with TERM, and wait until it has ended with status 0
//	[!] gone NAME [STATUS]       wait until it has ended
//	[!] await [-out TEXT] COMMAND…
//	                             repeat the command until it succeeds and prints TEXT
//	status N COMMAND…            run it; it must end with this exit status
//	later COMMAND…               run it when the script is over, however it ends
//	refused CODE COMMAND…        see shell_test.go
//	shell FILE COMMAND…          see shell_test.go
//	[!] same FILE FILE           wait until content, owner and mode are (or are not) the same
//	permits ROLE FILE            see permits_test.go
//	browser [-noudp] [-at PORT] STORY [ARG…]
//	                             see browser_test.go
//	browse STATUS METHOD PATH [JSON]
//	                             see browse_test.go
//	link FILE                    the sign-in link in FILE has the token $SIGNIN
//	excerpt DOCUMENT LANGUAGE N FILE
//	                             see document_test.go
//	fill FILE…                   replace $NAME in files by the variable, e.g. a port
//	guacd [ARG…]                 start guacd on $GUACD
//	vnc NAME [-password PW] [-as USER] [ARG…]
//	                             start a VNC server, port $NAME_port, with a desktop: an xterm that
//	                             fills 1024x768 with the colour #1e6450; again: start it anew
//	xrdp USER PASSWORD           start xrdp, port $XRDP_port, with such a desktop for the user
//	seat USER [wayland]          log a user in at a screen of the machine: such a desktop, 1280x720
//	logind [USER DISPLAY]        see desk_seat_test.go
//	active USER CLASS            wait until such a window has the keyboard at that screen
//	press [-soon] USER BUTTON    click a button of what Scrier shows the user at that screen
//	asked USER BUTTON            wait until it is there
//	! press USER                 wait until Scrier shows nothing there
//	viewer NAME [COMMAND…]       start scrier vnc or rdp, and wait for its address, $NAME_addr
//	[!] rfb [-password PW] ADDR STEP…
//	                             see desk_viewer_test.go
//	wine                         make a Windows, in which "wine scrier.exe" runs
//
// A program that panics, or in which the race detector finds something, fails its script.
func tell(name string) int {
	deadline, err := time.Parse(time.RFC3339, os.Getenv(deadlineEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// As testscript does with its own commands: they end early enough to say why.
	ctx, cancel := context.WithDeadline(context.Background(), deadline.Add(-closing))
	defer cancel()
	s := &story{ctx: ctx, deadline: deadline, failed: make(chan struct{})}
	testscript.RunT(s, testscript.Params{
		Files:               []string{filepath.Join("script", name+".txtar")},
		WorkdirRoot:         "/tmp",
		Setup:               setup,
		Deadline:            deadline,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"user": cmdUser, "authorize": cmdAuthorize, "sshd": cmdSSHD, "tomorrow": cmdTomorrow, "expired": cmdExpired,
			"relay": cmdRelay, "token": cmdToken, "enrol": cmdEnrol, "policy": cmdPolicy, "agent": cmdAgent,
			"operator": cmdOperator, "as": cmdAs,
			"start": cmdStart, "signal": cmdSignal, "end": cmdEnd, "gone": cmdGone, "await": cmdAwait,
			"status": cmdStatus, "later": cmdLater,
			"refused": cmdRefused, "shell": cmdShell, "same": cmdSame, "permits": cmdPermits, "browser": cmdBrowser,
			"browse": cmdBrowse, "link": cmdLink,
			"excerpt": cmdExcerpt, "fill": cmdFill, "guacd": cmdGuacd, "vnc": cmdVNC, "xrdp": cmdXRDP, "viewer": cmdViewer, "rfb": cmdRFB,
			"wine": cmdWine, "seat": cmdSeat, "press": cmdPress, "logind": cmdLogind, "active": cmdActive, "asked": cmdAsked,
		},
	})
	if s.Failed() {
		return 1
	}
	return 0
}

// story is what testscript takes for its test: it writes to standard output, which [TestScript] reads.
type story struct {
	ctx      context.Context // ends the commands of a story that hangs
	deadline time.Time
	once     sync.Once
	failed   chan struct{} // closed by the first failure
}

func (s *story) Failed() bool {
	select {
	case <-s.failed:
		return true
	default:
		return false
	}
}

func (s *story) fail() { s.once.Do(func() { close(s.failed) }) }

func (s *story) Log(args ...any)                 { fmt.Println(args...) }
func (s *story) Logf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (s *story) Errorf(format string, args ...any) {
	s.fail()
	s.Logf(format, args...)
}

func (s *story) FailNow() {
	s.fail()
	runtime.Goexit()
}

func (s *story) Fatal(args ...any) {
	s.Log(args...)
	s.FailNow()
}

// Skip fails: each story is told wherever the tests run.
func (s *story) Skip(args ...any) { s.Fatal(args...) }
func (s *story) Parallel()        {}
func (s *story) Verbose() bool    { return false }

// Run runs f as a test of its own would be: FailNow ends it alone.
func (s *story) Run(_ string, f func(testscript.T)) {
	var done sync.WaitGroup
	done.Go(func() {
		defer func() {
			if v := recover(); v != nil {
				s.Errorf("panic: %v\n%s", v, debug.Stack())
			}
		}()
		f(s)
	})
	done.Wait()
}

func setup(e *testscript.Env) error {
	// Users of the system walk through here: the worker of an agent, sshd, a user's shell.
	if err := os.Chmod(e.WorkDir, 0o755); err != nil {
		return err
	}
	s := e.T().(*story)
	w := &world{ctx: s.ctx, dir: e.WorkDir, procs: map[string]*process{}}
	e.Values[worldKey{}] = w
	// What does not stop by itself even when its commands are ended is cut off in the middle.
	cut := time.AfterFunc(time.Until(s.deadline), func() {
		s.Errorf("the story hangs")
		w.quote(s)
		panic("the story hangs")
	})
	e.Defer(func() {
		cut.Stop()
		w.end(s)
	})
	w.relay, w.sshd = w.address(), w.address()
	e.Setenv("GUACD", w.address())
	e.Setenv("RELAY", w.relay)
	e.Setenv("SSHD", w.sshd)
	e.Setenv("HOME", filepath.Join(e.WorkDir, "nobody"))
	e.Setenv("SCRIER_HOME", filepath.Join(e.WorkDir, "nobody", "scrier"))
	e.Setenv("XDG_CONFIG_HOME", "")
	e.Setenv("SSH_AUTH_SOCK", "")
	e.Setenv("TERM", "xterm-256color")
	e.Setenv("GORACE", raceOptions)
	return os.Mkdir(filepath.Join(e.WorkDir, "nobody"), 0o700)
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// command is one in the script's folder and environment.
func command(ts *testscript.TestScript, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(worldOf(ts).ctx, name, args...)
	c.Dir = ts.MkAbs(".")
	for _, k := range []string{"PATH", "HOME", "SCRIER_HOME", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "TERM", "GORACE", "LANG", "TMPDIR"} {
		c.Env = append(c.Env, k+"="+ts.Getenv(k))
	}
	return c
}

// output runs a command and gives what it printed.
func output(ts *testscript.TestScript, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	c := command(ts, name, args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if err != nil {
		if said := stderr.String(); strings.Contains(said, "panic: ") || strings.Contains(said, "WARNING: DATA RACE") {
			ts.Fatalf("%s went wrong: %s", name, said) // also where a failure is waited for, or would be tried again
		}
		err = errors.Join(err, errors.New(stderr.String()))
	}
	return stdout.String(), err
}
