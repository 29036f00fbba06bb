// Bench measures Scrier side by side with what it is to be compared with, and prints one table of
// ratios:
//
//   - the echo of a keystroke and 100 MiB of terminal output, against plain ssh to the same sshd and
//     against a bare splice, which is quic-go and io.Copy over the same two hops and nothing else;
//   - a command (true), files (one of 1 GiB, a thousand small ones) and forwarded ports, against ssh and scp, on loopback,
//     and the command over two links of 50 ms too;
//   - the echo of a keystroke beside a copy, against that without one, and against ssh beside scp;
//   - the time from starting the command to the shell's first prompt, over QUIC and over TCP, against plain ssh, on loopback
//     and over two links of 50 ms of round trip each;
//   - the echo of a keystroke in the page in a browser, over WebTransport against over WebSocket,
//     on good and bad networks, without and with output at the same time, and the time from the
//     click in the fleet to the prompt;
//   - how far a screen is behind while output comes (part lag): what still comes after Ctrl-C, the
//     time from Ctrl-C to the prompt on good and bad networks, against plain ssh and mosh, the echo
//     of a key meanwhile, and where on the way the bytes lie;
//   - a desktop in the page, against guacamole-common-js on a WebSocket that guacd's stream comes
//     through as it is: the first picture, a window that is dragged, the answer to a key, and what
//     processors and memory it takes, with one viewer and with five;
//   - the echo of a key, a file and a forward over QUIC, TCP and whatever is chosen, against plain ssh, in a hundred networks (part
//     roads, which runs only if it is named);
//   - output in a page over a network that loses packets, with and without a WebSocket beside WebTransport (part pagelane, which
//     runs only if it is named);
//   - a relay with 10,000 machines (part scale, which runs for a while and only if it is named): memory and processor
//     while nothing happens, how fast all are back after kill -9, an orderly stop, and 1,000 shells.
//
// What is compared runs in turns within one run, so that whatever else the machine does meets all
// of them. Relay, agent, sshd and clients are processes of their own, as in real use. Bench makes
// its own OS user, sshd, relay and agent with throw-away state, and takes everything away again.
//
// It tells no good from bad: there is no figure that makes it fail. What does is a byte that does not come as it was sent (part roads).
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
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == floorRole {
		err := floorMain(os.Args[2:]) // serves until it fails or is ended
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == bridgeRole {
		err := bridgeMain(os.Args[2:]) // serves until it fails or is ended
		fmt.Fprintln(os.Stderr, "bridge:", err)
		os.Exit(1)
	}
	if status, ok := swarmRoles(os.Args[1:]); ok {
		os.Exit(status)
	}
	if len(os.Args) > 1 && os.Args[1] == farRole {
		if err := farMain(); err != nil {
			fmt.Fprintln(os.Stderr, "far:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// part is one thing to measure.
type part struct {
	name    string
	measure func(context.Context, *world, options) (sheet, error)
	seldom  bool // it takes long, and runs only if it is named
}

// sheet is what a part found out.
type sheet struct {
	figures []figure
	pages   []race
	remarks []string // on pages
	grids   []grid
	failed  []error // what must not be, however fast it was; told behind the tables
}

// figuresOf makes a part's function of one that finds figures alone.
func figuresOf(f func(context.Context, *world, options) ([]figure, error)) func(context.Context, *world, options) (sheet, error) {
	return func(ctx context.Context, w *world, o options) (sheet, error) {
		found, err := f(ctx, w, o)
		return sheet{figures: found}, err
	}
}

// parts in the order in which they run and stand in the table.
func parts() []part {
	return []part{
		{name: "echo", measure: figuresOf(echo)}, {name: "output", measure: figuresOf(output)},
		{name: "command", measure: figuresOf(commandsLoopback)}, {name: "wancommand", measure: figuresOf(commandsWAN)},
		{name: "bulk", measure: figuresOf(bulk)}, {name: "forward", measure: figuresOf(forwards)},
		{name: "beside", measure: figuresOf(beside)},
		{name: "open", measure: figuresOf(openLoopback)}, {name: "wan", measure: figuresOf(openWAN)}, {name: "page", measure: pages},
		{name: "desktop", measure: figuresOf(desktops)}, {name: "lag", measure: lag},
		{name: "pagelane", measure: pageLane, seldom: true},
		{name: "roads", measure: roads, seldom: true}, {name: "scale", measure: scale, seldom: true},
	}
}

// options are the command line.
type options struct {
	run       []string
	echoes    int   // samples of each
	outputs   int   // runs of each
	bulk      int64 // bytes of a large file
	opens     int   // on loopback, of each
	wans      int   // over the links, of each
	keys      int   // in the page, of each; fewer where the network is slow
	clicks    int   // in the page, of each
	rounds    int   // of desktops, of each
	opened    int   // desktops in each round, of each
	pressed   int   // keys at a desktop, of each
	drag      time.Duration
	viewers   int           // of a desktop at the same time
	tables    []string      // of lag
	cells     []weather     // of lag
	speeds    []int64       // of screens, bytes a second, 0: no limit; of lag
	tries     int           // of lag, in each cell
	limit     time.Duration // of a try
	roadCells []weather
	agents    int           // of scale
	shells    int           // of scale
	storms    int           // of scale
	settle    time.Duration // of scale
	idle      time.Duration // of scale
	typing    time.Duration // of scale
	fleet     string        // of scale
	keep      bool
	say       io.Writer // what goes on
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{say: stderr}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	var all, usual []string
	for _, p := range parts() {
		all = append(all, p.name)
		if !p.seldom {
			usual = append(usual, p.name)
		}
	}
	names := f.String("run", strings.Join(usual, ","), "the `parts` to measure; pagelane (some five minutes), roads (100 networks, an hour) and scale (10,000 agents, some ten minutes) are not in the usual run")
	skipped := f.String("skip", "", "the `parts` of these to leave out")
	f.IntVar(&o.echoes, "echoes", 4000, "keystrokes of each")
	f.IntVar(&o.outputs, "outputs", 3, "runs of 100 MiB of each")
	size := f.Int64("bulk", 1024, "`MiB` of a large file, and of what goes through a forward")
	f.IntVar(&o.opens, "opens", 25, "sessions of each on loopback")
	f.IntVar(&o.wans, "wans", 15, "sessions of each over the links")
	f.IntVar(&o.keys, "keys", 100, "keystrokes of each in the page, at each loss and with and without output; 40 % of them with a delay")
	f.IntVar(&o.clicks, "clicks", 8, "sessions of each opened in the page, at each delay")
	f.IntVar(&o.rounds, "rounds", 5, "rounds in which each kind of desktop has its turn")
	f.IntVar(&o.opened, "opened", 5, "desktops of each kind opened in a round")
	f.IntVar(&o.pressed, "pressed", 150, "keys of each at desktops, in all rounds together")
	f.DurationVar(&o.drag, "drag", 6*time.Second, "how long a window is dragged in each round")
	f.IntVar(&o.viewers, "viewers", 5, "desktops at the same time, beside one alone; at least two")
	tables := f.String("lag", strings.Join(lagTables, ","), "the `tables` of the part lag")
	cells := f.String("cells", allCells, "the networks of the part lag, `RTT/LOSS/RATE` each as 100ms/1%/20mbit; * stands for each of those of the full run")
	speeds := f.String("speeds", "256k,1m,8m,0", "bytes a second that screens of the part lag show, 0: as fast as they come")
	f.IntVar(&o.tries, "tries", 3, "interruptions of each in each cell of the part lag")
	f.DurationVar(&o.limit, "limit", 20*time.Second, "how long an echo or an interruption of the part lag may take")
	roadCells := f.String("roads", allRoadCells, "the networks of the part roads, `RTT/LOSS/RATE/REORDER` each as 100ms/1%/20mbit/0%; * stands for each of those of the full run")
	f.IntVar(&o.agents, "agents", 10_000, "agents of the part scale")
	f.IntVar(&o.shells, "shells", 1000, "shells of the part scale at the same time")
	f.IntVar(&o.storms, "storms", 3, "how often the relay of the part scale is killed")
	f.DurationVar(&o.settle, "settle", 30*time.Second, "how long the relay of the part scale has to come to rest")
	f.DurationVar(&o.idle, "idle", time.Minute, "how long it is watched while nothing happens")
	f.DurationVar(&o.typing, "typing", 10*time.Second, "how long keys are typed into the shells of the part scale")
	f.StringVar(&o.fleet, "fleet", "", "keep the relay and the enrolled agents of the part scale in `DIR`, and take those that are there")
	f.BoolVar(&o.keep, "keep", false, "keep the directory with the logs")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.run, o.bulk = strings.Split(*names, ","), *size<<20
	var skip []string
	if *skipped != "" {
		skip = strings.Split(*skipped, ",")
	}
	for _, name := range slices.Concat(o.run, skip) {
		if !slices.Contains(all, name) {
			return o, fmt.Errorf("there is no part %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	if err := o.parseLag(*tables, *cells, *speeds); err != nil {
		return o, err
	}
	var err error
	if o.roadCells, err = parseRoadCells(*roadCells); err != nil {
		return o, err
	}
	o.run = slices.DeleteFunc(o.run, func(name string) bool { return slices.Contains(skip, name) })
	if len(o.run) == 0 {
		return o, errors.New("no part is left to measure")
	}
	if min(o.echoes, o.outputs, o.opens, o.wans, o.keys, o.clicks, o.rounds, o.opened, o.pressed, o.viewers-1, o.tries, int(o.bulk>>20)) < 1 || o.drag <= 0 || o.limit <= 0 {
		return o, errors.New("at least one sample of each is needed")
	}
	return o, o.checkScale()
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
	var all sheet
	for _, p := range parts() {
		if !slices.Contains(o.run, p.name) {
			continue
		}
		fmt.Fprintln(o.say, "measuring", p.name)
		before := len(w.undo)
		found, err := p.measure(ctx, w, o)
		if err = errors.Join(err, w.end(before)); err != nil {
			return fmt.Errorf("measure %s: %w", p.name, err)
		}
		all.figures = append(all.figures, found.figures...)
		all.pages = append(all.pages, found.pages...)
		all.remarks = append(all.remarks, found.remarks...)
		all.grids = append(all.grids, found.grids...)
		all.failed = append(all.failed, found.failed...)
	}
	if _, err := fmt.Fprintln(stdout, facts); err != nil {
		return err
	}
	if len(all.figures) > 0 {
		if err := table(stdout, all.figures); err != nil {
			return err
		}
	}
	if err := races(stdout, all.pages, all.remarks); err != nil {
		return err
	}
	for _, g := range all.grids {
		if err := g.print(stdout); err != nil {
			return err
		}
	}
	return errors.Join(all.failed...)
}
