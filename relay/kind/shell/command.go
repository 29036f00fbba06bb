package shell

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"scrier/relay/session"
	"scrier/wire"
)

// Commands is what the audit log says of a command line, which may hold secrets.
type Commands string

// What it may say.
const (
	FullCommands  Commands = "full"
	NamedCommands Commands = "name" // the first word; of a variable that is set there (A=1 cmd) its name
	NoCommands    Commands = "none"
)

// ParseCommands reads what server.yaml says.
func ParseCommands(s string) (Commands, error) {
	c := Commands(s)
	if !slices.Contains([]Commands{FullCommands, NamedCommands, NoCommands}, c) {
		return "", fmt.Errorf("%q is none of %s, %s and %s", s, FullCommands, NamedCommands, NoCommands)
	}
	return c, nil
}

// maxRecorded is how much of a command line a record holds, in bytes.
const maxRecorded = 3 << 10

// intent adds what the log says of a program. Of what is cut off, the record has the digest of the whole.
func (c Commands) intent(fields map[string]string, p *wire.Channel) {
	fields["channel"] = "shell"
	if p.Plain {
		fields["terminal"] = "none"
	}
	line := p.Command
	if len(line) == 0 {
		return
	}
	fields["channel"] = "exec"
	switch c {
	case NoCommands:
		return
	case NamedCommands:
		if line = bytes.TrimSpace(line); len(line) > 0 {
			line = bytes.Fields(line)[0]
		}
		if word, _, found := bytes.Cut(line, []byte("=")); found { // a value may be the secret
			line = append(bytes.Clone(word), "=…"...)
		}
	}
	if len(line) > maxRecorded {
		sum := sha256.Sum256(line)
		fields["command_sha256"] = hex.EncodeToString(sum[:])
		line = append(bytes.Clone(line[:maxRecorded]), "…"...)
	}
	fields["command"] = wire.Printable(string(line))
}

// checkProgram says what is wrong with a program that is asked for.
func checkProgram(req *session.Request) error {
	if req.Program == nil {
		return nil
	}
	switch command := req.Program.Command; {
	case len(command) > wire.MaxCommand:
		return wire.Errorf(wire.BadRequest, "the command has %d bytes, at most %d; put it into a file, or on standard input of a shell", len(command), wire.MaxCommand)
	case bytes.IndexByte(command, 0) >= 0:
		return wire.Errorf(wire.BadRequest, "the command holds a NUL byte, at which a shell would end it")
	}
	return nil
}
