//go:build !agentonly

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"scrier/client"
	"scrier/wire"
)

// consent is a person's yes to what cannot be taken back: at a terminal they are asked, and elsewhere --yes says it.
type consent struct{ yes bool }

func (k *consent) flag(c *cobra.Command) {
	c.Flags().BoolVar(&k.yes, "yes", false, "do not ask; needed where there is no terminal")
}

// possible refuses to go on where there is nobody to ask.
func (k *consent) possible(c *cobra.Command) error {
	in, ok := c.InOrStdin().(*os.File)
	if k.yes || ok && term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return wire.Errorf(wire.Usage, "`%s` cannot be taken back, and there is no terminal to ask on; give --yes if it is meant", c.CommandPath())
}

// ask shows lines, asks the question, and is [wire.Cancelled], with kept as what then stays as it is, unless the answer
// is yes.
func (k *consent) ask(c *cobra.Command, lines []string, question, kept string) error {
	w := c.ErrOrStderr()
	for _, l := range lines {
		fmt.Fprintln(w, wire.Printable(l))
	}
	fmt.Fprint(w, wire.Printable(question)+" (yes/no) ")
	answer, err := line(c.Context(), c.InOrStdin())
	if err != nil {
		fmt.Fprintln(w)
		return err
	}
	if !strings.HasSuffix(answer, "\n") { // Ctrl-D leaves the cursor behind the question
		fmt.Fprintln(w)
	}
	if strings.ToLower(strings.TrimSpace(answer)) == "yes" {
		return nil
	}
	return wire.Errorf(wire.Cancelled, "%s", kept)
}

// line reads one, or what there is before the end; it ends with ctx.
func line(ctx context.Context, in io.Reader) (string, error) {
	text, err := lineOf(ctx, bufio.NewReader(io.LimitReader(in, 64)))
	switch {
	case errors.Is(err, io.EOF):
		return text, nil
	case err != nil && ctx.Err() == nil:
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return text, err
}

// lineOf reads a line; it ends with ctx.
func lineOf(ctx context.Context, in *bufio.Reader) (string, error) {
	type read struct {
		text string
		err  error
	}
	done := make(chan read, 1)
	go func() { // stays behind at a Ctrl-C, which ends the program
		text, err := in.ReadString('\n')
		done <- read{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", interrupted(ctx, ctx.Err())
	case r := <-done:
		return r.text, r.err
	}
}

// maxEnding is how many sessions a question names.
const maxEnding = 5

// ending says in a sentence which open sessions end with what is done.
func ending(c *cobra.Command, r *client.Relay, with string, theirs func(sessionRow) bool) (string, error) {
	all, err := openSessions(c, r)
	if err != nil {
		return "", err
	}
	var names []string
	n := 0
	for _, s := range all {
		if !theirs(s) {
			continue
		}
		if n++; n <= maxEnding {
			names = append(names, s.name())
		}
	}
	switch {
	case n == 0:
		return "No session is open " + with + ".", nil
	case n > maxEnding:
		names = append(names, fmt.Sprintf("and %d more", n-maxEnding))
	}
	return count(n, "open session") + " " + with + " " + map[bool]string{true: "ends", false: "end"}[n == 1] + ": " + strings.Join(names, "; ") + ".", nil
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
