package wire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Code is a stable error number. One table serves every place where an error crosses a
// boundary: CBOR messages, QUIC and WebTransport error codes, WebSocket close codes (4000+n),
// API problem types and the exit status of the scrier command ([Code.ExitStatus]).
//
// The table is append-only: a number, a name or an exit status, once released, never changes;
// testdata/codes.txt holds it to that.
//
// New codes are numbered from 300 to 999, in the hundred of their [Class], which decides the exit
// status. Numbers up to 125 are older: there a code is its own exit status. They are 64 to 125,
// which neither shells (126 and up) nor most programs (1 to 63) use, with the meaning of
// sysexits(3) where it has one, and 32 to 46 for desktops, since 64 to 125 was full by then. What is
// free between 1 and 125 stays free: a program's own statuses are there, such as the verdicts of
// `scrier audit verify`.
//
// A command that passes on the status of a remote program ends with [NoStatus] for all codes.
type Code uint16

// NoStatus is what a command that passes on a remote program's exit status ends with when there is
// none to pass on, as ssh(1) does: the code stands on standard error.
const NoStatus = 255

// None is the absence of an error; on a stream it is an ordinary end.
const None Code = 0

// The codes. The trailing table, codes, holds name, meaning and hint.
const (
	Usage               Code = 64 // EX_USAGE
	BadRequest          Code = 65 // EX_DATAERR
	Unauthenticated     Code = 66
	NotFound            Code = 67
	EnvoyOffline        Code = 68 // EX_NOHOST
	RelayUnreachable    Code = 69 // EX_UNAVAILABLE
	Internal            Code = 70 // EX_SOFTWARE
	Protocol            Code = 71
	VersionMismatch     Code = 72
	Conflict            Code = 73
	AuditUnavailable    Code = 74 // EX_IOERR
	Busy                Code = 75 // EX_TEMPFAIL
	RelayUntrusted      Code = 76 // EX_PROTOCOL
	Forbidden           Code = 77 // EX_NOPERM
	BadConfig           Code = 78 // EX_CONFIG
	Limit               Code = 79
	NoSuchEnvoy         Code = 80
	AmbiguousEnvoy      Code = 81
	AgentTimeout        Code = 82
	AgentLost           Code = 83
	Revoked             Code = 84
	DuplicateIdentity   Code = 85
	TokenInvalid        Code = 86
	PubkeyNotAuthorized Code = 87
	NoSSHPubkey         Code = 88
	AmbiguousLogin      Code = 89
	KeyRestricted       Code = 90
	AccountNotLoginable Code = 91
	LoginNotAllowed     Code = 92
	HostKeyMismatch     Code = 93
	TargetRefused       Code = 94
	PortNotAllowed      Code = 95
	ClockSkew           Code = 96
	AuthFailed          Code = 97
	KeyfileSymlink      Code = 98
	KeyfileHardlink     Code = 99
	KeyfileNotRegular   Code = 100
	KeyfileTooBig       Code = 101
	KeyfileNoSpace      Code = 102
	KeyfileImmutable    Code = 103
	KeyfileReadOnly     Code = 104
	KeyfilePermissions  Code = 105
	KeyfileTimeout      Code = 106
	KeyfileChanged      Code = 107
	KeyfileShared       Code = 108
	KeyfileUnsupported  Code = 109
	RelayRestart        Code = 110
	RelayShutdown       Code = 111
	Killed              Code = 112
	OperatorChanged     Code = 113
	Expired             Code = 114
	NoTerminal          Code = 115
	KeyUnusable         Code = 116
	Disabled            Code = 117
	StateInUse          Code = 118
	ViewerLost          Code = 119
	Cancelled           Code = 120
	Left                Code = 121
	TakenOver           Code = 122
	TicketInvalid       Code = 123
	SignedOut           Code = 124
	LinkInvalid         Code = 125

	GuacdUnavailable    Code = 32
	DesktopFailed       Code = 33
	DesktopLogin        Code = 34
	DesktopSecurity     Code = 35
	ListenerUntrusted   Code = 36
	CertificateMismatch Code = 37
	NativeOff           Code = 38
	ConsoleOff          Code = 39
	ConsoleEmpty        Code = 40
	ConsoleLocked       Code = 41
	ConsoleRefused      Code = 42
	ConsoleNoAnswer     Code = 43
	ConsoleMissing      Code = 44
	ConsoleUnsupported  Code = 45
	ConsoleEnded        Code = 46

	ProofRequired Code = 400
	KeyUnproved   Code = 401
	Unconfirmed   Code = 402
	Quarantined   Code = 403

	LoginUnanswered Code = 410

	LastAdmin Code = 440

	ChannelNotAllowed Code = 450
	FileDenied        Code = 460

	SSHTimeout     Code = 510
	KeyTypeRefused Code = 520
	ForwardFailed  Code = 530

	TurnedAway Code = 620
	RelayLost  Code = 640

	CopyIncomplete Code = 830
	FileNoSpace    Code = 840
	FileFailed     Code = 841

	WrongHost Code = 960
)

type codeText struct{ name, meaning, hint string }

var codes = map[Code]codeText{
	None:                {"ok", "ended in the ordinary way", ""},
	Usage:               {"usage", "the command line is not understood", "see the command's --help"},
	BadRequest:          {"bad_request", "the request is not well formed", ""},
	Unauthenticated:     {"unauthenticated", "there is no valid login", "log in with `scrier login HOST:PORT`"},
	NotFound:            {"not_found", "there is no such thing", "list what there is with the `list` command"},
	EnvoyOffline:        {"envoy_offline", "the envoy is not connected to the relay", "check on the machine that `scrier agent run` is running and can reach the relay"},
	RelayUnreachable:    {"relay_unreachable", "the relay does not answer", "check the address, and that UDP or TCP to its port is let through; where there is only a proxy, name it in HTTPS_PROXY, on a machine in its agent.yaml (`proxy`)"},
	Internal:            {"internal", "something failed that should not have", "the relay's or agent's log has the details"},
	Protocol:            {"protocol_error", "the peer sent something that the protocol does not allow", "update both sides to the same version"},
	VersionMismatch:     {"version_mismatch", "the two sides speak different versions of the protocol", "update the older side"},
	Conflict:            {"conflict", "it exists already, or was changed meanwhile", "list what there is, then try again with another name or key"},
	AuditUnavailable:    {"audit_unavailable", "the audit log cannot be written, so nothing may start", "check free space and permissions of the relay's state directory"},
	Busy:                {"busy", "too much is going on at once", "wait a moment and try again"},
	RelayUntrusted:      {"relay_untrusted", "the relay is not the one that is trusted", "compare the fingerprint with the relay's administrator; if the relay was set up anew, `scrier logout --forget --relay HOST:PORT` and log in again"},
	Forbidden:           {"forbidden", "your role does not allow this", "ask an administrator of the relay"},
	BadConfig:           {"bad_config", "a configuration file is not valid", ""},
	Limit:               {"limit", "the limit of open sessions is reached", "end a session (`scrier sessions list`, `scrier sessions kill ID`) or raise scrier.max_sessions in server.yaml"},
	NoSuchEnvoy:         {"no_such_envoy", "no envoy has this name or id", "see `scrier envoys list`"},
	AmbiguousEnvoy:      {"ambiguous_envoy", "several envoys match", "use more of the id, or the whole of it"},
	AgentTimeout:        {"agent_timeout", "the envoy took too long to open the session", "check the machine's load, and the logs of its agent and its SSH server: a home, a PAM module, a directory service or DNS may be slow; scrier.agent_timeout in server.yaml is the limit"},
	AgentLost:           {"agent_lost", "the connection to the envoy was lost", "try again; the agent reconnects by itself"},
	Revoked:             {"revoked", "this identity was revoked", "enrol the machine or log in again with a new identity"},
	DuplicateIdentity:   {"duplicate_identity", "another live machine uses the same identity", "one of them is a copy: remove the copy's state directory and enrol it by itself"},
	TokenInvalid:        {"token_invalid", "the enrolment token is unknown, used or expired", "make a new one with `scrier token create`"},
	PubkeyNotAuthorized: {"pubkey_not_authorized", "no login on the envoy has your SSH key in its authorized_keys", "add your public key to ~/.ssh/authorized_keys of the account you want, on that machine"},
	NoSSHPubkey:         {"no_ssh_pubkey", "no SSH public key is registered or found", "name another key with --ssh-key-file, or have yours registered with `scrier operators`; `ssh-keygen -t ed25519` makes one"},
	AmbiguousLogin:      {"ambiguous_login", "several logins on the envoy have your SSH key", "name one with --login"},
	KeyRestricted:       {"key_restricted", "your key is there, but its options do not allow what the session is for", "see the options in front of your key in authorized_keys on that machine"},
	AccountNotLoginable: {"account_not_loginable", "the account on the envoy cannot log in", "check its shell, its lock and its expiry on that machine"},
	LoginNotAllowed:     {"login_not_allowed", "the machine's policy does not allow this login", "see allowed_logins in agent.yaml on that machine, and AllowUsers, DenyUsers, AllowGroups and DenyGroups in its sshd_config"},
	HostKeyMismatch:     {"host_key_mismatch", "the SSH server's host key is not one that the agent reported", "check which SSH server listens at ssh.addr, and that ssh.sshd_config is its configuration"},
	TargetRefused:       {"target_refused", "nothing on the envoy accepts the connection", "check that the server runs on that machine: the SSH server at ssh.addr of agent.yaml, a desktop's at its port"},
	PortNotAllowed:      {"port_not_allowed", "the port is not in the list of allowed ports", "use a port that is allowed, or have this one allowed"},
	ClockSkew:           {"clock_skew", "the clocks of the two sides differ too much", "set the clock (`timedatectl set-ntp true`)"},
	AuthFailed:          {"auth_failed", "the envoy's SSH server did not let the session in", "see the SSH server's log on that machine: AllowUsers, PAM, the account or a wrong answer may be why"},
	KeyfileSymlink:      {"keyfile_symlink", "authorized_keys or a folder above it is a symbolic link", "let the link lead to a file of the account's own, or use keys: dropin"},
	KeyfileHardlink:     {"keyfile_hardlink", "authorized_keys has more than one name", "copy it to a file of its own, or use keys: dropin"},
	KeyfileNotRegular:   {"keyfile_not_regular", "authorized_keys is not a regular file", "replace it by a regular file, as sshd demands"},
	KeyfileTooBig:       {"keyfile_too_big", "authorized_keys is too large", "shorten it, or use keys: dropin, which reads files of up to 64 MiB"},
	KeyfileNoSpace:      {"keyfile_nospace", "the disk or quota of the account is full", "free some space in that account"},
	KeyfileImmutable:    {"keyfile_immutable", "authorized_keys is immutable or append-only", "use keys: dropin on that machine"},
	KeyfileReadOnly:     {"keyfile_readonly", "the account's home is mounted read-only", "use keys: dropin on that machine"},
	KeyfilePermissions:  {"keyfile_permissions", "authorized_keys cannot be read or written, or its owner or mode is unsafe", "the file, its folder and the home have to belong to the account, and nobody else may write them (`chmod go-w`); a file that the account itself cannot write needs keys: dropin"},
	KeyfileTimeout:      {"keyfile_timeout", "the account's home does not answer", "check the file system that the home is on"},
	KeyfileChanged:      {"keyfile_changed", "authorized_keys kept changing while it was edited", "try again when the other program is done"},
	KeyfileShared:       {"keyfile_shared", "one authorized_keys file serves several accounts", "give each account a file of its own (AuthorizedKeysFile with %u)"},
	KeyfileUnsupported:  {"keyfile_unsupported", "sshd is not configured to read authorized_keys files", "use keys: dropin, or set AuthorizedKeysFile in sshd_config"},
	RelayRestart:        {"relay_restart", "the relay was restarted", "open the session again"},
	RelayShutdown:       {"relay_shutdown", "the relay is shutting down", "open the session again when the relay is back"},
	Killed:              {"killed", "the session was ended by an administrator, or by its operator elsewhere", ""},
	OperatorChanged:     {"operator_changed", "the operator's keys or role changed, or the operator was deleted", "log in again with `scrier login HOST:PORT`"},
	Expired:             {"expired", "the login, the session or the certificate has expired", "log in again with `scrier login HOST:PORT`"},
	NoTerminal:          {"no_terminal", "standard input is not a terminal", "run it in a terminal"},
	KeyUnusable:         {"key_unusable", "the SSH key cannot be used", "add it to ssh-agent (`ssh-add`), or name another with --ssh-key-file"},
	Disabled:            {"disabled", "sessions are switched off on this relay", "set scrier.enabled: true in server.yaml and restart the relay"},
	StateInUse:          {"state_in_use", "another process uses this state directory", "stop the other process, or use another --state"},
	ViewerLost:          {"viewer_lost", "the operator's connection was lost", "open the session again"},
	Cancelled:           {"cancelled", "the operator gave up", ""},
	Left:                {"left", "the operator disconnected", ""},
	TakenOver:           {"taken_over", "the session goes on in another window or terminal", "take it back there, with its button or `scrier ssh --attach ID`"},
	TicketInvalid:       {"ticket_invalid", "the right to attach was used, or is older than 10 seconds", "attach again"},
	SignedOut:           {"signed_out", "you were signed out", "sign in again"},
	LinkInvalid:         {"link_invalid", "the sign-in link was used, is older than 15 minutes, or the operator has changed since", "get a new one with `scrier login HOST:PORT --browser`, or from an administrator"},

	GuacdUnavailable:    {"guacd_unavailable", "guacd, which draws remote desktops for the relay, does not answer", "run guacd beside the relay and set scrier.guacd_addr in server.yaml; `scrier doctor` on the relay's host says what is wrong"},
	DesktopFailed:       {"desktop_failed", "the machine's desktop server broke off or refused", "see the log of the RDP or VNC server on that machine"},
	DesktopLogin:        {"desktop_login", "the desktop server did not accept the user name or password", "try again with the right ones; they are the machine's, not the relay's"},
	DesktopSecurity:     {"desktop_security", "the desktop server does not speak the security that was asked for", "ask for another one (any, nla or tls)"},
	ListenerUntrusted:   {"listener_untrusted", "the program that listens at the port belongs to a user who may not serve desktops", "check on that machine which program listens there (`ss -ltnp`)"},
	CertificateMismatch: {"certificate_mismatch", "the RDP server's certificate is not the one that the agent reported", "check what listens at the port on that machine"},
	NativeOff:           {"native_off", "this relay does not let native viewers in", "open the desktop in a browser, or set scrier.desktop.native_viewers: true in server.yaml and restart the relay"},
	ConsoleOff:          {"console_off", "the machine's policy does not share its screen", "see console in agent.yaml on that machine"},
	ConsoleEmpty:        {"console_empty", "nobody is logged in at the machine's screen", "open a desktop of your own with RDP or VNC instead"},
	ConsoleLocked:       {"console_locked", "the machine's screen is locked, so nobody can be asked", "try again when the user is back"},
	ConsoleRefused:      {"console_refused", "the user at the screen said no", "ask them by another way"},
	ConsoleNoAnswer:     {"console_no_answer", "the user at the screen did not answer within 30 seconds", "try again when they are there"},
	ConsoleMissing:      {"console_missing", "a program that sharing the screen needs is not installed on the machine", "install what is named on that machine"},
	ConsoleUnsupported:  {"console_unsupported", "the desktop at the machine's screen cannot be shared in this way", "switch its own screen sharing on, as the detail says"},
	ConsoleEnded:        {"console_ended", "the user at the screen ended the sharing", ""},

	ProofRequired: {"proof_required", "this needs a signature by one of your keys, made now for this very change", "use `scrier`, which signs by itself, or a page of the console, which asks"},
	Unconfirmed:   {"unconfirmed", "you came by a link that somebody else made, and nobody has proved yet that it is you", "prove it on the page My account, with your SSH key or a passkey"},
	KeyUnproved:   {"key_unproved", "nobody has proved yet that the SSH key is this operator's", "claim it: log in with it if it is your first, else add it on the page My account, with a key or passkey of yours that counts already"},
	WrongHost:     {"wrong_host", "the request names a host that the relay is not", "name it in `hosts` of server.yaml and restart the relay; a proxy in front must pass on the Host that the browser sent (nginx: `proxy_set_header Host $http_host;`)"},
	Quarantined:   {"quarantined", "two machines have used this envoy's identity, so it serves nobody until an administrator decides", "see `scrier envoys show ENVOY`, then `scrier envoys release ENVOY` or `scrier envoys revoke ENVOY`"},

	LoginUnanswered: {"login_unanswered", "the envoy's SSH server asked something before it let the session in, and got no answer", "open the session with `scrier ssh` or in a browser, both of this version, and answer within two minutes"},

	LastAdmin:      {"last_admin", "the last admin who can log in stays one", "make somebody else an admin, who logs in once, and do it then; root of the relay's host can do it at once, with --state"},
	SSHTimeout:     {"ssh_timeout", "the envoy's SSH server took too long", "see the SSH server's log and the load on that machine: a PAM module, a directory service or DNS (UseDNS) may be slow"},
	KeyTypeRefused: {"key_type_refused", "the machine's SSH server takes no key of a type that a session can have", "allow ssh-ed25519, ecdsa-sha2-nistp256 or rsa-sha2-512 in PubkeyAcceptedAlgorithms of sshd_config on that machine"},

	ChannelNotAllowed: {"channel_not_allowed", "the relay or the machine does not allow this use of a session", "see `scrier.allow` in server.yaml of the relay and in agent.yaml of the machine: both must say yes"},
	ForwardFailed:     {"forward_failed", "the machine could not connect, or listen, as the forward wants", "see that something listens at that address on the machine, and that `scrier.forward` in its agent.yaml allows it; for names, that the machine can look them up"},
	CopyIncomplete:    {"copy_incomplete", "some files were not copied", "see the messages above, which name each file and what is wrong; with `--continue` the rest is copied"},

	FileDenied:  {"file_denied", "the machine does not let the login do this with the file", "see the owner and the mode of the file and of its folder on that machine"},
	FileNoSpace: {"file_nospace", "the machine's disk or the login's quota is full", "free some space on that machine; the upload goes on where it was"},
	FileFailed:  {"file_failed", "the machine could not do this with the file", "try it on that machine, which says more"},

	TurnedAway: {"turned_away", "the machine's SSH server turns connections away for now", "try again in a minute; if it stays so, raise MaxStartups in sshd_config on that machine, or put 127.0.0.0/8 into PerSourcePenaltyExemptList there"},
	RelayLost:  {"relay_lost", "the relay that carried the session was cut off from the others, or died", "open the session again: another relay serves it"},
}

// String is the code's stable name, e.g. "agent_timeout".
func (c Code) String() string {
	if t, ok := codes[c]; ok {
		return t.name
	}
	return "code_" + strconv.Itoa(int(c))
}

// Meaning is one clause that says what happened, for people.
func (c Code) Meaning() string {
	if t, ok := codes[c]; ok {
		return t.meaning
	}
	if class, ok := c.Class(); ok {
		return unknownCode + ": " + class.Meaning
	}
	return unknownCode
}

const unknownCode = "an error that this version does not know"

// Hint is what the person can do about it; it may be empty.
func (c Code) Hint() string { return codes[c].hint }

// Codes lists the table in the order of its numbers, for documentation and tests.
func Codes() []Code {
	var all []Code
	for c := Code(0); c <= MaxCode; c++ {
		if _, ok := codes[c]; ok {
			all = append(all, c)
		}
	}
	return all
}

// ParseCode finds a code by its name.
func ParseCode(name string) (Code, bool) {
	for c, t := range codes {
		if t.name == name {
			return c, true
		}
	}
	return None, false
}

// Error is an error with a code for the peer and a detail for the human and the log. Detail may
// hold strings of the far side: pass it through [Printable] before it reaches a terminal.
type Error struct {
	Code   Code
	Detail string
	Advice string // what to do, where the code's hint does not fit; [HintOf]
	Err    error  // the cause, kept for the log; never sent
}

// Errorf makes an [Error]; %w keeps the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Detail: err.Error(), Err: errors.Unwrap(err)}
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// sentences are the codes whose details are whole sentences. Their meaning in front of it would say the same twice, or
// less than it.
var sentences = [...]Code{
	Usage, BadRequest, BadConfig, NotFound, Conflict, Cancelled, Unauthenticated, Expired, Forbidden, RelayUnreachable, RelayUntrusted,
	AuditUnavailable, Busy, StateInUse, TargetRefused, PortNotAllowed, Revoked, TokenInvalid, VersionMismatch, WrongHost, ProofRequired,
	KeyUnproved, NoSSHPubkey, NoSuchEnvoy, AmbiguousEnvoy, KeyfilePermissions,
}

// Text is what a person is told: what the code means, and the detail, or the detail alone where it tells all.
func (e *Error) Text() string {
	switch {
	case e.Detail == "":
		return e.Code.Meaning()
	case slices.Contains(sentences[:], e.Code):
		return e.Detail
	}
	return e.Code.Meaning() + ": " + e.Detail
}

// Advise gives e a hint of its own.
func (e *Error) Advise(format string, args ...any) *Error {
	e.Advice = fmt.Sprintf(format, args...)
	return e
}

// CodeOf is the code of the first [Error] in err's chain, [None] for nil and [Internal] for
// everything else. A bare context error is Internal too: only the caller knows what a time-out means.
func CodeOf(err error) Code {
	if err == nil {
		return None
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// DetailOf is what may be shown to a peer: the detail of the first [Error], and nothing of any
// other error, whose text may hold internals.
func DetailOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Detail
	}
	return ""
}

// HintOf is what the person can do about err: the advice of the first [Error], else the hint of its code.
func HintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Advice != "" {
		return e.Advice
	}
	return CodeOf(err).Hint()
}

// Cause is context.Cause as an [Error]: a context that ended without a cause of its own
// becomes code.
func Cause(ctx context.Context, code Code) error {
	err := context.Cause(ctx)
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: code, Err: err}
}
