package line

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// Marker is the first word of the comment on an ephemeral key's line.
const Marker = "scrier-ephemeral"

// Ephemeral is the line of one session:
//
//	restrict,tunnel="2147483645",pty,from="127.0.0.1,::1",expiry-time="20261123160000Z" ssh-ed25519 AAAA… scrier-ephemeral agent=UUID session=UUID
//
// What stands before from= gives what Grant has, and nothing else. restrict does not shut tunnels out, so the line
// allows one through a device alone that nobody has. The key is of another type where sshd takes no ssh-ed25519.
// The grammar is exact, with one blank between words. A line that differs in one byte was not written
// by an agent, and stays. A line that could not be taken out is disabled by a # over its first byte.
type Ephemeral struct {
	Agent   wire.EnvoyID
	Session wire.SessionID
	Grant   Grant
	Sources []netip.Addr
	Expiry  time.Time // whole seconds

	options string // by which the line gives Grant
	kind    string // the key's type
	key     string // base64
	off     bool   // disabled by #

	local bool // Expiry was read as a time of this machine's zone
}

// Head is how every such line begins.
const Head = `restrict,`

// MaxSources bounds the addresses in one line.
const MaxSources = 8

const (
	lineTunnel  = `tunnel="2147483645"`
	lineOld     = Head + `pty` // the options of agents that gave a shell and commands alone
	lineFrom    = `,from="`
	lineExpiry  = `",expiry-time="`
	lineKey     = `" `
	lineAgent   = ` ` + Marker + ` agent=`
	lineSession = ` session=`

	timeUTC   = "20060102150405Z"
	timeLocal = "20060102150405"

	maxEphemeral = 8 << 10 // bytes; a journal's record has room for it
	maxKey       = 768     // characters; one of RSA has 716 at 4096 bits
)

// ephemeralTypes are what an ephemeral key can be.
var ephemeralTypes = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSA}

// NewEphemeral makes the line for a key out of the fields of e; ok is false when a session's key cannot be
// of this type or size, or there is no room for what is granted. A line says nothing of fractions of a second.
func NewEphemeral(e Ephemeral, key ssh.PublicKey) (line Ephemeral, ok bool) {
	e.Expiry = e.Expiry.Truncate(time.Second)
	e.options, e.kind, e.key, e.off, e.local = e.Grant.options(), key.Type(), base64.StdEncoding.EncodeToString(key.Marshal()), false, false
	return e, slices.Contains(ephemeralTypes, e.kind) && len(e.key) <= maxKey && parseGrant(e.options).options() == e.options && len(e.Text(Zone{UTC: true})) <= maxEphemeral
}

// Text is the line without a newline. The form of the expiry time is one that sshd reads right (z).
func (e Ephemeral) Text(z Zone) string {
	sources := make([]string, len(e.Sources))
	for i, a := range e.Sources {
		sources[i] = a.String()
	}
	expiry := e.Expiry.UTC().Format(timeUTC)
	if !z.UTC {
		t := e.Expiry.In(z.Local)
		if t.IsDST() { // sshd reads the digits as standard time
			t = t.Add(-time.Hour)
		}
		expiry = t.Format(timeLocal)
	}
	return e.options + lineFrom + strings.Join(sources, ",") + lineExpiry + expiry + lineKey + e.kind + " " + e.key +
		lineAgent + e.Agent.String() + lineSession + e.Session.String()
}

// ParseEphemeral reads a line without its newline. It accepts nothing but the exact grammar.
func ParseEphemeral(line string, z Zone) (Ephemeral, bool) {
	var e Ephemeral
	if len(line) > maxEphemeral {
		return e, false
	}
	if rest, ok := strings.CutPrefix(line, "#"); ok {
		e.off, line = true, Head[:1]+rest
	}
	options, rest, ok0 := cutAfter(line, "", lineFrom)
	sources, rest, ok1 := cutAfter(rest, lineFrom, lineExpiry)
	expiry, rest, ok2 := cutAfter(rest, lineExpiry, lineKey)
	key, rest, ok3 := cutAfter(rest, lineKey, lineAgent)
	e.kind, key, _ = strings.Cut(key, " ")
	agent, rest, ok4 := cutAfter(rest, lineAgent, lineSession)
	session, ok5 := strings.CutPrefix(rest, lineSession)
	if !ok0 || !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return e, false
	}
	if e.Grant, e.options = parseGrant(options), options; e.options != e.Grant.options() && e.options != lineOld {
		return e, false
	}
	for i, s := range strings.Split(sources, ",") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.String() != s || i >= MaxSources {
			return e, false
		}
		e.Sources = append(e.Sources, addr)
	}
	if len(expiry) < len(timeLocal) || !digits(strings.TrimSuffix(expiry, "Z"), 14, 14) {
		return e, false
	}
	z.UTC = true
	t, verdict := parseTime(expiry, z)
	if verdict != yes {
		return e, false
	}
	e.Expiry, e.local = t, !strings.HasSuffix(expiry, "Z")
	blob, err := base64.StdEncoding.Strict().DecodeString(key)
	if err != nil || !slices.Contains(ephemeralTypes, e.kind) {
		return e, false
	}
	if k, err := ssh.ParsePublicKey(blob); err != nil || k.Type() != e.kind || !bytes.Equal(k.Marshal(), blob) {
		return e, false
	}
	e.key = key
	var err1, err2 error
	e.Agent, err1 = wire.ParseEnvoyID(agent)
	e.Session, err2 = wire.ParseSessionID(session)
	return e, err1 == nil && err2 == nil
}

// options is how a line gives g, and nothing else.
func (g Grant) options() string {
	var b strings.Builder
	b.WriteString(Head + lineTunnel)
	if g.Has(wire.MayShell) {
		b.WriteString(",pty")
	}
	if g.Has(wire.MayForward) || g.Has(wire.MayReverse) {
		b.WriteString(",port-forwarding")
		for _, way := range []struct {
			option  string
			right   wire.Right
			permits []Permit
		}{{"permitopen", wire.MayForward, g.Open}, {"permitlisten", wire.MayReverse, g.Listen}} {
			if !g.Has(way.right) {
				way.permits = []Permit{nowhere}
			}
			for _, p := range way.permits {
				b.WriteString("," + way.option + `="` + p.String() + `"`)
			}
		}
	}
	if g.Has(wire.MayAgent) {
		b.WriteString(",agent-forwarding")
	}
	if !g.Has(wire.MayShell) && !g.Has(wire.MayExec) {
		for _, s := range sftpOnly {
			if slices.Equal(s.rights, g.Only([]wire.Right{wire.MayUpload, wire.MayDownload}).Rights) {
				b.WriteString(`,command="` + s.command + `"`)
			}
		}
	}
	return b.String()
}

// parseGrant reads what [Grant.options] writes. Of other text the answer has no meaning: its options are not that
// text.
func parseGrant(text string) Grant {
	o, ok := parseOptions(text, Zone{Local: time.UTC, UTC: true})
	if !ok {
		return Grant{}
	}
	return o.grant()
}

// cutAfter returns what is between head, with which s must begin, and the next tail. rest begins with
// that tail.
func cutAfter(s, head, tail string) (between, rest string, ok bool) {
	if s, ok = strings.CutPrefix(s, head); !ok {
		return "", "", false
	}
	i := strings.Index(s, tail)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i:], true
}
