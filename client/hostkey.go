package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/wire"
)

// HostKey is the key that SSH clients of this operator know `scrier proxy` by. It is made when it is asked for first, and
// never leaves this machine.
func (h Home) HostKey() (ssh.Signer, error) {
	path := filepath.Join(h.Dir, "proxy.pem")
	key, err := certs.LoadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = h.alone(func() error {
			if key, err = certs.LoadKey(path); !errors.Is(err, fs.ErrNotExist) {
				return err // somebody else was faster
			}
			made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			key = made
			if err != nil {
				return err
			}
			return certs.SaveKey(path, made)
		})
	}
	if err != nil {
		if _, told := errors.AsType[*wire.Error](err); told {
			return nil, err
		}
		return nil, wire.Errorf(wire.BadConfig, "the key of `scrier proxy`: %w", err)
	}
	return ssh.NewSignerFromKey(key)
}
