package proxy

import (
	"strings"
	"testing"
)

func TestSSH(t *testing.T) {
	m := newMachine(t)
	for _, c := range []struct {
		name    string
		args    []string
		in, out string
		errs    string
		status  int
	}{
		{name: "words", args: []string{"x", "echo a; echo b >&2"}, out: "a\n", errs: "b\n"},
		{name: "status", args: []string{"x", "exit 42"}, status: 42},
		{name: "signal", args: []string{"x", "kill -TERM $$"}, status: 255},
		{name: "input", args: []string{"x", "cat"}, in: "a\x00b\r\n\xff", out: "a\x00b\r\n\xff"},
		{name: "shell", args: []string{"-T", "x"}, in: "echo hi; exit 3\n", out: "hi\n", status: 3},
		{name: "terminal", args: []string{"-tt", "x", "tty | cut -c1-8; stty size; exit 5"}, out: "/dev/pts\r\n24 80\r\n", status: 5},
		{name: "subsystem", args: []string{"-s", "x", "greet"}, out: "hello\n"},
		{name: "no such subsystem", args: []string{"-s", "x", "nothing"}, errs: "scrier: the machine could not connect, or listen, as the forward wants: ssh: subsystem request failed (forward_failed)\n", status: 255},
		{name: "environment", args: []string{"-o", "SetEnv=LC_SCRIER=yes PATH=/no", "x", "echo $LC_SCRIER; test $PATH != /no"}, out: "yes\n"},
		{name: "no session", args: []string{"nobody@x", "true"}, errs: "scrier: no envoy has the name nobody (no_such_envoy)\nConnection closed by UNKNOWN port 65535\n", status: 255},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := m.ssh(c.args...)
			cmd.Stdin = strings.NewReader(c.in)
			r := m.result(cmd)
			r.errs = strings.ReplaceAll(r.errs, "\r\n", "\n")
			if r.out != c.out || r.status != c.status || r.errs != c.errs && c.name != "terminal" {
				t.Errorf("got %q, %q and %d", r.out, r.errs, r.status)
			}
		})
	}
}

// TestBanner: a person who does not see what this process says reads it as a banner of SSH's.
func TestBanner(t *testing.T) {
	m := newMachine(t)
	c := m.ssh("nobody@x", "true")
	c.Env = append(c.Env, "UNSEEN=1")
	if r := m.result(c); r.status != 255 || !strings.HasPrefix(r.errs, "scrier: no envoy has the name nobody (no_such_envoy)") {
		t.Errorf("got %q and %d", r.errs, r.status)
	}
	c = m.ssh("x", "echo fine")
	c.Env = append(c.Env, "UNSEEN=1", "SAY=Authorized use only.\n")
	if r := m.result(c); r.status != 0 || r.out != "fine\n" || r.errs != "Authorized use only.\n" {
		t.Errorf("got %q, %q and %d", r.out, r.errs, r.status)
	}
}

// TestRefused: what is not allowed is said where the person looks.
func TestRefused(t *testing.T) {
	m := newMachine(t)
	m.write("refused", "shell exec download forward reverse")
	const why = "scrier: the relay or the machine does not allow this use of a session: web1 does not allow "
	for _, c := range []struct{ name, want string }{
		{"ssh -F config x true", why + "exec (channel_not_allowed)\n"},
		{"ssh -F config -tt x", why + "shell (channel_not_allowed)\n"},
		{"sftp -F config -b /dev/null x", why + "download (channel_not_allowed)\n"},
		{"ssh -F config -W 127.0.0.1:1 x", "open failed: administratively prohibited: the relay or the machine does not allow this use of a session: web1 does not allow forward (channel_not_allowed)"},
		{"ssh -F config -o ExitOnForwardFailure=yes -N -R 0:127.0.0.1:1 x", "scrier: the machine does not listen at localhost:0: the relay or the machine does not allow this use of a session: web1 does not allow reverse (channel_not_allowed)\n"},
	} {
		f := strings.Fields(c.name)
		r := m.result(m.command(f[0], f[1:]...))
		if r.status != 255 || !strings.Contains(strings.ReplaceAll(r.errs, "\r\n", "\n"), c.want) {
			t.Errorf("%s: got %q and %d", c.name, r.errs, r.status)
		}
	}
}

// TestTools runs what people have, as it is.
func TestTools(t *testing.T) {
	m := newMachine(t)
	m.fine(m.command("sh", "-c", `mkdir -p tree/a 'tree/b c' && head -c 3000000 /dev/urandom >tree/a/random && : >tree/empty && printf '#!/bin/sh\n' >'tree/b c/x y' && chmod 755 'tree/b c/x y' && touch -d 2001-02-03 tree/a/random
cat >ssh <<EOF
#!/bin/sh
exec /usr/bin/ssh -F '$PWD/config' "\$@"
EOF
chmod 755 ssh`))
	for _, c := range []struct{ name, script string }{
		{"scp", `scp -q -F config -rp tree "x:$DIR/scp"; scp -q -F config -rp "x:$DIR/scp" scp.back; diff -r tree scp.back; test scp.back/a/random -ot config; test -x 'scp.back/b c/x y'`},
		{"scp as it was", `scp -q -O -F config -rp tree "x:$DIR/scp.O"; scp -q -O -F config -rp "x:$DIR/scp.O" scp.O.back; diff -r tree scp.O.back`},
		{"sftp", `printf 'put -Rp tree %s\nget -Rp %s sftp.back\nbye\n' "$DIR/sftp" "$DIR/sftp" | sftp -q -F config -b - x >/dev/null; diff -r tree sftp.back`},
		{"rsync", `ln -s a tree/link; rsync -a tree/ "x:$DIR/rsync/"; rm tree/link; rsync -a "x:$DIR/rsync/" rsync.back; test "$(readlink rsync.back/link)" = a; diff -r -x link tree rsync.back; test -z "$(rsync -ai "x:$DIR/rsync/" rsync.back)"`},
		{"git", `git init -q --bare bare.git; git clone -q "x:$DIR/bare.git" clone 2>/dev/null; cd clone; cp -r ../tree .; git add .; git -c user.name=a -c user.email=a@b commit -qm one; git push -q origin HEAD:main; cd ..; git clone -q -b main "ssh://x$DIR/bare.git" again; diff -r -x .git clone again`},
		{"pipes", `tar c tree | ssh -F config x "mkdir $DIR/pipes; tar x -C $DIR/pipes"; mkdir back; ssh -F config x "tar c -C $DIR/pipes tree" | tar x -C back; diff -r tree back/tree`},
		{"closed output", `test "$(ssh -F config x yes | head -1)" = y`},
		{"exit statuses", `ssh -F config -M -N -f x; trap 'ssh -F config -O exit x 2>/dev/null' EXIT; for i in $(seq 1 100); do ssh -F config x 'cat >/dev/null' <config; done`},
		{"one connection, many programs", `ssh -F config -M -N -f x; for i in $(seq 1 30); do ssh -F config x "echo $i" & done | sort -n | tr '\n' ' ' | grep -q "^1 2 3 .* 30 $"; ssh -F config -O exit x 2>/dev/null`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := m.command("sh", "-ec", c.script)
			cmd.Env = append(cmd.Env, "GIT_SSH="+m.path("ssh"), "GIT_CONFIG_GLOBAL=/dev/null", "RSYNC_RSH="+m.path("ssh"), "DIR="+m.dir)
			if r := m.result(cmd); r.status != 0 || r.out != "" {
				t.Errorf("exit status %d: %s%s", r.status, r.out, r.errs)
			}
		})
	}
}
