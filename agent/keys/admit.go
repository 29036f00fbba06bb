package keys

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"scrier/agent/account"
	"scrier/agent/keys/line"
	"scrier/wire"
)

// admit refuses an account that sshd would refuse by DenyUsers, AllowUsers, DenyGroups, AllowGroups
// or RefuseConnection when it connects from an address. What cannot be told is left to sshd.
func (k *Keys) admit(ctx context.Context, d daemon, a account.Account, from netip.Addr) error {
	if d.refuses {
		return wire.Errorf(wire.LoginNotAllowed, "sshd's RefuseConnection is set for %s", a.Login)
	}
	host := from.String()
	if d.dns {
		host = "localhost"
	}
	if deny, _ := matchUser(d.denyUsers, a.Login, from, host); deny != "" {
		return wire.Errorf(wire.LoginNotAllowed, "sshd's DenyUsers has %s, which means %s", wire.Printable(deny), a.Login)
	}
	if len(d.allowUsers) > 0 {
		if allow, certain := matchUser(d.allowUsers, a.Login, from, host); allow == "" && certain {
			return wire.Errorf(wire.LoginNotAllowed, "%s is not in sshd's AllowUsers", a.Login)
		}
	}
	if len(d.denyGroups) == 0 && len(d.allowGroups) == 0 {
		return nil
	}
	groups, err := k.database.GroupNames(ctx, append([]uint32{a.GID}, a.Groups...))
	if err != nil {
		k.cfg.Log.Debug("names of groups are not known", "login", a.Login, "err", err)
		return nil
	}
	if deny := matchGroup(d.denyGroups, groups); deny != "" {
		return wire.Errorf(wire.LoginNotAllowed, "sshd's DenyGroups has %s, in which %s is", wire.Printable(deny), a.Login)
	}
	// Nobody looks here whether an account is in root's group.
	if len(d.allowGroups) > 0 && matchGroup(d.allowGroups, append(groups, "root")) == "" {
		return wire.Errorf(wire.LoginNotAllowed, "no group of %s is in sshd's AllowGroups", a.Login)
	}
	return nil
}

// matchUser does what sshd's match_user does for each pattern, USER or USER@HOST, and returns the first
// that matches.
func matchUser(patterns []string, login string, from netip.Addr, host string) (hit string, certain bool) {
	certain = true
	for _, p := range patterns {
		at := strings.LastIndexByte(p, '@')
		if at < 0 {
			if line.MatchPattern(login, p) {
				return p, true
			}
			continue
		}
		if !line.MatchPattern(login, p[:at]) {
			continue
		}
		in, sure := line.MatchHost(p[at+1:], from, host)
		if in {
			return p, true
		}
		certain = certain && sure
	}
	return "", certain
}

// matchGroup does what sshd's ga_match does.
func matchGroup(patterns, groups []string) string {
	for _, p := range patterns {
		if slices.ContainsFunc(groups, func(g string) bool { return line.MatchPattern(g, p) }) {
			return p
		}
	}
	return ""
}
