package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// maxSSHKeys bounds what is offered to a relay, agent and files together.
const maxSSHKeys = 64

// SSHKeyConfig says where an operator's SSH keys are.
type SSHKeyConfig struct {
	KeyFile string // only this one: a private key, or a .pub whose private half is in the agent or beside it
	Agent   string // the socket of an ssh-agent; empty: there is none
	Home    string // where .ssh is; empty: no files but KeyFile

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
		return nil, nil, wire.Errorf(wire.KeyUnusable, "the private half of %s is neither in ssh-agent nor in the usual files", ssh.FingerprintSHA256(key))
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

// find lists the keys there are, and keeps the connection to the agent open if it has any.
func (c SSHKeyConfig) find(ctx context.Context) (found []identity, a *agentConn, err error) {
	held, a, agentErr := listAgent(ctx, c.Agent)
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
	for _, k := range held {
		found = append(found, identity{public: k, inAgent: true})
	}
	var unusable error
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		if c.Home == "" || len(found) >= maxSSHKeys {
			break
		}
		id, err := readIdentity(filepath.Join(c.Home, ".ssh", name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			unusable = cmp.Or(unusable, err)
		case !holds(held, id.public):
			found = append(found, id)
		}
	}
	switch {
	case len(found) > 0:
		return found, a, nil
	case unusable != nil:
		a.close()
		return nil, nil, unusable
	case agentErr != nil:
		return nil, nil, wire.Errorf(wire.NoSSHPubkey, "there is no key in %s, and ssh-agent does not answer: %w", filepath.Join(c.Home, ".ssh"), agentErr)
	}
	a.close()
	return nil, nil, wire.Errorf(wire.NoSSHPubkey, "there is no key in ssh-agent, and no id_ed25519, id_ecdsa or id_rsa in %s", filepath.Join(c.Home, ".ssh"))
}
