package keys

import (
	"bytes"
	"encoding/base64"
	"math/big"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"
)

// Sizes of an authorized_keys file. sshd knows neither limit; a longer line is skipped (and
// kept), a larger file is not read.
const (
	maxFile = 4 << 20
	maxLine = 256 << 10
)

// standing is what a line means for one key, in rising order of what it grants.
type standing uint8

const (
	absent     standing = iota // the line is not about this key
	refused                    // it is, and sshd does not accept it: look further
	restricted                 // sshd accepts it, or might, and it gives less than a shell with a terminal
	eligible
)

// asked is what the lines of a file are matched against.
type asked struct {
	keys    []askedKey
	sources []netip.Addr // from which the session will come
	names   []string     // by which sshd may call those, when it looks up names
	now     time.Time
	zone    zone
}

// askedKey is one public key of the operator.
type askedKey struct {
	name string // e.g. ssh-ed25519
	text string // in base64
}

// finding is the line that decides for one key: the first that sshd accepts, else the first
// that is there at all.
type finding struct {
	standing       standing
	reason         reason
	sources        []netip.Addr // of the asked ones, those that from= lets in
	validBefore    time.Time    // zero: for ever
	verifyRequired bool
}

// reason says why a line that holds the key is not eligible.
type reason uint8

const (
	reasonNone reason = iota
	reasonOptions
	reasonAuthority
	reasonPrincipals
	reasonExpired
	reasonFrom
	reasonCommand
	reasonNoPTY
	reasonUncertain
	reasonRevoked
	reasonDaemon
	reasonEnd // not a reason: the first number that is none
)

func (r reason) String() string {
	switch r {
	case reasonOptions:
		return "its options are not valid"
	case reasonAuthority:
		return "it is marked cert-authority"
	case reasonPrincipals:
		return "it has principals="
	case reasonExpired:
		return "its expiry-time has passed"
	case reasonFrom:
		return "its from= does not let in the machine itself"
	case reasonCommand:
		return "it has command="
	case reasonNoPTY:
		return "its options give no terminal"
	case reasonUncertain:
		return "its options can be read in more than one way"
	case reasonRevoked:
		return "it is in sshd's RevokedKeys"
	case reasonDaemon:
		return "sshd's configuration gives it no shell with a terminal"
	}
	return ""
}

// newAskedKey makes key comparable, or reports false for keys that never match: DSA, RSA below
// 2048 or above 8192 bits. A certificate stands for its key.
func newAskedKey(key ssh.PublicKey) (askedKey, bool) {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	switch name := key.Type(); name {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return askedKey{name, base64.StdEncoding.EncodeToString(key.Marshal())}, true
	case ssh.KeyAlgoRSA:
		bits := rsaBits(key)
		return askedKey{name, base64.StdEncoding.EncodeToString(key.Marshal())}, bits >= 2048 && bits <= 8192
	}
	return askedKey{}, false
}

// rsaBits is the size of an RSA key's modulus; 0 for other keys.
func rsaBits(key ssh.PublicKey) int {
	var rsa struct {
		Name string
		E, N []byte
	}
	if key.Type() != ssh.KeyAlgoRSA || ssh.Unmarshal(key.Marshal(), &rsa) != nil {
		return 0
	}
	return new(big.Int).SetBytes(rsa.N).BitLen()
}

// find goes through a file as sshd's auth_check_authkeys_file does and returns one finding a key.
func (a asked) find(file []byte) []finding {
	found := make([]finding, len(a.keys))
	for len(file) > 0 {
		var line []byte
		if i := bytes.IndexByte(file, '\n'); i >= 0 {
			line, file = file[:i], file[i+1:]
		} else {
			line, file = file, nil
		}
		if len(line) > maxLine {
			continue
		}
		for i, key := range a.keys {
			if found[i].standing >= restricted {
				continue // sshd stops at the first line that it accepts
			}
			if f := a.line(line, key); f.standing > found[i].standing {
				found[i] = f
			}
		}
	}
	return found
}

// line is auth_check_authkey_line for a plain key, without the line's newline.
func (a asked) line(line []byte, key askedKey) finding {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i] // C reads no further
	}
	line = bytes.TrimLeft(line, " \t")
	if len(line) == 0 || line[0] == '#' {
		return finding{}
	}
	if holdsKey(line, key) {
		return a.judge("")
	}
	n, ok := skipOptions(string(line))
	if !ok || !holdsKey(bytes.TrimLeft(line[n:], " \t"), key) {
		return finding{}
	}
	return a.judge(string(line[:n+1])) // with the blank, which a comma may stand before
}

// judge says what a line with these options means for the key that it holds.
func (a asked) judge(text string) finding {
	o, ok := parseOptions(text, a.zone)
	switch {
	case !ok:
		return finding{standing: refused, reason: reasonOptions}
	case o.certAuthority:
		return finding{standing: refused, reason: reasonAuthority}
	case o.principals:
		return finding{standing: refused, reason: reasonPrincipals}
	case !o.validBefore.IsZero() && o.validBefore.Unix() < a.now.Unix():
		return finding{standing: refused, reason: reasonExpired}
	}
	f := finding{standing: eligible, sources: a.sources, validBefore: o.validBefore, verifyRequired: o.verifyRequired}
	if o.fromSet {
		f.sources = nil
		for _, addr := range a.sources {
			switch fromMatches(o.from, addr, a.names) {
			case yes:
				f.sources = append(f.sources, addr)
			case maybe:
				o.uncertain = true
			}
		}
		if len(f.sources) == 0 && !o.uncertain {
			return finding{standing: refused, reason: reasonFrom}
		}
	}
	switch {
	case o.uncertain:
		return finding{standing: restricted, reason: reasonUncertain}
	case o.command:
		return finding{standing: restricted, reason: reasonCommand}
	case !o.pty:
		return finding{standing: restricted, reason: reasonNoPTY}
	}
	return f
}

// holdsKey is sshkey_read followed by sshkey_equal: s begins with the key's name, blanks, and
// the key in base64, in which b64_pton skips white space. A key written in another way than the
// canonical one does not match.
func holdsKey(s []byte, key askedKey) bool {
	rest, ok := bytes.CutPrefix(s, []byte(key.name))
	if !ok || len(rest) == 0 || (rest[0] != ' ' && rest[0] != '\t') {
		return false
	}
	rest = bytes.TrimLeft(rest, " \t")
	if i := bytes.IndexAny(rest, " \t"); i >= 0 {
		rest = rest[:i]
	}
	text := key.text
	for _, c := range rest {
		switch {
		case c == '\r', c == '\v', c == '\f':
		case text != "" && text[0] == c:
			text = text[1:]
		default:
			return false
		}
	}
	return text == ""
}
