package shell

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"scrier/wire"
)

func TestIntentOfCommands(t *testing.T) {
	long := strings.Repeat("x", maxRecorded+1)
	for _, c := range []struct {
		commands Commands
		program  wire.Channel
		want     map[string]string
	}{
		{FullCommands, wire.Channel{Command: []byte("echo $TOKEN \x1b\xff"), Plain: true},
			map[string]string{"channel": "exec", "terminal": "none", "command": `echo $TOKEN \x1b\xff`}},
		{FullCommands, wire.Channel{Command: []byte("top")}, map[string]string{"channel": "exec", "command": "top"}},
		{FullCommands, wire.Channel{Plain: true}, map[string]string{"channel": "shell", "terminal": "none"}},
		{FullCommands, wire.Channel{Command: []byte(long)}, map[string]string{"channel": "exec", "command": long[:maxRecorded] + "…",
			"command_sha256": ""}},
		{NamedCommands, wire.Channel{Command: []byte("  mysql -psecret")}, map[string]string{"channel": "exec", "command": "mysql"}},
		{NamedCommands, wire.Channel{Command: []byte("mysql\t-psecret\nsecret")}, map[string]string{"channel": "exec", "command": "mysql"}},
		{NamedCommands, wire.Channel{Command: []byte("TOKEN=secret cmd")}, map[string]string{"channel": "exec", "command": "TOKEN=…"}},
		{NoCommands, wire.Channel{Command: []byte("mysql -psecret")}, map[string]string{"channel": "exec"}},
	} {
		got := map[string]string{}
		c.commands.intent(got, &c.program)
		if sum := got["command_sha256"]; len(sum) == 64 {
			c.want["command_sha256"] = sum
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s of %.20q:\n%s", c.commands, c.program.Command, d)
		}
	}
}

func TestCheckProgram(t *testing.T) {
	for command, ok := range map[string]bool{
		"": true, "ls": true, strings.Repeat("x", wire.MaxCommand): true, strings.Repeat("x", wire.MaxCommand+1): false, "a\x00b": false,
	} {
		if err := checkChannel(&wire.Channel{Command: []byte(command)}); (err == nil) != ok || !ok && wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("%.10q: %v", command, err)
		}
	}
	if err := checkChannel(nil); err != nil {
		t.Error(err)
	}
}

func TestParseCommands(t *testing.T) {
	for s, ok := range map[string]bool{"full": true, "name": true, "none": true, "": false, "all": false} {
		if c, err := ParseCommands(s); (err == nil) != ok || ok && string(c) != s {
			t.Errorf("%q: %q, %v", s, c, err)
		}
	}
}
