package line

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"scrier/agent/keys/keystest"
	"scrier/wire"
)

func permits(t interface{ Fatalf(string, ...any) }, texts ...string) (all []Permit) {
	for _, text := range texts {
		p, ok := ParsePermit(text)
		if !ok {
			t.Fatalf("%q is no permit", text)
		}
		all = append(all, p)
	}
	return all
}

// TestGrants: what a line with these options gives, in the letters of shell, exec, upload, download, forward,
// reverse and agent; and to where.
func TestGrants(t *testing.T) {
	t.Parallel()
	key, _ := keystest.NewKey(t)
	k, _ := NewKey(key)
	many := strings.TrimSuffix(strings.Repeat(`permitopen="h%d:1",`, MaxPermits+1), ",")
	for i := range MaxPermits + 1 {
		many = strings.Replace(many, "%d", fmt.Sprint(i), 1)
	}
	long := strings.Repeat("x", wire.MaxTarget-2)
	for options, want := range map[string]string{
		"":                                   "seudfra",
		"no-pty":                             "-eudfra",
		"restrict":                           "-eud---",
		"restrict,pty":                       "seud---",
		"restrict,port-forwarding":           "-eudfr-",
		"port-forwarding,restrict":           "-eud---",
		"restrict,agent-forwarding":          "-eud--a",
		"no-port-forwarding":                 "seud--a",
		"No-Port-Forwarding,port-forwarding": "seudfra",
		"no-agent-forwarding":                "seudfr-",
		`command="/bin/true"`:                "----fra",
		`command="/bin/true",restrict`:       "-------",
		`command=""`:                         "----fra",
		`command="internal-sftp"`:            "--udfra",
		`command="internal-sftp -R"`:         "---dfra",
		`command="internal-sftp -P read"`:    "--u-fra",
		`command="internal-sftp -p none"`:    "----fra",
		`command="internal-sftp -d /x"`:      "----fra",
		`command="internal-sftp  -R"`:        "----fra", // another spelling is another command
		`command="internal-sftpx"`:           "----fra",
		`permitopen="db:5432"`:               "seudfra db:5432",
		`permitopen="db:5432",permitopen="[::1]:*",permitopen="*:80"`: "seudfra db:5432 [::1]:* *:80",
		`permitopen="[db]/5432"`:                          "seudfra db:5432",
		`permitopen="a:1",permitopen="a:1"`:               "seudfra a:1",
		`permitlisten="8080"`:                             "seudfra | *:8080",
		`permitlisten="Lo*:1",permitlisten="127.0.0.?:*"`: "seudfra | Lo*:1 127.0.0.?:*",
		`no-port-forwarding,permitopen="a:1"`:             "seud--a",
		// What no session's line can say is left out, and never becomes more.
		`permitopen="*.example.com:1"`:                  "seud-ra",
		`permitopen="*.example.com:1",permitopen="a:1"`: "seudfra a:1",
		`permitopen=":1"`:                               "seud-ra",
		`permitopen="a b:1"`:                            "seud-ra",
		`permitopen="a\"b:1"`:                           "seud-ra",
		`permitopen="255.255.255.255:1"`:                "seud-ra",
		`permitlisten="255.255.255.255:1"`:              "seudf-a",
		`permitopen="` + long + `xxx:1"`:                "seud-ra",
		many:                                            "seud-ra",
		"permitopen=\"" + strings.Join(slices.Collect(func(yield func(string) bool) {
			for i := range 10 {
				if !yield(fmt.Sprintf("%s%d:1", long, i)) {
					return
				}
			}
		}), `",permitopen="`) + `"`: "seud-ra",
		// Where nobody can tell what sshd would do, there is nothing.
		`permitopen="localhost:ssh"`: "-------",
		`verify-required`:            "-------",
		`from="192.0.2.1"`:           "-------",
		`expiry-time="20200101"`:     "-------",
		"frobnicate":                 "-------",
	} {
		a := Query{Keys: []Key{k}, Source: netip.MustParseAddr("127.0.0.1"), Now: time.Now(), Zone: Zone{Local: time.UTC, UTC: true}}
		g := a.findIn([]byte(strings.TrimLeft(options+" ", " ") + keystest.Text(key) + "\n"))[0].Grant
		if got := shown(g); got != want {
			t.Errorf("%.80s: %s, want %s", options, got, want)
		}
	}
}

// shown is a grant as the tables have it.
func shown(g Grant) string {
	var b strings.Builder
	for i, r := range []wire.Right{wire.MayShell, wire.MayExec, wire.MayUpload, wire.MayDownload, wire.MayForward, wire.MayReverse, wire.MayAgent} {
		if g.Has(r) {
			b.WriteByte("seudfra"[i])
		} else {
			b.WriteByte('-')
		}
	}
	for _, p := range g.Open {
		b.WriteString(" " + p.String())
	}
	if len(g.Listen) > 0 {
		b.WriteString(" |")
	}
	for _, p := range g.Listen {
		b.WriteString(" " + p.String())
	}
	return b.String()
}

// TestWithin: a forward goes where the operator's line and the machine's policy both let it.
func TestWithin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ line, policy, want string }{
		{"", "", ""},
		{"", "localhost:*", "localhost:*"},
		{"localhost:80", "", "localhost:80"},
		{"localhost:80", "localhost:*", "localhost:80"},
		{"localhost:*", "localhost:80 localhost:443", "localhost:80 localhost:443"},
		{"*:80", "localhost:* [::1]:*", "localhost:80 [::1]:80"},
		{"*:*", "db:5432", "db:5432"},
		{"db:1 db:2 web:1", "*:1", "db:1 web:1"},
		{"db:1 db:*", "db:1", "db:1"},
		{"localhost:80", "127.0.0.1:*", "none"}, // sshd compares words, and so does this
		{"localhost:80", "localhost:443", "none"},
		{"db:1", "web:1", "none"},
	} {
		g := Grant{Rights: []wire.Right{wire.MayExec, wire.MayForward, wire.MayReverse}, Open: permits(t, strings.Fields(c.line)...), Listen: permits(t, "*:1")}
		got := g.Within(permits(t, strings.Fields(c.policy)...))
		want := Grant{Rights: []wire.Right{wire.MayExec, wire.MayReverse}, Listen: g.Listen}
		if c.want != "none" {
			want = Grant{Rights: g.Rights, Open: permits(t, strings.Fields(c.want)...), Listen: g.Listen}
		}
		if !cmp.Equal(got, want) {
			t.Errorf("%q within %q: %s, want %s", c.line, c.policy, shown(got), shown(want))
		}
	}
	// What is in both has no room on a line.
	var lines, policy []Permit
	for i := range 20 {
		lines, policy = append(lines, Permit{fmt.Sprint("h", i), 0}), append(policy, Permit{"*", uint16(i + 1)})
	}
	if g := (Grant{Rights: []wire.Right{wire.MayForward}, Open: lines}).Within(policy); len(g.Rights) != 0 {
		t.Errorf("%d permits", len(g.Open))
	}
}

// TestSessionOptions: what stands on a session's line for what it was granted.
func TestSessionOptions(t *testing.T) {
	t.Parallel()
	const head, no = `restrict,tunnel="2147483645"`, `="255.255.255.255:1"`
	all := []wire.Right{wire.MayShell, wire.MayExec, wire.MayUpload, wire.MayDownload, wire.MayForward, wire.MayReverse, wire.MayAgent}
	for rights, want := range map[string]string{
		"seudfra": ",pty,port-forwarding,agent-forwarding",
		"s------": ",pty",
		"-e-----": "",
		"-eud---": "",
		"--ud---": `,command="internal-sftp"`,
		"--u----": `,command="internal-sftp -P read"`,
		"---d---": `,command="internal-sftp -R"`,
		"-------": `,command="internal-sftp -p none"`,
		"----fr-": `,port-forwarding,command="internal-sftp -p none"`,
		"----f--": `,port-forwarding,permitlisten` + no + `,command="internal-sftp -p none"`,
		"-----r-": `,port-forwarding,permitopen` + no + `,command="internal-sftp -p none"`,
		"-e---ra": `,port-forwarding,permitopen` + no + `,agent-forwarding`,
		"-e--f--": `,port-forwarding,permitlisten` + no,
	} {
		var g Grant
		for i, c := range rights {
			if c != '-' {
				g.Rights = append(g.Rights, all[i])
			}
		}
		if got := g.options(); got != head+want {
			t.Errorf("%s: %s", rights, got)
		}
	}
	g := Grant{Rights: []wire.Right{wire.MayExec, wire.MayForward, wire.MayReverse}, Open: permits(t, "localhost:*", "[::1]:80"), Listen: permits(t, "*:8080")}
	if got, want := g.options(), head+`,port-forwarding,permitopen="localhost:*",permitopen="[::1]:80",permitlisten="*:8080"`; got != want {
		t.Errorf("%s", got)
	}
}

// gives is what sshd makes of options, read once more and in another way: words between commas, the last of a kind
// counts.
type gives struct {
	pty, ports, agent bool
	command           *string
	tunnel            string
	open, listen      []string
}

func read(options string) gives {
	g := gives{pty: true, ports: true, agent: true}
	for options != "" {
		end, quoted := 0, false
		for end < len(options) && (quoted || options[end] != ',') {
			quoted = quoted != (options[end] == '"')
			end++
		}
		word := options[:end]
		options = strings.TrimPrefix(options[end:], ",")
		name, value, _ := strings.Cut(word, "=")
		value = strings.Trim(value, `"`)
		switch name {
		case "restrict":
			g.pty, g.ports, g.agent = false, false, false
		case "pty", "no-pty":
			g.pty = name == "pty"
		case "port-forwarding", "no-port-forwarding":
			g.ports = name == "port-forwarding"
		case "agent-forwarding", "no-agent-forwarding":
			g.agent = name == "agent-forwarding"
		case "command":
			g.command = &value
		case "tunnel":
			g.tunnel = value
		case "permitopen":
			g.open = append(g.open, value)
		case "permitlisten":
			g.listen = append(g.listen, value)
		}
	}
	return g
}

// fit says whether an address fits what was read; listens are patterns.
func fit(list []string, host string, port int, pattern bool) bool {
	for _, p := range list {
		i := strings.LastIndexByte(p, ':')
		h, n := strings.Trim(p[:i], "[]"), p[i+1:]
		if (h == "*" || h == host || pattern && MatchPattern(strings.ToLower(host), h)) && (n == "*" || n == fmt.Sprint(port)) {
			return true
		}
	}
	return len(list) == 0
}

// TestNeverMore: whatever the operator's line, the machine's policy and the session's use are, the session's line gives
// no more than each of them; and it is one that is found again.
func TestNeverMore(t *testing.T) {
	t.Parallel()
	key, _ := keystest.NewKey(t)
	hosts, ports := []string{"localhost", "127.0.0.1", "::1", "db", "255.255.255.255", "DB"}, []int{1, 22, 80, 8080}
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.SampledFrom([]string{"localhost", "127.0.0.1", "[::1]", "db", "*", "d*", "DB", "255.255.255.255", "x y"})
		port := rapid.SampledFrom([]string{"*", "1", "22", "80", "8080"})
		permit := rapid.Custom(func(t *rapid.T) string { return host.Draw(t, "host") + ":" + port.Draw(t, "port") })
		option := rapid.Custom(func(t *rapid.T) string {
			switch word := rapid.SampledFrom([]string{"restrict", "pty", "no-pty", "port-forwarding", "no-port-forwarding", "agent-forwarding", "no-agent-forwarding",
				"permitopen", "permitopen", "permitlisten", "permitlisten", "command", "user-rc", "tunnel"}).Draw(t, "word"); word {
			case "permitopen", "permitlisten":
				return word + `="` + permit.Draw(t, "permit") + `"`
			case "command":
				return `command="` + rapid.SampledFrom([]string{"/bin/true", "internal-sftp", "internal-sftp -R", "internal-sftp -P read", "internal-sftp -p none", "internal-sftp -d /"}).Draw(t, "command") + `"`
			case "tunnel":
				return `tunnel="3"`
			default:
				return word
			}
		})
		line := strings.Join(rapid.SliceOfN(option, 0, 8).Draw(t, "options"), ",")
		o, ok := parseOptions(line, Zone{Local: time.UTC, UTC: true})
		if !ok { // command= twice
			return
		}
		var policy []Permit
		for _, p := range rapid.SliceOfN(permit, 0, 4).Draw(t, "policy") {
			if p, ok := ParsePermit(p); ok && !strings.Contains(p.Host, "d*") {
				policy = append(policy, p)
			}
		}
		use := rapid.SliceOfN(rapid.SampledFrom(wire.Rights()), 0, 8).Draw(t, "use")
		g := o.grant().Within(policy).Only(use)
		e, ok := NewEphemeral(Ephemeral{Grant: g, Agent: fixedAgent(), Session: wire.NewSessionID(), Sources: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Expiry: time.Now()}, key)
		if !ok {
			t.Fatalf("no line for %s", shown(g))
		}
		text := e.Text(Zone{UTC: true})
		if again, ok := ParseEphemeral(text, Zone{Local: time.UTC, UTC: true}); !ok || again.Text(Zone{UTC: true}) != text {
			t.Fatalf("not found again: %s", text)
		}
		options, _, _ := strings.Cut(text, ",from=")
		was, is := read(line), read(options)
		uses := func(all ...wire.Right) bool {
			return slices.ContainsFunc(all, func(r wire.Right) bool { return slices.Contains(use, r) })
		}
		switch {
		case is.pty && !(was.pty && uses(wire.MayShell)),
			is.agent && !(was.agent && uses(wire.MayAgent)),
			is.ports && !(was.ports && uses(wire.MayForward, wire.MayReverse)),
			is.command == nil && (was.command != nil || !uses(wire.MayShell, wire.MayExec)),
			is.tunnel != "2147483645":
			t.Fatalf("%q for %v of %q", options, use, line)
		}
		if is.command != nil {
			for _, files := range sftpOnly {
				if *is.command == files.command {
					for _, r := range files.rights {
						if !uses(r) || was.command != nil && *was.command != "internal-sftp" && *was.command != *is.command {
							t.Fatalf("%q for %v of %q", options, use, line)
						}
					}
				}
			}
		}
		for _, host := range hosts {
			for _, port := range ports {
				allowed := len(policy) == 0 || slices.ContainsFunc(policy, func(p Permit) bool { return fit([]string{p.String()}, host, port, false) })
				opens := is.ports && fit(is.open, host, port, false)
				if opens && (host != "255.255.255.255" || port != 1) && !(fit(was.open, host, port, false) && allowed && uses(wire.MayForward)) {
					t.Fatalf("%q connects to %s:%d, for %v of %q within %v", options, host, port, use, line, policy)
				}
				listens := is.ports && fit(is.listen, host, port, true)
				if listens && (host != "255.255.255.255" || port != 1) && !(fit(was.listen, host, port, true) && uses(wire.MayReverse)) {
					t.Fatalf("%q listens at %s:%d, for %v of %q", options, host, port, use, line)
				}
				if g.Opens(host, uint16(port)) && !opens || g.Listens(host, uint16(port)) && !listens {
					t.Fatalf("%s:%d is granted (%s), and not by %q", host, port, shown(g), options)
				}
			}
		}
	})
}
