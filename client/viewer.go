package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"scrier/wire"
)

// Viewer is a program of this machine that shows desktops.
type Viewer struct {
	Name string // as people call it
	path string
	args func(host, port string) []string
	// shared hands the address to an instance that may show other desktops too, so it is neither
	// waited for nor ended.
	shared bool
}

// viewers are the programs that are known for a kind; the first one that is installed is used. None
// of them gets a user name or a password, as every user of the machine can see arguments.
func viewers(kind wire.Kind) []Viewer {
	if kind == wire.KindRDP {
		slashV := func(host, port string) []string { return []string{"/v:" + net.JoinHostPort(host, port)} }
		return []Viewer{
			{Name: "xfreerdp3", args: slashV}, {Name: "xfreerdp", args: slashV}, {Name: "wlfreerdp3", args: slashV}, {Name: "wlfreerdp", args: slashV},
			{Name: "remmina", args: uri("rdp", "-c"), shared: true},
			{Name: "open", shared: true, args: func(host, port string) []string {
				return []string{"rdp://full%20address=s:" + net.JoinHostPort(host, port)}
			}},
		}
	}
	// Two colons, as a small number behind one colon means a display, not a port.
	colons := func(host, port string) []string { return []string{host + "::" + port} }
	return []Viewer{
		{Name: "vncviewer", args: colons}, {Name: "xtigervncviewer", args: colons}, {Name: "xtightvncviewer", args: colons},
		{Name: "remmina", args: uri("vnc", "-c"), shared: true},
		{Name: "gvncviewer", args: func(host, port string) []string { // takes displays only
			n, _ := strconv.Atoi(port) // our own listener's
			return []string{host + ":" + strconv.Itoa(n-5900)}
		}},
		{Name: "open", args: uri("vnc"), shared: true},
	}
}

// ViewerNames lists the programs that are known for a kind.
func ViewerNames(kind wire.Kind) (names []string) {
	for _, v := range viewers(kind) {
		names = append(names, v.Name)
	}
	return names
}

func uri(scheme string, before ...string) func(host, port string) []string {
	return func(host, port string) []string {
		return append(before[:len(before):len(before)], scheme+"://"+net.JoinHostPort(host, port))
	}
}

// FindViewer finds the program that --viewer names, or with an empty name the first that is
// installed; nil if there is none. A program that is not known gets host:port as its argument. goos
// is [runtime.GOOS]: "open" shows desktops on macOS alone.
func FindViewer(kind wire.Kind, name, goos string) (*Viewer, error) {
	for _, v := range viewers(kind) {
		if v.Name != filepath.Base(name) && name != "" || v.Name == "open" && goos != "darwin" {
			continue
		}
		program := v.Name
		if name != "" {
			program = name
		}
		path, err := exec.LookPath(program)
		if err == nil {
			v.path = path
			return &v, nil
		}
	}
	if name == "" {
		return nil, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, wire.Errorf(wire.Usage, "--viewer: %w", err)
	}
	return &Viewer{Name: name, path: path, args: func(host, port string) []string { return []string{net.JoinHostPort(host, port)} }}, nil
}

// viewerProgram is a viewer that runs; nil means that there is none.
type viewerProgram struct {
	cancel context.CancelFunc
	done   chan struct{} // nil: it is not waited for
}

// viewerExit is how long a viewer may take to end when its desktop has, and again when it was told to.
const viewerExit = 2 * time.Second

// start runs the viewer, and calls failed if it ends with an error. Such an error matters only if the
// viewer has not connected yet.
func (v *Viewer) start(addr string, messages io.Writer, failed func(error)) (*viewerProgram, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, v.path, v.args(host, port)...)
	if v.shared {
		cmd = exec.Command(v.path, v.args(host, port)...)
	}
	// A viewer may ask on the terminal, for a password or about a certificate; what it prints is kept
	// away from standard output.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
	if !v.shared {
		cmd.Cancel = func() error { return askToEnd(cmd.Process) }
		cmd.WaitDelay = viewerExit
	}
	fmt.Fprintf(messages, "Starting %s at %s.\n", wire.Printable(v.Name), addr)
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, wire.Errorf(wire.Usage, "cannot start the viewer: %w", err)
	}
	p := &viewerProgram{cancel: cancel}
	if v.shared {
		return p, cmd.Process.Release()
	}
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		if err := cmd.Wait(); err != nil {
			failed(wire.Errorf(wire.Cancelled, "%s ended before it connected: %w", v.Name, err))
		}
	}()
	return p, nil
}

// end waits for the program, and makes it end if it does not by itself.
func (p *viewerProgram) end() {
	if p == nil {
		return
	}
	defer p.cancel()
	if p.done == nil {
		return
	}
	select {
	case <-p.done:
	case <-time.After(viewerExit):
		p.cancel()
		<-p.done
	}
}
