package forward

import (
	"bufio"
	"bytes"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"scrier/wire"
)

// texts are specifications, good and bad.
var texts = []string{
	"8080:db:80", "[::1]:8080:[2001:db8::1]:80", "*:8080:db:80", ":8080:db:80", "/tmp/a:/tmp/b", "8080:/tmp/b", "/tmp/a:db:80", "lo:8080:/tmp/b",
	"http:db:https", "a/b:c/d", "0:db:80", "8080:db", "8080:db:0", "8080:db:80:", "1:2:3:4:5", "8080:db:80x", "[8080]:db:80", `80\:80:h:1`, "0.0.0.0:1:h:2",
	"1080", "*:1080", ":1080", "[::]:1080", "/tmp/s", "0", "1:2:3", "localhost:socks", "db:80", "[::1]:80", "db:0", "db", "lo:8080:db", "-1:db:80", "65536:db:80",
	"65535:db:65535", "", ":", "::", ":::", "[", "[]", "[a", "[a]b:1", `a\`, "1:[/x]:2", "[/tmp/a:b]:80", "/a:1:2:3", "1:/a:2", "+1:db:80", " 8080:db:80",
	`/tmp/a\:b:/tmp/c`, "localhost:8080:127.0.0.1:80", "/tmp/s:localhost:0", "8080:[db]:80", "[db]:80", "1:db:+80",
}

// What a specification means is what it means to ssh, but for what has no meaning: a host that is empty, one that is a path,
// and a target of -D.
func TestParseAsSSH(t *testing.T) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal("no ssh is installed: ./just parts does it")
	}
	for _, c := range []struct {
		flag, keyword string
		parse         func(string) (Spec, error)
	}{
		{"-L", "localforward", ParseLocal}, {"-R", "remoteforward", ParseRemote}, {"-D", "dynamicforward", ParseDynamic},
	} {
		for _, text := range texts {
			out, err := exec.Command(ssh, "-F", "none", "-G", c.flag+text, "host").Output()
			if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
				t.Fatal(err)
			} else if ok && exit.ExitCode() != 255 {
				t.Fatal(exit)
			}
			var want string
			for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
				if rest, ok := strings.CutPrefix(s.Text(), c.keyword+" "); ok {
					want = rest
				}
			}
			spec, err := c.parse(text)
			got := ""
			if err == nil {
				got = asSSH(spec.Listen)
				switch {
				case c.flag == "-D":
				case spec.Socks():
					got += " [socks]:0"
				default:
					got += " " + asSSH(spec.Connect)
				}
			}
			if strings.Contains(want, " []:") || strings.Contains(want, "[/") || c.flag == "-D" && strings.Contains(strings.ReplaceAll(text, `\:`, ""), ":") && strings.Contains(text, "/") {
				want = ""
			}
			if got != want || err != nil && wire.CodeOf(err) != wire.Usage {
				t.Errorf("%s %q is %q, and with ssh %q (%v)", c.flag, text, got, want, err)
			}
		}
	}
}

// asSSH writes an address as ssh -G does.
func asSSH(a Address) string {
	switch {
	case a.Path != "":
		return a.Path
	case !a.Given:
		return strconv.Itoa(int(a.Port))
	}
	return "[" + a.Host + "]:" + strconv.Itoa(int(a.Port))
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"db:80": "db:80", "[::1]:80": "[::1]:80", "/run/x": "/run/x", "db:ssh": "db:22", "80": "", "db:0": "", "db": "", "": "", ":80": "", "::1:80": "",
	} {
		a, err := ParseTarget(text)
		if got := a.String(); err == nil && got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
}

// A port that is too large is told, in place of the whole grammar.
func TestNoPort(t *testing.T) {
	for _, text := range []string{"80808:h:1", "1:h:65536", "99999999999999999999:h:1"} {
		if _, err := ParseLocal(text); err == nil || !strings.Contains(wire.DetailOf(err), "is no port: ports are up to 65535") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ParseLocal("8080:h"); err == nil || !strings.Contains(wire.DetailOf(err), localForm) {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range texts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (Spec, error){ParseLocal, ParseRemote, ParseDynamic} {
			s, err := parse(text)
			if err == nil && (len(s.Connect.Host) > wire.MaxTarget || len(s.Listen.Path) > maxPath || !s.Socks() && s.Connect.Path == "" && s.Connect.Port == 0) {
				t.Errorf("%q is %+v", text, s)
			}
			if d := wire.DetailOf(err); wire.Printable(d) != d {
				t.Errorf("%q", d)
			}
		}
	})
}
