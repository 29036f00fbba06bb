//go:build !agentonly

package main

import (
	"context"
	"os"
	"testing"
	"time"

	"scrier/wire"
)

// TestAnswer: a question at a terminal ends with an answer, at Ctrl-D, and at Ctrl-C, when nobody types anything any more.
func TestAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		typed  string
		ends   bool // Ctrl-D
		gaveUp bool // Ctrl-C
		yes    bool
		says   string
	}{
		"yes":             {typed: "yes\n", yes: true},
		"no":              {typed: "no\n"},
		"what is meant":   {typed: "perhaps\nSHA256:x\n", yes: true},
		"three times":     {typed: "1\n2\n3\n"},
		"Ctrl-D":          {ends: true, says: "there was no answer"},
		"Ctrl-D, later":   {typed: "y", ends: true, says: "there was no answer"},
		"Ctrl-C":          {gaveUp: true, says: "ended by a signal"},
		"Ctrl-C, in half": {typed: "ye", gaveUp: true, says: "ended by a signal"},
	} {
		t.Run(name, func(t *testing.T) {
			in, person, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer person.Close()
			shown, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer shown.Close()
			defer out.Close()
			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			if _, err := person.WriteString(c.typed); err != nil {
				t.Fatal(err)
			}
			type result struct {
				yes bool
				err error
			}
			got := make(chan result, 1)
			go func() {
				yes, err := answer(ctx, &tty{in, out}, "SHA256:x", "the fingerprint")
				got <- result{yes, err}
			}()
			if c.ends {
				person.Close()
			}
			if c.gaveUp {
				giveUp()
			}
			select {
			case r := <-got:
				if r.yes != c.yes || wire.DetailOf(r.err) != c.says || c.says != "" && wire.CodeOf(r.err) != wire.Cancelled {
					t.Errorf("%v, %v", r.yes, r.err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("it waits for more")
			}
		})
	}
}
