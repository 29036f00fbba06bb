//go:build !agentonly

package main

import (
	"strings"
	"testing"

	"scrier/wire"
)

// What is plain stays one word for every shell, and is no option.
func TestPlain(t *testing.T) {
	for _, s := range []string{"web1", "a.b-c_d", "638d3cb9-4804-4402-8d4a-410fcf2cd37e", "relay.example.com:8443", "ann@corp", "A+b/c"} {
		if !plain(s) {
			t.Errorf("%q is plain", s)
		}
	}
	for _, c := range " \t\n\r\x00\x1b!\"#$%&'()*,;<=>?[\\]^`{|}~ü\u200b\u202e" {
		if s := "a" + string(c) + "b"; plain(s) {
			t.Errorf("%q is not plain", s)
		}
	}
	for _, s := range []string{"", "-a", "--login=x", "~ann", "a\xffb"} {
		if plain(s) {
			t.Errorf("%q is not plain", s)
		}
	}
}

// What a relay says is pasted only if it is plain.
func TestPasted(t *testing.T) {
	for said, want := range map[string]string{
		"SHA256:vYD3Z3HPe6fk0CNyj5p7tNgy6hnhXVCxiJyIEMcn4zU": "SHA256:vYD3Z3HPe6fk0CNyj5p7tNgy6hnhXVCxiJyIEMcn4zU",
		"SHA256:a; reboot": "FINGERPRINT", "": "FINGERPRINT",
	} {
		if got := pasted(said, "FINGERPRINT"); got != want {
			t.Errorf("%q is pasted as %s", said, got)
		}
	}
}

// The address in a line to hand over is what the relay is called; what a shell would take apart is not printed.
func TestAddressToHandOver(t *testing.T) {
	t.Setenv("SCRIER_HOME", t.TempDir())
	for named, want := range map[string]string{
		"":                            placeholder,
		"relay.example.com:443":       "relay.example.com:443",
		"[2001:db8::1]:8443":          "'[2001:db8::1]:8443'",
		"relay.example.com;reboot:1":  placeholder,
		"$(reboot).example.com:1":     placeholder,
		"-x:1":                        placeholder,
		strings.Repeat("a", 9) + "'b": placeholder,
	} {
		if got := (&target{}).address(named); got != want {
			t.Errorf("%q is %s, not %s", named, got, want)
		}
	}
}

// A hint of ours has no envoy's name in a line to paste that a shell would take apart.
func TestHintOfRelease(t *testing.T) {
	for name, want := range map[string]string{"web1": "`scrier envoys show web1`", "web1; reboot": "`scrier envoys show ENVOY`"} {
		if hint := wire.HintOf(confirmRelease(nil, consent{}, envoy{Hostname: name})); !strings.Contains(hint, want) {
			t.Errorf("of %q: %s", name, hint)
		}
	}
}
