package wire

import (
	"errors"
	"fmt"
	"testing"
)

// The numbers are a contract with scripts and with older peers: this table only ever grows.
func TestCodesNeverChange(t *testing.T) {
	released := map[Code]string{
		0: "ok", 64: "usage", 65: "bad_request", 66: "unauthenticated", 67: "not_found", 68: "envoy_offline",
		69: "relay_unreachable", 70: "internal", 71: "protocol_error", 72: "version_mismatch", 73: "conflict",
		74: "audit_unavailable", 75: "busy", 76: "relay_untrusted", 77: "forbidden", 78: "bad_config", 79: "limit",
		80: "no_such_envoy", 81: "ambiguous_envoy", 82: "agent_timeout", 83: "agent_lost", 84: "revoked",
		85: "duplicate_identity", 86: "token_invalid", 87: "pubkey_not_authorized", 88: "no_ssh_pubkey",
		89: "ambiguous_login", 90: "key_restricted", 91: "account_not_loginable", 92: "login_not_allowed",
		93: "host_key_mismatch", 94: "target_refused", 95: "port_not_allowed", 96: "clock_skew", 97: "auth_failed",
		98: "keyfile_symlink", 99: "keyfile_hardlink", 100: "keyfile_not_regular", 101: "keyfile_too_big",
		102: "keyfile_nospace", 103: "keyfile_immutable", 104: "keyfile_readonly", 105: "keyfile_permissions",
		106: "keyfile_timeout", 107: "keyfile_changed", 108: "keyfile_shared", 109: "keyfile_unsupported",
		110: "relay_restart", 111: "relay_shutdown", 112: "killed", 113: "operator_changed", 114: "expired",
		115: "no_terminal", 116: "key_unusable", 117: "disabled", 118: "state_in_use", 119: "viewer_lost", 120: "cancelled", 121: "left",
		122: "taken_over", 123: "ticket_invalid", 124: "signed_out", 125: "link_invalid",
		32: "guacd_unavailable", 33: "desktop_failed", 34: "desktop_login", 35: "desktop_security", 36: "listener_untrusted",
		37: "certificate_mismatch", 38: "native_off", 39: "console_off", 40: "console_empty", 41: "console_locked",
		42: "console_refused", 43: "console_no_answer", 44: "console_missing", 45: "console_unsupported", 46: "console_ended",
	}
	for c, name := range released {
		if c.String() != name {
			t.Errorf("code %d is %s, was %s", c, c, name)
		}
	}
	names := map[string]Code{}
	for _, c := range Codes() {
		if _, ok := released[c]; !ok {
			t.Errorf("code %d %s is not in the table above: add it there", c, c)
		}
		if other, twice := names[c.String()]; twice {
			t.Errorf("%s is both %d and %d", c, other, c)
		}
		names[c.String()] = c
		if got, ok := ParseCode(c.String()); !ok || got != c {
			t.Errorf("ParseCode(%s) = %d, %t", c, got, ok)
		}
		if c.Meaning() == "" || c != None && (c < 32 || c > 125) {
			t.Errorf("%d %s: no meaning, or not an exit status of its own", c, c)
		}
	}
}

func TestErrorCarriesItsCode(t *testing.T) {
	cause := errors.New("secret path")
	err := fmt.Errorf("open session: %w", &Error{Code: Limit, Detail: "10 of 10", Err: cause})
	if CodeOf(err) != Limit || DetailOf(err) != "10 of 10" || !errors.Is(err, cause) {
		t.Errorf("code %s, detail %q", CodeOf(err), DetailOf(err))
	}
	if r := Refuse(cause); r.Code != Internal || r.Detail != "" {
		t.Errorf("an internal error went to a peer: %+v", r)
	}
	if CodeOf(nil) != None {
		t.Error("nil has a code")
	}
}
