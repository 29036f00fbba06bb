package keys

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/keys/keystest"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// TestPlantedKey: mallory has the operator's public key, too (F3, H21).
func TestPlantedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mallory := w.User("scrmallory")
	w.PutKeys(mallory, keystest.Text(w.key)+"\n")
	w.PutKeys(w.User("scrzoe"), "# nothing\n")
	ctx := context.Background()
	_, err := w.k.Find(ctx, Operator{Keys: []ssh.PublicKey{w.key}}, "")
	keystest.WantCode(t, err, wire.AmbiguousLogin)
	if got := wire.DetailOf(err); got != "scralice, scrmallory" {
		t.Errorf("detail %q", got)
	}
	m, err := w.k.Find(ctx, Operator{Keys: []ssh.PublicKey{w.key}}, "scralice")
	if err != nil || m.Login != "scralice" {
		t.Errorf("%v %v", m.Login, err)
	}
	// The policy of the machine can decide it too.
	cfg := w.cfg
	cfg.AllowedLogins = []string{"scralice"}
	k := w.open(cfg)
	if m, err = k.Find(ctx, Operator{Keys: []ssh.PublicKey{w.key}}, ""); err != nil || m.Login != "scralice" {
		t.Errorf("%v %v", m.Login, err)
	}
	_, err = k.Find(ctx, Operator{Keys: []ssh.PublicKey{w.key}}, "scrmallory")
	keystest.WantCode(t, err, wire.LoginNotAllowed)
}

func TestFindRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger, _ := keystest.NewKey(t)
	ctx := context.Background()
	for _, c := range []struct {
		name, login string
		keys        []ssh.PublicKey
		code        wire.Code
	}{
		{"unknown key", "", []ssh.PublicKey{stranger}, wire.PubkeyNotAuthorized},
		{"unknown key, named", "scralice", []ssh.PublicKey{stranger}, wire.PubkeyNotAuthorized},
		{"no keys", "", nil, wire.PubkeyNotAuthorized},
		{"weak key", "", []ssh.PublicKey{keystest.RSAKey(t, 1024)}, wire.PubkeyNotAuthorized},
		{"too many keys", "", slices.Repeat([]ssh.PublicKey{stranger}, worker.MaxKeys+1), wire.BadRequest},
		{"no such login", "scrnobody", []ssh.PublicKey{w.key}, wire.PubkeyNotAuthorized},
		{"root", "root", []ssh.PublicKey{w.key}, wire.LoginNotAllowed},
		{"a number", "0", []ssh.PublicKey{w.key}, wire.PubkeyNotAuthorized},
		{"an option", "-s", []ssh.PublicKey{w.key}, wire.BadRequest},
		{"a path", "../scralice", []ssh.PublicKey{w.key}, wire.BadRequest},
		{"a colon", "scralice:x", []ssh.PublicKey{w.key}, wire.BadRequest},
		{"two words", "scralice root", []ssh.PublicKey{w.key}, wire.BadRequest},
		{"a newline", "scralice\n", []ssh.PublicKey{w.key}, wire.BadRequest},
		{"system login", "sync", []ssh.PublicKey{w.key}, wire.LoginNotAllowed},
	} {
		_, err := w.k.Find(ctx, Operator{Keys: c.keys}, c.login)
		if got := wire.CodeOf(err); got != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.k.Find(gone, Operator{Keys: []ssh.PublicKey{w.key}}, ""); err == nil {
		t.Error("found with a context that has ended")
	}
}

// TestRestricted: lines that hold the key and give less than a shell, or give it on terms that a session
// cannot keep (H19, H20). The refusal names the login, the file, the line in it and the option.
func TestRestricted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.AuthorizedKeysFile = nil
	w.cfg.SSHD = w.Script("sshd", "[ $1 = -V ] && { echo OpenSSH_9.2; exit; }\nprintf 'authorizedkeysfile .ssh/authorized_keys\\npermituserenvironment A*\\n'\n")
	w.k = w.open(w.cfg)
	key := keystest.Text(w.key)
	for file, want := range map[string]struct {
		line int
		why  string
	}{
		`command="/bin/true" ` + key:          {1, "command="},
		`no-pty ` + key:                       {1, "no-pty"},
		"# me\n\nrestrict " + key:             {3, "restrict without pty"},
		`from="192.0.2.7" ` + key:             {1, "from= does not let in your address 198.51.100.9"},
		`from="*,!198.51.100.0/24" ` + key:    {1, "from= does not let in your address 198.51.100.9"},
		`from="*,!evil.example.com" ` + key:   {1, "from= has host names"},
		`expiry-time="20200101" ` + key:       {1, "expiry-time"},
		`frob ` + key:                         {1, "not valid"},
		`cert-authority ` + key:               {1, "cert-authority"},
		`principals="x" ` + key:               {1, "principals="},
		`environment="A=b" ` + key:            {1, "environment="},
		`verify-required ` + key:              {1, "verify-required"},
		`command="x" ` + key + "\n" + key:     {1, "command="},
		`from="127.1" ` + key + "\n" + key:    {1, "more than one way"},
		`frob ` + key + "\nno-pty " + key:     {2, "no-pty"},
		`no-pty ` + key + "\nrestrict " + key: {1, "no-pty"},
	} {
		w.PutKeys(w.u, file+"\n")
		_, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}, Source: netip.MustParseAddr("198.51.100.9")}, "")
		keystest.WantCode(t, err, wire.KeyRestricted)
		if got, begin := wire.DetailOf(err), fmt.Sprintf("the key of scralice, line %d of %s: ", want.line, w.u.File()); !strings.HasPrefix(got, begin) || !strings.Contains(got, want.why) {
			t.Errorf("%s: %s", file, got)
		}
	}
	// A relay that does not say where the operator is cannot open a line that says from where.
	for from, code := range map[string]wire.Code{"198.51.100.0/24": wire.KeyRestricted, "*,!192.0.2.1": wire.KeyRestricted, "*": 0, "0.0.0.0/0,::/0": 0} {
		w.PutKeys(w.u, `from="`+from+`" `+key+"\n")
		_, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "")
		if wire.CodeOf(err) != code || code != 0 && !strings.Contains(wire.DetailOf(err), "update the relay") {
			t.Errorf("from=%s: %v", from, err)
		}
	}
	// A second key of the operator's is not barred by the first.
	second, _ := keystest.NewKey(t)
	w.PutKeys(w.u, "no-pty "+key+"\n"+keystest.Text(second)+"\n")
	m, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key, second}}, "")
	if err != nil || string(m.Key.Marshal()) != string(second.Marshal()) {
		t.Errorf("%v", err)
	}
}

// TestSeveralFiles: sshd reads several files in order, and so do we.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.AuthorizedKeysFile = []string{"%h/.ssh/authorized_keys", ".ssh/authorized_keys2"}
	w.k = w.open(w.cfg)
	second := w.u.SSH("authorized_keys2")
	put := func(first, other string) {
		t.Helper()
		w.PutKeys(w.u, first)
		w.Must(os.WriteFile(second, []byte(other), 0o600))
		w.Own(w.u, second)
	}
	key := keystest.Text(w.key)
	put("# nothing\n", key)
	if m := w.find(); m.File != second {
		t.Errorf("found in %s", m.File)
	}
	in, err := w.install()
	w.Must(err)
	if len(keystest.Usable(w.Read(second))) != 1 {
		t.Error("not in the second file")
	}
	w.Must(in.Remove(context.Background()))
	if got := w.Read(second); got != key {
		t.Errorf("%q", got)
	}
	put(`expiry-time="20200101" `+key+"\n", key)
	if m := w.find(); m.File != second {
		t.Errorf("found in %s", m.File)
	}
	put("no-pty "+key+"\n", key)
	_, err = w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "")
	keystest.WantCode(t, err, wire.KeyRestricted)
	w.Must(os.Remove(w.u.File()))
	w.Must(os.Symlink("/etc/hostname", w.u.File())) // one bad file does not hide the other
	if m := w.find(); m.File != second {
		t.Errorf("found in %s", m.File)
	}
}

// TestSharedFile: one file for two users would give each the other's sessions (H25).
func TestSharedFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := w.User("scrbob")
	bob.Home = w.u.Home
	w.Write()
	_, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "")
	if code := wire.CodeOf(err); code != wire.PubkeyNotAuthorized || !strings.Contains(err.Error(), "keyfile_shared") {
		t.Errorf("%v", err)
	}
	// The same holds when the other is root, who is not served.
	w.Users = w.Users[:1]
	w.Write()
	w.Must(os.WriteFile(filepath.Join(w.Dir, "passwd"), []byte(w.Read(filepath.Join(w.Dir, "passwd"))+"admin:x:0:0::"+w.u.Home+":/bin/bash\n"), 0o644))
	_, err = w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "")
	keystest.WantCode(t, err, wire.KeyfileShared)
	cfg := w.cfg
	cfg.AuthorizedKeysFile = []string{filepath.Join(w.Dir, "all_keys")}
	_, err = w.open(cfg).Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "scralice")
	keystest.WantCode(t, err, wire.KeyfileShared)
}

// TestUIDs: entries that would be root or nobody's under another spelling (H22).
func TestUIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for uid, code := range map[string]wire.Code{
		"0": wire.LoginNotAllowed, "00": wire.PubkeyNotAuthorized, "+0": wire.PubkeyNotAuthorized, "-0": wire.PubkeyNotAuthorized, "-1": wire.PubkeyNotAuthorized,
		" 0": wire.PubkeyNotAuthorized, "0x0": wire.PubkeyNotAuthorized, "": wire.PubkeyNotAuthorized, "4294967295": wire.PubkeyNotAuthorized,
		"4294967296": wire.PubkeyNotAuthorized, "18446744073709551616": wire.PubkeyNotAuthorized, "999": wire.LoginNotAllowed, "65534": wire.LoginNotAllowed,
		"4294967294": wire.LoginNotAllowed, "1": wire.LoginNotAllowed, "٣": wire.PubkeyNotAuthorized,
	} {
		w.Must(os.WriteFile(filepath.Join(w.Dir, "passwd"), []byte("toor:x:"+uid+":0::"+w.u.Home+":/bin/bash\n"), 0o644))
		for _, login := range []string{"toor", ""} {
			_, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, login)
			want := code
			if login == "" {
				want = wire.PubkeyNotAuthorized
			}
			if got := wire.CodeOf(err); got != want {
				t.Errorf("uid %q, login %q: %v", uid, login, err)
			}
		}
	}
	// A system login is served if AllowedLogins names it, root never.
	cfg := w.cfg
	cfg.AllowedLogins = []string{"toor"}
	k := w.open(cfg)
	for uid, ok := range map[string]bool{"0": false, fmt.Sprint(w.u.UID): true, "00": false} {
		w.Must(os.WriteFile(filepath.Join(w.Dir, "passwd"), []byte("toor:x:"+uid+":"+fmt.Sprint(w.u.UID)+"::"+w.u.Home+":/bin/bash\n"), 0o644))
		for _, login := range []string{"toor", ""} {
			if _, err := k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, login); (err == nil) != ok {
				t.Errorf("uid %q, allowed, login %q: %v", uid, login, err)
			}
		}
	}
}

// TestLoginable: an account that cannot log in is refused before anything is installed (H23).
func TestLoginable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	today := time.Now().Unix() / 86400
	shadow := func(fields string) func() { return func() { w.Shadow = "scralice:" + fields + "\n" } }
	for name, c := range map[string]struct {
		prepare func()
		code    wire.Code
	}{
		"ordinary":          {shadow("$y$x:19000:0:99999:7:::"), 0},
		"no password":       {shadow("*:19000:0:99999:7:::"), 0},
		"locked, with PAM":  {shadow("!:19000:0:99999:7:::"), 0},
		"expired":           {shadow(fmt.Sprintf("*:19000:0:99999:7::%d:", today-1)), wire.AccountNotLoginable},
		"expires today":     {shadow(fmt.Sprintf("*:19000:0:99999:7::%d:", today)), 0},
		"expired long ago":  {shadow("*:19000:0:99999:7::1:"), wire.AccountNotLoginable},
		"password inactive": {shadow(fmt.Sprintf("*:%d:0:30:7:5::", today-40)), wire.AccountNotLoginable},
		"password old":      {shadow(fmt.Sprintf("*:%d:0:30:7:::", today-40)), 0},
		"no entry":          {func() { w.Shadow = "" }, 0},
		"nologin":           {func() { w.u.Shell = "/usr/sbin/nologin" }, wire.AccountNotLoginable},
		"false":             {func() { w.u.Shell = "/bin/false" }, wire.AccountNotLoginable},
		"not in shells":     {func() { w.u.Shell = "/usr/bin/passwd" }, 0}, // sshd starts it
		"not there":         {func() { w.u.Shell = "/usr/bin/nonesuch" }, wire.AccountNotLoginable},
		"not executable":    {func() { w.u.Shell = "/etc/passwd" }, wire.AccountNotLoginable},
		"a folder":          {func() { w.u.Shell = "/usr" }, wire.AccountNotLoginable},
		"no shell":          {func() { w.u.Shell = "" }, 0},
	} {
		w.Shadow, w.u.Shell = "", "/bin/bash"
		c.prepare()
		w.Write()
		for _, login := range []string{"", "scralice"} {
			_, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, login)
			if got := wire.CodeOf(err); got != c.code {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := w.Read(w.u.File()); strings.Contains(got, keystest.Marker) {
			t.Errorf("%s: installed", name)
		}
	}
}

// TestManyUsers: a directory of 50,000 (H24).
func TestManyUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var b strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&b, "ldap%d:x:%d:%d::/nonexistent/%d:/bin/bash\n", i, 200_000+i, 200_000, i)
	}
	passwd := filepath.Join(w.Dir, "passwd")
	w.Must(os.WriteFile(passwd, []byte(w.Read(passwd)+b.String()), 0o644))
	if m, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, "scralice"); err != nil || m.Login != "scralice" {
		t.Errorf("%v %v", m, err)
	}
	// A scan looks at the first 2,000 and says that it was partial. Only the listing is done
	// here: 2,000 workers would keep the machine busy for the other tests.
	found, others, err := w.k.accounts(context.Background(), "")
	w.Must(err)
	all, unread := w.k.candidates(context.Background(), found, others, true)
	if len(found) != 50_001 || len(all) != maxHomes || len(unread) != 50_001-maxHomes {
		t.Errorf("%d found, %d looked at, %d not", len(found), len(all), len(unread))
	}
	// An answer without end is cut.
	w.Script("getent", "exec yes scralice:x:5000:5000::/:/bin/sh\n")
	if _, err := w.k.Find(context.Background(), Operator{Keys: []ssh.PublicKey{w.key}}, ""); err == nil {
		t.Error("found in a directory without end")
	}
}
