package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// wan is two links with the relay between them. Packets of others pass through the relay's
// namespace, which forwards, so that plain ssh goes the same way and takes the same time.
//
//	operator 10.77.1.1 -- 25 ms -- 10.77.1.2 relay 10.77.2.1 -- 25 ms -- 10.77.2.2 envoy
type wan struct {
	network
	path time.Duration // measured, there and back
}

const oneWay = 25 * time.Millisecond

// netemDir is where the program that makes links is; it is no part of this repository.
const netemDir = "../shared/netem"

func findNetem(root string) error {
	if _, err := os.Stat(filepath.Join(root, netemDir, "go.mod")); err != nil {
		return fmt.Errorf("there is no %s beside the repository, the program that makes links with a delay; measure the rest with -skip wan,page", netemDir)
	}
	return nil
}

// newWAN makes the links. They go with the world, and by themselves if this process dies.
func newWAN(ctx context.Context, w *world, o options) (_ wan, err error) {
	program, err := buildNetem(ctx, w, o)
	if err != nil {
		return wan{}, err
	}
	// Names of our own, as netem removes namespaces that have them already.
	left, right := fmt.Sprintf("sb%dl", os.Getpid()), fmt.Sprintf("sb%dr", os.Getpid())
	if _, err := w.link(ctx, program, left, "10.77.1", oneWay); err != nil {
		return wan{}, err
	}
	if _, err := w.link(ctx, program, right, "10.77.2", oneWay); err != nil {
		return wan{}, err
	}
	// The right link's near end moves to the left link's far end: that is the relay's place.
	n := wan{network: network{
		operator: left + "-a", relay: left + "-b", envoy: right + "-b",
		relayForOperator: "10.77.1.2", relayIP: "10.77.2.1", envoyIP: "10.77.2.2",
	}}
	for _, args := range [][]string{
		{"-n", right + "-a", "link", "set", right + "a", "netns", n.relay},
		{"-n", n.relay, "addr", "add", n.relayIP + "/24", "dev", right + "a"},
		{"-n", n.relay, "link", "set", right + "a", "up"},
		{"-n", n.operator, "route", "add", "10.77.2.0/24", "via", n.relayForOperator},
		{"-n", n.envoy, "route", "add", "10.77.1.0/24", "via", n.relayIP},
		{"netns", "exec", n.relay, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
	} {
		if _, err := runIt(exec.CommandContext(ctx, "ip", args...)); err != nil {
			return wan{}, err
		}
	}
	n.path, err = n.roundTrip(ctx, n.envoyIP)
	return n, err
}

// buildNetem builds the program that makes links, and returns its name.
func buildNetem(ctx context.Context, w *world, o options) (string, error) {
	program := filepath.Join(w.dir, "netem")
	if _, err := os.Stat(program); err == nil {
		return program, nil // for another part
	}
	fmt.Fprintln(o.say, "building", netemDir)
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join(w.root, netemDir)
	build.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	_, err := runIt(build)
	return program, err
}

// link runs one netem, which makes the namespaces NAME-a and NAME-b.
func (w *world) link(ctx context.Context, program, name, prefix string, delay time.Duration) (*link, error) {
	c := exec.Command(program, "-name", name, "-net", prefix, "-delay", delay.String(), "-until-eof")
	stdin, alive, err := os.Pipe() // its other end closes with this process, however that ends
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	w.later(alive.Close)
	c.Stdin = stdin
	daemon := "netem-" + name
	_, err = w.daemon(ctx, "", daemon, "ready", c)
	return &link{netem: alive, log: filepath.Join(w.dir, daemon+".log")}, err
}

// roundTrip measures the path from the operator to an address: a closed port's answer.
func (n network) roundTrip(ctx context.Context, ip string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var took samples
	for range 5 {
		begin := time.Now()
		err := within(n.operator, func() error {
			c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(ip, "9"))
			if err == nil {
				err = errors.Join(errors.New("something listens on port 9"), c.Close())
			}
			return err
		})
		if !errors.Is(err, unix.ECONNREFUSED) {
			return 0, fmt.Errorf("try the path to %s: %w", ip, err)
		}
		took = append(took, time.Since(begin))
	}
	return took.median(), nil
}
