package cluster

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// home is the directory of what a member is:
//
//	age.key     opens the CA's key; it never leaves this machine
//	member.key  the key of the certificate that is asked for
//	member.pem  key and certificate towards the other members
//	ca.crt      the cluster's CA, which is trusted
//	roster      the members, as last known: who may come before etcd has told
//	etcd/       etcd's data
//
// What is written first proves nothing of what comes later, so that a join can go on at any place: the two keys are made once and
// kept, whatever the answer; with member.pem and roster this relay is a member.
type home struct {
	dir string
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }
func (h *home) data() string            { return h.path("etcd") }

// roster is what a member has to know before etcd tells it more.
type roster struct {
	Name    string         `cbor:"1,keyasint"`
	Peer    string         `cbor:"2,keyasint"`
	Members []store.Member `cbor:"3,keyasint"` // this one too
	First   bool           `cbor:"4,keyasint"` // the cluster was formed here
	// Number is that of this member in etcd; 0: it has none.
	Number uint64 `cbor:"5,keyasint"`
}

// openHome prepares the directory, and makes the two keys unless they are there.
func openHome(dir string) (*home, error) {
	if err := certs.MakeState(dir); err != nil {
		return nil, err
	}
	if err := certs.CheckTrusted(dir); err != nil {
		return nil, err
	}
	h := &home{dir}
	if _, err := os.Lstat(h.path("age.key")); errors.Is(err, fs.ErrNotExist) {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, fmt.Errorf("make an identity: %w", err)
		}
		if err := certs.WriteFile(h.path("age.key"), []byte(id.String()+"\n")); err != nil {
			return nil, err
		}
	}
	if _, err := h.key(); errors.Is(err, fs.ErrNotExist) {
		key, err := certs.NewKey()
		if err != nil {
			return nil, err
		}
		if err := certs.SaveKey(h.path("member.key"), key); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return h, nil
}

func (h *home) key() (crypto.Signer, error) { return certs.LoadKey(h.path("member.key")) }

// pin is what the member's key is known by.
func (h *home) pin() (certs.Pin, error) {
	key, err := h.key()
	if err != nil {
		return certs.Pin{}, err
	}
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok {
		return certs.Pin{}, wire.Errorf(wire.BadConfig, "%s is of a kind that members do not have", h.path("member.key"))
	}
	return certs.PinOfKey(pub)
}

// identityKey opens what is sealed for this member.
func (h *home) identityKey() (*age.X25519Identity, error) {
	path := h.path("age.key")
	if err := certs.CheckPrivate(path); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, wire.Errorf(wire.BadConfig, "%s holds no age identity", path) // the cause may hold some of it
	}
	return id, nil
}

// ca is the CA that is trusted.
func (h *home) ca() (*x509.Certificate, error) {
	chain, err := certs.LoadChain(h.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// identity is how this member shows itself.
func (h *home) identity(cfg Config, admit func(string, certs.Pin) error) (certs.Member, error) {
	ca, err := h.ca()
	return certs.Member{Pair: h.path("member.pem"), CA: ca, Now: cfg.Now, Admit: admit}, err
}

// save writes what makes this relay a member, the roster last: with it everything is there.
func (h *home) save(chain [][]byte, r roster) error {
	key, err := h.key()
	if err != nil {
		return err
	}
	if err := certs.SaveChain(h.path("ca.crt"), chain[len(chain)-1:]); err != nil {
		return err
	}
	if err := certs.SavePair(h.path("member.pem"), key, chain); err != nil {
		return err
	}
	return h.saveRoster(r)
}

func (h *home) saveRoster(r roster) error {
	data, err := wire.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the roster: %w", err)
	}
	if old, err := os.ReadFile(h.path("roster")); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return certs.WriteFile(h.path("roster"), data)
}

// roster is what save wrote; [fs.ErrNotExist] says that this relay is no member yet.
func (h *home) roster() (roster, error) {
	var r roster
	path := h.path("roster")
	if err := certs.CheckPrivate(path); err != nil {
		return r, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := wire.Unmarshal(data, &r); err != nil {
		return r, &wire.Error{Code: wire.BadConfig, Detail: path + " cannot be read", Err: err}
	}
	return r, nil
}
