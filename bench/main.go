// Bench measures Scrier side by side with what it is to be compared with, and prints one table of
// ratios:
//
//   - the echo of a keystroke and 100 MiB of terminal output, against plain ssh to the same sshd and
//     against a bare splice, which is quic-go and io.Copy over the same two hops and nothing else;
//   - the time from starting the command to the shell's first prompt, against plain ssh, on loopback
//     and over two links of 50 ms of round trip each.
//
// What is compared runs in turns within one run, so that whatever else the machine does meets all
// of them. Relay, agent, sshd and clients are processes of their own, as in real use. Bench makes
// its own OS user, sshd, relay and agent with throw-away state, and takes everything away again.
//
// It tells no good from bad: there is no figure that makes it fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == floorRole {
		err := floorMain(os.Args[2:]) // serves until it fails or is ended
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// part is one thing to measure.
type part struct {
	name    string
	measure func(context.Context, *world, options) ([]figure, error)
}

// parts in the order in which they run and stand in the table.
func parts() []part {
	return []part{{"echo", echo}, {"output", output}, {"open", openLoopback}, {"wan", openWAN}}
}

// options are the command line.
type options struct {
	run     []string
	echoes  int // samples of each
	outputs int // runs of each
	opens   int // on loopback, of each
	wans    int // over the links, of each
	keep    bool
	say     io.Writer // what goes on
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{say: stderr}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	names := f.String("run", "echo,output,open,wan", "the `parts` to measure")
	f.IntVar(&o.echoes, "echoes", 4000, "keystrokes of each")
	f.IntVar(&o.outputs, "outputs", 3, "runs of 100 MiB of each")
	f.IntVar(&o.opens, "opens", 25, "sessions of each on loopback")
	f.IntVar(&o.wans, "wans", 15, "sessions of each over the links")
	f.BoolVar(&o.keep, "keep", false, "keep the directory with the logs")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.run = strings.Split(*names, ",")
	for _, name := range o.run {
		if !slices.ContainsFunc(parts(), func(p part) bool { return p.name == name }) {
			return o, fmt.Errorf("there is no part %q; there are echo, output, open and wan", name)
		}
	}
	if min(o.echoes, o.outputs, o.opens, o.wans) < 1 {
		return o, errors.New("at least one sample of each is needed")
	}
	return o, nil
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 64
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, o, stdout); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, o options, stdout io.Writer) (err error) {
	w, err := newWorld(ctx, o)
	defer func() { err = errors.Join(err, w.end(0)) }()
	if err != nil {
		return err
	}
	facts := machine(ctx)
	var figures []figure
	for _, p := range parts() {
		if !slices.Contains(o.run, p.name) {
			continue
		}
		fmt.Fprintln(o.say, "measuring", p.name)
		before := len(w.undo)
		f, err := p.measure(ctx, w, o)
		if err = errors.Join(err, w.end(before)); err != nil {
			return fmt.Errorf("measure %s: %w", p.name, err)
		}
		figures = append(figures, f...)
	}
	if _, err := fmt.Fprintln(stdout, facts); err != nil {
		return err
	}
	return table(stdout, figures)
}
