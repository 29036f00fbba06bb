package keys

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

func TestFindInstallRemove(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	key, _ := keystest.NewKey(t)
	other, _ := keystest.NewKey(t)
	u := h.User("scralice")
	h.PutKeys(h.User("scrbob"), keystest.Text(other)+" bob\n")
	content := "# mine\n" + keystest.Text(key) + " alice@home"
	h.PutKeys(u, content)
	cfg := h.config()
	k := h.open(cfg)
	ctx := context.Background()

	m, err := k.Find(ctx, Operator{Keys: []ssh.PublicKey{key}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if m.Login != u.Login || m.who.UID != uint32(u.UID) || m.File != u.File() || m.who.Home != u.Home {
		t.Fatalf("found %+v", m)
	}
	eph, _ := keystest.NewKey(t)
	session := wire.NewSessionID()
	in, err := k.Install(ctx, m, session, eph)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^# mine\n` + regexp.QuoteMeta(keystest.Text(key)) + ` alice@home\n` + keystest.ShellOptions + `,from="127\.0\.0\.1,::1",expiry-time="\d{14}Z" ` +
		regexp.QuoteMeta(keystest.Text(eph)) + ` scrier-ephemeral agent=` + cfg.Agent.String() + ` session=` + session.String() + `$`)
	if got := h.Read(u.File()); !want.MatchString(got) {
		t.Fatalf("file is %q", got)
	}
	if left := time.Until(in.rec.Expiry); left > maxLifetime || left < maxLifetime-10*time.Second {
		t.Fatalf("expires in %v", left)
	}
	for range 2 {
		if err := in.Remove(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.Read(u.File()); got != content {
		t.Fatalf("file is %q, was %q", got, content)
	}
	if left, err := os.ReadDir(u.SSH("")); err != nil || len(left) != 1 {
		t.Fatalf("left over: %v %v", left, err)
	}
	if left, err := os.ReadDir(k.journal.dir); err != nil || len(left) != 0 {
		t.Fatalf("left in the journal: %v %v", left, err)
	}
	if strings.Contains(h.Read("/proc/self/status"), "NoNewPrivs:\t1") {
		t.Fatal("the agent itself lost its privileges")
	}
}
