package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// maxSSHSignature bounds a blob before anything is parsed: an RSA key of 8192 bits with its
// signature needs about 2.2 KiB, a namespace and hash name some tens of bytes.
const maxSSHSignature = 16 << 10

// The fixed parts of OpenSSH's PROTOCOL.sshsig.
const (
	sshsigMagic   = "SSHSIG"
	sshsigVersion = 1
	sshsigHash    = "sha512" // what SignSSH uses; VerifySSH takes sha256 as well
)

// An SSHSignature is a signature in OpenSSH's SSHSIG format over a message in a namespace. The
// namespace is what keeps a signature made for one purpose from being used for another.
type SSHSignature struct {
	PublicKey ssh.PublicKey
	Namespace string
	Hash      string // "sha256" or "sha512"
	Signature *ssh.Signature
}

// sshsigWire is the blob after the magic; each field is an SSH string except the version.
type sshsigWire struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// sshsigSigned is what the key signs, after the magic.
type sshsigSigned struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

// SignSSH signs message for namespace and returns the binary blob (what `ssh-keygen -Y sign`
// prints, without the armour). RSA keys sign with rsa-sha2-512, so s must then be an
// [ssh.AlgorithmSigner], which every signer of x/crypto and of an ssh-agent is.
func SignSSH(rand io.Reader, s ssh.Signer, namespace string, message []byte) ([]byte, error) {
	if namespace == "" {
		return nil, errors.New("sign: empty namespace")
	}
	key := s.PublicKey()
	if err := AcceptableKey(key); err != nil {
		return nil, err
	}
	data, err := sshsigData(namespace, sshsigHash, message)
	if err != nil {
		return nil, err
	}
	sig, err := signSSH(rand, s, data)
	if err != nil {
		return nil, wire.Errorf(wire.KeyUnusable, "sign with %s: %w", ssh.FingerprintSHA256(key), err)
	}
	// An agent may answer with another algorithm than was asked for, or with rubbish.
	if err := checkSSHSignature(key, data, sig); err != nil {
		return nil, wire.Errorf(wire.KeyUnusable, "sign with %s: %w", ssh.FingerprintSHA256(key), err)
	}
	return append([]byte(sshsigMagic), ssh.Marshal(sshsigWire{
		Version:   sshsigVersion,
		PublicKey: key.Marshal(),
		Namespace: namespace,
		Hash:      sshsigHash,
		Signature: ssh.Marshal(sig),
	})...), nil
}

func signSSH(rand io.Reader, s ssh.Signer, data []byte) (*ssh.Signature, error) {
	if s.PublicKey().Type() != ssh.KeyAlgoRSA {
		return s.Sign(rand, data)
	}
	as, ok := s.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("the signer cannot do rsa-sha2-512")
	}
	return as.SignWithAlgorithm(rand, data, ssh.KeyAlgoRSASHA512)
}

// VerifySSH checks that blob is a signature over message made for namespace, and returns the key
// that made it. The caller decides whether that key is one that counts. Malformed blobs are
// [wire.BadRequest], keys of the wrong kind [wire.KeyUnusable], everything else that does not
// hold [wire.Unauthenticated].
func VerifySSH(blob []byte, namespace string, message []byte) (ssh.PublicKey, error) {
	sig, err := ParseSSHSignature(blob)
	if err != nil {
		return nil, err
	}
	if err := sig.Verify(namespace, message); err != nil {
		return nil, err
	}
	return sig.PublicKey, nil
}

// ParseArmour reads a signature as `ssh-keygen -Y sign` prints it, or its base64 alone, and returns the blob. What a
// person pasted may have other line ends, and spaces around the lines.
func ParseArmour(text string) ([]byte, error) {
	if len(text) > 2*maxSSHSignature {
		return nil, wire.Errorf(wire.BadRequest, "signature of %d bytes is too large", len(text))
	}
	body := strings.TrimSpace(text)
	body = strings.TrimPrefix(body, "-----BEGIN SSH SIGNATURE-----")
	body = strings.TrimSuffix(body, "-----END SSH SIGNATURE-----")
	blob, err := base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil || len(blob) == 0 {
		return nil, wire.Errorf(wire.BadRequest, "this is not a signature; it begins with -----BEGIN SSH SIGNATURE----- and ends with -----END SSH SIGNATURE-----")
	}
	return blob, nil
}

// ParseSSHSignature reads a binary SSHSIG blob and nothing beside it: no armour, no trailing
// bytes, at most 16 KiB. The signature is not yet checked.
func ParseSSHSignature(blob []byte) (*SSHSignature, error) {
	if len(blob) > maxSSHSignature {
		return nil, wire.Errorf(wire.BadRequest, "signature of %d bytes is too large", len(blob))
	}
	rest, ok := bytes.CutPrefix(blob, []byte(sshsigMagic))
	if !ok {
		return nil, wire.Errorf(wire.BadRequest, "not an SSH signature")
	}
	var w sshsigWire
	if err := ssh.Unmarshal(rest, &w); err != nil {
		return nil, wire.Errorf(wire.BadRequest, "parse SSH signature: %w", err)
	}
	if w.Version != sshsigVersion {
		return nil, wire.Errorf(wire.BadRequest, "SSH signature has version %d, not %d", w.Version, sshsigVersion)
	}
	if w.Namespace == "" {
		return nil, wire.Errorf(wire.BadRequest, "SSH signature has no namespace")
	}
	if w.Hash != "sha256" && w.Hash != "sha512" {
		return nil, wire.Errorf(wire.BadRequest, "SSH signature uses an unknown hash")
	}
	// PROTOCOL.sshsig lets a verifier ignore reserved; nobody sets it, and what is not signed
	// for a known purpose has no place here.
	if w.Reserved != "" {
		return nil, wire.Errorf(wire.BadRequest, "SSH signature has reserved data")
	}
	key, err := ssh.ParsePublicKey(w.PublicKey)
	if err != nil {
		return nil, wire.Errorf(wire.BadRequest, "parse SSH signature's key: %w", err)
	}
	// A key must have one encoding only, as keys are compared and stored by their bytes.
	if !bytes.Equal(key.Marshal(), w.PublicKey) {
		return nil, wire.Errorf(wire.BadRequest, "SSH signature's key is not in canonical form")
	}
	if err := AcceptableKey(key); err != nil {
		return nil, err
	}
	sig := new(ssh.Signature)
	if err := ssh.Unmarshal(w.Signature, sig); err != nil {
		return nil, wire.Errorf(wire.BadRequest, "parse SSH signature: %w", err)
	}
	return &SSHSignature{PublicKey: key, Namespace: w.Namespace, Hash: w.Hash, Signature: sig}, nil
}

// Verify checks the signature over message, and that it was made for namespace.
func (s *SSHSignature) Verify(namespace string, message []byte) error {
	if namespace == "" || s.Namespace != namespace {
		return wire.Errorf(wire.Unauthenticated, "SSH signature was made for another purpose")
	}
	data, err := sshsigData(s.Namespace, s.Hash, message)
	if err != nil {
		return err
	}
	if err := checkSSHSignature(s.PublicKey, data, s.Signature); err != nil {
		return wire.Errorf(wire.Unauthenticated, "SSH signature by %s: %w", ssh.FingerprintSHA256(s.PublicKey), err)
	}
	return nil
}

// sshsigData is the byte string that is signed: never the message itself but its digest, with
// the namespace beside it, behind a magic that no SSH authentication can begin with.
func sshsigData(namespace, hash string, message []byte) ([]byte, error) {
	var digest []byte
	switch hash {
	case "sha256":
		d := sha256.Sum256(message)
		digest = d[:]
	case "sha512":
		d := sha512.Sum512(message)
		digest = d[:]
	default:
		return nil, fmt.Errorf("unknown hash %q", hash)
	}
	return append([]byte(sshsigMagic), ssh.Marshal(sshsigSigned{
		Namespace: namespace,
		Hash:      hash,
		Digest:    digest,
	})...), nil
}
