// Package shell is the kind ssh: a shell on the machine, or a command, by an SSH client that runs here.
package shell

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"scrier/relay/fleet"
	"scrier/relay/kind"
	"scrier/relay/session"
	"scrier/relay/session/raw"
	"scrier/relay/session/ssh"
	"scrier/wire"
)

// usualPort stands for the SSH server in the lists of allowed ports, wherever it listens.
const usualPort = 22

// Kind opens shells. It implements [kind.Kind].
type Kind struct {
	Fleet   *fleet.Fleet
	Ports   kind.Ports
	Timeout time.Duration // how long an envoy may take
	Log     *slog.Logger
	// Commands is what the audit log says of command lines; empty: [FullCommands].
	Commands Commands
	Allow    Allow
	// Memory is for programs without a terminal, and connections, whose viewers can come back; nil: there are none.
	Memory *session.Memory
}

// Check implements [kind.Kind].
func (k *Kind) Check(req *session.Request) error {
	if req.Login != "" {
		if err := fleet.CheckLogin(req.Login); err != nil {
			return err
		}
	}
	if err := checkChannel(req.Channel); err != nil {
		return err
	}
	if len(req.Needs) > wire.MaxRights || len(req.Likes) > wire.MaxRights {
		return wire.Errorf(wire.BadRequest, "a session has at most %d rights", wire.MaxRights)
	}
	if c := req.Channel; c != nil && !slices.Contains([]wire.ChannelKind{wire.Program, wire.Hold, wire.Tunnel}, c.Kind) {
		return wire.Errorf(wire.BadRequest, "a session does not begin with a channel of kind %q", wire.Printable(string(c.Kind)))
	}
	needed, _ := k.wanted(req)
	if err := k.Allow.check(needed); err != nil {
		return err
	}
	port := req.Port
	if port == 0 {
		port = usualPort
	}
	return k.Ports.Allow(port)
}

// Intent implements [kind.Kind]: with which key, if one was named, and what is opened.
func (k *Kind) Intent(req *session.Request) map[string]string {
	fields := map[string]string{}
	if req.Named && len(req.Keys) == 1 {
		fields["key"] = xssh.FingerprintSHA256(req.Keys[0])
		if req.Inline {
			fields["inline_key"] = "true"
		}
	}
	k.Commands.channelIntent(fields, req.Channel)
	return fields
}

// Open implements [kind.Kind]: an ephemeral key, a tunnel, the SSH handshake with the host key that
// the agent reported, a shell or another channel.
func (k *Kind) Open(ctx context.Context, s *session.Channel, req *session.Request) (_ session.Shown, err error) {
	needed, liked := k.wanted(req)
	open := &wire.Open{
		Session: s.ID(), Kind: req.Kind, Login: req.Login, Keys: marshal(req.Keys), Needs: needed, Likes: liked,
		Operator: s.Operator(), Timeout: uint32(k.Timeout / time.Millisecond), Source: address(s.Source()),
	}
	if req.Channel != nil && req.Channel.Kind == wire.Tunnel {
		return k.openRaw(ctx, s, open)
	}
	var signer xssh.Signer
	var tunnel *fleet.Tunnel
	for _, generate := range keyTypes {
		if signer, err = ephemeral(generate); err != nil {
			return session.Shown{}, err
		}
		open.Ephemeral = signer.PublicKey().Marshal()
		tunnel, err = k.Fleet.Open(ctx, s.Envoy(), open, ssh.Greeting)
		if wire.CodeOf(err) != wire.KeyTypeRefused {
			break
		}
	}
	if err != nil {
		return session.Shown{}, err
	}
	var whole bool // it is not after an error, nor after a panic
	defer func() {
		if !whole {
			tunnel.Reset(wire.CodeOf(err))
		}
	}()
	opened := tunnel.Opened
	if fleet.CheckLogin(opened.Login) != nil {
		return session.Shown{}, wire.Errorf(wire.Protocol, "the agent named no login")
	}
	rights, err := granted(opened.Rights, needed, liked)
	if err != nil {
		return session.Shown{}, err
	}
	if err := k.Fleet.Reported(ctx, s.Envoy(), opened.HostKeys); err != nil {
		return session.Shown{}, err
	}
	hostKeys, err := expected(opened.HostKeys, req.HostKeys)
	if err != nil {
		return session.Shown{}, err
	}
	dialogue := s.Dialogue()
	dialogue.As(opened.Login)
	client, err := ssh.Dial(ctx, tunnel.Stream, ssh.Config{
		Signer: signer, Login: opened.Login, HostKeys: hostKeys, Guard: s.Guard, Person: dialogue, Step: dialogue.Step,
		Authenticated: func() {
			if err := k.Fleet.Authenticated(ctx, s.Envoy(), s.ID()); err != nil {
				k.Log.Debug("tell the envoy that authentication is over", "session", s.ID(), "err", err)
			}
		},
	})
	if err != nil {
		return session.Shown{}, tunnel.Why(err)
	}
	dialogue.Step(ssh.OpeningShell)
	c := newConnection(k, req, client, tunnel, opened.Login, rights)
	release, err := client.Hold() // until the session ends: another channel may be on its way when the last one ends
	if err != nil {
		client.Close()
		return session.Shown{}, tunnel.Why(err)
	}
	stage, err := c.Open(ctx, s, req)
	if err != nil {
		client.Close()
		return session.Shown{}, err
	}
	whole = true
	// Each channel ends its own part, programs with a signal; what is left after that is cut off.
	context.AfterFunc(s.Session.Context(), func() {
		release()
		time.AfterFunc(endTime, client.Close)
	})
	return session.Shown{Stage: stage, Login: opened.Login, More: c}, nil
}

// endTime is how long the channels of a session that has ended may take to end in order.
const endTime = 5 * time.Second

// openRaw gives the bytes of the machine's own SSH server, where it is allowed by name: who they let in, and what is done
// there, is between that server and the operator's own client.
func (k *Kind) openRaw(ctx context.Context, s *session.Channel, open *wire.Open) (session.Shown, error) {
	tunnel, err := k.Fleet.Open(ctx, s.Envoy(), open, nil)
	if err != nil {
		return session.Shown{}, err
	}
	if _, err := granted(tunnel.Opened.Rights, open.Needs, nil); err != nil {
		tunnel.Reset(wire.CodeOf(err))
		return session.Shown{}, err
	}
	return session.Shown{Stage: raw.New(s, &session.Tunnel{Stream: tunnel.Stream, Count: s.Count, Why: tunnel.Why})}, nil
}

// expected are those of the reported host keys that the machine must have, if it is known under its name by others than
// it reports: an agent could have any name.
func expected(reported [][]byte, known []string) ([][]byte, error) {
	if len(known) == 0 {
		return reported, nil
	}
	var both [][]byte
	for _, line := range known {
		k, _, _, _, err := xssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, err
		}
		if blob := k.Marshal(); slices.ContainsFunc(reported, func(r []byte) bool { return bytes.Equal(r, blob) }) {
			both = append(both, blob)
		}
	}
	if len(both) == 0 {
		return nil, wire.Errorf(wire.HostKeyMismatch, "another envoy of this name has other host keys").
			Advise("if it was this machine, remove it with `scrier envoys remove ID`; else give the id of the one that you mean")
	}
	return both, nil
}

// address is where an operator is, for the machine's from=. It is empty if that is no IP address, or one
// with a zone, which says something on this host alone.
func address(source string) string {
	ip, err := netip.ParseAddr(source)
	if err != nil || ip.Zone() != "" {
		return ""
	}
	return ip.Unmap().String()
}

// rsaBits is as strong as the other keys are.
const rsaBits = 3072

// keyTypes make a session's key, the most usual first. Each of the others is made only when the machine's SSH
// server takes none of those before it, as it may be where FIPS 140 counts.
var keyTypes = []func() (any, error){
	func() (any, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	},
	func() (any, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	func() (any, error) { return rsa.GenerateKey(rand.Reader, rsaBits) },
}

// ephemeral makes the session's key. It exists in this process's memory only.
func ephemeral(generate func() (any, error)) (xssh.Signer, error) {
	key, err := generate()
	if err != nil {
		return nil, err
	}
	return xssh.NewSignerFromKey(key)
}

func marshal(keys []xssh.PublicKey) (out [][]byte) {
	for _, k := range keys {
		out = append(out, k.Marshal())
	}
	return out
}
