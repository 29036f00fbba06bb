// The table of codes, the same as in wire/code.go; static/codes_test.go holds the two against each
// other. One line a code: number, name, what happened, what the person can do.

const table: readonly (readonly [number, string, string, string])[] = [
  [0, "ok", "ended in the ordinary way", ""],
  [32, "guacd_unavailable", "guacd, which draws remote desktops for the relay, does not answer", "run guacd beside the relay and set scrier.guacd_addr in server.yaml; `scrier doctor` on the relay's host says what is wrong"],
  [33, "desktop_failed", "the machine's desktop server broke off or refused", "see the log of the RDP or VNC server on that machine"],
  [34, "desktop_login", "the desktop server did not accept the user name or password", "try again with the right ones; they are the machine's, not the relay's"],
  [35, "desktop_security", "the desktop server does not speak the security that was asked for", "ask for another one (any, nla or tls)"],
  [36, "listener_untrusted", "the program that listens at the port belongs to a user who may not serve desktops", "check on that machine which program listens there (`ss -ltnp`)"],
  [37, "certificate_mismatch", "the RDP server's certificate is not the one that the agent reported", "check what listens at the port on that machine"],
  [38, "native_off", "this relay does not let native viewers in", "open the desktop in a browser, or set scrier.desktop.native_viewers: true in server.yaml and restart the relay"],
  [39, "console_off", "the machine's policy does not share its screen", "see console in agent.yaml on that machine"],
  [40, "console_empty", "nobody is logged in at the machine's screen", "open a desktop of your own with RDP or VNC instead"],
  [41, "console_locked", "the machine's screen is locked, so nobody can be asked", "try again when the user is back"],
  [42, "console_refused", "the user at the screen said no", "ask them by another way"],
  [43, "console_no_answer", "the user at the screen did not answer within 30 seconds", "try again when they are there"],
  [44, "console_missing", "a program that sharing the screen needs is not installed on the machine", "install what is named on that machine"],
  [45, "console_unsupported", "the desktop at the machine's screen cannot be shared in this way", "switch its own screen sharing on, as the detail says"],
  [46, "console_ended", "the user at the screen ended the sharing", ""],
  [64, "usage", "the command line is not understood", "see the command's --help"],
  [65, "bad_request", "the request is not well formed", ""],
  [66, "unauthenticated", "there is no valid login", "log in with `scrier login HOST:PORT`"],
  [67, "not_found", "there is no such thing", "list what there is with the `list` command"],
  [68, "envoy_offline", "the envoy is not connected to the relay", "check on the machine that `scrier agent run` is running and can reach the relay"],
  [69, "relay_unreachable", "the relay does not answer", "check the address, and that UDP or TCP to its port is let through; where there is only a proxy, name it in HTTPS_PROXY, on a machine in its agent.yaml (`proxy`)"],
  [70, "internal", "something failed that should not have", "the relay's or agent's log has the details"],
  [71, "protocol_error", "the peer sent something that the protocol does not allow", "update both sides to the same version"],
  [72, "version_mismatch", "the two sides speak different versions of the protocol", "update the older side"],
  [73, "conflict", "it exists already, or was changed meanwhile", "list what there is, then try again with another name or key"],
  [74, "audit_unavailable", "the audit log cannot be written, so nothing may start", "check free space and permissions of the relay's state directory"],
  [75, "busy", "too much is going on at once", "wait a moment and try again"],
  [76, "relay_untrusted", "the relay is not the one that is trusted", "compare the fingerprint with the relay's administrator; if the relay was set up anew, `scrier logout --forget --relay HOST:PORT` and log in again"],
  [77, "forbidden", "your role does not allow this", "ask an administrator of the relay"],
  [78, "bad_config", "a configuration file is not valid", ""],
  [79, "limit", "the limit of open sessions is reached", "end a session (`scrier sessions list`, `scrier sessions kill ID`) or raise scrier.max_sessions in server.yaml"],
  [80, "no_such_envoy", "no envoy has this name or id", "see `scrier envoys list`"],
  [81, "ambiguous_envoy", "several envoys match", "use more of the id, or the whole of it"],
  [82, "agent_timeout", "the envoy took too long to open the session", "check the machine's load, and the logs of its agent and its SSH server: a home, a PAM module, a directory service or DNS may be slow; scrier.agent_timeout in server.yaml is the limit"],
  [83, "agent_lost", "the connection to the envoy was lost", "try again; the agent reconnects by itself"],
  [84, "revoked", "this identity was revoked", "enrol the machine or log in again with a new identity"],
  [85, "duplicate_identity", "another live machine uses the same identity", "one of them is a copy: remove the copy's state directory and enrol it by itself"],
  [86, "token_invalid", "the enrolment token is unknown, used or expired", "make a new one with `scrier token create`"],
  [87, "pubkey_not_authorized", "no login on the envoy has your SSH key in its authorized_keys", "add your public key to ~/.ssh/authorized_keys of the account you want, on that machine"],
  [88, "no_ssh_pubkey", "no SSH public key is registered or found", "name another key with --ssh-key-file, or have yours registered with `scrier operators`; `ssh-keygen -t ed25519` makes one"],
  [89, "ambiguous_login", "several logins on the envoy have your SSH key", "name one with --login"],
  [90, "key_restricted", "your key is there, but its options do not allow what the session is for", "see the options in front of your key in authorized_keys on that machine"],
  [91, "account_not_loginable", "the account on the envoy cannot log in", "check its shell, its lock and its expiry on that machine"],
  [92, "login_not_allowed", "the machine's policy does not allow this login", "see allowed_logins in agent.yaml on that machine, and AllowUsers, DenyUsers, AllowGroups and DenyGroups in its sshd_config"],
  [93, "host_key_mismatch", "the SSH server's host key is not one that the agent reported", "check which SSH server listens at ssh.addr, and that ssh.sshd_config is its configuration"],
  [94, "target_refused", "nothing on the envoy accepts the connection", "check that the server runs on that machine: the SSH server at ssh.addr of agent.yaml, a desktop's at its port"],
  [95, "port_not_allowed", "the port is not in the list of allowed ports", "use a port that is allowed, or have this one allowed"],
  [96, "clock_skew", "the clocks of the two sides differ too much", "set the clock (`timedatectl set-ntp true`)"],
  [97, "auth_failed", "the envoy's SSH server did not let the session in", "see the SSH server's log on that machine: AllowUsers, PAM, the account or a wrong answer may be why"],
  [98, "keyfile_symlink", "authorized_keys or a folder above it is a symbolic link", "let the link lead to a file of the account's own, or use keys: dropin"],
  [99, "keyfile_hardlink", "authorized_keys has more than one name", "copy it to a file of its own, or use keys: dropin"],
  [100, "keyfile_not_regular", "authorized_keys is not a regular file", "replace it by a regular file, as sshd demands"],
  [101, "keyfile_too_big", "authorized_keys is too large", "shorten it, or use keys: dropin, which reads files of up to 64 MiB"],
  [102, "keyfile_nospace", "the disk or quota of the account is full", "free some space in that account"],
  [103, "keyfile_immutable", "authorized_keys is immutable or append-only", "use keys: dropin on that machine"],
  [104, "keyfile_readonly", "the account's home is mounted read-only", "use keys: dropin on that machine"],
  [105, "keyfile_permissions", "authorized_keys cannot be read or written, or its owner or mode is unsafe", "the file, its folder and the home have to belong to the account, and nobody else may write them (`chmod go-w`); a file that the account itself cannot write needs keys: dropin"],
  [106, "keyfile_timeout", "the account's home does not answer", "check the file system that the home is on"],
  [107, "keyfile_changed", "authorized_keys kept changing while it was edited", "try again when the other program is done"],
  [108, "keyfile_shared", "one authorized_keys file serves several accounts", "give each account a file of its own (AuthorizedKeysFile with %u)"],
  [109, "keyfile_unsupported", "sshd is not configured to read authorized_keys files", "use keys: dropin, or set AuthorizedKeysFile in sshd_config"],
  [110, "relay_restart", "the relay was restarted", "open the session again"],
  [111, "relay_shutdown", "the relay is shutting down", "open the session again when the relay is back"],
  [112, "killed", "the session was ended by an administrator, or by its operator elsewhere", ""],
  [113, "operator_changed", "the operator's keys or role changed, or the operator was deleted", "log in again with `scrier login HOST:PORT`"],
  [114, "expired", "the login, the session or the certificate has expired", "log in again with `scrier login HOST:PORT`"],
  [115, "no_terminal", "standard input is not a terminal", "run it in a terminal"],
  [116, "key_unusable", "the SSH key cannot be used", "add it to ssh-agent (`ssh-add`), or name another with --ssh-key-file"],
  [117, "disabled", "sessions are switched off on this relay", "set scrier.enabled: true in server.yaml and restart the relay"],
  [118, "state_in_use", "another process uses this state directory", "stop the other process, or use another --state"],
  [119, "viewer_lost", "the operator's connection was lost", "open the session again"],
  [120, "cancelled", "the operator gave up", ""],
  [121, "left", "the operator disconnected", ""],
  [122, "taken_over", "the session goes on in another window or terminal", "take it back there, with its button or `scrier ssh --attach ID`"],
  [123, "ticket_invalid", "the right to attach was used, or is older than 10 seconds", "attach again"],
  [124, "signed_out", "you were signed out", "sign in again"],
  [125, "link_invalid", "the sign-in link was used, is older than 15 minutes, or the operator has changed since", "get a new one with `scrier login HOST:PORT --browser`, or from an administrator"],
  [400, "proof_required", "this needs a signature by one of your keys, made now for this very change", "use `scrier`, which signs by itself, or a page of the console, which asks"],
  [401, "key_unproved", "nobody has proved yet that the SSH key is this operator's", "claim it: log in with it if it is your first, else add it on the page My account, with a key or passkey of yours that counts already"],
  [402, "unconfirmed", "you came by a link that somebody else made, and nobody has proved yet that it is you", "prove it on the page My account, with your SSH key or a passkey"],
  [403, "quarantined", "two machines have used this envoy's identity, so it serves nobody until an administrator decides", "see `scrier envoys show ENVOY`, then `scrier envoys release ENVOY` or `scrier envoys revoke ENVOY`"],
  [410, "login_unanswered", "the envoy's SSH server asked something before it let the session in, and got no answer", "open the session with `scrier ssh` or in a browser, both of this version, and answer within two minutes"],
  [440, "last_admin", "the last admin who can log in stays one", "make somebody else an admin, who logs in once, and do it then; root of the relay's host can do it at once, with --state"],
  [450, "channel_not_allowed", "the relay or the machine does not allow this use of a session", "see `scrier.allow` in server.yaml of the relay and in agent.yaml of the machine: both must say yes"],
  [460, "file_denied", "the machine does not let the login do this with the file", "see the owner and the mode of the file and of its folder on that machine"],
  [510, "ssh_timeout", "the envoy's SSH server took too long", "see the SSH server's log and the load on that machine: a PAM module, a directory service or DNS (UseDNS) may be slow"],
  [520, "key_type_refused", "the machine's SSH server takes no key of a type that a session can have", "allow ssh-ed25519, ecdsa-sha2-nistp256 or rsa-sha2-512 in PubkeyAcceptedAlgorithms of sshd_config on that machine"],
  [530, "forward_failed", "the machine could not connect, or listen, as the forward wants", "see that something listens at that address on the machine, and that `scrier.forward` in its agent.yaml allows it; for names, that the machine can look them up"],
  [620, "turned_away", "the machine's SSH server turns connections away for now", "try again in a minute; if it stays so, raise MaxStartups in sshd_config on that machine, or put 127.0.0.0/8 into PerSourcePenaltyExemptList there"],
  [640, "relay_lost", "the relay that carried the session was cut off from the others, or died", "open the session again: another relay serves it"],
  [830, "copy_incomplete", "some files were not copied", "see the messages above, which name each file and what is wrong; with `--continue` the rest is copied"],
  [840, "file_nospace", "the machine's disk or the login's quota is full", "free some space on that machine; the upload goes on where it was"],
  [841, "file_failed", "the machine could not do this with the file", "try it on that machine, which says more"],
  [960, "wrong_host", "the request names a host that the relay is not", "name it in `hosts` of server.yaml and restart the relay; a proxy in front must pass on the Host that the browser sent (nginx: `proxy_set_header Host $http_host;`)"],
];

/** Code is one line of the table. */
export interface Code {
  readonly number: number;
  readonly name: string;
  readonly meaning: string;
  readonly hint: string;
}

const rows: readonly Code[] = table.map(([number, name, meaning, hint]) => ({ number, name, meaning, hint }));
const byNumber = new Map(rows.map((c) => [c.number, c]));
const byName = new Map(rows.map((c) => [c.name, c]));

// What the numbers from 300 to 999 mean by their hundred, the same as in wire/class.go.
const classes: readonly (readonly [number, string])[] = [
  [300, "what was asked for is not well formed, or does not fit what is there"],
  [400, "a policy, a role or a person does not allow it"],
  [500, "what is needed is not there, does not answer or has ended"],
  [600, "not now: the same may work later"],
  [700, "the far side is not who it should be, or breaks the protocol"],
  [800, "a file or a disk fails"],
  [900, "something is not set up, or not rightly"],
];

/** codeOf finds a code by its number; of a number of a later version its hundred is known. */
export function codeOf(number: number): Code {
  const known = byNumber.get(number);
  if (known) return known;
  const kind = classes.find(([first]) => first <= number && number < first + 100);
  const unknown = "an error that this version does not know";
  return { number, name: `code_${number}`, meaning: kind ? `${unknown}: ${kind[1]}` : unknown, hint: "" };
}

/** codeNamed finds a code by its name. */
export function codeNamed(name: string): Code | undefined {
  return byName.get(name);
}
