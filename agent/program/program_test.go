package program

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAsk(t *testing.T) {
	t.Setenv("TZ", "Europe/Berlin")
	t.Setenv("LD_PRELOAD", "")
	for script, want := range map[string]Answer{
		"echo out; echo err >&2":     {Stdout: []byte("out\n"), Stderr: []byte("err\n")},
		"printf 1234567890":          {Stdout: []byte("1234567890")},
		"exit 2":                     {Status: 2},
		"pwd":                        {Stdout: []byte("/\n")},
		"echo ${TZ-none}":            {Stdout: []byte("none\n")},
		"head -c 9999 /dev/zero >&2": {Stderr: make([]byte, maxErrors)},
	} {
		got, err := Ask(t.Context(), 10, "/bin/sh", "-c", script)
		if err != nil || string(got.Stdout) != string(want.Stdout) || string(got.Stderr) != string(want.Stderr) || got.Status != want.Status {
			t.Errorf("%s: %+v, %v", script, got, err)
		}
	}
}

func TestAskFails(t *testing.T) {
	for script, want := range map[string]string{
		"printf 12345678901": "more than 10 bytes",
		"exec yes":           "more than 10 bytes",
		"kill -9 $$":         "killed",
	} {
		got, err := Ask(t.Context(), 10, "/bin/sh", "-c", script)
		if err == nil || !strings.Contains(err.Error(), want) || got.Stdout != nil {
			t.Errorf("%s: %+v, %v", script, got, err)
		}
	}
	if _, err := Ask(t.Context(), 10, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a program that is not there has answered")
	}
}

// A program may leave a process behind that has its standard error open. Its answer is complete all
// the same.
func TestAskDoesNotWaitForStderr(t *testing.T) {
	file := filepath.Join(t.TempDir(), "child")
	got, err := Ask(t.Context(), 10, "/bin/sh", "-c", "sleep 3600 >/dev/null & echo $! >"+file+"; echo answer")
	if err != nil || string(got.Stdout) != "answer\n" || got.Status != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		t.Fatalf("pid %q: %v", text, err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Error(err)
	}
}

// When the context ends, the program is killed, and so are its children.
func TestAskIsKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "child")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := Ask(ctx, 10, "/bin/sh", "-c", "sleep 3600 & echo $! >"+file+".new; mv "+file+".new "+file+"; wait")
		ended <- err
	}()
	pid := 0
	eventually(t, "the child runs", func() bool {
		text, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	eventually(t, "the child is gone", func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ") || unix.Kill(pid, 0) != nil
	})
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"program": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"program": filepath.Join(dir, "program"), "text": "", "folder": "", "none": ""} {
		if got := Find(name, t.TempDir(), dir); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	t.Chdir(dir)
	if got := Find("program", "", "."); got != "" {
		t.Errorf("found in the working folder: %q", got)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
