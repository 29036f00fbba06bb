package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// maxSSHKeys bounds what is offered to a relay, agent and files together.
const maxSSHKeys = 64

// SSHKeyConfig says where an operator's SSH keys are.
type SSHKeyConfig struct {
	KeyFile string // only this one: a private key, or a .pub whose private half is in the agent or beside it
	Agent   string // the socket of an ssh-agent; empty: there is none
	Home    string // where .ssh is; empty: no files but KeyFile and those of Settings
	// Settings says what ssh is configured for, and goes before Agent; nil: nothing. See [SSHConfig].
	Settings func(context.Context) (SSHSettings, error)

	// Passphrase asks the person; nil: encrypted keys cannot be used. What it returns is wiped.
	Passphrase func(prompt string) ([]byte, error)
	// Wanted says which keys count; nil: all.
	Wanted func(ssh.PublicKey) bool
}

// An SSHKey signs with an operator's key. Close lets go of the ssh-agent, if the key is in one.
type SSHKey struct {
	signer ssh.AlgorithmSigner
	agent  io.Closer // nil for a key from a file
}

// PublicKey is the key's public half.
func (k *SSHKey) PublicKey() ssh.PublicKey { return k.signer.PublicKey() }

// Sign signs data; RSA keys do so with rsa-sha2-512.
func (k *SSHKey) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	if k.PublicKey().Type() == ssh.KeyAlgoRSA {
		return k.signer.SignWithAlgorithm(rand, data, ssh.KeyAlgoRSASHA512)
	}
	return k.signer.Sign(rand, data)
}

// SignWithAlgorithm makes an [ssh.AlgorithmSigner] of the key.
func (k *SSHKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	return k.signer.SignWithAlgorithm(rand, data, algorithm)
}

// Close ends the key's use.
func (k *SSHKey) Close() error {
	if k.agent == nil {
		return nil
	}
	return k.agent.Close()
}

// Signer finds the first key that is wanted and can sign: the agent's, then those in files.
// Nobody is asked for the passphrase of a key that is not wanted. ctx bounds the search, not the
// use of the key. The error is [wire.NoSSHPubkey] if there is no such key, [wire.KeyUnusable] if
// there is one that cannot be used.
func Signer(ctx context.Context, c SSHKeyConfig) (*SSHKey, error) {
	found, a, err := c.find(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { a.close() }()
	var unusable error
	for _, id := range found {
		if !c.wants(id.public) {
			continue
		}
		if id.inAgent && a != nil {
			k := &SSHKey{signer: agentSigner{a, id.public}, agent: a}
			a = nil // is k's now
			return k, nil
		}
		signer, err := c.load(ctx, id)
		if err == nil {
			return &SSHKey{signer: signer}, nil
		}
		unusable = cmp.Or(unusable, err)
	}
	if unusable != nil {
		return nil, unusable
	}
	return nil, wire.Errorf(wire.NoSSHPubkey, "none of your %d SSH keys is the one that is needed", len(found))
}

// SignerFor finds the private half of key. Close the closer when done.
func SignerFor(ctx context.Context, c SSHKeyConfig, key ssh.PublicKey) (ssh.Signer, io.Closer, error) {
	want := key.Marshal()
	c.Wanted = func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), want) }
	k, err := Signer(ctx, c)
	if wire.CodeOf(err) == wire.NoSSHPubkey {
		return nil, nil, wire.Errorf(wire.KeyUnusable, "the private half of %s is neither in ssh-agent nor in the files that ssh uses", ssh.FingerprintSHA256(key))
	}
	if err != nil {
		return nil, nil, err
	}
	return k, k, nil
}

// Candidates lists the public keys that [Signer] would try, in its order and at most 64, without
// asking for a passphrase.
func Candidates(ctx context.Context, c SSHKeyConfig) ([]ssh.PublicKey, error) {
	found, a, err := c.find(ctx)
	if err != nil {
		return nil, err
	}
	a.close()
	var keys []ssh.PublicKey
	for _, id := range found {
		if c.wants(id.public) {
			keys = append(keys, id.public)
		}
	}
	if len(keys) == 0 {
		return nil, wire.Errorf(wire.NoSSHPubkey, "none of your %d SSH keys is the one that is needed", len(found))
	}
	return keys, nil
}

func (c SSHKeyConfig) wants(k ssh.PublicKey) bool { return c.Wanted == nil || c.Wanted(k) }

// find lists the keys there are, and keeps the connection to the agent open if it has any. As with ssh, keys of the agent that
// a configured file names go first, then the agent's others, then files.
func (c SSHKeyConfig) find(ctx context.Context) (found []identity, a *agentConn, err error) {
	set, err := c.settings(ctx)
	if err != nil {
		return nil, nil, err
	}
	held, a, agentErr := listAgent(ctx, set.Agent)
	if ctx.Err() != nil {
		a.close()
		return nil, nil, wire.Cause(ctx, wire.Cancelled)
	}
	if c.KeyFile != "" {
		id, err := readIdentity(c.KeyFile)
		if err != nil {
			a.close()
			return nil, nil, err
		}
		id.inAgent = holds(held, id.public)
		if !id.inAgent && id.file == "" {
			a.close()
			return nil, nil, wire.Errorf(wire.KeyUnusable, "%s is a public key, and its private half is neither in ssh-agent nor beside it", c.KeyFile)
		}
		return []identity{id}, a, nil
	}
	files, unusable := c.files(set, held)
	configured := set.Files != nil || set.Only
	add := func(want func(identity) bool, ids []identity) {
		for _, id := range ids {
			if want(id) && len(found) < maxSSHKeys && !slices.ContainsFunc(found, func(f identity) bool { return holds([]ssh.PublicKey{f.public}, id.public) }) {
				found = append(found, id)
			}
		}
	}
	if configured {
		add(func(id identity) bool { return id.inAgent }, files)
	}
	if !set.Only {
		for _, k := range held {
			add(func(identity) bool { return true }, []identity{{public: k, inAgent: true}})
		}
	}
	add(func(id identity) bool { return !id.inAgent }, files)
	if len(found) > 0 {
		return found, a, nil
	}
	a.close()
	missing := "no id_ed25519, id_ecdsa or id_rsa in " + filepath.Join(c.Home, ".ssh")
	if set.Files != nil {
		missing = "none in the files that ssh is configured for (IdentityFile " + cmp.Or(strings.Join(set.Files, ", "), "none") + ")"
	}
	switch {
	case unusable != nil:
		return nil, nil, unusable
	case agentErr != nil:
		return nil, nil, wire.Errorf(wire.NoSSHPubkey, "there is no key: %s, and ssh-agent does not answer: %w", missing, agentErr)
	case set.Only && len(held) > 0:
		return nil, nil, wire.Errorf(wire.NoSSHPubkey, "there is no key that ssh is configured for (IdentitiesOnly): %s", missing)
	}
	return nil, nil, wire.Errorf(wire.NoSSHPubkey, "there is no key in ssh-agent, and %s", missing)
}

// ConfiguredKey is the key that ssh is configured to use, and no other, for the host of c.Settings: IdentitiesOnly with an
// IdentityFile that is there. nil: there is no such; then all keys of the operator's count.
func ConfiguredKey(ctx context.Context, c SSHKeyConfig) (*SSHKey, error) {
	set, err := c.settings(ctx)
	if err != nil || !set.Only || set.Files == nil {
		return nil, err
	}
	k, err := Signer(ctx, c)
	if wire.CodeOf(err) == wire.NoSSHPubkey {
		return nil, nil
	}
	return k, err
}

// files are the keys in files: those that are configured, else the usual. Of one that is missing the .pub counts, if the agent
// has the private half. unusable is the first that cannot be read.
func (c SSHKeyConfig) files(set SSHSettings, held []ssh.PublicKey) (found []identity, unusable error) {
	paths := set.Files
	if paths == nil && c.Home != "" {
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			paths = append(paths, filepath.Join(c.Home, ".ssh", name))
		}
	}
	for _, path := range paths[:min(len(paths), maxSSHKeys)] {
		id, err := readIdentity(path)
		if errors.Is(err, fs.ErrNotExist) {
			if id, err = readIdentity(path + ".pub"); err == nil && !holds(held, id.public) {
				continue
			}
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			unusable = cmp.Or(unusable, err)
		case id.file == "" && !holds(held, id.public): // a .pub alone
		default:
			id.inAgent = holds(held, id.public)
			found = append(found, id)
		}
	}
	return found, unusable
}
