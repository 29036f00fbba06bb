package keys

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/wire"
)

func TestParseCommand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/bin/x":                         `["/bin/x"]`,
		"  /bin/x \t%u  ":                `["/bin/x" "%u"]`,
		`/bin/x "a b" 'c "d"' "e 'f'"`:   `["/bin/x" "a b" "c \"d\"" "e 'f'"]`,
		`/bin/x a\ b "a\ b" \"q\" \\ \n`: `["/bin/x" "a b" "a\\ b" "\"q\"" "\\" "\\n"]`,
		`/bin/x ""`:                      `["/bin/x" ""]`,
		`/bin/x a"b c"d`:                 `["/bin/x" "ab cd"]`,
		`/bin/x "a`:                      "",
		"":                               "",
		"  ":                             "",
	} {
		argv, ok := parseCommand(text)
		got := ""
		if ok {
			got = fmt.Sprintf("%q", argv)
		}
		if got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// TestCommand: keys that come from AuthorizedKeysCommand open a login as a real sshd opens it by them.
func TestCommand(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	run, err := os.MkdirTemp("/run", "scrier-keys-") // sshd runs nothing below a folder that others may write
	h.Must(err)
	t.Cleanup(func() { h.Must(os.RemoveAll(run)) })
	h.Must(os.Chmod(run, 0o755))
	const login = "scrcommand"
	uid, home := keystest.RealUser(t, run, login)
	key, signer := keystest.NewKey(t)
	text := keystest.Text(key)
	dropins, program := filepath.Join(run, "keys"), filepath.Join(run, "program")
	file := filepath.Join(home, ".ssh", "authorized_keys")
	h.Must(os.Mkdir(filepath.Dir(file), 0o700))
	h.Must(os.WriteFile(file, nil, 0o600))
	h.Must(os.Chown(filepath.Dir(file), uid, uid))
	h.Must(os.Chown(file, uid, uid))
	files := "AuthorizedKeysFile .ssh/authorized_keys " + dropins + "/%u"
	const unsupported = wire.KeyfileUnsupported
	for name, c := range map[string]struct {
		script string
		line   string // behind AuthorizedKeysCommand PROGRAM
		user   string
		files  string
		mode   os.FileMode
		code   wire.Code // 0: sshd takes it, and so do we
		home   wire.Code // the same with keys: home
		sshd   bool      // takes it although we do not
	}{
		"no arguments": {script: `[ "$*" = ` + login + ` ] && echo '` + text + `'`},
		"all tokens": {
			script: `[ "$1" = "` + login + `:` + fmt.Sprint(uid) + `:` + home + `" ] && [ "$2 $3" = "` + text + `" ] && [ "$4" = "` + ssh.FingerprintSHA256(key) + `" ] && [ "$5" = "a %b" ] && echo "$2 $3 x"`,
			line:   `%u:%U:%h %t %k %f "a %%b"`,
		},
		"as whom":             {script: `[ "$(id -un) $USER $LOGNAME $HOME" = "games games games /usr/games" ] && [ "$(env | wc -l)" -le 7 ] && echo '` + text + `'`, user: "games"},
		"as the login":        {script: `[ "$(id -un)" = ` + login + ` ] && echo '` + text + `'`, user: "%u"},
		"among others":        {script: `echo '# a list'; echo 'no-pty ` + keystest.Text(keystest.FixedKey(t, 1)) + `'; echo '` + text + ` me'`},
		"prints nothing":      {script: "exit 0", code: wire.PubkeyNotAuthorized},
		"fails":               {script: `echo '` + text + `'; exit 1`, code: unsupported},
		"killed":              {script: `echo '` + text + `'; kill -9 $$`, code: unsupported},
		"restricted":          {script: `echo 'command="id" ` + text + `'`, code: wire.KeyRestricted, sshd: true},
		"expired":             {script: `echo 'expiry-time="20200101" ` + text + `'`, code: wire.KeyRestricted},
		"others may write it": {script: `echo '` + text + `'`, mode: 0o757, code: unsupported},
		"not there":           {script: "-", code: unsupported},
		"unknown user":        {script: `echo '` + text + `'`, user: "scrnobody", code: unsupported},
		"as root":             {script: `echo '` + text + `'`, user: "root", code: unsupported, sshd: true},
		"no files beside it":  {script: `echo '` + text + `'`, files: "AuthorizedKeysFile " + dropins + "/%u", home: 0},
		"no file is there":    {script: `echo '` + text + `'`, files: "AuthorizedKeysFile .ssh/none " + dropins + "/%u", home: unsupported},
		"files are none":      {script: `echo '` + text + `'`, files: "AuthorizedKeysFile none", home: unsupported, code: unsupported, sshd: true},
		"much, and then it":   {script: `i=0; while [ $i -lt 20000 ]; do echo '` + keystest.Text(keystest.FixedKey(t, 2)) + `'; i=$((i+1)); done; echo '` + text + `'`},
	} {
		if c.user == "" {
			c.user = "nobody"
		}
		if c.files == "" {
			c.files = files
		}
		if c.mode == 0 {
			c.mode = 0o755
		}
		h.Must(os.RemoveAll(program))
		if c.script != "-" {
			h.Must(os.WriteFile(program, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755))
			h.Must(os.Chmod(program, c.mode))
		}
		sshd := keystest.StartSSHD(t, h.Dir, c.files, "AuthorizedKeysCommand "+program+" "+c.line, "AuthorizedKeysCommandUser "+c.user)
		if c.code != wire.KeyRestricted || !c.sshd {
			if err := sshd.Shell(login, signer); (err == nil) != (c.code == 0 || c.sshd) {
				t.Errorf("%s: sshd: %v", name, err)
			}
		}
		for _, mode := range []Mode{Home, Dropin} {
			cfg := h.config()
			cfg.AuthorizedKeysFile, cfg.SSHDConfig, cfg.Mode, cfg.DropinDir, cfg.AllowedLogins = nil, sshd.Config, mode, dropins, []string{login}
			k := h.open(cfg)
			k.database = account.System()
			want := c.code
			if mode == Home && c.home != 0 {
				want = c.home
			}
			m, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{keystest.FixedKey(t, 9), key}}, login)
			if mode == Home && name == "no files beside it" {
				// The drop-in file counts as a file of the login's there, and does not exist.
				want = unsupported
			}
			if wire.CodeOf(err) != want {
				t.Errorf("%s, %s: %v", name, mode, err)
			}
			if err != nil {
				continue
			}
			eph, s := keystest.NewKey(t)
			in, err := k.Install(context.Background(), m, wire.NewSessionID(), eph)
			h.Must(err)
			if err := sshd.Shell(login, s); err != nil {
				t.Errorf("%s, %s: %v", name, mode, err)
			}
			h.Must(in.Remove(context.Background()))
			if got := h.Read(file); got != "" {
				t.Errorf("%s, %s: left %q", name, mode, got)
			}
		}
	}
}

// TestCommandFirst: which of the two sshd asks first depends on its version, and the first that has the key decides.
func TestCommandFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // scralice has the key in a file, too
	run, err := os.MkdirTemp("/run", "scrier-keys-")
	w.Must(err)
	t.Cleanup(func() { w.Must(os.RemoveAll(run)) })
	w.Must(os.Chmod(run, 0o755))
	program := filepath.Join(run, "program")
	text := keystest.Text(w.key)
	for script, codes := range map[string]map[string]wire.Code{
		`echo 'command="id" ` + text + `'`:           {"7.9": wire.KeyRestricted, "8.4": wire.KeyRestricted, "8.9": 0, "9.2": 0},
		`echo 'expiry-time="20200101" ` + text + `'`: {"8.4": 0}, // sshd goes on with the files then
		"echo '" + text + "'":                        {"8.4": 0},
		"exit 1":                                     {"8.4": 0},
		"sleep 3600":                                 {"8.4": wire.KeyfileTimeout, "9.2": 0},
	} {
		w.Must(os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		for version, code := range codes {
			cfg := w.cfg
			cfg.AuthorizedKeysFile = nil
			cfg.SSHD = w.Script("sshd", "[ $1 = -V ] && { echo OpenSSH_"+version+"; exit; }\nprintf '%s\\n' 'authorizedkeysfile .ssh/authorized_keys' 'authorizedkeyscommand "+program+"' 'authorizedkeyscommanduser scralice'\n")
			if _, err := w.open(cfg).Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "scralice"); wire.CodeOf(err) != code {
				t.Errorf("OpenSSH %s, %s: %v", version, script, err)
			}
		}
	}
}

// TestHostileCommand: a command that hangs, prints without end or leaves children behind does not hold a search up, and
// one search runs it a bounded number of times.
func TestHostileCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run, err := os.MkdirTemp("/run", "scrier-keys-")
	w.Must(err)
	t.Cleanup(func() { w.Must(os.RemoveAll(run)) })
	w.Must(os.Chmod(run, 0o755))
	program, count := filepath.Join(run, "program"), filepath.Join(run, "count")
	w.Must(os.WriteFile(count, nil, 0o666))
	w.Must(os.Chmod(count, 0o666))
	cfg := w.cfg
	cfg.AuthorizedKeysFile = nil
	try := func(script, arguments string, keys []ssh.PublicKey) error {
		t.Helper()
		w.Must(os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		cfg.SSHD = w.Script("sshd", "[ $1 = -V ] && { echo OpenSSH_9.2; exit; }\nprintf '%s\\n' 'authorizedkeysfile none' 'authorizedkeyscommand "+program+arguments+"' 'authorizedkeyscommanduser scralice'\n")
		_, err := w.open(cfg).Find(context.Background(), Operator{Keys: keys}, "")
		return err
	}
	one := []ssh.PublicKey{w.key}
	keystest.WantCode(t, try("sleep 3600", "", one), wire.KeyfileTimeout)
	keystest.WantCode(t, try("trap '' TERM INT HUP; while :; do sleep 3600; done", " %k", append(one, keystest.FixedKey(t, 1))), wire.KeyfileTimeout)
	keystest.WantCode(t, try("exec yes '"+strings.Repeat("x", 1000)+"'", "", one), wire.KeyfileUnsupported)
	keystest.WantCode(t, try("exec cat /dev/zero", "", one), wire.KeyfileUnsupported)
	keystest.WantCode(t, try("sleep 3600 & exec >&-; exit 0", "", one), wire.KeyfileTimeout) // its child holds the output open
	keystest.WantCode(t, try("setsid sleep 3 & exit 0", "", one), wire.PubkeyNotAuthorized)
	var many []ssh.PublicKey
	for n := range 60 {
		many = append(many, keystest.FixedKey(t, byte(n)))
	}
	w.User("scrbob")
	try("echo x >>"+count, " %k", many)
	if n := strings.Count(w.Read(count), "x"); n != maxCommands {
		t.Errorf("%d runs of one search", n)
	}
}
