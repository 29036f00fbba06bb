package line

import (
	"net/netip"
	"strconv"
	"strings"
)

// from says whether the pattern list of from= lets the operator in, as sshd's match_host_and_ip does for
// a connection from their address. maybe comes with a reason. sshd with UseDNS may know the operator by a
// name as well, which nobody here does.
func (a Query) from(list string) (answer, Reason) {
	if !a.Source.IsValid() {
		if letsInAll(list) {
			return yes, NoReason
		}
		return maybe, FromUnknown
	}
	addr := a.Source.Unmap() // as sshd does (ipv64_normalise_mapped)
	byAddress, certain := matchAddress(list, addr)
	if !certain {
		return maybe, UnclearFrom
	}
	if byAddress < 0 {
		return no, From
	}
	let, barred := names(list, a.DNS)
	if !a.DNS {
		let = false
		byName := matchPatternList(addr.String(), list)
		if byName < 0 || (byName == 0 && byAddress == 0) {
			return no, From
		}
	}
	switch {
	case barred, let && byAddress == 0:
		return maybe, FromName
	case a.DNS && byAddress == 0:
		return no, From
	}
	return yes, NoReason
}

// MatchHost does what sshd's match_host_and_ip does for a client at addr that sshd knows by the name host,
// which is the address itself without UseDNS. It is not certain where libc has a say.
func MatchHost(list string, addr netip.Addr, host string) (in, certain bool) {
	addr = addr.Unmap()
	byAddress, certain := matchAddress(list, addr)
	if !certain {
		return false, false
	}
	if byAddress < 0 {
		return false, true
	}
	byName := matchPatternList(host, list)
	return byName > 0 || byName == 0 && byAddress > 0, true
}

// letsInAll says whether a list lets everybody in, wherever they are.
func letsInAll(list string) bool {
	var star, four, six bool
	for _, p := range strings.Split(list, ",") {
		prefix, kind := parsePrefix(p)
		switch {
		case p == "" || p[0] == '!' || kind == prefixInconsistent || kind == prefixStrange:
			return false
		case kind == prefixValid && prefix.Bits() == 0:
			four, six = four || prefix.Addr().Is4(), six || prefix.Addr().Is6()
		case strings.Trim(p, "*") == "":
			star = true
		}
	}
	return star || (four && six)
}

// names says whether a list lets hosts in by their names, and whether it bars some. A pattern of digits
// and dots is about addresses, unless sshd looks up names (dns): then it is held against them too.
func names(list string, dns bool) (let, barred bool) {
	for _, p := range strings.Split(list, ",") {
		p, negated := strings.CutPrefix(p, "!")
		if _, kind := parsePrefix(p); kind != prefixNone || (!dns && aboutAddresses(p)) {
			continue
		}
		let, barred = let || !negated, barred || negated
	}
	return let, barred
}

// aboutAddresses says whether a pattern can match addresses alone, as far as people write them.
func aboutAddresses(p string) bool {
	digits := "0123456789.*?"
	if strings.Contains(p, ":") {
		digits = "0123456789abcdefABCDEF:.*?"
	}
	return strings.Trim(p, digits) == ""
}

// matchAddress does what sshd's addr_match_list does. found is 1 if the list has the address, 0 if
// not, and -1 if it has it negated or is malformed. It is not certain where getaddrinfo might read
// something as an address that netip does not.
func matchAddress(list string, addr netip.Addr) (found int, certain bool) {
	for _, p := range strings.Split(list, ",") {
		p, negated := strings.CutPrefix(p, "!")
		if p == "" {
			return -1, true
		}
		var hit bool
		prefix, kind := parsePrefix(p)
		switch kind {
		case prefixInconsistent:
			return -1, true
		case prefixStrange:
			return 0, false
		case prefixValid:
			hit = prefix.Addr().BitLen() == addr.BitLen() && prefix.Contains(addr)
		case prefixNone:
			hit = MatchPattern(addr.String(), p)
		}
		if hit && negated {
			return -1, true
		}
		if hit {
			found = 1
		}
	}
	return found, true
}

type prefixKind uint8

const (
	prefixNone         prefixKind = iota // neither address nor network
	prefixValid                          // address or network
	prefixInconsistent                   // host bits set or too long: sshd refuses the whole list
	prefixStrange                        // a form whose reading depends on libc
)

// parsePrefix does what sshd's addr_pton_cidr does.
func parsePrefix(s string) (netip.Prefix, prefixKind) {
	if len(s) >= 64 {
		return netip.Prefix{}, prefixNone
	}
	host, mask, masked := strings.Cut(s, "/")
	bits := -1
	if masked {
		if !digits(mask, 1, 3) {
			if strings.ContainsAny(mask, "+-xX \t\v\f\r\n") || digits(mask, 4, 64) {
				return netip.Prefix{}, prefixStrange
			}
			return netip.Prefix{}, prefixNone
		}
		if bits, _ = strconv.Atoi(mask); bits > 128 {
			return netip.Prefix{}, prefixNone
		}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		if looksNumeric(host) {
			return netip.Prefix{}, prefixStrange
		}
		return netip.Prefix{}, prefixNone
	}
	if bits < 0 {
		bits = addr.BitLen()
	}
	if bits > addr.BitLen() {
		return netip.Prefix{}, prefixInconsistent
	}
	p := netip.PrefixFrom(addr, bits)
	if p.Masked() != p {
		return netip.Prefix{}, prefixInconsistent
	}
	return p, prefixValid
}

// looksNumeric says whether getaddrinfo may read s as an address although netip does not: 127.1,
// 0x7f000001, 2130706433, ::1%lo. It never does so with wildcards.
func looksNumeric(s string) bool {
	if strings.ContainsAny(s, "*?") {
		return false
	}
	if strings.ContainsAny(s, ":%") {
		return true
	}
	for i := range len(s) {
		if !strings.ContainsRune("0123456789abcdefABCDEFxX. \t\v\f\r", rune(s[i])) {
			return false
		}
	}
	return s != ""
}

// matchPatternList does what sshd's match_pattern_list does, in lower case: it returns 1 if the list
// has s, 0 if not, and -1 if it has it negated.
func matchPatternList(s, list string) int {
	found := 0
	s = lower(s)
	for list != "" {
		var p string
		p, list, _ = strings.Cut(list, ",")
		p, negated := strings.CutPrefix(p, "!")
		if len(p) >= 1023 {
			return 0 // "subpattern too long, return failure"
		}
		if MatchPattern(s, lower(p)) {
			if negated {
				return -1
			}
			found = 1
		}
	}
	return found
}

// MatchPattern does what sshd's match_pattern does, which knows * and ? alone. It needs no recursion.
func MatchPattern(s, pattern string) bool {
	i, j, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, mark = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(pattern) && pattern[j] == '*' {
		j++
	}
	return j == len(pattern)
}

// lower makes the ASCII letters small, as C's tolower does in the C locale.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
