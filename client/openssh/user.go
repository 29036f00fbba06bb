package openssh

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// userWait bounds the question: `ssh -G` may run commands (Match exec).
const userWait = 10 * time.Second

// User is the login that a configuration names for a host behind the line that includes our files, where ssh does not take it
// any more: the first word counts there. Empty: it names none, or does not include our files.
func (c Config) User(ctx context.Context, path, host string) string {
	text, err := os.ReadFile(path)
	if err != nil || len(text) > maxConfig || !c.included(text) || runtime.GOOS == "windows" || strings.HasPrefix(host, "-") {
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
