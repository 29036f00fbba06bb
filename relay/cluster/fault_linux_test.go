package cluster

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// A member that is killed without warning takes nothing with it that was acknowledged, keeps nobody from going on, and is back with
// its data.
func TestKilled(t *testing.T) {
	a := first(t, false)
	b := a.join("b")
	c := a.join("c")
	c.stop()
	var acknowledged []string
	for round := range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+c.cfg.Dir, childListen+"="+c.cfg.Listen)
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		n := 0
		for n < 20*(round+1) && lines.Scan() {
			acknowledged = append(acknowledged, lines.Text())
			n++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said before it was gone counts too
			acknowledged = append(acknowledged, lines.Text())
		}
		_ = cmd.Wait()
		if n < 20 {
			t.Fatalf("the child has said %d lines: %s", n, said.String())
		}
		if err := b.put("meanwhile", "x"); err != nil {
			t.Errorf("two of three cannot go on: %v", err)
		}
	}
	c = c.again()
	for _, n := range []*node{a, b, c} {
		have := contents(t, n.kv)
		for _, key := range acknowledged {
			if have[key] != "x" {
				t.Errorf("%s does not have %s, which was acknowledged", n.Member.Name(), key)
			}
		}
	}
}

// A member whose disk is full ends, says so, and can be closed; the others go on. With room again it is back, with all that was
// acknowledged.
func TestFullDisk(t *testing.T) {
	a := first(t, false)
	a.join("b")
	disk := t.TempDir()
	if err := unix.Mount("scrier-test", disk, "tmpfs", 0, "size=200m,mode=0700"); err != nil {
		t.Fatalf("mount tmpfs (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	c := a.joinIn("c", filepath.Join(disk, "cluster"))
	c.stop()
	cmd := exec.CommandContext(within(t), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+c.cfg.Dir, childListen+"="+c.cfg.Listen)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	said := ""
	full := filepath.Join(disk, "filler")
	over := make(chan struct{})
	var writer sync.WaitGroup
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "child/") {
			acknowledged = append(acknowledged, lines.Text())
		} else {
			said += lines.Text() + "\n"
		}
		if len(acknowledged) == 10 {
			fill(t, full)
			writer.Go(func() { // until there is something for the disk that it does not have
				for i := 0; ; i++ {
					select {
					case <-over:
						return
					default:
						_ = a.put(fmt.Sprintf("large/%d", i%400), strings.Repeat("x", store.MaxValue)) // a leader may be gone
					}
				}
			})
		}
	}
	close(over)
	writer.Wait()
	_ = cmd.Wait()
	if !strings.Contains(said, "failed: ") || !strings.Contains(said, "no space left") {
		t.Errorf("the member on the full disk says: %s", said)
	}
	if err := a.put("k", "v"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	c = c.again()
	have := contents(t, c.kv)
	for _, key := range acknowledged {
		if have[key] != "x" {
			t.Errorf("%s was acknowledged, and is not there", key)
		}
	}
	c.stop()
}

// fill leaves no room on a disk.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		if _, err := f.Write(piece); errors.Is(err, unix.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Where etcd ends its process, a member ends, and says why. Damaged files do not end the process either.
func TestEtcdCannotGoOn(t *testing.T) {
	failed := newOnce()
	var text bytes.Buffer
	log := zapLogger(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelInfo})), failed.set)
	over := make(chan struct{})
	disk := errors.New("no space left on device")
	went := false
	go func() {
		defer close(over)
		log.Info("chatter", zap.String("k", "v"))
		log.Warn("a warning", zap.Int("n", 7))
		log.Fatal("failed to save", zap.Error(disk))
		went = true
	}()
	<-over
	if err := failed.get(); !errors.Is(err, disk) || went {
		t.Errorf("%v; it went on: %v", err, went)
	}
	if got := text.String(); strings.Contains(got, "chatter") || !strings.Contains(got, `level=WARN msg="etcd: a warning" n=7`) || !strings.Contains(got, `level=ERROR msg="etcd: failed to save" error="no space left on device"`) {
		t.Errorf("the log has %s", got)
	}
	for range 1000 {
		log.Warn("again and again")
	}
	if n := strings.Count(text.String(), "again and again"); n > 2*sampleFirst {
		t.Errorf("%d lines of one kind", n)
	}

	for what, damage := range map[string]func(dir string) error{
		"the log": func(dir string) error {
			return each(filepath.Join(dir, "etcd", "member", "wal", "*.wal"), func(data []byte) []byte {
				for i := 100; i < 2000; i++ {
					data[i] ^= 0x5a
				}
				return data
			})
		},
		"the database": func(dir string) error {
			return each(filepath.Join(dir, "etcd", "member", "snap", "db"), func(data []byte) []byte { return bytes.Repeat([]byte{7}, len(data)) })
		},
	} {
		t.Run(what, func(t *testing.T) {
			a := first(t, false)
			if err := a.put("k", strings.Repeat("v", 4000)); err != nil {
				t.Fatal(err)
			}
			a.stop()
			if err := damage(a.cfg.Dir); err != nil {
				t.Fatal(err)
			}
			m, err := Start(within(t), a.cfg)
			if err == nil {
				_ = m.Close()
			}
			if wire.CodeOf(err) != wire.BadConfig {
				t.Errorf("it starts: %v", err)
			}
			t.Log(err)
		})
	}
}

func each(pattern string, change func([]byte) []byte) error {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		return errors.Join(err, errors.New("there is no "+pattern))
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err == nil {
			err = os.WriteFile(p, change(data), 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A member that is removed while it runs ends, and says so: the relay has to know that it may not write any more.
func TestRemovedWhileRunning(t *testing.T) {
	a := first(t, false)
	b := a.join("b")
	c := a.join("c")
	if err := b.Remove(within(t), audit.Event{}, "c", false); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Member.Failed():
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	if err := c.Member.Err(); wire.CodeOf(err) != wire.Revoked {
		t.Errorf("it ends with %v", err)
	}
	eventually(t, "the removed one is let in nowhere", func() bool {
		_, err := ask(t, a, as(t, a, c.Member.home.path("member.pem")).Client("a"), healthPath)
		return err != nil
	})
	a.want("a", "b")
}

// A certificate that is old, or for another address, is made anew without a restart, by who has the CA's key.
func TestRenewal(t *testing.T) {
	a := first(t, false)
	b := a.join("b")
	leaf := func() *certs.Pin {
		pair, err := certs.LoadPair(b.Member.home.path("member.pem"))
		if err != nil {
			t.Fatal(err)
		}
		p := certs.Pin(sum(pair.Certificate[0]))
		return &p
	}
	before := leaf()
	if err := b.Member.Renew(b.CA); err != nil || *leaf() != *before {
		t.Errorf("a fresh one was made anew: %v", err)
	}
	host, err := checkPeer(b.cfg.Listen)
	if err != nil {
		t.Fatal(err)
	}
	key, err := b.Member.home.key()
	if err != nil {
		t.Fatal(err)
	}
	der, err := a.CA.MarshalKey()
	if err != nil {
		t.Fatal(err)
	}
	root, err := b.Member.home.ca()
	if err != nil {
		t.Fatal(err)
	}
	past, err := certs.UnmarshalCA(root, der, func() time.Time { return time.Now().Add(-300 * 24 * time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	chain, err := past.IssueMember("b", key.Public(), host)
	if err != nil {
		t.Fatal(err)
	}
	if err := certs.SavePair(b.Member.home.path("member.pem"), key, chain); err != nil {
		t.Fatal(err)
	}
	old := leaf()
	if err := b.Member.Renew(b.CA); err != nil || *leaf() == *old {
		t.Errorf("an old one stays: %v", err)
	}
	if _, err := ask(t, a, as(t, a, b.Member.home.path("member.pem")).Client("a"), healthPath); err != nil {
		t.Errorf("with the new one: %v", err)
	}
}

func sum(der []byte) [32]byte { return sha256.Sum256(der) }
