package account

import (
	"path"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParsePasswd(t *testing.T) {
	for line, want := range map[string]Account{
		"ann:x:1001:100:Ann,,,:/home/ann:/bin/bash":              {Login: "ann", UID: 1001, GID: 100, Home: "/home/ann", Shell: "/bin/bash"},
		"ann:x:1001:100::/home//ann/:":                           {Login: "ann", UID: 1001, GID: 100, Home: "/home/ann", Shell: "/bin/sh"},
		"root:x:0:0:root:/root:/bin/bash":                        {Login: "root", Home: "/root", Shell: "/bin/bash"},
		"last:x:4294967294:4294967294::/:/bin/sh":                {Login: "last", UID: lastID, GID: lastID, Home: "/", Shell: "/bin/sh"},
		`EXAMPLE\ann:*:70001:70001:\xff` + "\xff:/h/Zoë:/bin/sh": {Login: `EXAMPLE\ann`, UID: 70001, GID: 70001, Home: "/h/Zoë", Shell: "/bin/sh"},
		"1001:x:7:7::/:/bin/sh":                                  {Login: "1001", UID: 7, GID: 7, Home: "/", Shell: "/bin/sh"},
	} {
		a, ok := parsePasswd(line)
		if !ok || a.Login != want.Login || a.UID != want.UID || a.GID != want.GID || a.Home != want.Home || a.Shell != want.Shell || a.Groups != nil {
			t.Errorf("%q: %+v %v", line, a, ok)
		}
	}
}

// Each of these lines is one change away from a good one.
func TestHostilePasswd(t *testing.T) {
	line := func(field int, value string) string {
		f := strings.Split("ann:x:1001:100::/home/ann:/bin/sh", ":")
		f[field] = value
		return strings.Join(f, ":")
	}
	bad := map[string]string{
		"empty": "", "one word": "ann", "six fields": "ann:x:1001:100::/home/ann", "eight fields": line(6, "/bin/sh:"), "NIS": "+::::::",
		"two lines": line(6, "/bin/sh\n"), "carriage return": line(6, "/bin/sh\r"),
		"relative home": line(5, "home/ann"), "no home": line(5, ""), "long home": line(5, "/"+strings.Repeat("a", maxPath)),
		"long shell": line(6, "/"+strings.Repeat("a", maxPath)), "escape in the shell": line(6, "/bin/\x1b[31msh"),
	}
	for _, login := range []string{"", "-h", ".", "..", "a/b", "../x", "a b", "a\tb", "a\x00", "a\x7f", "\xff", "a\u202eb", "a\u200b", strings.Repeat("x", maxLogin+1)} {
		bad["login "+login] = line(0, login)
	}
	for _, home := range []string{"/home/\n", "/home/\x00", "/a\x1b[2J", "/a\u202eb", "/\xff"} {
		bad["home "+home] = line(5, home)
	}
	for _, id := range []string{"", "-0", "+0", "00", "01001", " 0", "0 ", "0x0", "-1", "4294967295", "4294967296", "18446744073709551616", "1e3", "1_000", "٣", "0\x00"} {
		bad["uid "+id], bad["gid "+id] = line(2, id), line(3, id)
	}
	for name, text := range bad {
		if a, ok := parsePasswd(text); ok {
			t.Errorf("%s: %q is taken for %+v", name, text, a)
		}
	}
}

func TestRegular(t *testing.T) {
	for uid, want := range map[uint32]bool{0: false, 1: false, 999: false, 1000: true, 65533: true, 65534: false, 65535: true, 200_000: true, 4294967293: true, 4294967294: false, 4294967295: false} {
		if Regular(uid, 1000) != want {
			t.Errorf("%d: %v", uid, !want)
		}
	}
	if Regular(0, 0) {
		t.Error("root is a regular user where UID_MIN is 0")
	}
}

func FuzzPasswd(f *testing.F) {
	f.Add("ann:x:1001:100:Ann,,,:/home/ann:/bin/bash")
	f.Add("a:x:0:4294967295::/../..//.:")
	f.Add("::::::")
	f.Fuzz(func(t *testing.T, line string) {
		a, ok := parsePasswd(line)
		if !ok {
			return
		}
		if !ValidLogin(a.Login) || !path.IsAbs(a.Home) || path.Clean(a.Home) != a.Home || a.Shell == "" {
			t.Fatalf("%q: %+v", line, a)
		}
		for _, s := range []string{a.Login, a.Home, a.Shell} {
			if wire.Printable(s) != s || strings.ContainsAny(s, ":\n\x00") {
				t.Fatalf("%q holds %q", line, s)
			}
		}
	})
}
