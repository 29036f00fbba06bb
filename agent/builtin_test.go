package agent

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"scrier/agent/builtin"
	"scrier/agent/keys"
	"scrier/agent/keys/keystest"
	"scrier/wire"
)

// TestBuiltinRights: the agent's own SSH server keeps to agent.yaml and to the operator's line, as sshd would.
func TestBuiltinRights(t *testing.T) {
	const name = "scrsessbuiltin"
	signer := login(t, name)
	who, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(who.HomeDir, ".ssh", "authorized_keys")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, echoPort := listen(t, "tcp4", "127.0.0.1:0")
	socket := filepath.Join(who.HomeDir, "socket")
	at, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { at.Close() })
	if err := os.Chmod(socket, 0o777); err != nil {
		t.Fatal(err)
	}
	config := DefaultConfig()
	config.SSH.Mode, config.Scrier.Allow.Download = Builtin, false
	a := &Agent{Settings: Settings{State: State{t.TempDir()}, Config: config, Now: time.Now, Log: slog.New(slog.NewTextHandler(new(quiet), nil))}}
	_, hostKey := keystest.NewKey(t)
	if a.builtin, err = builtin.New(builtin.Config{User: name, HostKey: hostKey}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.builtin.Close() })
	if a.keys, err = keys.New(keys.Config{
		Agent: wire.NewEnvoyID(), StateDir: t.TempDir(), LockDir: t.TempDir(), AllowedLogins: []string{name},
		AuthorizedKeysFile: []string{"%h/.ssh/authorized_keys"}, Worker: []string{"/proc/self/exe", workerArg},
	}); err != nil {
		t.Fatal(err)
	}
	l := &agentLink{Agent: a}
	ephemeral, session := keystest.NewKey(t)
	for _, c := range []struct {
		options      string
		needs, likes []wire.Right
		want         []wire.Right
		code         wire.Code
		listens      bool // at any port of 127.0.0.1
		connects     bool
		sockets      bool // connects to unix sockets
	}{
		{needs: []wire.Right{wire.MayShell}, likes: wire.Rights(), want: []wire.Right{wire.MayShell, wire.MayExec, wire.MayUpload, wire.MayForward, wire.MayReverse}, listens: true, connects: true, sockets: true},
		{needs: []wire.Right{wire.MayForward}, want: []wire.Right{wire.MayForward}, connects: true, sockets: true},
		{needs: []wire.Right{wire.MayAgent}, code: wire.ChannelNotAllowed},
		{options: "no-pty ", needs: []wire.Right{wire.MayShell}, code: wire.KeyRestricted},
		{options: `permitlisten="localhost:1" `, needs: []wire.Right{wire.MayReverse}, want: []wire.Right{wire.MayReverse}},
		{options: `permitlisten="127.0.0.1:*" `, needs: []wire.Right{wire.MayReverse}, want: []wire.Right{wire.MayReverse}, listens: true},
		{options: `permitopen="localhost:1" `, needs: []wire.Right{wire.MayForward}, want: []wire.Right{wire.MayForward}},
		{options: `permitopen="localhost:1",permitopen="*:*" `, needs: []wire.Right{wire.MayForward}, want: []wire.Right{wire.MayForward}, connects: true, sockets: true},
		{options: fmt.Sprintf(`permitopen="127.0.0.1:%d" `, echoPort), needs: []wire.Right{wire.MayForward}, want: []wire.Right{wire.MayForward}, connects: true},
	} {
		if err := os.WriteFile(file, append([]byte(c.options), text...), 0o600); err != nil {
			t.Fatal(err)
		}
		stream, opened, err := asked(t, l, wire.Open{
			Kind: wire.KindSSH, Keys: [][]byte{signer.PublicKey().Marshal()}, Ephemeral: ephemeral.Marshal(), Needs: c.needs, Likes: c.likes, Source: "192.0.2.7",
		})
		if wire.CodeOf(err) != c.code {
			t.Fatalf("%q, needs %v: %v", c.options, c.needs, err)
		}
		if err != nil {
			continue
		}
		if !slices.Equal(opened.Rights, c.want) {
			t.Errorf("%q, needs %v: %v, want %v", c.options, c.needs, opened.Rights, c.want)
		}
		client := overStream(t, stream, name, session)
		for right, works := range tryRights(t, client, echoPort) {
			want := slices.Contains(c.want, right)
			switch right {
			case wire.MayForward:
				want = c.connects
			case wire.MayReverse:
				want = c.listens
			case wire.MayDownload: // names are seen, which is what is tried
				want = slices.Contains(c.want, wire.MayUpload)
			}
			if works != want {
				t.Errorf("%q, needs %v: %s works: %v", c.options, c.needs, right, works)
			}
		}
		conn, err := client.Dial("unix", socket)
		if (err == nil) != c.sockets {
			t.Errorf("%q, needs %v: a unix socket: %v", c.options, c.needs, err)
		}
		if err == nil {
			_ = conn.Close()
		}
		_ = client.Close()
	}
}
