package line

import (
	"bytes"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/keys/keystest"
)

func TestWeakKeysNeverMatch(t *testing.T) {
	t.Parallel()
	for bits, ok := range map[int]bool{1024: false, 2047: false, 2048: true, 3072: true} {
		if _, got := NewKey(keystest.RSAKey(t, bits)); got != ok {
			t.Errorf("RSA %d: %v", bits, got)
		}
	}
	dsa, _, _, _, err := ssh.ParseAuthorizedKey([]byte(dsaKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := NewKey(dsa); ok {
		t.Error("DSA matches")
	}
	if got := judge(t, dsaKey+"\n", dsa, time.Now()); got.Standing != Absent {
		t.Errorf("DSA: %v", got)
	}
}

func TestRSALine(t *testing.T) {
	t.Parallel()
	key := keystest.RSAKey(t, 2048)
	for line, want := range map[string]Standing{
		keystest.Text(key):                       Eligible,
		"no-pty " + keystest.Text(key):           Restricted,
		"rsa-sha2-256 " + keystest.Text(key)[8:]: Absent, // sshd accepts this name too, but nobody uses it in a file
	} {
		if got := judge(t, line, key, time.Now()); got.Standing != want {
			t.Errorf("%.30s: %v", line, got)
		}
	}
}

func TestCertificateStandsForItsKey(t *testing.T) {
	t.Parallel()
	key, _ := keystest.NewKey(t)
	_, ca := keystest.NewKey(t)
	cert := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity, ValidPrincipals: []string{"root"}}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]Standing{
		keystest.Text(key): Eligible,
		"cert-authority " + keystest.Text(ca.PublicKey()):          Absent,
		keystest.Text(ca.PublicKey()):                              Absent,
		"cert-authority " + keystest.Text(key):                     Refused,
		`cert-authority,principals="root,a" ` + keystest.Text(key): Refused,
		keystest.Text(cert):                                        Absent,
	} {
		if got := judge(t, line, cert, time.Now()); got.Standing != want {
			t.Errorf("%.40s: %v", line, got)
		}
	}
}

func TestSourcesAreNarrowed(t *testing.T) {
	t.Parallel()
	key, _ := keystest.NewKey(t)
	k, _ := NewKey(key)
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	a := Query{Keys: []Key{k}, Sources: []netip.Addr{v4, v6}, Now: time.Now(), Zone: Zone{Local: time.UTC, UTC: true}}
	for from, want := range map[string][]netip.Addr{
		"127.0.0.1": {v4}, "::1": {v6}, "::/64": {v6}, "*": {v4, v6}, "!127.0.0.1,*": {v6}, "127.0.0.1,::1": {v4, v6}, "10.0.0.1": nil,
	} {
		got := a.Find([]byte(`from="` + from + `" ` + keystest.Text(key) + "\n"))[0]
		if len(got.Sources) != len(want) || (len(want) > 0 && got.Sources[0] != want[0]) || (got.Standing == Eligible) != (len(want) > 0) {
			t.Errorf("%s: %+v", from, got)
		}
	}
	a.Names = []string{"localhost"} // sshd with UseDNS yes
	if got := a.Find([]byte(`from="*,!local*" ` + keystest.Text(key) + "\n"))[0]; got.Standing != Restricted {
		t.Errorf("a negated name: %+v", got)
	}
}

// Old sshd refuse a line whose time has a Z.
func TestOldTimes(t *testing.T) {
	t.Parallel()
	z := Zone{Local: time.UTC}
	if _, ok := parseOptions(`expiry-time="20380101Z"`, z); ok {
		t.Error("Z is understood")
	}
	if o, ok := parseOptions(`expiry-time="20380101"`, z); !ok || o.validBefore.Year() != 2038 {
		t.Errorf("%v %v", o, ok)
	}
}

func FuzzLine(f *testing.F) {
	key, other, now := keystest.FixedKey(f, 1), keystest.FixedKey(f, 2), fixedTime()
	for _, c := range lineCases() {
		if file := fill(c.file, key, other, now); len(file) < 4096 {
			f.Add([]byte(file))
		}
	}
	k, _ := NewKey(key)
	a := Query{Keys: []Key{k}, Sources: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Now: now, Zone: Zone{Local: time.UTC, UTC: true}}
	f.Fuzz(func(t *testing.T, file []byte) {
		got := a.Find(file)[0]
		if got.Standing > Eligible || got.Reason >= ReasonEnd || (got.Standing == Eligible) != (len(got.Sources) == 1) {
			t.Fatalf("%+v of %q", got, file)
		}
		squeezed := bytes.Map(func(r rune) rune {
			if r == '\r' || r == '\v' || r == '\f' {
				return -1
			}
			return r
		}, file)
		if got.Standing != Absent && !bytes.Contains(squeezed, []byte(k.Text)) {
			t.Fatalf("found in %q", file)
		}
		// More lines after the deciding one change nothing.
		if got.Standing >= Restricted {
			if again := a.Find(append(append(bytes.Clone(file), '\n'), file...))[0]; again.Standing != got.Standing {
				t.Fatalf("%+v, then %+v", got, again)
			}
		}
	})
}

func FuzzOptions(f *testing.F) {
	for _, s := range []string{
		`restrict,pty,from="127.0.0.1,::1",expiry-time="20261123160000Z"`, `command="a \" b",no-pty`, `environment="A=b",permitopen="[::1]:22"`,
		`from="!10.0.0.0/8,*"`, `tunnel="1"`, `,,pty,`, `principals="a",cert-authority`, "expiry-time=\"20260231\"",
	} {
		f.Add(s)
	}
	z := Zone{Local: time.UTC, UTC: true}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := skipOptions(s)
		if n < 0 || n > len(s) {
			t.Fatalf("skipped %d of %q", n, s)
		}
		o, valid := parseOptions(s, z)
		if !valid || !ok {
			return
		}
		// What follows the options is not looked at.
		if again, valid := parseOptions(s[:n]+" x", z); n > 0 && (!valid || again.pty != o.pty || again.from != o.from) {
			t.Fatalf("%q: %+v, with more behind: %+v", s, o, again)
		}
		// restrict,pty at the head can only take away.
		if more, valid := parseOptions("no-pty,"+s, z); valid && more.pty && !o.pty {
			t.Fatalf("%q gives a terminal only after no-pty", s)
		}
		if o.fromSet {
			_ = fromMatches(o.from, netip.MustParseAddr("127.0.0.1"), []string{"localhost"})
		}
	})
}

const dsaKey = `ssh-dss AAAAB3NzaC1kc3MAAACBAPY8ZOHY2yFSJA6XYC9HRwNHxaehvx5wOJ0rzZdzoSOXxbETW6ToHv8D1UJ/z+zHo9Fiko5XybZnDIaBDHtblQ+Yp7StxyltHnXF1YLfKD1G4T6JYrdHYI14Om1eg9e4NnCRleaqoZPF3UGfZia6bXrGTQf3gJq2e7Yisk/gF+1VAAAAFQDb8D5cvwHWTZDPfX0D2s9Rd7NBvQAAAIEAlN92+Bb7D4KLYk3IwRbXblwXdkPggA4pfdtW9vGfJ0/RHd+NjB4eo1D+0dix6tXwYGN7PKS5R/FXPNwxHPapcj9uL1Jn2AWQ2dsknf+i/FAAvioUPkmdMc0zuWoSOEsSNhVDtX3WdvVcGcBq9cetzrtOKWOocJmJ80qadxTRHtUAAACBAN7CY+KKv1gHpRzFwdQm7HK9bb1LAo2KwaoXnadFgeptNBQeSXG1vO+JsvphVMBJc9HSn24VYtYtsMu74qXviYjziVucWKjjKEb11juqnF0GDlB3VVmxHLmxnAz643WK42Z7dLM5sY29ouezv4Xz2PuMch5VGPP+CDqzCM4loWgV test`
