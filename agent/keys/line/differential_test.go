package line

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/keys/keystest"
)

// In a case's file {K} is the operator's key, {T} {B} its two halves, {O} another key, {PAST}
// {FUTURE} local times. want is our verdict.
type lineCase struct {
	name string
	file string
	want Standing
}

func lineCases() []lineCase {
	long := strings.Repeat("x", 70_000)
	tooLong := strings.Repeat("x", maxLine)
	return []lineCase{
		{"plain", "{K}\n", Eligible},
		{"comment", "{K} me@home with words\n", Eligible},
		{"no newline", "{K}", Eligible},
		{"CRLF", "{K}\r\n", Eligible},
		{"CRLF and comment", "{K} me\r\n", Eligible},
		{"CR only", "{O}\r{K}\r", Absent},
		{"BOM", "\xef\xbb\xbf{K}\n", Absent},
		{"leading NUL", "\x00{K}\n", Absent},
		{"NUL after the key", "{K}\x00junk\n", Eligible},
		{"NUL in the comment", "{K} a\x00b\n", Eligible},
		{"NUL before the options", "no-pty\x00 {K}\n", Absent},
		{"blanks before", " \t {K}\n", Eligible},
		{"blanks between", "{T} \t  {B}\n", Eligible},
		{"vertical tab before", "\v{K}\n", Absent},
		{"form feed inside", "{T} {B}\f\n", Eligible},
		{"invalid UTF-8 comment", "{K} \xff\xfe\n", Eligible},
		{"comment line", "#{K}\n", Absent},
		{"comment after blanks", "  # {K}\n", Absent},
		{"other key", "{O}\n", Absent},
		{"other then mine", "{O}\n{K}\n", Eligible},
		{"key in a comment", "{O} {K}\n", Absent},
		{"bad base64", "{T} {B}!\n", Absent},
		{"unpadded junk", "{T} {B}A\n", Absent},
		{"padded", "{T} {B}=\n", Absent},
		{"wrong type", "ssh-rsa {B}\n", Absent},
		{"type twice", "{T} {K}\n", Refused},
		{"upper case type", "SSH-ED25519 {B}\n", Absent},
		{"number first (ssh1)", "1024 {K}\n", Refused},

		{"restrict,pty", "restrict,pty {K}\n", Eligible},
		{"pty,restrict", "pty,restrict {K}\n", Restricted},
		{"restrict", "restrict {K}\n", Restricted},
		{"no-pty", "no-pty {K}\n", Restricted},
		{"no-pty,pty", "no-pty,pty {K}\n", Eligible},
		{"upper case", "RESTRICT,PTY {K}\n", Eligible},
		{"No-Pty", "No-Pty {K}\n", Restricted},
		{"forwarding", "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc {K}\n", Eligible},
		{"command", `command="/bin/true" {K}` + "\n", Restricted},
		{"empty command", `command="" {K}` + "\n", Restricted},
		{"command twice", `command="a",command="b" {K}` + "\n", Refused},
		{"command with quotes", `command="echo \"a b\"" {K}` + "\n", Restricted},
		{"command without quotes", `command=/bin/true {K}` + "\n", Refused},
		{"open quote", `command="/bin/true {K}` + "\n", Absent},
		{"backslash", `environment="A=\\" {K}` + "\n", Absent},
		{"environment", `environment="A=b c" {K}` + "\n", Eligible},
		{"environment without =", `environment="A" {K}` + "\n", Refused},
		{"environment bad name", `environment="A B=c" {K}` + "\n", Refused},
		{"unknown option", "frobnicate {K}\n", Refused},
		{"unknown with value", `frob="x" {K}` + "\n", Refused},
		{"known prefix", "ptyx {K}\n", Refused},
		{"blank after comma", "no-user-rc, pty {K}\n", Absent},
		{"trailing comma", "pty, {K}\n", Eligible},
		{"leading comma", ",pty {K}\n", Eligible},
		{"double comma", "no-user-rc,,pty {K}\n", Eligible},
		{"tab after options", "pty\t{K}\n", Eligible},
		{"cert-authority", "cert-authority {K}\n", Refused},
		{"no-cert-authority", "no-cert-authority {K}\n", Refused},
		{"principals", `principals="root" {K}` + "\n", Refused},
		{"cert-authority,principals", `cert-authority,principals="a,b" {K}` + "\n", Refused},
		{"permitopen", `permitopen="localhost:80",permitopen="[::1]:*" {K}` + "\n", Eligible},
		{"permitopen bad port", `permitopen="localhost:0" {K}` + "\n", Restricted},
		{"permitopen no port", `permitopen="localhost" {K}` + "\n", Refused},
		{"permitopen service", `permitopen="localhost:ssh" {K}` + "\n", Restricted},
		{"permitlisten", `permitlisten="8080" {K}` + "\n", Eligible},
		{"permitlisten empty", `permitlisten="" {K}` + "\n", Refused},
		{"tunnel", `tunnel="0" {K}` + "\n", Eligible},
		{"tunnel bad", `tunnel="x" {K}` + "\n", Restricted},
		{"verify-required", "verify-required {K}\n", Restricted},
		{"verify-required, then plain", "verify-required {K}\n{K}\n", Restricted},
		{"no-verify-required", "verify-required,no-verify-required {K}\n", Eligible},
		{"no-touch-required", "no-touch-required {K}\n", Eligible},

		{"expired", `expiry-time="20200101" {K}` + "\n", Refused},
		{"expires today", `expiry-time="{PAST}" {K}` + "\n", Refused},
		{"expires soon", `expiry-time="{FUTURE}" {K}` + "\n", Eligible},
		{"expires UTC", `expiry-time="{PASTZ}" {K}` + "\n", Refused},
		{"expires soon UTC", `expiry-time="{FUTUREZ}" {K}` + "\n", Eligible},
		{"expires lower z", `expiry-time="20380101z" {K}` + "\n", Eligible},
		{"expires word UTC", `expiry-time="203801010000utc" {K}` + "\n", Eligible},
		{"two expiries", `expiry-time="20380101",expiry-time="20200101" {K}` + "\n", Refused},
		{"expiry nonsense", `expiry-time="soon" {K}` + "\n", Refused},
		{"expiry month 13", `expiry-time="20381301" {K}` + "\n", Refused},
		{"expiry February 31", `expiry-time="20380231" {K}` + "\n", Eligible},
		{"expiry of 10 digits", `expiry-time="2038010112" {K}` + "\n", Refused},
		{"expiry second 61", `expiry-time="20380101000061" {K}` + "\n", Eligible},
		{"expiry second 62", `expiry-time="20380101000062" {K}` + "\n", Refused},
		{"expiry 1970", `expiry-time="19700101Z" {K}` + "\n", Refused},
		{"expired, then plain", `expiry-time="20200101" {K}` + "\n{K}\n", Eligible},
		{"command, then plain", `command="/bin/true" {K}` + "\n{K}\n", Restricted},
		{"plain, then command", `{K}` + "\n" + `command="/bin/true" {K}` + "\n", Eligible},
		{"unknown, then plain", "frobnicate {K}\n{K}\n", Eligible},
		{"cert-authority, then plain", "cert-authority {K}\n{K}\n", Eligible},

		{"from here", `from="127.0.0.1" {K}` + "\n", Eligible},
		{"from both", `from="127.0.0.1,::1" {K}` + "\n", Eligible},
		{"from elsewhere", `from="192.0.2.1" {K}` + "\n", Refused},
		{"from all", `from="*" {K}` + "\n", Eligible},
		{"from not here", `from="*,!127.0.0.1" {K}` + "\n", Refused},
		{"from not here first", `from="!127.0.0.1,*" {K}` + "\n", Refused},
		{"from not elsewhere", `from="!192.0.2.1,*" {K}` + "\n", Eligible},
		{"from only not elsewhere", `from="!192.0.2.1" {K}` + "\n", Refused},
		{"from network", `from="127.0.0.0/8" {K}` + "\n", Eligible},
		{"from not network", `from="!127.0.0.0/8,*" {K}` + "\n", Refused},
		{"from host bits", `from="127.0.0.1/8" {K}` + "\n", Refused},
		{"from host bits later", `from="127.0.0.1,10.0.0.1/8" {K}` + "\n", Refused},
		{"from /33", `from="127.0.0.1/33" {K}` + "\n", Refused},
		{"from /129", `from="127.0.0.1/129,127.0.0.1" {K}` + "\n", Eligible},
		{"from wildcard", `from="127.0.0.*" {K}` + "\n", Eligible},
		{"from question marks", `from="127.?.?.?" {K}` + "\n", Eligible},
		{"from not a host", `from="*,!evil.example.com" {K}` + "\n" + `{K}` + "\n", Restricted},
		{"from not a host, and elsewhere", `from="192.0.2.1,!evil.example.com" {K}` + "\n", Refused},
		{"from name", `from="localhost" {K}` + "\n", Refused},
		{"from empty", `from="" {K}` + "\n", Refused},
		{"from empty element", `from="127.0.0.1,,10.0.0.1" {K}` + "\n", Refused},
		{"from short address", `from="127.1" {K}` + "\n", Restricted},
		{"from number", `from="2130706433" {K}` + "\n", Restricted},
		{"from not a short address", `from="*,!127.1" {K}` + "\n", Restricted},
		{"from mapped", `from="::ffff:127.0.0.1" {K}` + "\n", Refused},
		{"from all of v6", `from="::/0" {K}` + "\n", Refused},
		{"from all of v4", `from="0.0.0.0/0" {K}` + "\n", Eligible},
		{"from blank", `from="127.0.0.1, ::1" {K}` + "\n", Restricted},
		{"from twice", `from="127.0.0.1",from="127.0.0.1" {K}` + "\n", Refused},
		{"from elsewhere, then command", `from="192.0.2.1" {K}` + "\n" + `command="x" {K}` + "\n{K}\n", Restricted},

		{"70,000 bytes before", long + "\n{K}\n", Eligible},
		{"70,000 bytes of comment", "{K} " + long + "\n", Eligible},
		{"70,000 bytes of option", `environment="A=` + long + `" {K}` + "\n", Eligible},
		{"over our limit", "{K} " + tooLong + "\n", Absent},
		{"over our limit before", tooLong + "\n{K}\n", Eligible},
	}
}

// fill puts keys and times into a case.
func fill(file string, key, other ssh.PublicKey, now time.Time) string {
	kind, blob, _ := strings.Cut(keystest.Text(key), " ")
	local := func(d time.Duration) string { return now.Add(d).Format(timeLocal) }
	utc := func(d time.Duration) string { return now.Add(d).UTC().Format(timeUTC) }
	return strings.NewReplacer("{K}", keystest.Text(key), "{T}", kind, "{B}", blob, "{O}", keystest.Text(other),
		"{PAST}", local(-time.Hour), "{FUTURE}", local(time.Hour), "{PASTZ}", utc(-time.Hour), "{FUTUREZ}", utc(time.Hour)).Replace(file)
}

func judge(t testing.TB, file string, key ssh.PublicKey, now time.Time) Finding {
	t.Helper()
	k, ok := NewKey(key)
	if !ok {
		return Finding{}
	}
	a := Query{Keys: []Key{k}, Source: netip.MustParseAddr("127.0.0.1"), Now: now, Zone: Zone{Local: time.Local, UTC: true}}
	return a.findIn([]byte(file))[0]
}

func TestLineCases(t *testing.T) {
	t.Parallel()
	key, _ := keystest.NewKey(t)
	other, _ := keystest.NewKey(t)
	now := time.Now()
	for _, c := range lineCases() {
		if got := judge(t, fill(c.file, key, other, now), key, now); got.Standing != c.want {
			t.Errorf("%s: standing %d (%v), want %d", c.name, got.Standing, got.Reason, c.want)
		}
	}
}

// TestDifferential asks a real sshd about the same files: what we take for eligible it must
// accept, with a terminal and the command that was sent. SCRIER_DIFF_CASES sets the number of
// generated cases, SCRIER_DIFF_SEED their seed, SCRIER_DIFF_SHELLS how many shells are opened.
func TestDifferential(t *testing.T) {
	t.Parallel()
	h := keystest.NewHost(t)
	const login = "scrdiff"
	keystest.RealUser(t, h.Dir, login)
	file := filepath.Join(h.Dir, "keys")
	sshd := keystest.StartSSHD(t, h.Dir, "AuthorizedKeysFile "+file, "StrictModes no", "PermitUserEnvironment no")

	key, signer := keystest.NewKey(t)
	other, _ := keystest.NewKey(t)
	now := time.Now()
	cases := lineCases()
	seed := uint64(keystest.Environment(t, "SCRIER_DIFF_SEED", int(now.UnixNano()&0xffffff)))
	n := keystest.Environment(t, "SCRIER_DIFF_CASES", 300)
	most := keystest.Environment(t, "SCRIER_DIFF_SHELLS", 36)
	random := rand.New(rand.NewPCG(seed, 1))
	for i := range n {
		cases = append(cases, lineCase{name: fmt.Sprintf("generated %d", i), file: generate(random)})
	}
	t.Logf("%d cases, seed %d", len(cases), seed)
	files := make([]string, len(cases))
	for i, c := range cases {
		files[i] = fill(c.file, key, other, now)
	}
	put := func(i int) {
		h.Must(os.WriteFile(file, []byte(files[i]), 0o644))
	}
	accepted := sshd.Ask(t, login, len(cases), func(i int) ssh.PublicKey {
		put(i)
		return key
	})
	var wider, narrower, shells, agreed int
	for i, c := range cases {
		got := judge(t, files[i], key, now)
		switch {
		case got.Standing == Eligible && !accepted[i]:
			wider++
			t.Errorf("%s: we accept and sshd refuses: %.300q", c.name, files[i])
		case got.Standing < Restricted && accepted[i]:
			narrower++
			t.Logf("%s: sshd accepts and we refuse: %.300q", c.name, files[i])
		default:
			agreed++
		}
		if got.Standing == Eligible && accepted[i] && shells < most {
			put(i)
			shells++
			if err := sshd.Shell(login, signer); err != nil {
				t.Errorf("%s: eligible, but: %v: %.300q", c.name, err, files[i])
			}
		}
	}
	t.Logf("agreed %d, narrower %d, wider %d; %d shells", agreed, narrower, wider, shells)
	if shells < 20 {
		t.Errorf("only %d eligible cases: the test proves little", shells)
	}
	if narrower > len(cases)/20 {
		t.Errorf("narrower than sshd in %d cases", narrower)
	}
}

// TestDifferentialFrom asks a real sshd from another address on loopback about lists of from= alone: both
// must say the same, unless a list bars hosts by their names, or libc might read it otherwise.
// SCRIER_DIFF_CASES and SCRIER_DIFF_SEED are as above.
func TestDifferentialFrom(t *testing.T) {
	t.Parallel()
	h := keystest.NewHost(t)
	const login, address = "scrdifffrom", "127.201.34.5"
	keystest.RealUser(t, h.Dir, login)
	file := filepath.Join(h.Dir, "keys")
	sshd := keystest.StartSSHD(t, h.Dir, "AuthorizedKeysFile "+file, "StrictModes no", "UseDNS no")
	sshd.From = address
	key, _ := keystest.NewKey(t)
	k, _ := NewKey(key)
	a := Query{Keys: []Key{k}, Source: netip.MustParseAddr(address), Now: time.Now(), Zone: Zone{Local: time.Local, UTC: true}}
	seed := uint64(keystest.Environment(t, "SCRIER_DIFF_SEED", int(time.Now().UnixNano()&0xffffff)))
	random := rand.New(rand.NewPCG(seed, 2))
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	lists := make([]string, keystest.Environment(t, "SCRIER_DIFF_CASES", 300))
	for i := range lists {
		var p []string
		for range 1 + random.IntN(4) {
			p = append(p, pick("", "", "!")+pick(address, "127.201.34.0/24", "127.201.34.0/25", "127.201.0.0/16", "127.200.0.0/15", "127.0.0.0/8", "0.0.0.0/0", "*", "127.*",
				"127.201.34.?", "127.201.34.??", "127.2??.*.5", "128.*", "10.0.0.0/8", "::/0", "::ffff:"+address, "::ffff:0:0/96", "2001:db8::/32", "*:*", address+"/32", address+"/31",
				"localhost", "*.example.com", "evil.example.com", "", "127.201.34.5 ", "?*", "**"))
		}
		lists[i] = strings.Join(p, ",")
	}
	accepted := sshd.Ask(t, login, len(lists), func(i int) ssh.PublicKey {
		h.Must(os.WriteFile(file, []byte(`from="`+lists[i]+`" `+keystest.Text(key)+"\n"), 0o644))
		return key
	})
	var yes, maybe int
	for i, list := range lists {
		switch got := a.findIn([]byte(`from="` + list + `" ` + keystest.Text(key)))[0]; {
		case got.Standing == Restricted:
			maybe++
			if got.Reason != FromName && got.Reason != UnclearFrom {
				t.Errorf("from=%q: %v", list, got.Reason)
			}
		case (got.Standing == Eligible) != accepted[i]:
			t.Errorf("from=%q: standing %d (%v), sshd accepts: %v", list, got.Standing, got.Reason, accepted[i])
		case accepted[i]:
			yes++
		}
	}
	t.Logf("%d cases, seed %d: %d are let in, of %d it cannot be told", len(lists), seed, yes, maybe)
	if len(lists) >= 300 && (yes < 20 || maybe > len(lists)/2) {
		t.Error("the test proves little")
	}
}

// generate makes a file of one to three lines out of pieces of the grammar, now and then with a
// byte changed.
func generate(r *rand.Rand) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	from := func() string {
		n := 1 + r.IntN(3)
		var p []string
		for range n {
			p = append(p, pick("", "", "", "!")+pick("127.0.0.1", "127.0.0.1", "127.0.0.0/8", "127.0.0.1/8", "*", "127.*", "1??.0.0.1", "::1", "::/0",
				"10.0.0.0/8", "localhost", "127.0.0.1/32", "127.0.0.1/", "/8", "127.0.0.1/0", "0.0.0.0/0", "LOCALHOST", "", "127.0.0.1 ", "*.*.*.*"))
		}
		return strings.Join(p, ",")
	}
	stamp := func() string {
		return pick("20380101", "203801011200", "20380101120059", "20200101", "{FUTURE}", "{PAST}", "{FUTUREZ}", "{PASTZ}", "2038010", "20381332", "20380101Z", "20380101UTC",
			"20380101utcZ", "", "0", "20380101000000 Z", "+0380101", " 0380101")
	}
	option := func() string {
		switch r.IntN(14) {
		case 0:
			return `from="` + from() + `"`
		case 1:
			return `expiry-time="` + stamp() + `"`
		case 2:
			return `environment="` + pick("A=b", "A", "=b", "A_1=", "Ä=1", "A=\\\"", "1=1") + `"`
		case 3:
			return pick("permitopen", "permitlisten") + `="` + pick("localhost:1", "1", "a:*", ":1", "[::1]:22", "[::1", "[]x:1", "a:65536", "a:65535", "a/1", "*:0", "a:b:1", "a: 1") + `"`
		case 4:
			return `tunnel="` + pick("0", "any", "x", "1:2") + `"`
		case 5:
			if r.IntN(3) > 0 {
				return "pty"
			}
			return `command="` + pick("/bin/true", "", "a\\\"b", "x y") + `"`
		case 6:
			return pick("cert-authority", `principals="a"`, "frob", `x="y"`, "pty=", `pty="1"`, "from", "no-from", "command", "no-no-pty", "no-restrict")
		case 7:
			return ""
		default:
			return pick("pty", "pty", "pty", "no-pty", "restrict", "no-user-rc", "user-rc", "agent-forwarding", "no-X11-forwarding", "Port-Forwarding", "verify-required",
				"no-touch-required", "touch-required")
		}
	}
	line := func() string {
		var o []string
		for range r.IntN(4) {
			o = append(o, option())
		}
		s := pick("", "", " ", "\t") + strings.Join(o, ",")
		if len(o) > 0 {
			s += pick(" ", " ", " ", "\t", "  ", ",", ", ", "")
		}
		return s + pick("{K}", "{K}", "{K}", "{K}", "{K}", "{O}", "{T}\t{B}", "{T} {B}\r", "{B}") + pick("", "", " me", " \"quoted", "\t", "\x00z")
	}
	var lines []string
	for range 1 + r.IntN(3)*r.IntN(2) {
		lines = append(lines, line())
	}
	file := []byte(strings.Join(lines, pick("\n", "\n", "\n", "\r\n", "\n\n#\n")) + pick("\n", "\n", ""))
	if r.IntN(4) == 0 {
		for range 1 + r.IntN(2) {
			i := r.IntN(len(file))
			if file[i] != '{' && file[i] != '}' {
				file[i] = pick("\"", ",", " ", "\\", "\n", "\x00", "x", "=", "!", "\t", "A", "\v")[0]
			}
		}
	}
	return string(file)
}
