//go:build !agentonly

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"scrier/client"
	"scrier/wire"
)

const (
	// redraw is how often a drawn list is drawn anew for the ages in it; the relay is not asked for that.
	redraw = 2 * time.Second

	// together is how long a drawn list waits for more changes: to draw ten thousand rows takes 60 ms, and there may be
	// hundreds of changes a second.
	together = 250 * time.Millisecond

	// Between two tries to reach a relay that is gone.
	firstPause = 2 * time.Second
	longPause  = 30 * time.Second
)

// watchHelp is what commands with --watch say of it.
const watchHelp = `--watch goes on until Ctrl-C. A terminal shows the list as it is; elsewhere each change is a line, with the
time and what happened: listed (it was there at first), added, changed or gone. With --json each is an object on a
line of its own: {"change", "time", "row"}. A relay that is started anew is waited for.`

// news is one change of a list.
type news string

const (
	listed  news = "listed" // it was there
	added   news = "added"
	changed news = "changed"
	gone    news = "gone"
)

// watcher shows a list and what changes in it.
type watcher[T any] struct {
	*listing[T]
	target *target
	path   string         // of the list
	event  string         // that says how one of it is now
	gone   string         // that says that one is gone; none if empty
	id     func(T) string // by which things are told apart
	over   func(T) bool   // such a one is not in the list any more; nil: all are

	have  map[string]item[T]
	bytes int      // of JSON that these have
	turns []string // their ids, in the relay's order
	show  show[T]
}

// show is where changes go to. status is for what is no change, such as a lost connection.
type show[T any] interface {
	all(items []item[T]) error                   // the list is this from now on
	one(what news, i item[T], t time.Time) error // before the next flush
	flush() error
	status(text string) error
}

// watch shows the list until the person has enough.
func (w *watcher[T]) watch(c *cobra.Command) error {
	ctx := c.Context()
	out, tty := c.OutOrStdout().(*os.File)
	switch {
	case w.json:
		w.show = &stream[T]{out: c.OutOrStdout(), err: c.ErrOrStderr()}
	case tty && term.IsTerminal(int(out.Fd())) && runtime.GOOS != "windows":
		w.show = &drawing[T]{watcher: w, out: out}
	default:
		w.show = &lines[T]{watcher: w, out: c.OutOrStdout(), err: c.ErrOrStderr()}
	}
	return enough(c, follow(ctx, w.status, w.once))
}

// enough is how a command ends that goes on until the person has enough: with the status of [wire.Cancelled], as all that a
// signal ends, and without a word, as nothing went wrong.
func enough(c *cobra.Command, err error) error {
	if c.Context().Err() == nil {
		return err
	}
	fmt.Fprintln(c.ErrOrStderr())
	return exitStatus(wire.Cancelled.ExitStatus())
}

func (w *watcher[T]) status(text string) error { return w.show.status(text) }

// follow calls once for as long as what it needs is there again after it was lost: a relay may be started anew. once
// says by up that it got something. The first try must do.
func follow(ctx context.Context, status func(string) error, once func(ctx context.Context, up func() error) error) error {
	pause, was, lost := firstPause, false, false
	for {
		err := once(ctx, func() error {
			pause, was = firstPause, true
			if !lost {
				return nil
			}
			lost = false
			return status("connected again")
		})
		if ctx.Err() != nil || !was || !mends(err) {
			return err
		}
		if !lost {
			lost = true
			if serr := status("the connection was lost: " + why(err) + "; trying again"); serr != nil {
				return serr
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// why is an error in words.
func why(err error) string {
	if d := wire.DetailOf(err); d != "" {
		return d
	}
	return wire.CodeOf(err).Meaning()
}

// unshown is an error of the place where the list is shown, such as a full disk.
type unshown struct{ error }

func (u unshown) Unwrap() error { return u.error }

// mends says whether an error may be over by itself.
func mends(err error) bool {
	if _, ours := errors.AsType[unshown](err); ours {
		return false
	}
	switch wire.CodeOf(err) {
	case wire.RelayUnreachable, wire.RelayShutdown, wire.RelayRestart, wire.RelayLost, wire.Busy, wire.Internal:
		return true
	}
	return false
}

// once follows one connection to its end.
func (w *watcher[T]) once(ctx context.Context, up func() error) error {
	r, err := w.target.dial(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	events := make(chan func() error)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hand := func(f func() error) error { // what is shown is one goroutine's
		select {
		case events <- f:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	go func() {
		ended <- r.Follow(ctx, func() error {
			data, err := r.Do(ctx, "GET", w.path, nil)
			if err != nil {
				return err
			}
			items, err := w.read(data)
			if err != nil {
				return err
			}
			return hand(func() error {
				if err := up(); err != nil {
					return err
				}
				return w.replace(items)
			})
		}, func(name string, data []byte) error {
			data = bytes.Clone(data)
			return hand(func() error { return w.apply(name, data) })
		})
	}()
	return w.present(events, ended)
}

// present takes changes in and shows them, up to the end.
func (w *watcher[T]) present(events <-chan func() error, ended <-chan error) error {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	var due <-chan time.Time // for what was taken in and not shown yet; nil: there is none
	for {
		select {
		case err := <-ended:
			return err
		case f := <-events:
			if err := f(); err != nil {
				return unshown{err}
			}
			if due == nil {
				due = time.After(together)
			}
			continue
		case <-due:
		case <-tick.C:
		}
		due = nil
		if err := w.show.flush(); err != nil {
			return unshown{err}
		}
	}
}

// replace makes items the list. What differs from before is told, if there was something before.
func (w *watcher[T]) replace(items []item[T]) error {
	before, first := w.have, w.have == nil
	w.have, w.turns, w.bytes = map[string]item[T]{}, nil, 0
	for _, i := range items {
		if err := w.put(i); err != nil {
			return err
		}
	}
	now := time.Now()
	if first {
		return w.show.all(w.seen())
	}
	for _, i := range items {
		id := w.id(i.row)
		old, was := before[id]
		if err := w.tell(old, was, i, true, now); err != nil {
			return err
		}
		delete(before, id)
	}
	for _, old := range before {
		if err := w.tell(old, true, old, false, now); err != nil {
			return err
		}
	}
	return nil
}

// put takes one thing into the list. It is an error if that becomes longer than a list can be: each event may bring one more.
func (w *watcher[T]) put(i item[T]) error {
	id := w.id(i.row)
	old, was := w.have[id]
	if !was {
		w.turns = append(w.turns, id)
	}
	w.have[id] = i
	w.bytes += len(i.raw) - len(old.raw)
	if len(w.have) > mostRows || w.bytes > mostBytes {
		return errTooLong
	}
	return nil
}

// apply takes one event.
func (w *watcher[T]) apply(name string, data json.RawMessage) error {
	if name != w.event && (name != w.gone || name == "") {
		return nil
	}
	row, err := decode[T](data)
	if err != nil {
		return err
	}
	i := item[T]{row, data}
	id := w.id(row)
	old, was := w.have[id]
	if name == w.gone || w.over != nil && w.over(row) {
		if !was {
			return nil
		}
		delete(w.have, id)
		w.bytes -= len(old.raw)
		w.turns = slices.DeleteFunc(w.turns, func(t string) bool { return t == id })
		if name == w.gone {
			i = old
		}
		return w.tell(old, true, i, false, time.Now())
	}
	if err := w.put(i); err != nil {
		return err
	}
	return w.tell(old, was, i, true, time.Now())
}

// tell shows what became of one thing, if that is news: it may be one that nobody wants to see.
func (w *watcher[T]) tell(old item[T], was bool, now item[T], is bool, at time.Time) error {
	was, is = was && w.fits(old.row), is && w.fits(now.row)
	switch {
	case !was && is:
		return w.show.one(added, now, at)
	case was && !is:
		return w.show.one(gone, now, at)
	case was && is && w.still(old.row) != w.still(now.row):
		return w.show.one(changed, now, at)
	}
	return nil
}

// still is what of a row is news when it changes: of the columns that are shown, and of all in JSON.
func (w *watcher[T]) still(row T) string {
	columns := w.shown
	if w.json {
		columns = w.columns
	}
	var out []string
	for _, c := range columns {
		if c.still != nil {
			out = append(out, c.still(row))
		} else {
			out = append(out, c.cell(row))
		}
	}
	return strings.Join(out, "\x00")
}

// seen is the list as it is to be seen.
func (w *watcher[T]) seen() []item[T] {
	items := make([]item[T], 0, len(w.turns))
	for _, id := range w.turns {
		items = append(items, w.have[id])
	}
	return w.pick(items)
}

// stream is a JSON object a line: {"change": …, "time": …, "row": what the API gives}.
type stream[T any] struct{ out, err io.Writer }

func (s *stream[T]) all(items []item[T]) error {
	for _, i := range items {
		if err := s.one(listed, i, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream[T]) one(what news, i item[T], at time.Time) error {
	return printChange(s.out, what, at, i.raw)
}

// printChange prints one line of JSON.
func printChange(w io.Writer, what news, at time.Time, raw json.RawMessage) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(struct {
		Change news            `json:"change"`
		Time   time.Time       `json:"time"`
		Row    json.RawMessage `json:"row"`
	}{what, at.UTC(), raw}); err != nil {
		return err
	}
	_, err := w.Write(wire.PrintableJSON(b.Bytes()))
	return err
}

func (s *stream[T]) flush() error             { return nil }
func (s *stream[T]) status(text string) error { return sayStatus(s.err, text) }

func sayStatus(w io.Writer, text string) error {
	_, err := fmt.Fprintf(w, "%s %s\n", client.Stamp(time.Now()), wire.Printable(text))
	return err
}

// lines is a line a change, for files and pipes.
type lines[T any] struct {
	*watcher[T]
	out, err io.Writer
	widths   []int
}

func (l *lines[T]) all(items []item[T]) error {
	head := append([]string{"TIME", "CHANGE"}, l.heads()...)
	rows := [][]string{head}
	for _, i := range items {
		rows = append(rows, l.line(listed, i, time.Now()))
	}
	rows = append(rows, []string{client.Stamp(time.Now()), string(changed)}) // has these widths at least
	l.measure(rows)
	for _, row := range rows[:len(rows)-1] {
		if err := l.print(row); err != nil {
			return err
		}
	}
	return nil
}

// measure makes the columns as wide as rows need them.
func (l *lines[T]) measure(rows [][]string) {
	l.widths = make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			l.widths[i] = max(l.widths[i], utf8.RuneCountInString(cell))
		}
	}
}

func (l *lines[T]) line(what news, i item[T], at time.Time) []string {
	row := append([]string{client.Stamp(at), string(what)}, l.cells(i.row)...)
	for i, cell := range row {
		row[i] = wire.Printable(cell)
	}
	return row
}

func (l *lines[T]) print(row []string) error {
	var b strings.Builder
	for i, cell := range row {
		b.WriteString(cell)
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", max(l.widths[i]-utf8.RuneCountInString(cell), 0)+2))
		}
	}
	_, err := io.WriteString(l.out, strings.TrimRight(b.String(), " ")+"\n")
	return err
}

func (l *lines[T]) one(what news, i item[T], at time.Time) error { return l.print(l.line(what, i, at)) }
func (l *lines[T]) flush() error                                 { return nil }
func (l *lines[T]) status(text string) error                     { return sayStatus(l.err, text) }

// drawing is the list on a terminal, drawn anew when something changes.
type drawing[T any] struct {
	*watcher[T]
	out   *os.File
	begun bool
	note  string // the connection's state, if it is not there
	last  string
}

func (d *drawing[T]) all([]item[T]) error                { return nil }
func (d *drawing[T]) one(news, item[T], time.Time) error { return nil }
func (d *drawing[T]) status(text string) error {
	d.note = text
	if text == "connected again" {
		d.note = ""
	}
	return d.flush()
}

func (d *drawing[T]) flush() error {
	cols, rows, err := term.GetSize(int(d.out.Fd()))
	if err != nil || cols <= 0 || rows <= 0 {
		cols, rows = 80, 24
	}
	var b bytes.Buffer
	items := d.seen()
	if err := d.table(&b, items); err != nil {
		return err
	}
	text := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	foot := count(len(items), "row") + "; Ctrl-C ends this"
	if d.note != "" {
		foot = wire.Printable(d.note)
	}
	if room := max(rows-2, 1); len(text) > room {
		foot = fmt.Sprintf("%d of %d rows; %s", room-1, len(items), foot)
		text = text[:room]
	}
	text = append(text, "", foot)
	text = text[:min(len(text), rows)]
	for i, l := range text {
		if utf8.RuneCountInString(l) > cols {
			l = string([]rune(l)[:max(cols-1, 0)]) + "…"
		}
		text[i] = l + "\x1b[K"
	}
	frame := strings.Join(text, "\r\n") + "\x1b[J"
	if frame == d.last {
		return nil
	}
	d.last = frame
	if !d.begun {
		d.begun, frame = true, "\x1b[2J"+frame
	}
	_, err = io.WriteString(d.out, "\x1b[H"+frame)
	return err
}
