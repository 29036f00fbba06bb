//go:build !agentonly

package main

import "testing"

// What an operator chose, such as a command, is not taken for other fields of the record.
func TestNotes(t *testing.T) {
	for want, fields := range map[string]map[string]string{
		"":                        nil,
		"command=uptime kind=ssh": {"kind": "ssh", "command": "uptime"},
		`command="ls /" kind=ssh`: {"kind": "ssh", "command": "ls /"},
		`command="x=\"1\" key=SHA256:other; kind=vnc" kind=ssh`: {"kind": "ssh", "command": `x="1" key=SHA256:other; kind=vnc`},
	} {
		if got := (auditRow{Fields: fields}).notes(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
