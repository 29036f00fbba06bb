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

// TestFrom: from= is held against the operator's address as sshd holds it against a connection's, and what
// cannot be told is no yes.
func TestFrom(t *testing.T) {
	t.Parallel()
	key, _ := keystest.NewKey(t)
	k, _ := NewKey(key)
	// Each answer is one letter: yes, no, or maybe. The last is for an operator whose address nobody knows.
	sources := []string{"203.0.113.7", "192.0.2.1", "2001:db8::7", "127.0.0.1", "::ffff:203.0.113.9", ""}
	for from, want := range map[string]string{
		"*":                          "yyyyyy",
		"**,10.0.0.1":                "yyyyyy",
		"0.0.0.0/0":                  "yynyym",
		"0.0.0.0/0,::/0":             "yyyyyy",
		"*.*.*.*":                    "yynyym",
		"*,!203.0.113.0/24":          "nyyynm",
		"!203.0.113.0/24,*":          "nyyynm",
		"*,!203.0.113.7":             "nyyyym",
		"!203.0.113.7":               "nnnnnm",
		"203.0.113.?":                "ynnnym",
		"*,!203.0.113.*":             "nyyynm",
		"2001:db8::/32":              "nnynnm",
		"2001:DB8::7":                "nnynnm",
		"*,!2001:db8:*":              "yynyym",
		"127.0.0.1,::1":              "nnnynm",
		"10.0.0.1/8":                 "nnnnnm", // sshd takes no list with an address that has more bits than its mask
		"*,10.0.0.1/8":               "nnnnnm",
		"*,":                         "nnnnnm",
		"":                           "nnnnnm",
		"*,!evil.example.com":        "mmmmmm", // nobody knows whether the operator is at that host
		"203.0.113.7,!*.example.com": "mnnnnm",
		"*,!localhost":               "mmmmmm",
		"*,!dead.beef":               "mmmmmm",
		"good.example.com":           "nnnnnm",
		"good.example.com,192.0.2.1": "nynnnm",
		"*,!3405803783":              "mmmmmm", // libc may take it for an address
		"!good.example.com,10.0.0.1": "nnnnnm",
	} {
		var got string
		for _, s := range sources {
			a := Query{Keys: []Key{k}, Now: time.Now(), Zone: Zone{Local: time.UTC, UTC: true}}
			if s != "" {
				a.Source = netip.MustParseAddr(s)
			}
			got += map[Standing]string{Eligible: "y", Refused: "n", Restricted: "m"}[a.findIn([]byte(`from="` + from + `" ` + keystest.Text(key) + "\n"))[0].Standing]
		}
		if got != want {
			t.Errorf("from=%q: %s, want %s", from, got, want)
		}
	}
	// With UseDNS sshd knows names, and holds all patterns against them.
	for from, want := range map[string]Standing{
		"*": Eligible, "*,!local*": Restricted, "*,!10.*": Restricted, "*,!10.0.0.0/8": Eligible, "good.example.com": Restricted, "203.0.*": Eligible,
		"!203.0.*,*": Refused, "10.0.0.1": Refused, "1.*": Restricted,
	} {
		a := Query{Keys: []Key{k}, Source: netip.MustParseAddr("203.0.113.7"), DNS: true, Now: time.Now(), Zone: Zone{Local: time.UTC, UTC: true}}
		if got := a.findIn([]byte(`from="` + from + `" ` + keystest.Text(key) + "\n"))[0]; got.Standing != want {
			t.Errorf("from=%q with names: %+v", from, got)
		}
	}
}

// TestEnvironment: what sshd would set and a session would not makes the line unfit.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	key, _ := keystest.NewKey(t)
	k, _ := NewKey(key)
	for acts, want := range map[bool]Standing{false: Eligible, true: Restricted} {
		a := Query{Keys: []Key{k}, Environment: acts, Now: time.Now(), Zone: Zone{Local: time.UTC, UTC: true}}
		if got := a.findIn([]byte(`environment="RESTRICTED=1" ` + keystest.Text(key) + "\n"))[0]; got.Standing != want {
			t.Errorf("%v: %+v", acts, got)
		}
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
	a := Query{Keys: []Key{k}, Source: netip.MustParseAddr("127.0.0.1"), Now: now, Zone: Zone{Local: time.UTC, UTC: true}}
	f.Fuzz(func(t *testing.T, file []byte) {
		got := a.findIn(file)[0]
		if got.Standing > Eligible || got.Reason >= ReasonEnd || (got.Standing == Absent) != (got.Line == 0) {
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
			if again := a.findIn(append(append(bytes.Clone(file), '\n'), file...))[0]; again.Standing != got.Standing {
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
		n, ok := skipOptions([]byte(s))
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
			for _, dns := range []bool{false, true} {
				verdict, why := Query{Source: netip.MustParseAddr("127.0.0.1"), DNS: dns}.from(o.from)
				if (verdict == yes) != (why == NoReason) {
					t.Fatalf("%q: %d because of %q", o.from, verdict, why)
				}
				if all, _ := (Query{DNS: dns}).from(o.from); all == yes && verdict != yes {
					t.Fatalf("%q lets in all, and not 127.0.0.1", o.from)
				}
			}
		}
	})
}

const dsaKey = `ssh-dss AAAAB3NzaC1kc3MAAACBAPY8ZOHY2yFSJA6XYC9HRwNHxaehvx5wOJ0rzZdzoSOXxbETW6ToHv8D1UJ/z+zHo9Fiko5XybZnDIaBDHtblQ+Yp7StxyltHnXF1YLfKD1G4T6JYrdHYI14Om1eg9e4NnCRleaqoZPF3UGfZia6bXrGTQf3gJq2e7Yisk/gF+1VAAAAFQDb8D5cvwHWTZDPfX0D2s9Rd7NBvQAAAIEAlN92+Bb7D4KLYk3IwRbXblwXdkPggA4pfdtW9vGfJ0/RHd+NjB4eo1D+0dix6tXwYGN7PKS5R/FXPNwxHPapcj9uL1Jn2AWQ2dsknf+i/FAAvioUPkmdMc0zuWoSOEsSNhVDtX3WdvVcGcBq9cetzrtOKWOocJmJ80qadxTRHtUAAACBAN7CY+KKv1gHpRzFwdQm7HK9bb1LAo2KwaoXnadFgeptNBQeSXG1vO+JsvphVMBJc9HSn24VYtYtsMu74qXviYjziVucWKjjKEb11juqnF0GDlB3VVmxHLmxnAz643WK42Z7dLM5sY29ouezv4Xz2PuMch5VGPP+CDqzCM4loWgV test`
