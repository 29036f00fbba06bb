package agent

import (
	"crypto/x509"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	builtinworker "scrier/agent/builtin/worker"
	"scrier/agent/keys/worker"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case listenArg:
			os.Exit(listenAs(os.Args[2], os.Args[3:]))
		case workerArg:
			os.Exit(worker.Worker{}.Work(os.Stdin, os.Stdout))
		case "agent": // `agent builtin-worker`, just as main has it
			os.Exit(builtinworker.Work(os.Args[3:]))
		}
	}
	goleak.VerifyTestMain(m)
}

func TestFactsOfThisMachine(t *testing.T) {
	f := facts{ssh: true, sshServer: "SSH-2.0-x"}.read()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if f.Hostname != name || f.OS == "" || f.Arch == "" || f.Version == "" || f.Uptime == 0 || f.Disk == 0 || f.Disk > 100 || !f.SSH {
		t.Errorf("facts %+v", f)
	}
	if len(bootID()) != 36 {
		t.Errorf("boot id %q", bootID())
	}
}

func TestLoggedIn(t *testing.T) {
	record := func(kind uint16, user string) []byte {
		b := make([]byte, utmpRecord)
		binary.NativeEndian.PutUint16(b, kind)
		copy(b[utmpUser:], user)
		return b
	}
	var file []byte
	for _, r := range [][]byte{
		record(2, "reboot"), record(userProcess, "bob"), record(8, "gone"), record(userProcess, "ann"), record(userProcess, "bob"),
		record(userProcess, ""), []byte("cut off"),
	} {
		file = append(file, r...)
	}
	path := filepath.Join(t.TempDir(), "utmp")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := loggedIn(path); !cmp.Equal(got, []string{"ann", "bob"}) {
		t.Errorf("logged in: %q", got)
	}
	if got := loggedIn(filepath.Join(t.TempDir(), "none")); got != nil {
		t.Errorf("no utmp: %q", got)
	}
}

func TestAskSSH(t *testing.T) {
	for says, want := range map[string]bool{"SSH-2.0-OpenSSH_9.2\r\n": true, "HTTP/1.1 400\r\n": false, "": false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(says))
			_ = c.Close()
		}()
		if _, ok := askSSH(t.Context(), l.Addr().String()); ok != want {
			t.Errorf("%q: %t", says, ok)
		}
		_ = l.Close()
		<-done
	}
}

func TestRenewAt(t *testing.T) {
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	leaf := certificate(from, from.Add(24*time.Hour))
	if got := renewAt(leaf, 0); got != from.Add(16*time.Hour) {
		t.Errorf("two thirds of a day are over at %s", got)
	}
	if got := renewAt(leaf, 1); !got.Before(from.Add(20 * time.Hour)) {
		t.Errorf("the latest moment is %s: too late to try again", got)
	}
}

func certificate(from, until time.Time) *x509.Certificate {
	return &x509.Certificate{NotBefore: from, NotAfter: until}
}
