// Flood measures what a relay does while strangers send it all they can, from two networks: how long an
// operator in a third one takes to log in, how late a running shell echoes, and how much memory it costs.
// It prints the table of docs/reliability.md. scripts/flood makes the relay, the machine and the
// operator; `./just flood` runs both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// What has to hold while strangers flood.
const (
	loginLimit  = 5 * time.Second
	echoLimit   = 100 * time.Millisecond // at p99
	memoryLimit = 64 << 20
)

type options struct {
	relay   string // host:port
	pid     int    // its process
	scrier  string // the program
	home    string // of the operator whose shell runs
	probe   string // of the operator who logs in, SCRIER_HOME
	envoy   string
	each    time.Duration // for each kind of flood
	rest    time.Duration // that memory has to come back
	workers int           // of each network
	only    string        // one kind of flood

	kind, from string // of an attacker, which is a process of its own
}

func main() {
	var o options
	flag.StringVar(&o.relay, "relay", "", "host:port of the relay")
	flag.IntVar(&o.pid, "pid", 0, "its process")
	flag.StringVar(&o.scrier, "scrier", "./scrier", "the program")
	flag.StringVar(&o.home, "home", "", "SCRIER_HOME of who has a shell")
	flag.StringVar(&o.probe, "probe", "", "SCRIER_HOME of who logs in")
	flag.StringVar(&o.envoy, "envoy", "demo", "where the shell is")
	flag.DurationVar(&o.each, "for", 20*time.Second, "how long each flood takes")
	flag.DurationVar(&o.rest, "rest", 6*time.Minute, "how long memory may take to come back")
	flag.IntVar(&o.workers, "workers", 192, "how many things each network does at once")
	flag.StringVar(&o.only, "only", "", "one kind of flood, as the table names it")
	flag.StringVar(&o.kind, "attack", "", "be one network that floods so")
	flag.StringVar(&o.from, "from", "", "the address of that network")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := measure
	if o.kind != "" {
		run = attack
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

// measure floods in one way after the other, and prints the table.
func measure(ctx context.Context, o options) error {
	shell, err := openShell(ctx, o)
	if err != nil {
		return err
	}
	defer shell.close()
	fmt.Println("| Flood | Begun, per second | Log in, slowest | Echo, p50 | Echo, p99 | Memory |")
	fmt.Println("|---|---|---|---|---|---|")
	var broken []error
	first, err := memory(o.pid)
	if err != nil {
		return err
	}
	all := append([]string{quiet, busy}, kinds()...)
	if o.only != "" {
		all = []string{quiet, busy, o.only}
	}
	for _, kind := range all {
		r, err := flood(ctx, o, shell, kind)
		if err != nil {
			return err
		}
		fmt.Println(r)
		broken = append(broken, r.broken()...)
	}
	// Go gives memory back to the system slowly, and a connection that was not closed ends by itself.
	last := first
	for end := time.Now().Add(o.rest); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(time.Second) {
		if last, err = memory(o.pid); err != nil {
			return err
		}
		if last <= first+memoryLimit/8 {
			break
		}
	}
	fmt.Printf("\nThe relay had %s at the beginning and %s in the end.\n", mib(first), mib(last))
	if last > first+memoryLimit/2 {
		broken = append(broken, fmt.Errorf("%s did not come back", mib(last-first)))
	}
	return errors.Join(broken...)
}
