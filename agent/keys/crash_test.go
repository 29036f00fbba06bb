package keys

import (
	"context"
	"strings"
	"testing"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

func (w *world) job() agentJob {
	eph, _ := keystest.NewKey(w.T)
	return agentJob{
		Dir: w.Dir, State: w.cfg.StateDir, Lock: w.cfg.LockDir, Agent: w.cfg.Agent.String(),
		Key: keystest.Text(w.key), Ephemeral: keystest.Text(eph), Session: wire.NewSessionID().String(), Remove: true,
	}
}

// TestCrashes kills the agent, the worker, or both, at every point of install and removal (H15).
// After a restart no key is left and every byte is as it was.
func TestCrashes(t *testing.T) {
	t.Parallel()
	agent := []string{"journal", "journalled", "installed", "removing", "taken"}
	worker := []string{"opened", "writing", "appended", "read", "created", "written", "exchanged", "compared", "unlinked"}
	for name, c := range map[string]struct {
		tail   string // of the file
		points []string
		set    func(job *agentJob, point string)
		killed bool
	}{
		"agent":              {"\n", agent, func(job *agentJob, point string) { job.Crash = point }, true},
		"both":               {"\n", worker, func(job *agentJob, point string) { job.Env = []string{crashAllEnv + point} }, true},
		"both, no newline":   {"", worker[2:7], func(job *agentJob, point string) { job.Env = []string{crashAllEnv + point} }, true},
		"worker":             {"\n", worker, func(job *agentJob, point string) { job.Env = []string{crashEnv + point} }, false},
		"worker, no newline": {"", worker[2:7], func(job *agentJob, point string) { job.Env = []string{crashEnv + point} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			content := "# first\n" + keystest.Text(w.key) + " me" + c.tail
			for _, point := range c.points {
				w.PutKeys(w.u, content)
				job := w.job()
				c.set(&job, point)
				// A worker that dies alone is reported by the agent, which undoes an install by itself.
				if killed, out := runAgent(t, job); killed != c.killed || (!killed && !strings.Contains(out, "killed")) {
					t.Fatalf("%s: killed %v: %s", point, killed, out)
				}
				if got := w.Read(w.u.File()); !strings.HasPrefix(got, content) {
					t.Fatalf("%s: before the sweep: %q", point, got)
				}
				swept, err := w.open(w.cfg).Sweep(context.Background())
				if err != nil || len(swept.Failed) > 0 {
					t.Fatalf("%s: %+v %v", point, swept, err)
				}
				if got := w.Read(w.u.File()); got != content {
					t.Fatalf("%s: %q", point, got)
				}
				w.tidy()
			}
		})
	}
}
