package keys

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// marker is the first word of the comment on an ephemeral key's line.
const marker = "scrier-ephemeral"

// ephemeral is the line of one session:
//
//	restrict,pty,from="127.0.0.1,::1",expiry-time="20261123160000Z" ssh-ed25519 AAAA… scrier-ephemeral agent=UUID session=UUID
//
// The grammar is exact, one blank between words: a line that differs in a byte is somebody
// else's and stays. A line that could not be taken out is disabled by a # over its first byte.
type ephemeral struct {
	agent   wire.EnvoyID
	session wire.SessionID
	sources []netip.Addr
	expiry  time.Time
	key     string // base64
	off     bool   // disabled by #
}

const (
	lineHead    = `restrict,pty,from="`
	lineExpiry  = `",expiry-time="`
	lineKey     = `" ` + ssh.KeyAlgoED25519 + ` `
	lineAgent   = ` ` + marker + ` agent=`
	lineSession = ` session=`

	timeUTC   = "20060102150405Z"
	timeLocal = "20060102150405"

	ed25519Text = 68 // base64 of an ed25519 public key in wire form, 51 bytes
	maxSources  = 8
)

// newEphemeral makes the line for a key; ok is false when the key is not ed25519.
func newEphemeral(agent wire.EnvoyID, session wire.SessionID, sources []netip.Addr, expiry time.Time, key ssh.PublicKey) (ephemeral, bool) {
	e := ephemeral{agent: agent, session: session, sources: sources, expiry: expiry.Truncate(time.Second)}
	e.key = base64.StdEncoding.EncodeToString(key.Marshal())
	return e, key.Type() == ssh.KeyAlgoED25519 && len(e.key) == ed25519Text
}

// text writes the line, without a newline, in the form of time that z understands.
func (e ephemeral) text(z zone) string {
	sources := make([]string, len(e.sources))
	for i, a := range e.sources {
		sources[i] = a.String()
	}
	expiry := e.expiry.UTC().Format(timeUTC)
	if !z.utc {
		t := e.expiry.In(z.local)
		if t.IsDST() { // sshd reads the digits as standard time
			t = t.Add(-time.Hour)
		}
		expiry = t.Format(timeLocal)
	}
	return lineHead + strings.Join(sources, ",") + lineExpiry + expiry + lineKey + e.key +
		lineAgent + e.agent.String() + lineSession + e.session.String()
}

// parseEphemeral reads a line without its newline, in the exact grammar and no other.
func parseEphemeral(line string, z zone) (ephemeral, bool) {
	var e ephemeral
	if len(line) > 1024 {
		return e, false
	}
	if rest, ok := strings.CutPrefix(line, "#"); ok {
		e.off, line = true, lineHead[:1]+rest
	}
	sources, rest, ok1 := cutAfter(line, lineHead, lineExpiry)
	expiry, rest, ok2 := cutAfter(rest, lineExpiry, lineKey)
	key, rest, ok3 := cutAfter(rest, lineKey, lineAgent)
	agent, rest, ok4 := cutAfter(rest, lineAgent, lineSession)
	session, ok5 := strings.CutPrefix(rest, lineSession)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 {
		return e, false
	}
	for i, s := range strings.Split(sources, ",") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.String() != s || i >= maxSources {
			return e, false
		}
		e.sources = append(e.sources, addr)
	}
	if len(expiry) < len(timeLocal) || !digits(strings.TrimSuffix(expiry, "Z"), 14, 14) {
		return e, false
	}
	z.utc = true
	t, verdict := parseTime(expiry, z)
	if verdict != yes {
		return e, false
	}
	e.expiry = t
	blob, err := base64.StdEncoding.Strict().DecodeString(key)
	if err != nil || len(key) != ed25519Text {
		return e, false
	}
	if k, err := ssh.ParsePublicKey(blob); err != nil || k.Type() != ssh.KeyAlgoED25519 {
		return e, false
	}
	e.key = key
	var err1, err2 error
	e.agent, err1 = wire.ParseEnvoyID(agent)
	e.session, err2 = wire.ParseSessionID(session)
	return e, err1 == nil && err2 == nil
}

// cutAfter takes what stands between head, with which s begins, and the next tail, which stays.
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
