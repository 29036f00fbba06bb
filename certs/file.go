package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"scrier/wire"
)

// LoadKey reads a private key that [SaveKey] wrote, if it is private still; see [CheckPrivate].
func LoadKey(path string) (crypto.Signer, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	block, err := blocksOf(path, data, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(block[0])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, wire.Errorf(wire.BadConfig, "%s is not an ECDSA key", path)
	}
	return signer, nil
}

// SaveKey writes a private key with mode 0600.
func SaveKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// LoadChain reads certificates, in the order of the file.
func LoadChain(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	blocks, err := blocksOf(path, data, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	for _, b := range blocks {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// SaveChain writes certificates.
func SaveChain(path string, chain [][]byte) error {
	var out []byte
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return WriteFile(path, out)
}

// blocksOf are the blocks of one kind in a PEM file.
func blocksOf(path string, data []byte, kind string) (blocks [][]byte, err error) {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type == kind {
			blocks = append(blocks, b.Bytes)
		}
	}
	if len(blocks) == 0 {
		return nil, wire.Errorf(wire.BadConfig, "%s holds no %s", path, kind)
	}
	return blocks, nil
}

// SavePair writes a private key and its certificates as one file, so that no crash can leave one
// without the other.
func SavePair(path string, key crypto.Signer, chain [][]byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return WriteFile(path, out)
}

// LoadPair reads what [SavePair] wrote.
func LoadPair(path string) (*tls.Certificate, error) {
	key, err := LoadKey(path)
	if err != nil {
		return nil, err
	}
	chain, err := LoadChain(path)
	if err != nil {
		return nil, err
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

// About is an error of writing a file, which may name a temporary one beside it, as an error of that file.
func About(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "write", Path: path, Err: e.Err}
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return &fs.PathError{Op: "write", Path: path, Err: e.Err}
	}
	return fmt.Errorf("write %s: %w", path, err)
}

// MakeState makes a state directory, unless it is there. It has mode 0700.
func MakeState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return wire.Errorf(wire.BadConfig, "cannot make the state directory: %w", err).
			Advise("name another with --state, or run this as a user who may make it")
	}
	return nil
}

// WriteFile replaces a file of the program's own state. It has mode 0600 and is synced; after a crash
// there is the old content or the new, and no mixture.
func WriteFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return About(path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one that is returned
			err = About(path, err)
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
