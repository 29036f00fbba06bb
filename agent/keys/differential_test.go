package keys

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// In a case's file {K} is the operator's key, {T} {B} its two halves, {O} another key, {PAST}
// {FUTURE} local times. want is our verdict.
type lineCase struct {
	name string
	file string
	want standing
}

func lineCases() []lineCase {
	long := strings.Repeat("x", 70_000)
	tooLong := strings.Repeat("x", maxLine)
	return []lineCase{
		{"plain", "{K}\n", eligible},
		{"comment", "{K} me@home with words\n", eligible},
		{"no newline", "{K}", eligible},
		{"CRLF", "{K}\r\n", eligible},
		{"CRLF and comment", "{K} me\r\n", eligible},
		{"CR only", "{O}\r{K}\r", absent},
		{"BOM", "\xef\xbb\xbf{K}\n", absent},
		{"leading NUL", "\x00{K}\n", absent},
		{"NUL after the key", "{K}\x00junk\n", eligible},
		{"NUL in the comment", "{K} a\x00b\n", eligible},
		{"NUL before the options", "no-pty\x00 {K}\n", absent},
		{"blanks before", " \t {K}\n", eligible},
		{"blanks between", "{T} \t  {B}\n", eligible},
		{"vertical tab before", "\v{K}\n", absent},
		{"form feed inside", "{T} {B}\f\n", eligible},
		{"invalid UTF-8 comment", "{K} \xff\xfe\n", eligible},
		{"comment line", "#{K}\n", absent},
		{"comment after blanks", "  # {K}\n", absent},
		{"other key", "{O}\n", absent},
		{"other then mine", "{O}\n{K}\n", eligible},
		{"key in a comment", "{O} {K}\n", absent},
		{"bad base64", "{T} {B}!\n", absent},
		{"unpadded junk", "{T} {B}A\n", absent},
		{"padded", "{T} {B}=\n", absent},
		{"wrong type", "ssh-rsa {B}\n", absent},
		{"type twice", "{T} {K}\n", refused},
		{"upper case type", "SSH-ED25519 {B}\n", absent},
		{"number first (ssh1)", "1024 {K}\n", refused},

		{"restrict,pty", "restrict,pty {K}\n", eligible},
		{"pty,restrict", "pty,restrict {K}\n", restricted},
		{"restrict", "restrict {K}\n", restricted},
		{"no-pty", "no-pty {K}\n", restricted},
		{"no-pty,pty", "no-pty,pty {K}\n", eligible},
		{"upper case", "RESTRICT,PTY {K}\n", eligible},
		{"No-Pty", "No-Pty {K}\n", restricted},
		{"forwarding", "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc {K}\n", eligible},
		{"command", `command="/bin/true" {K}` + "\n", restricted},
		{"empty command", `command="" {K}` + "\n", restricted},
		{"command twice", `command="a",command="b" {K}` + "\n", refused},
		{"command with quotes", `command="echo \"a b\"" {K}` + "\n", restricted},
		{"command without quotes", `command=/bin/true {K}` + "\n", refused},
		{"open quote", `command="/bin/true {K}` + "\n", absent},
		{"backslash", `environment="A=\\" {K}` + "\n", absent},
		{"environment", `environment="A=b c" {K}` + "\n", eligible},
		{"environment without =", `environment="A" {K}` + "\n", refused},
		{"environment bad name", `environment="A B=c" {K}` + "\n", refused},
		{"unknown option", "frobnicate {K}\n", refused},
		{"unknown with value", `frob="x" {K}` + "\n", refused},
		{"known prefix", "ptyx {K}\n", refused},
		{"blank after comma", "no-user-rc, pty {K}\n", absent},
		{"trailing comma", "pty, {K}\n", eligible},
		{"leading comma", ",pty {K}\n", eligible},
		{"double comma", "no-user-rc,,pty {K}\n", eligible},
		{"tab after options", "pty\t{K}\n", eligible},
		{"cert-authority", "cert-authority {K}\n", refused},
		{"no-cert-authority", "no-cert-authority {K}\n", refused},
		{"principals", `principals="root" {K}` + "\n", refused},
		{"cert-authority,principals", `cert-authority,principals="a,b" {K}` + "\n", refused},
		{"permitopen", `permitopen="localhost:80",permitopen="[::1]:*" {K}` + "\n", eligible},
		{"permitopen bad port", `permitopen="localhost:0" {K}` + "\n", restricted},
		{"permitopen no port", `permitopen="localhost" {K}` + "\n", refused},
		{"permitopen service", `permitopen="localhost:ssh" {K}` + "\n", restricted},
		{"permitlisten", `permitlisten="8080" {K}` + "\n", eligible},
		{"permitlisten empty", `permitlisten="" {K}` + "\n", refused},
		{"tunnel", `tunnel="0" {K}` + "\n", eligible},
		{"tunnel bad", `tunnel="x" {K}` + "\n", restricted},
		{"verify-required", "verify-required {K}\n", eligible},
		{"no-touch-required", "no-touch-required {K}\n", eligible},

		{"expired", `expiry-time="20200101" {K}` + "\n", refused},
		{"expires today", `expiry-time="{PAST}" {K}` + "\n", refused},
		{"expires soon", `expiry-time="{FUTURE}" {K}` + "\n", eligible},
		{"expires UTC", `expiry-time="{PASTZ}" {K}` + "\n", refused},
		{"expires soon UTC", `expiry-time="{FUTUREZ}" {K}` + "\n", eligible},
		{"expires lower z", `expiry-time="20380101z" {K}` + "\n", eligible},
		{"expires word UTC", `expiry-time="203801010000utc" {K}` + "\n", eligible},
		{"two expiries", `expiry-time="20380101",expiry-time="20200101" {K}` + "\n", refused},
		{"expiry nonsense", `expiry-time="soon" {K}` + "\n", refused},
		{"expiry month 13", `expiry-time="20381301" {K}` + "\n", refused},
		{"expiry February 31", `expiry-time="20380231" {K}` + "\n", eligible},
		{"expiry of 10 digits", `expiry-time="2038010112" {K}` + "\n", refused},
		{"expiry second 61", `expiry-time="20380101000061" {K}` + "\n", eligible},
		{"expiry second 62", `expiry-time="20380101000062" {K}` + "\n", refused},
		{"expiry 1970", `expiry-time="19700101Z" {K}` + "\n", refused},
		{"expired, then plain", `expiry-time="20200101" {K}` + "\n{K}\n", eligible},
		{"command, then plain", `command="/bin/true" {K}` + "\n{K}\n", restricted},
		{"plain, then command", `{K}` + "\n" + `command="/bin/true" {K}` + "\n", eligible},
		{"unknown, then plain", "frobnicate {K}\n{K}\n", eligible},
		{"cert-authority, then plain", "cert-authority {K}\n{K}\n", eligible},

		{"from here", `from="127.0.0.1" {K}` + "\n", eligible},
		{"from both", `from="127.0.0.1,::1" {K}` + "\n", eligible},
		{"from elsewhere", `from="192.0.2.1" {K}` + "\n", refused},
		{"from all", `from="*" {K}` + "\n", eligible},
		{"from not here", `from="*,!127.0.0.1" {K}` + "\n", refused},
		{"from not here first", `from="!127.0.0.1,*" {K}` + "\n", refused},
		{"from not elsewhere", `from="!192.0.2.1,*" {K}` + "\n", eligible},
		{"from only not elsewhere", `from="!192.0.2.1" {K}` + "\n", refused},
		{"from network", `from="127.0.0.0/8" {K}` + "\n", eligible},
		{"from not network", `from="!127.0.0.0/8,*" {K}` + "\n", refused},
		{"from host bits", `from="127.0.0.1/8" {K}` + "\n", refused},
		{"from host bits later", `from="127.0.0.1,10.0.0.1/8" {K}` + "\n", refused},
		{"from /33", `from="127.0.0.1/33" {K}` + "\n", refused},
		{"from /129", `from="127.0.0.1/129,127.0.0.1" {K}` + "\n", eligible},
		{"from wildcard", `from="127.0.0.*" {K}` + "\n", eligible},
		{"from question marks", `from="127.?.?.?" {K}` + "\n", eligible},
		{"from name", `from="localhost" {K}` + "\n", refused},
		{"from empty", `from="" {K}` + "\n", refused},
		{"from empty element", `from="127.0.0.1,,10.0.0.1" {K}` + "\n", refused},
		{"from short address", `from="127.1" {K}` + "\n", restricted},
		{"from number", `from="2130706433" {K}` + "\n", restricted},
		{"from not a short address", `from="*,!127.1" {K}` + "\n", restricted},
		{"from mapped", `from="::ffff:127.0.0.1" {K}` + "\n", refused},
		{"from all of v6", `from="::/0" {K}` + "\n", refused},
		{"from all of v4", `from="0.0.0.0/0" {K}` + "\n", eligible},
		{"from blank", `from="127.0.0.1, ::1" {K}` + "\n", restricted},
		{"from twice", `from="127.0.0.1",from="127.0.0.1" {K}` + "\n", refused},
		{"from elsewhere, then command", `from="192.0.2.1" {K}` + "\n" + `command="x" {K}` + "\n{K}\n", restricted},

		{"70,000 bytes before", long + "\n{K}\n", eligible},
		{"70,000 bytes of comment", "{K} " + long + "\n", eligible},
		{"70,000 bytes of option", `environment="A=` + long + `" {K}` + "\n", eligible},
		{"over our limit", "{K} " + tooLong + "\n", absent},
		{"over our limit before", tooLong + "\n{K}\n", eligible},
	}
}

// fill puts keys and times into a case.
func fill(file string, key, other ssh.PublicKey, now time.Time) string {
	kind, blob, _ := strings.Cut(text(key), " ")
	local := func(d time.Duration) string { return now.Add(d).Format(timeLocal) }
	utc := func(d time.Duration) string { return now.Add(d).UTC().Format(timeUTC) }
	return strings.NewReplacer("{K}", text(key), "{T}", kind, "{B}", blob, "{O}", text(other),
		"{PAST}", local(-time.Hour), "{FUTURE}", local(time.Hour), "{PASTZ}", utc(-time.Hour), "{FUTUREZ}", utc(time.Hour)).Replace(file)
}

func judge(t testing.TB, file string, key ssh.PublicKey, now time.Time) finding {
	t.Helper()
	k, ok := newAskedKey(key)
	if !ok {
		return finding{}
	}
	a := asked{keys: []askedKey{k}, sources: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, now: now, zone: zone{local: time.Local, utc: true}}
	return a.find([]byte(file))[0]
}

func TestLineCases(t *testing.T) {
	t.Parallel()
	key, _ := newKey(t)
	other, _ := newKey(t)
	now := time.Now()
	for _, c := range lineCases() {
		if got := judge(t, fill(c.file, key, other, now), key, now); got.standing != c.want {
			t.Errorf("%s: standing %d (%v), want %d", c.name, got.standing, got.reason, c.want)
		}
	}
}

// TestDifferential asks a real sshd about the same files: what we take for eligible it must
// accept, with a terminal and the command that was sent. SCRIER_DIFF_CASES sets the number of
// generated cases, SCRIER_DIFF_SEED their seed, SCRIER_DIFF_SHELLS how many shells are opened.
func TestDifferential(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	const login = "scrdiff"
	realUser(t, h.dir, login)
	file := filepath.Join(h.dir, "keys")
	addr, _ := startSSHD(t, h.dir, "AuthorizedKeysFile "+file, "StrictModes no", "PermitUserEnvironment no")

	key, signer := newKey(t)
	other, _ := newKey(t)
	now := time.Now()
	cases := lineCases()
	seed := uint64(environment(t, "SCRIER_DIFF_SEED", int(now.UnixNano()&0xffffff)))
	n := environment(t, "SCRIER_DIFF_CASES", 300)
	most := environment(t, "SCRIER_DIFF_SHELLS", 36)
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
		h.must(os.WriteFile(file, []byte(files[i]), 0o644))
	}
	accepted := askSSHD(t, addr, login, len(cases), func(i int) ssh.PublicKey {
		put(i)
		return key
	})
	var wider, narrower, shells, agreed int
	for i, c := range cases {
		got := judge(t, files[i], key, now)
		switch {
		case got.standing == eligible && !accepted[i]:
			wider++
			t.Errorf("%s: we accept and sshd refuses: %.300q", c.name, files[i])
		case got.standing < restricted && accepted[i]:
			narrower++
			t.Logf("%s: sshd accepts and we refuse: %.300q", c.name, files[i])
		default:
			agreed++
		}
		if got.standing == eligible && accepted[i] && shells < most {
			put(i)
			shells++
			if err := shell(addr, login, signer); err != nil {
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

func environment(t testing.TB, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
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
