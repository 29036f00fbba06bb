package keys

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/keys/line"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

// daemon is what sshd does for one login, as `sshd -T` prints it.
type daemon struct {
	files       []string // AuthorizedKeysFile with its tokens; empty for none
	hostKeys    []string
	strict      bool // StrictModes
	publicKeys  bool
	pam         bool
	dns         bool
	terminal    bool
	forced      bool // ForceCommand
	local       bool // AllowTcpForwarding or AllowStreamLocalForwarding, of connections from the machine
	remote      bool // the same, of listening at the machine
	agent       bool // AllowAgentForwarding
	sftp        bool // Subsystem
	plainSFTP   bool // it is internal-sftp without arguments, which no shell is asked about
	together    bool // this version of sshd does not know permitlisten
	environment bool // PermitUserEnvironment
	verify      bool // verify-required in PubkeyAuthOptions
	algorithms  []string
	rsaBits     int
	revokedKeys string
	utc         bool // this version of sshd knows the Z in expiry-time
	chroot      bool // ChrootDirectory: sshd does not look at the shell then
	pamService  string

	denyUsers, allowUsers, denyGroups, allowGroups []string

	command      *command // AuthorizedKeysCommand; nil: none
	commandFirst bool     // this version of sshd asks it before the files
	md5          bool     // FingerprintHash

	maxStartups    string
	sourceStartups string // PerSourceMaxStartups: a number, or none
	penalises      bool   // PerSourcePenalties
	penaltyExempt  string
	refuses        bool // RefuseConnection

	sum [sha256.Size]byte // of all that sshd -T has printed
}

const (
	maxDaemonOutput = 256 << 10
	maxConfig       = 1 << 20
	maxConfigFiles  = 256
)

// parseDaemon reads the output of `sshd -T`: one keyword and its values a line, the keyword in small
// letters or, in newer versions, as the manual has it. Keywords that are not needed are skipped.
func parseDaemon(out []byte) (daemon, error) {
	d := daemon{strict: true, publicKeys: true, terminal: true, agent: true, rsaBits: 1024, pamService: "sshd", sourceStartups: "none", sum: sha256.Sum256(out)}
	var seenFiles bool
	var commandText, commandUser string
	forwards := map[string]string{"allowtcpforwarding": "yes", "allowstreamlocalforwarding": "yes"}
	disabled := false
	for len(out) > 0 {
		var line []byte
		line, out, _ = bytes.Cut(out, []byte{'\n'})
		name, value, _ := strings.Cut(string(line), " ")
		value = strings.TrimSpace(value)
		var err error
		switch strings.ToLower(name) {
		case "authorizedkeysfile":
			seenFiles = true
			for _, f := range strings.Fields(value) {
				if f != "none" && !slices.Contains(d.files, f) {
					d.files = append(d.files, f)
				}
			}
		case "hostkey":
			if value != "none" && path.IsAbs(value) && len(d.hostKeys) < 32 {
				d.hostKeys = append(d.hostKeys, value)
			}
		case "strictmodes":
			d.strict, err = yesNo(value)
		case "pubkeyauthentication":
			d.publicKeys, err = yesNo(value)
		case "usepam":
			d.pam, err = yesNo(value)
		case "usedns":
			d.dns, err = yesNo(value)
		case "permittty":
			d.terminal, err = yesNo(value)
		case "permituserenvironment": // yes, no, or patterns of names
			d.environment = value != "no"
		case "pubkeyauthoptions":
			d.verify = slices.Contains(strings.Fields(value), "verify-required")
		case "allowtcpforwarding", "allowstreamlocalforwarding":
			forwards[strings.ToLower(name)] = value
		case "allowagentforwarding":
			d.agent, err = yesNo(value)
		case "disableforwarding":
			disabled, err = yesNo(value)
		case "subsystem":
			d.plainSFTP = d.plainSFTP || slices.Equal(strings.Fields(value), []string{"sftp", "internal-sftp"})
			d.sftp = d.sftp || strings.HasPrefix(value, "sftp ")
		case "forcecommand":
			d.forced = value != "none" && value != ""
		case "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes": // the second is its name before OpenSSH 8.5
			d.algorithms = strings.Split(value, ",")
		case "requiredrsasize":
			d.rsaBits, err = strconv.Atoi(value)
		case "revokedkeys":
			if value != "none" {
				d.revokedKeys = value
			}
		case "chrootdirectory":
			d.chroot = value != "none" && value != ""
		case "pamservicename": // since OpenSSH 9.8
			d.pamService = value
		case "authorizedkeyscommand":
			if value != "none" {
				commandText = value
			}
		case "fingerprinthash":
			d.md5 = strings.EqualFold(value, "md5")
		case "authorizedkeyscommanduser":
			if value != "none" {
				commandUser = value
			}
		case "maxstartups":
			d.maxStartups = value
		case "persourcemaxstartups":
			d.sourceStartups = value
		case "persourcepenalties":
			d.penalises = value != "no"
		case "persourcepenaltyexemptlist":
			if value != "none" {
				d.penaltyExempt = value
			}
		case "refuseconnection":
			d.refuses, err = yesNo(value)
		case "denyusers":
			d.denyUsers = append(d.denyUsers, value)
		case "allowusers":
			d.allowUsers = append(d.allowUsers, value)
		case "denygroups":
			d.denyGroups = append(d.denyGroups, value)
		case "allowgroups":
			d.allowGroups = append(d.allowGroups, value)
		}
		if err != nil {
			return d, fmt.Errorf("read sshd -T: %s %q", name, wire.Printable(value))
		}
	}
	if !seenFiles {
		return d, errors.New("read sshd -T: it names no authorizedkeysfile")
	}
	for _, value := range forwards {
		d.local = d.local || !disabled && slices.Contains([]string{"yes", "all", "local"}, value)
		d.remote = d.remote || !disabled && slices.Contains([]string{"yes", "all", "remote"}, value)
	}
	d.agent = d.agent && !disabled
	if commandText != "" && commandUser != "" { // without a user sshd does not run it
		argv, ok := parseCommand(commandText)
		if !ok {
			return d, fmt.Errorf("read sshd -T: authorizedkeyscommand %q", wire.Printable(commandText))
		}
		d.command = &command{argv, commandUser}
	}
	if len(d.files) > worker.MaxPaths {
		return d, errors.New("read sshd -T: too many files in authorizedkeysfile")
	}
	return d, nil
}

func yesNo(s string) (bool, error) {
	if s != "yes" && s != "no" {
		return false, fmt.Errorf("neither yes nor no")
	}
	return s == "yes", nil
}

// expand does what sshd's expand_authorized_keys does: it replaces the tokens, and puts the home
// before a relative path.
func expand(pattern string, a account.Account) (string, error) {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			b.WriteByte(pattern[i])
			continue
		}
		if i++; i == len(pattern) {
			return "", wire.Errorf(wire.KeyfileUnsupported, "AuthorizedKeysFile %q", wire.Printable(pattern))
		}
		switch pattern[i] {
		case '%':
			b.WriteByte('%')
		case 'h':
			b.WriteString(a.Home)
		case 'u':
			b.WriteString(a.Login)
		case 'U':
			b.WriteString(strconv.FormatUint(uint64(a.UID), 10))
		default:
			return "", wire.Errorf(wire.KeyfileUnsupported, "AuthorizedKeysFile %q", wire.Printable(pattern))
		}
	}
	file := b.String()
	if !path.IsAbs(file) {
		file = a.Home + "/" + file
	}
	if slices.Contains(strings.Split(file, "/"), "..") || wire.Printable(file) != file || len(file) >= 4096 || strings.HasSuffix(file, "/") {
		return "", wire.Errorf(wire.KeyfileUnsupported, "AuthorizedKeysFile %q", wire.Printable(pattern))
	}
	return path.Clean(file), nil
}

// shared says whether a pattern means one and the same file for every login.
func shared(pattern string) bool {
	pattern = strings.ReplaceAll(pattern, "%%", "")
	return path.IsAbs(pattern) && !strings.Contains(pattern, "%")
}

// takes says whether sshd accepts the key's algorithm and size at all.
func (d daemon) takes(key ssh.PublicKey) bool {
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	names := []string{key.Type()}
	if key.Type() == ssh.KeyAlgoRSA {
		names = []string{ssh.KeyAlgoRSA, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}
		if line.RSABits(key) < d.rsaBits {
			return false
		}
	}
	return d.algorithms == nil || slices.ContainsFunc(names, func(n string) bool { return slices.Contains(d.algorithms, n) })
}
