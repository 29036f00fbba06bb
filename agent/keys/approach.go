package keys

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"scrier/agent/keys/line"
)

// Approach is how a session should come to sshd.
type Approach struct {
	// From is the address on loopback to come from; the zero value: whichever the system takes. It is the
	// operator's own where sshd keeps accounts by address (PerSourcePenalties, PerSourceMaxStartups), so that
	// one operator's failures do not shut out the others.
	From netip.Addr
	// Startups is how many connections may authenticate at a time, MaxStartups' last number: sshd surely drops
	// what is beyond. 0: not known.
	Startups int
	// Limits are the settings by which sshd may turn a connection away, as sshd_config has them.
	Limits string
}

// approach says how the operator's session should come to sshd. The operator's own address is taken only
// where sshd and PAM treat it as the usual one: nobody is shut out by it.
func (k *Keys) approach(ctx context.Context, c *candidate, operator string) Approach {
	d := c.daemon
	a := Approach{Startups: d.startups(), Limits: d.limits()}
	if operator == "" || !k.usual.Is4() || !d.bySource() {
		return a
	}
	from := k.ownAddress(operator)
	switch exempt, _ := line.MatchHost(d.penaltyExempt, k.usual, ""); {
	case exempt && d.sourceStartups == "none": // nothing is kept of the usual address
	case !k.addressBlind(d):
	default:
		other, err := k.daemonFor(ctx, c.Account, from)
		if err == nil && other.sum == d.sum && k.admit(ctx, other, c.Account, from) == nil {
			a.From = from
		}
	}
	return a
}

// ownAddress is an operator's own address in 127.0.0.0/8. It is the same as long as the agent runs, and nobody
// can foretell it. It is never in 127.0.0.0/16, where services and names of this machine have theirs.
func (k *Keys) ownAddress(operator string) netip.Addr {
	mac := hmac.New(sha256.New, k.secret[:])
	mac.Write([]byte(k.cfg.Agent.String() + " " + operator))
	sum := mac.Sum(nil)
	return netip.AddrFrom4([4]byte{127, 1 + sum[0]%254, sum[1], 1 + sum[2]%254})
}

// startups is MaxStartups' last number, after which sshd drops all.
func (d daemon) startups() int {
	n, err := strconv.Atoi(d.maxStartups[strings.LastIndexByte(d.maxStartups, ':')+1:])
	if err != nil {
		return 0
	}
	return n
}

func (d daemon) limits() string {
	var all []string
	if d.maxStartups != "" {
		all = append(all, "MaxStartups "+d.maxStartups)
	}
	if d.sourceStartups != "none" {
		all = append(all, "PerSourceMaxStartups "+d.sourceStartups)
	}
	if d.penalises {
		all = append(all, "PerSourcePenalties")
	}
	return strings.Join(all, ", ")
}

// bySource says whether sshd keeps accounts of addresses.
func (d daemon) bySource() bool { return d.penalises || d.sourceStartups != "none" }

// blindModules are PAM modules that do not care where a user comes from.
var blindModules = []string{
	"pam_cap", "pam_debug", "pam_deny", "pam_ecryptfs", "pam_env", "pam_faildelay", "pam_faillock", "pam_fscrypt", "pam_gnome_keyring", "pam_group",
	"pam_issue", "pam_keyinit", "pam_krb5", "pam_kwallet5", "pam_lastlog", "pam_lastlog2", "pam_ldap", "pam_limits", "pam_localuser",
	"pam_loginuid", "pam_mail", "pam_mkhomedir", "pam_motd", "pam_namespace", "pam_nologin", "pam_oddjob_mkhomedir", "pam_permit",
	"pam_pwquality", "pam_cracklib", "pam_rootok", "pam_securetty", "pam_selinux", "pam_sepermit", "pam_setquota", "pam_shells",
	"pam_sss", "pam_succeed_if", "pam_systemd", "pam_systemd_home", "pam_time", "pam_tty_audit", "pam_umask", "pam_unix", "pam_usertype",
	"pam_warn", "pam_wheel", "pam_winbind", "pam_xauth", "pam_gdm", "pam_passwdqc", "pam_pwhistory", "pam_tally2", "pam_apparmor", "pam_ssh_agent_auth",
}

// addressBlind says whether all addresses of loopback are surely the same to what sshd asks beside its own
// configuration: TCP wrappers, the names of addresses, and PAM.
func (k *Keys) addressBlind(d daemon) bool {
	if d.dns || hasLines(filepath.Join(k.etc, "hosts.allow")) || hasLines(filepath.Join(k.etc, "hosts.deny")) {
		return false
	}
	if !d.pam {
		return true
	}
	modules, ok := k.pamModules(d.pamService)
	return ok && !slices.ContainsFunc(modules, func(m pamModule) bool {
		return !slices.Contains(blindModules, m.name) || slices.ContainsFunc(m.args, func(arg string) bool { return strings.Contains(arg, "rhost") })
	})
}

// hasLines says whether a file has a line that is no comment, or cannot be read although it is there.
func hasLines(name string) bool {
	text, err := os.ReadFile(name)
	if err != nil {
		return !os.IsNotExist(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return true
		}
	}
	return false
}
