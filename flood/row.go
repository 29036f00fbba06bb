package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// networks are where strangers come from; the operator is at 127.0.0.1.
var networks = []string{"127.0.1.1", "127.0.2.1"}

// row is what one flood did.
type row struct {
	kind     string
	begun    float64 // a second
	login    time.Duration
	failed   error // a login that did not succeed
	p50, p99 time.Duration
	before   uint64 // of memory, in bytes
	most     uint64
}

// flood has all networks flood in one way, and looks meanwhile.
func flood(ctx context.Context, o options, s *shell, kind string) (row, error) {
	r := row{kind: kind}
	var err error
	if r.before, err = memory(o.pid); err != nil {
		return r, err
	}
	r.most = r.before
	if _, err := s.look(); err != nil {
		return r, err
	}
	type sent struct {
		n   int
		err error
	}
	attackers := make(chan sent, len(networks))
	running := 0
	if kind != quiet {
		for _, from := range networks {
			running++
			go func() {
				n, err := attacker(ctx, o, kind, from)
				attackers <- sent{n, err}
			}()
		}
	}
	logins := make(chan error, 1)
	var login time.Time
	look, next, end := time.NewTicker(100*time.Millisecond), time.NewTicker(2*time.Second), time.After(o.each)
	defer look.Stop()
	defer next.Stop()
	for over := false; !over || running > 0 || !login.IsZero(); {
		select {
		case <-end:
			over = true
		case a := <-attackers:
			running--
			r.begun += float64(a.n) / o.each.Seconds()
			if a.err != nil {
				return r, fmt.Errorf("an attacker: %w", a.err)
			}
		case <-next.C:
			if over || !login.IsZero() {
				continue
			}
			login = time.Now()
			go func() { logins <- logIn(ctx, o) }()
		case err := <-logins:
			r.login, r.failed = max(r.login, time.Since(login)), errors.Join(r.failed, err)
			login = time.Time{}
		case <-look.C:
			now, err := memory(o.pid)
			if err != nil {
				return r, err
			}
			r.most = max(r.most, now)
		}
	}
	took, err := s.look()
	if err != nil {
		return r, err
	}
	if len(took) == 0 {
		return r, errors.New("nothing echoed")
	}
	r.p50, r.p99 = took[len(took)/2], took[len(took)*99/100]
	return r, nil
}

// attacker runs one network, and gives what it began.
func attacker(ctx context.Context, o options, kind, from string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, "-relay", o.relay, "-attack", kind, "-from", from, "-for", o.each.String(), "-workers", strconv.Itoa(o.workers))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, errs.String())
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// logIn has the operator log in from the third network.
func logIn(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.scrier, "login", o.relay)
	cmd.Env = append(os.Environ(), "SCRIER_HOME="+o.probe, "SSH_AUTH_SOCK=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// memory is what a process has in memory for itself, in bytes: not its program's file
// (proc_pid_status(5), RssAnon).
func memory(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("the relay's memory: %w", err)
	}
	_, line, _ := strings.Cut(string(data), "\nRssAnon:")
	var kib uint64
	if _, err := fmt.Sscan(line, &kib); err != nil {
		return 0, fmt.Errorf("the relay's memory: %w", err)
	}
	return kib << 10, nil
}

func mib(n uint64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func (r row) String() string {
	login := fmt.Sprintf("%.1f s", r.login.Seconds())
	if r.failed != nil {
		login += ", and one failed"
	}
	return fmt.Sprintf("| %s | %.0f | %s | %s | %s | + %s |", r.kind, r.begun, login, millis(r.p50), millis(r.p99), mib(r.most-r.before))
}

// broken is what did not hold.
func (r row) broken() (errs []error) {
	if r.failed != nil {
		errs = append(errs, fmt.Errorf("%s: a login failed: %w", r.kind, r.failed))
	}
	if r.login > loginLimit {
		errs = append(errs, fmt.Errorf("%s: a login took %s", r.kind, r.login))
	}
	if r.p99 > echoLimit {
		errs = append(errs, fmt.Errorf("%s: echoes took %s", r.kind, r.p99))
	}
	if r.most-r.before > memoryLimit {
		errs = append(errs, fmt.Errorf("%s: it took %s of memory", r.kind, mib(r.most-r.before)))
	}
	return errs
}
