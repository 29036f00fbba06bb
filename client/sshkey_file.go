package client

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/wire"
)

const (
	// maxKeyFile is what a key file may hold; an RSA key of 16384 bits takes 13 KiB.
	maxKeyFile = 64 << 10

	// maxPassphrases is how often a passphrase is asked for, as ssh does.
	maxPassphrases = 3
)

// An identity is a key that was found, by its public half.
type identity struct {
	public  ssh.PublicKey
	inAgent bool
	file    string // of the private half; empty: there is none
}

// ReadPublicKeyFile reads the public half of a key from a .pub file, from a private key that
// tells it without its passphrase, or from the .pub beside that.
func ReadPublicKeyFile(path string) (ssh.PublicKey, error) {
	id, err := readIdentity(path)
	return id.public, err
}

// readIdentity finds out which key a file belongs to.
func readIdentity(path string) (identity, error) {
	data, err := readKeyFile(path, false)
	if err != nil {
		return identity{}, err
	}
	id := identity{file: path}
	data = certs.KeyText(data)
	if block, _ := pem.Decode(data); block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY") {
		id.public, err = publicHalf(path, data, block)
	} else if certs.IsPuTTY(data) { // an agent may have it; see load
		if id.public, err = certs.ParsePuTTY(data); err != nil {
			err = about(path, err)
		}
	} else if id.public, err = parsePublic(path, data); err == nil {
		id.file = ""
		if private, ok := strings.CutSuffix(path, ".pub"); ok {
			if _, err := os.Stat(private); err == nil {
				id.file = private
			}
		}
	}
	if err != nil {
		return identity{}, err
	}
	if err := certs.AcceptableKey(id.public); err != nil {
		return identity{}, wire.Errorf(wire.KeyUnusable, "%s: %s", path, wire.DetailOf(err))
	}
	return id, nil
}

// publicHalf finds the public half of the private key in data.
func publicHalf(path string, data []byte, block *pem.Block) (ssh.PublicKey, error) {
	if block.Type == "OPENSSH PRIVATE KEY" { // says it in the clear, whatever the key's kind
		rest, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
		var w struct {
			Cipher, KDF, Options string
			Keys                 uint32
			Public               []byte
			Rest                 []byte `ssh:"rest"`
		}
		if !ok || ssh.Unmarshal(rest, &w) != nil || w.Keys != 1 {
			return nil, wire.Errorf(wire.KeyUnusable, "%s is damaged", path)
		}
		key, err := ssh.ParsePublicKey(w.Public)
		if err != nil {
			return nil, wire.Errorf(wire.KeyUnusable, "read %s: %w", path, err)
		}
		return key, nil
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err == nil {
		return signer.PublicKey(), nil
	}
	if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); !ok {
		return nil, notReadable(path, block, err)
	}
	pub, err := readKeyFile(path+".pub", false)
	if err != nil {
		return nil, wire.Errorf(wire.KeyUnusable, "%s is encrypted, and its public half is not beside it: make it with `ssh-keygen -y -f %s > %s.pub`", path, path, path)
	}
	return parsePublic(path+".pub", pub)
}

func parsePublic(path string, data []byte) (ssh.PublicKey, error) {
	key, _, err := certs.ParsePublicKey(data)
	if err != nil {
		return nil, about(path, err)
	}
	return key, nil
}

// about puts a file's name before what is wrong with it.
func about(path string, err error) error {
	return wire.Errorf(wire.KeyUnusable, "%s %s", path, wire.DetailOf(err))
}

// notReadable says what a private key is that x/crypto does not read.
func notReadable(path string, block *pem.Block, err error) error {
	if block != nil && block.Type == "ENCRYPTED PRIVATE KEY" {
		return wire.Errorf(wire.KeyUnusable, "%s is an encrypted key in PKCS#8", path).
			Advise("`ssh-keygen -p -f %s` writes it anew in OpenSSH's format", path)
	}
	return wire.Errorf(wire.KeyUnusable, "read %s: %w", path, err)
}

// load reads the private half of id, and asks for its passphrase if it has one.
func (c SSHKeyConfig) load(ctx context.Context, id identity) (ssh.AlgorithmSigner, error) {
	data, err := readKeyFile(id.file, true)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	text := certs.KeyText(data)
	defer clear(text)
	if certs.IsPuTTY(text) {
		return nil, wire.Errorf(wire.KeyUnusable, "%s is a private key in PuTTY's format, which scrier does not read", id.file).
			Advise("`puttygen %s -O private-openssh -o NEW` writes it in OpenSSH's (in PuTTYgen: Conversions, Export OpenSSH key); or add the key to ssh-agent", id.file)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		signer, err = c.unlock(ctx, id.file, text)
	}
	if err != nil {
		if wire.CodeOf(err) == wire.Internal {
			err = wire.Errorf(wire.KeyUnusable, "read %s: %w", id.file, err)
		}
		return nil, err
	}
	as, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, wire.Errorf(wire.KeyUnusable, "%s cannot sign", id.file)
	}
	if !bytes.Equal(signer.PublicKey().Marshal(), id.public.Marshal()) {
		return nil, wire.Errorf(wire.KeyUnusable, "%s is not the private half of the .pub beside it", id.file)
	}
	return as, nil
}

// unlock asks for the passphrase of an encrypted key.
func (c SSHKeyConfig) unlock(ctx context.Context, path string, data []byte) (ssh.Signer, error) {
	if c.Passphrase == nil {
		return nil, wire.Errorf(wire.KeyUnusable, "%s is encrypted, and there is nobody to ask for its passphrase", path)
	}
	for range maxPassphrases {
		if ctx.Err() != nil {
			return nil, wire.Cause(ctx, wire.Cancelled)
		}
		pass, err := c.Passphrase("Passphrase of " + wire.Printable(path) + ": ")
		if err != nil {
			return nil, fmt.Errorf("ask for the passphrase of %s: %w", path, err)
		}
		signer, err := ssh.ParsePrivateKeyWithPassphrase(data, pass)
		clear(pass)
		// A wrong passphrase of an old PEM file may show as any error.
		if err == nil {
			return signer, nil
		}
	}
	return nil, wire.Errorf(wire.KeyUnusable, "%s stays locked: wrong passphrase", path)
}

// readKeyFile reads a small regular file. A private key that others can read is refused, as ssh
// does.
func readKeyFile(path string, private bool) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonBlock, 0) // a FIFO must not hold it up
	if err != nil {
		return nil, wire.Errorf(wire.KeyUnusable, "%w", err).Advise("name a key file that is there and that you may read, with --ssh-key-file")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, wire.Errorf(wire.KeyUnusable, "read key: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, wire.Errorf(wire.KeyUnusable, "%s is not a regular file", path).Advise("name a key file with --ssh-key-file")
	case info.Size() > maxKeyFile:
		return nil, wire.Errorf(wire.KeyUnusable, "%s is too large for a key", path).Advise("name a key file with --ssh-key-file")
	case private && ownFile(info) && info.Mode().Perm()&0o077 != 0:
		return nil, wire.Errorf(wire.KeyUnusable, "others can read %s (mode %04o)", path, info.Mode().Perm()).Advise("`chmod 600 %s`; if somebody may have read it, make a new key", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, wire.Errorf(wire.KeyUnusable, "read %s: %w", path, err)
	}
	return data, nil
}
