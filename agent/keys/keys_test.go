package keys

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

func TestFindInstallRemove(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := newKey(t)
	other, _ := newKey(t)
	u := h.user("scralice")
	h.keys(h.user("scrbob"), text(other)+" bob\n")
	content := "# mine\n" + text(key) + " alice@home"
	h.keys(u, content)
	cfg := h.config()
	k := h.open(cfg)
	ctx := context.Background()

	m, err := k.Find(ctx, []ssh.PublicKey{key}, "")
	if err != nil {
		t.Fatal(err)
	}
	if m.Login != u.login || m.UID != u.uid || m.File != u.file() || m.Home != u.home {
		t.Fatalf("found %+v", m)
	}
	eph, _ := newKey(t)
	session := wire.NewSessionID()
	in, err := k.Install(ctx, m, session, eph)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^# mine\n` + regexp.QuoteMeta(text(key)) + ` alice@home\nrestrict,pty,from="127\.0\.0\.1,::1",expiry-time="\d{14}Z" ` +
		regexp.QuoteMeta(text(eph)) + ` scrier-ephemeral agent=` + cfg.Agent.String() + ` session=` + session.String() + `$`)
	if got := h.read(u.file()); !want.MatchString(got) {
		t.Fatalf("file is %q", got)
	}
	if left := time.Until(in.Expires()); left > maxLifetime || left < maxLifetime-10*time.Second {
		t.Fatalf("expires in %v", left)
	}
	for range 2 {
		if err := in.Remove(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.read(u.file()); got != content {
		t.Fatalf("file is %q, was %q", got, content)
	}
	if left, err := os.ReadDir(u.ssh("")); err != nil || len(left) != 1 {
		t.Fatalf("left over: %v %v", left, err)
	}
	if left, err := os.ReadDir(k.journal.dir); err != nil || len(left) != 0 {
		t.Fatalf("left in the journal: %v %v", left, err)
	}
	if strings.Contains(h.read("/proc/self/status"), "NoNewPrivs:\t1") {
		t.Fatal("the agent itself lost its privileges")
	}
}
