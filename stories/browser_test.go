package stories

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// browserTime is how long a browser may take for its story; the stories themselves give up earlier
// and say what they waited for.
const browserTime = 2*time.Minute + 30*time.Second

// cmdBrowser tells a story of static/e2e with a real browser:
//
//	browser [-noudp] [-at PORT] STORY [ARG…]
//
// The story gets a sign-in link of the operator that the script is at that moment. With -at the relay is behind something
// that listens at this port. With -noudp the
// browser is on a network of its own, from which TCP reaches the relay and UDP is dropped.
func cmdBrowser(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: browser [-noudp] [-at PORT] STORY [ARG…]"
	w := worldOf(ts)
	_, own, err := net.SplitHostPort(w.relay)
	ts.Check(err)
	noUDP, port := false, own
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-noudp":
			noUDP = true
		case args[0] == "-at" && len(args) > 1:
			port, args = args[1], args[1:]
		default:
			ts.Fatalf(usage)
		}
		args = args[1:]
	}
	if neg || len(args) == 0 {
		ts.Fatalf(usage)
	}
	static, err := filepath.Abs("../static")
	ts.Check(err)
	story := filepath.Join(static, "e2e", args[0]+".mjs")
	for _, needed := range []string{story, filepath.Join(static, "node_modules", "playwright-core"), filepath.Join(static, "dist", "app.html")} {
		if _, err := os.Stat(needed); err != nil {
			ts.Fatalf("%v: run `./just web` first", err)
		}
	}
	argv := append([]string{"node", story}, args[1:]...)
	if noUDP {
		socket := filepath.Join(w.dir, "tcp.sock")
		defer forward(ts, socket, w.relay)()
		argv = append([]string{"unshare", "--net", "sh", "-euc", withoutUDP, "sh", port}, argv...)
	}
	to := os.Getenv("SCREENSHOTS")
	if to != "" {
		to = pictures
	}
	c := command(ts, argv[0], argv[1:]...)
	c.Env = append(c.Env,
		"LINK="+strings.Replace(signInLinkFor(ts), ":"+own+"/", ":"+port+"/", 1), "RELAY="+w.relay, "ORIGIN=https://localhost:"+port, "WORK="+w.dir, "SCREENSHOTS="+to,
		"GUACD_PID="+pidOf(w, "guacd"), "RELAY_PID="+strconv.Itoa(w.mustFind(ts, "relay").cmd.Process.Pid),
		"FORWARD="+map[bool]string{true: filepath.Join(w.dir, "tcp.sock")}[noUDP])
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.WaitDelay = 10 * time.Second
	ts.Check(c.Start())
	// A story that is told to end closes its browser; one that does not is killed, and the browser
	// ends because nobody talks to it any more.
	term := time.AfterFunc(browserTime, func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM) })
	kill := time.AfterFunc(browserTime+10*time.Second, func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
	err = c.Wait()
	term.Stop()
	kill.Stop()
	fmt.Fprint(ts.Stdout(), out.String())
	if err != nil {
		ts.Fatalf("browser %s: %v", strings.Join(args, " "), err)
	}
}

// pidOf is the process that was started under a name, or nothing.
func pidOf(w *world, name string) string {
	if p := w.find(name); p != nil {
		return strconv.Itoa(p.cmd.Process.Pid)
	}
	return ""
}

// withoutUDP runs a command where there is only a loopback interface, and no UDP to port $1 on it.
// The namespace is gone with its last process.
const withoutUDP = `port=$1; shift
ip link set lo up
nft add table inet scrier
nft add chain inet scrier in '{ type filter hook input priority 0; }'
nft add rule inet scrier in udp dport "$port" drop
exec "$@"`

// signInLinkFor is a fresh link that signs in the operator of the moment, by the name localhost:
// passkeys belong to names. Nobody in particular has none.
func signInLinkFor(ts *testscript.TestScript) string {
	out, err := output(ts, "scrier", "login", worldOf(ts).relay, "--browser")
	if err != nil {
		return ""
	}
	link := regexp.MustCompile(`https://127\.0\.0\.1(:\d+/signin#\S+)`).FindStringSubmatch(out)
	if link == nil {
		ts.Fatalf("scrier login --browser printed no link: %q", out)
	}
	return "https://localhost" + link[1]
}

// forward carries connections at a Unix socket, which is reached from every network namespace, to
// the relay's TCP port, until the function that it gives is called.
func forward(ts *testscript.TestScript, socket, relay string) (end func()) {
	l, err := net.Listen("unix", socket)
	ts.Check(err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", relay)
			if err != nil {
				_ = near.Close()
				continue
			}
			mu.Lock()
			open = append(open, near, far)
			mu.Unlock()
			for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
				wg.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = errors.Join(near.Close(), far.Close())
				})
			}
		}
	})
	return func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	}
}
