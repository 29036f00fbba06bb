package sshtest

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/ssh"
)

const version = "SSH-2.0-sshtest"

// kexInit is the offer of RFC 4253, 7.1.
type kexInit struct {
	Cookie                        [16]byte
	Kex, HostKey                  []string
	CipherIn, CipherOut           []string
	MACIn, MACOut                 []string
	CompressionIn, CompressionOut []string
	LanguageIn, LanguageOut       []string
	FirstFollows                  bool
	Reserved                      uint32
}

func (s *Server) offer() kexInit {
	none, cipher, mac := []string{"none"}, []string{"aes128-gcm@openssh.com"}, []string{"hmac-sha2-256"}
	return kexInit{
		Kex: []string{"curve25519-sha256"}, HostKey: []string{s.hostKey.PublicKey().Type()}, CipherIn: cipher, CipherOut: cipher,
		MACIn: mac, MACOut: mac, CompressionIn: none, CompressionOut: none,
	}
}

// versions exchanges version lines.
func (s *Server) versions() error {
	if _, err := s.conn.Write([]byte(version + "\r\n")); err != nil {
		return err
	}
	line, err := s.in.ReadString('\n')
	s.name = strings.TrimRight(line, "\r\n")
	return err
}

// shake exchanges version lines and keys.
func (s *Server) shake() error {
	if err := s.versions(); err != nil {
		return err
	}
	return s.rekey()
}

// rekey exchanges keys, for the first time or again.
func (s *Server) rekey() error {
	offered := message(msgKexInit, s.offer())
	if err := s.send(offered); err != nil {
		return err
	}
	wanted, err := s.await(msgKexInit)
	if err != nil {
		return err
	}
	return s.exchange(wanted, offered, s.hostKey)
}

// await reads up to a message of this number; what comes before is left aside.
func (s *Server) await(number byte) ([]byte, error) {
	for {
		p, err := s.receive()
		if err != nil || p[0] == number {
			return p, err
		}
	}
}

// exchange is curve25519-sha256 (RFC 8731), signed by a key that need not be the server's.
func (s *Server) exchange(wanted, offered []byte, signer ssh.Signer) error {
	p, err := s.await(msgECDHInit)
	if err != nil {
		return err
	}
	var their struct{ Key []byte }
	if err := ssh.Unmarshal(p[1:], &their); err != nil {
		return err
	}
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	public, err := ecdh.X25519().NewPublicKey(their.Key)
	if err != nil {
		return err
	}
	shared, err := private.ECDH(public)
	if err != nil {
		return err
	}
	secret := new(big.Int).SetBytes(shared)
	digest := sha256.Sum256(ssh.Marshal(struct {
		ClientVersion, ServerVersion        string
		ClientInit, ServerInit              []byte
		HostKey, ClientPublic, ServerPublic []byte
		Secret                              *big.Int
	}{s.name, version, wanted, offered, s.hostKey.PublicKey().Marshal(), their.Key, private.PublicKey().Bytes(), secret}))
	sig, err := signer.Sign(rand.Reader, digest[:])
	if err != nil {
		return err
	}
	if err := s.send(message(msgECDHReply, struct{ HostKey, Public, Signature []byte }{
		s.hostKey.PublicKey().Marshal(), private.PublicKey().Bytes(), ssh.Marshal(sig),
	})); err != nil {
		return err
	}
	if s.session == nil {
		s.session = digest[:]
	}
	derive := func(letter byte) []byte {
		b := ssh.Marshal(struct{ Secret *big.Int }{secret})
		b = append(append(append(b, digest[:]...), letter), s.session...)
		key := sha256.Sum256(b)
		return key[:]
	}
	if err := s.send([]byte{msgNewKeys}); err != nil {
		return err
	}
	if s.sealer, err = newGCM(derive('D')[:16], derive('B')[:12]); err != nil {
		return err
	}
	if _, err := s.await(msgNewKeys); err != nil {
		return err
	}
	s.opener, err = newGCM(derive('C')[:16], derive('A')[:12])
	return err
}

// admit lets in whoever has a key.
func (s *Server) admit(heard func(string)) error {
	if _, err := s.await(msgService); err != nil {
		return err
	}
	if err := s.send(message(msgServiceOK, struct{ Name string }{"ssh-userauth"})); err != nil {
		return err
	}
	for {
		a, err := s.attempt()
		if err != nil {
			return err
		}
		heard("auth " + a.Method)
		answer := []byte{msgAuthSuccess}
		switch {
		case a.Method != "publickey":
			answer = message(msgAuthFailure, failure{[]string{"publickey"}, false})
		case !a.Signed:
			answer = message(msgKeyOK, struct{ Algorithm, Key string }{a.Algorithm, a.Key})
		}
		if err := s.send(answer); err != nil || answer[0] == msgAuthSuccess {
			return err
		}
	}
}

type failure struct {
	Methods []string
	Partial bool
}

// attempt is one request of a client to be let in.
type attempt struct {
	User, Service, Method string
	Signed                bool   // method publickey
	Algorithm, Key        string // method publickey
}

func (s *Server) attempt() (a attempt, err error) {
	p, err := s.await(msgAuth)
	if err != nil {
		return a, err
	}
	var head struct {
		User, Service, Method string
		Rest                  []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(p[1:], &head); err != nil {
		return a, err
	}
	a.User, a.Service, a.Method = head.User, head.Service, head.Method
	if a.Method != "publickey" {
		return a, nil
	}
	var key struct {
		Signed         bool
		Algorithm, Key string
		Rest           []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(head.Rest, &key); err != nil {
		return a, fmt.Errorf("read the key that is offered: %w", err)
	}
	a.Signed, a.Algorithm, a.Key = key.Signed, key.Algorithm, key.Key
	return a, nil
}
