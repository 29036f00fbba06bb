package line

import (
	"strings"
	"time"
)

// options are the options in front of a key, as sshd's sshauthopt_parse reads them. Of tunnel= the form is
// checked and nothing is kept: no session has a tunnel.
type options struct {
	certAuthority  bool
	principals     bool
	command        bool
	commandText    string
	pty            bool
	forwarding     bool // of ports and sockets
	open           permitList
	listen         permitList
	agent          bool // forwarding
	environment    bool
	verifyRequired bool
	from           string // if fromSet; "" is a list that matches nothing
	fromSet        bool
	validBefore    time.Time // zero: for ever
	unclear        Reason    // versions of sshd or libc may read an option differently; the first such option
}

const (
	maxEnvironment = 1024 // SSH_AUTHOPT_ENV_MAX
	maxPermit      = 4096 // SSH_AUTHOPT_PERMIT_MAX
	maxHost        = 1025 // NI_MAXHOST
)

// parseOptions reads options up to the first blank outside of quotes. It reports false where
// sshd refuses the line for its options.
func parseOptions(s string, z Zone) (options, bool) {
	o := options{pty: true, forwarding: true, agent: true}
	environment := map[string]bool{}
	var seenCommand, seenPrincipals bool
	for s != "" && s[0] != ' ' && s[0] != '\t' {
		var value string
		var ok bool
		if set, rest, found := flagOption(s); found {
			switch strings.ToLower(set) {
			case "restrict":
				o.pty, o.forwarding, o.agent = false, false, false
			case "no-pty":
				o.pty = false
			case "pty":
				o.pty = true
			case "no-port-forwarding":
				o.forwarding = false
			case "port-forwarding":
				o.forwarding = true
			case "no-agent-forwarding":
				o.agent = false
			case "agent-forwarding":
				o.agent = true
			case "cert-authority":
				o.certAuthority = true
			case "verify-required":
				o.verifyRequired = true
			case "no-verify-required":
				o.verifyRequired = false
			}
			s = rest
		} else if name, rest, found := valueOption(s); found {
			if value, s, ok = dequote(rest); !ok {
				return o, false
			}
			switch name {
			case "command":
				if seenCommand {
					return o, false
				}
				seenCommand, o.command, o.commandText = true, true, value
			case "principals":
				if seenPrincipals {
					return o, false
				}
				seenPrincipals, o.principals = true, true
			case "from":
				if o.fromSet {
					return o, false
				}
				o.from, o.fromSet = value, true
			case "expiry-time":
				t, verdict := parseTime(value, z)
				if verdict == no {
					return o, false
				}
				if verdict == maybe {
					o.doubt(UnclearExpiry)
				} else if o.validBefore.IsZero() || t.Before(o.validBefore) {
					o.validBefore = t
				}
			case "environment":
				env, _, found := strings.Cut(value, "=")
				if !found || !validEnvironment(env) || len(environment) > maxEnvironment {
					return o, false
				}
				environment[env], o.environment = true, true
			case "permitopen", "permitlisten":
				list, listen := &o.open, name == "permitlisten"
				if listen {
					list = &o.listen
				}
				if list.count > maxPermit {
					return o, false
				}
				if listen && !strings.Contains(value, ":") { // a port alone
					value = "*:" + value
				}
				list.add(value, listen)
				switch validPermit(value) {
				case no:
					return o, false
				case maybe:
					o.doubt(UnclearPermit)
				}
			case "tunnel":
				if !strings.EqualFold(value, "any") && !digits(value, 1, 9) {
					o.doubt(UnclearTunnel)
				}
			}
		}
		if s == "" || s[0] == ' ' || s[0] == '\t' {
			break
		}
		if s[0] != ',' { // an option that this sshd does not know
			return o, false
		}
		if s = s[1:]; s == "" {
			return o, false
		}
	}
	return o, true
}

// doubt keeps the first reason for which the options are not clear.
func (o *options) doubt(r Reason) {
	if o.unclear == NoReason {
		o.unclear = r
	}
}

// answer is yes, no, or maybe: then some versions of sshd or libc say yes and others no.
type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// flagOption finds a flag at the beginning of s. Like sshd it looks at no more than the length of the
// flag's name; the caller checks that a comma or the end follows.
func flagOption(s string) (flag, rest string, ok bool) {
	for _, f := range [...]struct {
		name   string
		negate bool
	}{
		{"restrict", false}, {"cert-authority", false}, {"port-forwarding", true}, {"agent-forwarding", true},
		{"x11-forwarding", true}, {"touch-required", true}, {"verify-required", true}, {"pty", true}, {"user-rc", true},
	} {
		if prefixFold(s, f.name) {
			return s[:len(f.name)], s[len(f.name):], true
		}
		if f.negate && prefixFold(s, "no-"+f.name) {
			return s[:len(f.name)+3], s[len(f.name)+3:], true
		}
	}
	return "", s, false
}

// valueOption finds NAME= at the beginning of s.
func valueOption(s string) (name, rest string, ok bool) {
	for _, name := range [...]string{
		"command", "principals", "from", "expiry-time", "environment", "permitopen", "permitlisten", "tunnel",
	} {
		if prefixFold(s, name) && strings.HasPrefix(s[len(name):], "=") {
			return name, s[len(name)+1:], true
		}
	}
	return "", s, false
}

// prefixFold compares as C's strncasecmp does. Only ASCII letters are the same in both cases; Go's
// EqualFold would accept others.
func prefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// dequote does what sshd's opt_dequote does: \" is a quotation mark, and any other backslash is a
// backslash.
func dequote(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == '"' {
			return b.String(), s[i+1:], true
		}
		if s[i] == '\\' && i+1 < len(s) && s[i+1] == '"' {
			i++
		}
		b.WriteByte(s[i])
	}
	return "", s, false
}

// skipOptions does what sshd's sshkey_advance_past_options does: n is the length of the options at
// the beginning of s.
func skipOptions(s []byte) (n int, ok bool) {
	quoted := false
	for n < len(s) && (quoted || (s[n] != ' ' && s[n] != '\t')) {
		if s[n] == '\\' && n+1 < len(s) && s[n+1] == '"' {
			n++
		} else if s[n] == '"' {
			quoted = !quoted
		}
		n++
	}
	return n, n < len(s) || !quoted
}

func validEnvironment(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return name != ""
}

// validPermit checks host:port as sshd's handle_permit does. A port that is no number may be the name
// of a service that this machine knows.
func validPermit(s string) answer {
	end := strings.IndexAny(s, ":/")
	if strings.HasPrefix(s, "[") {
		if end = strings.IndexByte(s, ']') + 1; end == 0 {
			return no
		}
	}
	if end < 0 || end >= len(s) || end >= maxHost || (s[end] != ':' && s[end] != '/') {
		return no
	}
	switch port := s[end+1:]; {
	case port == "*":
		return yes
	case port == "":
		return no
	case digits(port, 1, 5) && (len(port) < 5 || port <= "65535") && strings.Trim(port, "0") != "":
		return yes
	default:
		return maybe
	}
}

func digits(s string, least, most int) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) >= least && len(s) <= most
}
