package builtin

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// maxHostKey is far more than an Ed25519 key in OpenSSH's format takes (about 400 bytes).
const maxHostKey = 16 << 10

// LoadOrMakeHostKey reads the server's host key from the file at path, or makes an Ed25519 key
// and keeps it there, mode 0600. The file must be a regular one that nobody else can read; it
// is never overwritten. Two processes that start at once end up with the same key.
func LoadOrMakeHostKey(path string) (ssh.Signer, error) {
	key, err := loadHostKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeHostKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	return loadHostKey(path)
}

func loadHostKey(path string) (ssh.Signer, error) {
	// Without NONBLOCK a FIFO of that name would hold the agent for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, wire.Errorf(wire.BadConfig, "host key %s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, wire.Errorf(wire.BadConfig, "host key %s is open to others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	case info.Size() > maxHostKey:
		return nil, wire.Errorf(wire.BadConfig, "host key %s is too large", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxHostKey))
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	key, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, wire.Errorf(wire.BadConfig, "read host key %s: %w", path, err)
	}
	if key.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return nil, wire.Errorf(wire.BadConfig, "host key %s is not an ed25519 key", path)
	}
	return key, nil
}

// makeHostKey writes a new key under another name, and gives it the name path when all of it is on
// disk: path never names half a key. A key that has this name already stays.
func makeHostKey(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "scrier builtin host key")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".hostkey-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := pem.Encode(f, block); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
