package openssh

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// userWait bounds the question: `ssh -G` may run commands (Match exec).
const userWait = 10 * time.Second

// hosts fits what ssh is asked about: a name may end up in a command line of the person's (Match exec), and not every
// version of ssh refuses one that a shell would take apart.
var hosts = regexp.MustCompile(`^[A-Za-z0-9_:][A-Za-z0-9._:@%+-]*$`)

// User is the login that a configuration names for a host behind the line that includes our files, where ssh does not take it
// any more: the first word counts there. Empty: it names none, or does not include our files.
func (c Config) User(ctx context.Context, path, host string) string {
	text, err := os.ReadFile(path)
	if err != nil || len(text) > maxConfig || !c.included(text) || runtime.GOOS == "windows" || !hosts.MatchString(host) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, userWait)
	defer cancel()
	ask := exec.CommandContext(ctx, "ssh", "-G", "-F", "/dev/stdin", "--", host)
	ask.Stdin = strings.NewReader(string(c.without(text)) + "\nMatch all\nUser " + AnyUser + "\n")
	ask.WaitDelay = time.Second
	out, err := ask.Output()
	if err != nil { // ssh does not read it in the first place
		return ""
	}
	for line := range bytes.Lines(out) {
		if user, ok := strings.CutPrefix(strings.TrimRight(string(line), "\r\n"), "user "); ok {
			return Login(user)
		}
	}
	return ""
}
