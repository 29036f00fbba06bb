package stories

import (
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"scrier/relay/access"
	"scrier/wire"
)

// cmdPermits runs every command of the program as the present operator, who has the role. What
// the role may do must end with the status that the table gives, everything else with forbidden.
//
//	permits ROLE FILE
//
// A line of FILE is VERB | STATUS | COMMAND. The verb is one of package access, or "-" for
// commands that ask no relay; those are not run.
func cmdPermits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: permits ROLE FILE")
	}
	who := access.Operator{Role: access.Role(args[0])}
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 3 || strings.HasPrefix(line, "#") {
			continue
		}
		verb, argv := access.Verb(strings.TrimSpace(f[0])), strings.Fields(f[2])
		if verb == "-" {
			continue
		}
		if admin := (access.Operator{Role: access.Admin}); admin.May(verb) != nil {
			ts.Fatalf("there is no verb %q", verb)
		}
		status, err := strconv.Atoi(strings.TrimSpace(f[1]))
		ts.Check(err)
		if who.May(verb) != nil {
			status = refusal(wire.Forbidden, argv)
		}
		s := openScreen(ts, "permits", argv)
		s.wait(status)
	}
}
