package worker

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// TestRacingAppender: another program appends all the time, by open, write, close. No line of
// its own is lost (F7, H14).
func TestRacingAppender(t *testing.T) {
	t.Parallel()
	lines, rounds := keystest.Environment(t, "SCRIER_APPEND_LINES", 10_000), keystest.Environment(t, "SCRIER_APPEND_ROUNDS", 100)
	t.Run("exchange", func(t *testing.T) { racingAppender(t, lines, rounds, false) })
	t.Run("rename", func(t *testing.T) { racingAppender(t, lines/5, rounds/5, true) })
}

func racingAppender(t *testing.T, lines, rounds int, noExchange bool) {
	t.Helper()
	h := keystest.NewHost(t)
	u := h.User("scralice")
	h.PutKeys(u, "# mine\n")
	stop := filepath.Join(h.Dir, "stop")
	var out bytes.Buffer
	appender := exec.Command("/proc/self/exe", appendArg, u.File(), stop, strconv.Itoa(lines))
	appender.Stdout = &out
	appender.Env = []string{"GORACE=atexit_sleep_ms=0"}
	appender.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.UID)}}
	h.Must(appender.Start())
	agent := wire.NewEnvoyID()
	line := keystest.NewLine(t, agent, time.Now())
	job := hammerJob{What: "clean", Home: u.Home, Rounds: rounds, Agent: agent.String(), Line: line, NoExchange: noExchange}
	b, err := keystest.AsUser(t, u, job, hammerArg).CombinedOutput()
	h.Must(os.WriteFile(stop, nil, 0o644))
	werr := appender.Wait()
	job.Rounds = 0 // this only takes out what was neutralised
	if out, err := keystest.AsUser(t, u, job, hammerArg).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err != nil || werr != nil {
		t.Fatalf("%v %s; %v %s", err, b, werr, &out)
	}
	n, err := strconv.Atoi(out.String())
	h.Must(err)
	t.Logf("%d lines appended during %d rounds: %s", n, rounds, bytes.TrimSpace(b))
	got := h.Read(u.File())
	missing := 0
	for i := range n {
		if strings.Count(got, fmt.Sprintf("# line %d\n", i)) != 1 {
			missing++
		}
	}
	if missing > 0 || strings.Contains(got, keystest.Marker) || !strings.HasPrefix(got, "# mine\n") || strings.Count(got, "\n") != n+1 {
		t.Errorf("%d of %d lines are not there once, %d lines in all, marker %v", missing, n, strings.Count(got, "\n"), strings.Contains(got, keystest.Marker))
	}
	keystest.OnlyKeys(t, u)
}
