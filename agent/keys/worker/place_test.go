package worker

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"scrier/agent/keys/keystest"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// TestLinkRace exchanges the folder and a link to another one, outside of the home, while a worker works (H1). The
// other folder is somebody else's, and everybody may write there.
func TestLinkRace(t *testing.T) {
	t.Parallel()
	rounds := keystest.Environment(t, "SCRIER_RACE_ROUNDS", 800)
	for _, noOpenat2 := range []bool{false, true} {
		h := keystest.NewHost(t)
		u := h.User("scralice")
		h.PutKeys(u, "mine\n")
		decoy := filepath.Join(h.Dir, "decoy")
		h.Must(os.Mkdir(decoy, 0o700))
		h.Must(os.Chmod(decoy, 0o777))
		h.Must(os.WriteFile(filepath.Join(decoy, "authorized_keys"), []byte("decoy\n"), 0o600))
		h.Must(os.Chmod(filepath.Join(decoy, "authorized_keys"), 0o666))
		h.Must(os.Symlink(decoy, filepath.Join(u.Home, "link")))
		h.Own(u, filepath.Join(u.Home, "link"))
		var watch unix.Stat_t
		h.Must(unix.Stat(filepath.Join(decoy, "authorized_keys"), &watch))
		agent := wire.NewEnvoyID()
		line := keystest.NewLine(t, agent, time.Now())
		out, err := keystest.AsUser(t, u, hammerJob{What: "flip", Home: u.Home, Rounds: rounds, Agent: agent.String(), Line: line, NoOpenat2: noOpenat2}, hammerArg).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("no openat2 %v: %s", noOpenat2, strings.TrimSpace(string(out)))
		if !strings.Contains(string(out), "clean ok missing false") || !strings.Contains(string(out), "install keyfile_symlink") {
			t.Errorf("the race was not one: %s", out)
		}
		var now unix.Stat_t
		h.Must(unix.Stat(filepath.Join(decoy, "authorized_keys"), &now))
		if got := h.Read(filepath.Join(decoy, "authorized_keys")); got != "decoy\n" || now.Ino != watch.Ino || now.Mtim != watch.Mtim {
			t.Errorf("the decoy was touched: %q", got)
		}
		entries, err := os.ReadDir(decoy)
		h.Must(err)
		if len(entries) != 1 {
			t.Errorf("files were made beside the decoy: %v", entries)
		}
		if got := h.Read(u.File()); len(keystest.Usable(got)) != 0 && got != "mine\n" {
			t.Errorf("own file: %q", got)
		}
	}
}

// TestSparseMemory: a file over the limit is not read (H12).
func TestSparseMemory(t *testing.T) {
	h := keystest.NewHost(t)
	u := h.User("scralice")
	h.PutKeys(u, "")
	h.Must(os.Truncate(u.File(), line.MaxFile+1))
	w := Worker{}
	p, err := w.place(Request{UID: uint32(u.UID), Home: u.Home, Strict: true}, u.File())
	h.Must(err)
	defer p.close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = p.open()
	runtime.ReadMemStats(&after)
	keystest.WantCode(t, err, wire.KeyfileTooBig)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes for a file that is not read", used)
	}
}
