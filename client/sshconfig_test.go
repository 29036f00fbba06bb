package client

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// sshFor asks the real ssh with this configuration, for a host.
func (w *wallet) sshFor(t *testing.T, config, host string, env map[string]string) func(context.Context) (SSHSettings, error) {
	t.Helper()
	file := filepath.Join(w.home, "ssh_config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return sshConfig{host: host, user: "ann", args: []string{"-F", file}, home: w.home, getenv: func(name string) string { return env[name] }}.ask
}

func TestSSHConfig(t *testing.T) {
	w := newWallet(t)
	in := func(name string) string { return filepath.Join(w.home, name) }
	if err := os.WriteFile(in("included"), []byte("Match host inc* user ann\n  IdentityFile /included\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(`
Include HOME/included
Host relay.example.com
  IdentityFile "~/.ssh/my key"
  IdentityFile %d/%r@%h:%p-%n-%%
  IdentitiesOnly yes
Host web1
  HostName 192.0.2.1
  Port 2222
  IdentityFile ${DIR}/%r@%h:%p-%n
  IdentityAgent HOME/agent
Match host via* exec "test -d /"
  IdentityFile /exec
  IdentityAgent $OTHER
Host none
  IdentityFile none
  IdentityAgent none
Host env
  IdentityAgent SSH_AUTH_SOCK
Host one
  IdentityFile ~/.ssh/id_ed25519
Host token
  IdentityFile /%Z
Host unset
  IdentityFile ${UNSET}/x
`, "HOME", w.home)
	env := map[string]string{"SSH_AUTH_SOCK": "/default", "OTHER": "/other", "DIR": "/dir"}
	for host, want := range map[string]SSHSettings{
		"relay.example.com": {Agent: "/default", Files: []string{in(".ssh/my key"), in("ann@relay.example.com:22-relay.example.com-%")}, Only: true},
		"web1":              {Agent: in("agent"), Files: []string{"/dir/ann@192.0.2.1:2222-web1"}},
		"via1":              {Agent: "/other", Files: []string{"/exec"}},
		"inc1":              {Agent: "/default", Files: []string{"/included"}},
		"none":              {Files: []string{}},
		"env":               {Agent: "/default"},
		"one":               {Agent: "/default", Files: []string{in(".ssh/id_ed25519")}},
		"another":           {Agent: "/default"},
		"::1":               {Agent: "/default"},
		"-oProxyCommand=x":  {Agent: "/default"}, // never gets to ssh
		"a$(b)":             {Agent: "/default"},
		"":                  {Agent: "/default"},
	} {
		got, err := w.sshFor(t, config, host, env)(t.Context())
		if err != nil || got.Agent != want.Agent || got.Only != want.Only || !slices.Equal(got.Files, want.Files) || (got.Files == nil) != (want.Files == nil) {
			t.Errorf("%s: %+v, %v", host, got, err)
		}
	}
	for host, why := range map[string]string{"token": "%Z", "unset": "${UNSET}"} {
		_, err := w.sshFor(t, config, host, env)(t.Context())
		wantCode(t, err, wire.KeyUnusable, why)
	}
	_, err := w.sshFor(t, "Nonsense yes\n", "web1", env)(t.Context())
	wantCode(t, err, wire.KeyUnusable, "ssh does not read its configuration: ")
	wantCode(t, err, wire.KeyUnusable, "line 1")

	// A command that starts another one in the background leaves it with ssh's standard error.
	got, err := w.sshFor(t, "Match exec \"sleep 3 &\"\n  IdentityFile /exec\n", "web1", env)(t.Context())
	if err != nil || !slices.Equal(got.Files, []string{"/exec"}) {
		t.Errorf("with a command in the background: %+v, %v", got, err)
	}

	// A command of the configuration's that hangs holds nobody for ever.
	ctx, cancel := context.WithCancel(t.Context())
	ask := w.sshFor(t, "Match exec \"sleep 600\"\n", "web1", env)
	done := make(chan error, 1)
	go func() {
		_, err := ask(ctx)
		done <- err
	}()
	cancel()
	wantCode(t, <-done, wire.Cancelled, "")
}

// Keys are tried in the order in which ssh tries them.
func TestConfiguredKeys(t *testing.T) {
	w := newWallet(t)
	usual := w.make(t, "id_ed25519", "", "-t", "ed25519")
	first := w.make(t, "first", "", "-t", "ed25519")
	second := w.make(t, "second", "", "-t", "ecdsa")
	public := w.make(t, "public", "", "-t", "ed25519")
	held := w.make(t, "held", "", "-t", "ed25519")
	w.startAgent(t, "held", "public", "second")
	for _, name := range []string{"public", "held"} {
		if err := os.Remove(w.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	set := func(config string) SSHKeyConfig {
		c := w.config()
		c.Agent = "" // it is not this that counts
		c.Settings = w.sshFor(t, config, "web1", map[string]string{"SSH_AUTH_SOCK": w.agent})
		return c
	}
	files := "IdentityFile ~/.ssh/missing\nIdentityFile ~/.ssh/first\nIdentityFile ~/.ssh/second\nIdentityFile ~/.ssh/public\n"
	for config, want := range map[string][]ssh.PublicKey{
		"":                            {held, public, second, usual},
		"IdentityAgent none\n":        {usual},
		"IdentitiesOnly yes\n":        {usual},
		files:                         {second, public, held, first},
		files + "IdentitiesOnly yes":  {second, public, first},
		files + "IdentityAgent none":  {first, second},
		"IdentityFile none":           {held, public, second},
		"IdentityFile ~/.ssh/missing": {held, public, second},
	} {
		t.Run(config, func(t *testing.T) { wantCandidates(t, set(config), want...) })
	}
	wantSigner(t, set("IdentityAgent none\nIdentityFile ~/.ssh/second"), second)

	_, err := Candidates(t.Context(), set("IdentityFile none\nIdentitiesOnly yes"))
	wantCode(t, err, wire.NoSSHPubkey, "(IdentitiesOnly)")
	_, err = Candidates(t.Context(), set("IdentityFile /missing\nIdentityAgent none"))
	wantCode(t, err, wire.NoSSHPubkey, "(IdentityFile /missing)")
	_, err = Candidates(t.Context(), set("Nonsense yes"))
	wantCode(t, err, wire.KeyUnusable, "its configuration")

	// One key alone counts for a machine if the configuration says so, and then a named one goes before it.
	for config, want := range map[string]ssh.PublicKey{
		"": nil, files: nil, "IdentitiesOnly yes": nil, files + "IdentitiesOnly yes": second,
		"IdentityFile ~/.ssh/first\nIdentitiesOnly yes": first, "IdentityFile /missing\nIdentitiesOnly yes": nil,
	} {
		k, err := ConfiguredKey(t.Context(), set(config))
		if err != nil || (k == nil) != (want == nil) || k != nil && !same(k.PublicKey(), want) {
			t.Errorf("%q: %v", config, err)
		}
		if k != nil {
			_ = k.Close()
		}
	}
	c := set("Nonsense yes")
	c.KeyFile = w.path("first")
	wantSigner(t, c, first)
	c = set("IdentityFile ~/.ssh/second\nIdentitiesOnly yes")
	c.KeyFile = w.path("public.pub")
	wantSigner(t, c, public)
}
