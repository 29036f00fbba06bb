package shell

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

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
const maxRecorded = 900 // less than the log keeps of a field

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

// channelIntent adds what the log says of a channel.
func (c Commands) channelIntent(fields map[string]string, p *wire.Channel) {
	if p == nil {
		fields["channel"] = "shell"
		return
	}
	switch p.Kind {
	case wire.Program:
		c.intent(fields, p)
		if p.Agent {
			fields["agent_forwarding"] = "true"
		}
		return
	case wire.System:
		fields["subsystem"] = wire.Printable(string(p.Command))
	case wire.DialTCP, wire.ListenTCP:
		fields["target"] = wire.Printable(net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))))
	case wire.DialUnix, wire.ListenUnix:
		fields["target"] = wire.Printable(p.Host)
	}
	fields["channel"] = string(p.Kind)
	if p.Origin != "" {
		fields["origin"] = wire.Printable(net.JoinHostPort(p.Origin, strconv.Itoa(int(p.OriginPort))))
	}
}

// checkChannel says what is wrong with a channel that is asked for.
func checkChannel(c *wire.Channel) error {
	if c == nil {
		return nil
	}
	switch {
	case len(c.Command) > wire.MaxCommand:
		return wire.Errorf(wire.BadRequest, "the command has %d bytes, at most %d; put it into a file, or on standard input of a shell", len(c.Command), wire.MaxCommand)
	case bytes.IndexByte(c.Command, 0) >= 0:
		return wire.Errorf(wire.BadRequest, "the command holds a NUL byte, at which a shell would end it")
	case len(c.Host) > wire.MaxTarget || len(c.Origin) > wire.MaxTarget:
		return wire.Errorf(wire.BadRequest, "a host or path has at most %d bytes", wire.MaxTarget)
	case strings.IndexByte(c.Host, 0) >= 0:
		return wire.Errorf(wire.BadRequest, "a host or path holds no NUL byte")
	}
	switch c.Kind {
	case wire.Program, wire.Hold, wire.SFTP, wire.ForwardAgent, wire.Accept, wire.Tunnel:
	case wire.System:
		if len(c.Command) == 0 || string(c.Command) == "sftp" { // that one is SFTP, which is looked at
			return wire.Errorf(wire.BadRequest, "a subsystem has a name, and is not sftp")
		}
	case wire.DialTCP:
		if c.Host == "" || c.Port == 0 {
			return wire.Errorf(wire.BadRequest, "a forward goes to a host and a port")
		}
	case wire.ListenTCP:
	case wire.DialUnix, wire.ListenUnix:
		if !strings.HasPrefix(c.Host, "/") {
			return wire.Errorf(wire.BadRequest, "a socket's path begins with /")
		}
	default:
		return wire.Errorf(wire.BadRequest, "channels of kind %q are not served", wire.Printable(string(c.Kind)))
	}
	return nil
}
