package stories

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdRelay starts a relay and waits until it serves.
func cmdRelay(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: relay [NAME] [ARG…]")
	}
	w := worldOf(ts)
	name, addr, fingerprint := "relay", w.relay, "FINGERPRINT"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
		fingerprint = name + "_fingerprint"
		if addr = ts.Getenv(name + "_addr"); addr == "" {
			addr = w.address()
			ts.Setenv(name+"_addr", addr)
		}
	}
	argv := append([]string{"scrier", "relay", "--state", ts.MkAbs(name)}, args...)
	if !slices.Contains(args, "--listen") {
		argv = append(argv, "--listen", addr)
	}
	p := w.start(ts, name, argv...)
	poll(ts, "relay", func() error {
		if _, print, ok := strings.Cut(p.out.String(), "fingerprint "); ok {
			print, _, ok = strings.Cut(print, "\n")
			if ok {
				ts.Setenv(fingerprint, print)
				return nil
			}
		}
		if p.ended() {
			ts.Fatalf("the relay ended: %v: %s", p.err, p.out)
		}
		return errors.New("it says nothing yet")
	})
}

// cmdToken makes a token at ./relay.
func cmdToken(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: token [ARG…]")
	}
	argv := append([]string{"token", "create", "--json", "--state", ts.MkAbs("relay")}, args...)
	out, err := output(ts, "scrier", argv...)
	ts.Check(err)
	var t struct{ Token string }
	ts.Check(json.Unmarshal([]byte(out), &t))
	ts.Setenv("TOKEN", t.Token)
}

// cmdEnrol makes a token and spends it.
func cmdEnrol(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: enrol NAME [ARG…]")
	}
	cmdToken(ts, false, []string{"--name", args[0]})
	argv := append([]string{"agent", "enroll", "--relay", worldOf(ts).relay, "--token", ts.Getenv("TOKEN"), "--state", ts.MkAbs(args[0])}, args[1:]...)
	_, err := output(ts, "scrier", argv...)
	ts.Check(err)
	if _, err := os.Stat(filepath.Join(ts.MkAbs(args[0]), "agent.yaml")); err != nil {
		cmdPolicy(ts, false, args[:1])
	}
}

// cmdPolicy writes agent.yaml.
func cmdPolicy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: policy NAME LINE…")
	}
	name, lines := args[0], args[1:]
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "ssh:") }) {
		lines = append([]string{fmt.Sprintf("ssh: {mode: sshd, addr: %q, sshd_config: %q}", worldOf(ts).sshd, ts.Getenv("SSHD_CONFIG"))}, lines...)
	}
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(name), "agent.yaml"), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	if p := worldOf(ts).find(name); p != nil && !p.ended() {
		cmdEnd(ts, false, args[:1])
		cmdAgent(ts, false, args[:1])
	}
}

// cmdAgent starts an enrolled agent and waits until the relay has admitted it.
func cmdAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: agent NAME [ARG…]")
	}
	name := args[0]
	argv := append([]string{"scrier", "agent", "run", "--state", ts.MkAbs(name)}, args[1:]...)
	p := worldOf(ts).start(ts, name, argv...)
	poll(ts, "agent "+name, func() error {
		if strings.Contains(p.out.String(), "msg=connected") {
			return nil
		}
		if p.ended() {
			ts.Fatalf("the agent ended: %v: %s", p.err, p.out)
		}
		return errors.New("not connected")
	})
}

// cmdOperator makes an operator with a key of their own, logged in, and becomes it.
func cmdOperator(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: operator NAME ROLE")
	}
	name, role := args[0], args[1]
	ssh := filepath.Join(ts.MkAbs(name), ".ssh")
	key := filepath.Join(ssh, "id_ed25519")
	ts.Check(os.MkdirAll(ssh, 0o700))
	if _, err := os.Stat(key); err != nil {
		ts.Check(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key).Run())
	}
	cmdAs(ts, false, []string{name})
	argv := []string{"operators", "create", "--username", name, "--role", role, "--ssh-key-file", key + ".pub", "--state", ts.MkAbs("relay")}
	_, err := output(ts, "scrier", argv...)
	ts.Check(err)
	_, err = output(ts, "scrier", "login", worldOf(ts).relay, "--fingerprint", ts.Getenv("FINGERPRINT"))
	ts.Check(err)
}

// cmdAs becomes another operator.
func cmdAs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: as NAME")
	}
	ts.Setenv("HOME", ts.MkAbs(args[0]))
	ts.Setenv("SCRIER_HOME", filepath.Join(ts.MkAbs(args[0]), "scrier"))
}
