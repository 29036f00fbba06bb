package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

const testNamespace = "scrier-test@example"

// sshKeygen makes a key with the real ssh-keygen and returns its path and signer.
func sshKeygen(t *testing.T, args ...string) (string, ssh.Signer) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	sshRun(t, nil, "ssh-keygen", append([]string{"-q", "-N", "", "-C", "test", "-f", file}, args...)...)
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	return file, s
}

func sshRun(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	out, err := sshRunErr(stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func sshRunErr(stdin []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	return cmd.CombinedOutput()
}

// opensshVerify asks the real ssh-keygen about blob.
func opensshVerify(t *testing.T, key ssh.PublicKey, namespace string, message, blob []byte) ([]byte, error) {
	t.Helper()
	dir := t.TempDir()
	allowed, sig := filepath.Join(dir, "allowed"), filepath.Join(dir, "sig")
	sshWrite(t, allowed, append([]byte("who@example "), ssh.MarshalAuthorizedKey(key)...))
	sshWrite(t, sig, pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob}))
	return sshRunErr(message, "ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "who@example", "-n", namespace, "-s", sig)
}

func sshWrite(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func wantSSHCode(t *testing.T, err error, code wire.Code) {
	t.Helper()
	if got := wire.CodeOf(err); got != code || err == nil {
		t.Errorf("got %v (%v), want %v", got, err, code)
	}
}

func TestSSHSignatureAgainstOpenSSH(t *testing.T) {
	message := []byte("a message\nwith \x00 bytes")
	for name, args := range map[string][]string{
		"ed25519":  {"-t", "ed25519"},
		"ecdsa256": {"-t", "ecdsa", "-b", "256"},
		"ecdsa384": {"-t", "ecdsa", "-b", "384"},
		"ecdsa521": {"-t", "ecdsa", "-b", "521"},
		"rsa":      {"-t", "rsa", "-b", "2048"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, signer := sshKeygen(t, args...)

			blob, err := SignSSH(rand.Reader, signer, testNamespace, message)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := opensshVerify(t, signer.PublicKey(), testNamespace, message, blob); err != nil {
				t.Fatalf("ssh-keygen does not accept our signature: %v\n%s", err, out)
			}
			if _, err := opensshVerify(t, signer.PublicKey(), "other", message, blob); err == nil {
				t.Fatal("ssh-keygen accepts our signature in another namespace: the test proves nothing")
			}

			for _, hash := range []string{"sha256", "sha512"} {
				armour := sshRun(t, message, "ssh-keygen", "-q", "-Y", "sign", "-O", "hashalg="+hash, "-f", file, "-n", testNamespace)
				block, rest := pem.Decode(armour)
				if block == nil || block.Type != "SSH SIGNATURE" || len(bytes.TrimSpace(rest)) != 0 {
					t.Fatalf("ssh-keygen printed no signature: %q", armour)
				}
				key, err := VerifySSH(block.Bytes, testNamespace, message)
				if err != nil {
					t.Fatalf("%s: %v", hash, err)
				}
				if !bytes.Equal(key.Marshal(), signer.PublicKey().Marshal()) {
					t.Errorf("%s: verified by another key", hash)
				}
			}
		})
	}
}

func TestSSHSignatureRefused(t *testing.T) {
	_, signer := sshKeygen(t, "-t", "ed25519")
	message := []byte("message")
	blob, err := SignSSH(rand.Reader, signer, testNamespace, message)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifySSH(blob, testNamespace, message); err != nil {
		t.Fatal(err)
	}

	_, err = VerifySSH(blob, testNamespace+"x", message)
	wantSSHCode(t, err, wire.Unauthenticated)
	_, err = VerifySSH(blob, "", message)
	wantSSHCode(t, err, wire.Unauthenticated)
	_, err = VerifySSH(blob, testNamespace, []byte("messagf"))
	wantSSHCode(t, err, wire.Unauthenticated)
	_, err = VerifySSH(blob, testNamespace, nil)
	wantSSHCode(t, err, wire.Unauthenticated)
	_, err = VerifySSH(append(bytes.Clone(blob), 0), testNamespace, message)
	wantSSHCode(t, err, wire.BadRequest)
	_, err = VerifySSH(make([]byte, maxSSHSignature+1), testNamespace, message)
	wantSSHCode(t, err, wire.BadRequest)
	for n := range blob {
		if _, err := VerifySSH(blob[:n], testNamespace, message); err == nil {
			t.Errorf("accepted the first %d of %d bytes", n, len(blob))
		}
	}
	for i := range blob { // every byte counts
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		if _, err := VerifySSH(bad, testNamespace, message); err == nil {
			t.Errorf("accepted a signature whose byte %d was changed", i)
		}
	}
	if _, err := SignSSH(rand.Reader, signer, "", message); err == nil {
		t.Error("signed for an empty namespace")
	}
}

// TestSSHSignatureFields builds blobs that a well-meaning signer would never make.
func TestSSHSignatureFields(t *testing.T) {
	_, signer := sshKeygen(t, "-t", "ed25519")
	message := []byte("message")
	forge := func(edit func(*sshsigWire, *ssh.Signature)) []byte {
		w := sshsigWire{Version: sshsigVersion, PublicKey: signer.PublicKey().Marshal(), Namespace: testNamespace, Hash: sshsigHash}
		data, err := sshsigData(w.Namespace, w.Hash, message)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := signer.Sign(rand.Reader, data)
		if err != nil {
			t.Fatal(err)
		}
		edit(&w, sig)
		w.Signature = ssh.Marshal(sig)
		return append([]byte(sshsigMagic), ssh.Marshal(w)...)
	}
	if _, err := VerifySSH(forge(func(*sshsigWire, *ssh.Signature) {}), testNamespace, message); err != nil {
		t.Fatalf("the unedited blob is refused: %v", err)
	}
	for name, c := range map[string]struct {
		edit func(*sshsigWire, *ssh.Signature)
		code wire.Code
	}{
		"version":                    {func(w *sshsigWire, _ *ssh.Signature) { w.Version = 2 }, wire.BadRequest},
		"no namespace":               {func(w *sshsigWire, _ *ssh.Signature) { w.Namespace = "" }, wire.BadRequest},
		"reserved":                   {func(w *sshsigWire, _ *ssh.Signature) { w.Reserved = "x" }, wire.BadRequest},
		"hash sha1":                  {func(w *sshsigWire, _ *ssh.Signature) { w.Hash = "sha1" }, wire.BadRequest},
		"hash swapped":               {func(w *sshsigWire, _ *ssh.Signature) { w.Hash = "sha256" }, wire.Unauthenticated},
		"key with a tail":            {func(w *sshsigWire, _ *ssh.Signature) { w.PublicKey = append(w.PublicKey, 0) }, wire.BadRequest},
		"empty key":                  {func(w *sshsigWire, _ *ssh.Signature) { w.PublicKey = nil }, wire.BadRequest},
		"signature with a tail":      {func(_ *sshsigWire, s *ssh.Signature) { s.Rest = []byte{0} }, wire.Unauthenticated},
		"signature of another shape": {func(_ *sshsigWire, s *ssh.Signature) { s.Format = ssh.KeyAlgoECDSA256 }, wire.Unauthenticated},
		"empty signature":            {func(_ *sshsigWire, s *ssh.Signature) { s.Blob = nil }, wire.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := VerifySSH(forge(c.edit), testNamespace, message)
			wantSSHCode(t, err, c.code)
		})
	}
}

func TestSSHSignatureRefusesSHA1(t *testing.T) {
	_, signer := sshKeygen(t, "-t", "rsa", "-b", "2048")
	message := []byte("message")
	data, err := sshsigData(testNamespace, sshsigHash, message)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		algorithm string
		ok        bool
	}{{ssh.KeyAlgoRSA, false}, {ssh.KeyAlgoRSASHA256, true}, {ssh.KeyAlgoRSASHA512, true}} {
		sig, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, c.algorithm)
		if err != nil {
			t.Fatal(err)
		}
		blob := append([]byte(sshsigMagic), ssh.Marshal(sshsigWire{
			Version: sshsigVersion, PublicKey: signer.PublicKey().Marshal(),
			Namespace: testNamespace, Hash: sshsigHash, Signature: ssh.Marshal(sig),
		})...)
		_, err = VerifySSH(blob, testNamespace, message)
		if c.ok != (err == nil) {
			t.Errorf("%s: %v", c.algorithm, err)
		}
	}

	// A signer that can only do ssh-rsa is an error of its own, not a weak signature.
	_, err = SignSSH(rand.Reader, sha1Only{signer}, testNamespace, message)
	wantSSHCode(t, err, wire.KeyUnusable)
}

type sha1Only struct{ s ssh.Signer }

func (s sha1Only) PublicKey() ssh.PublicKey { return s.s.PublicKey() }
func (s sha1Only) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return s.s.Sign(r, data)
}

// TestSecurityKey plays a FIDO token in software: with and without a touch.
func TestSecurityKey(t *testing.T) {
	message := []byte("message")
	data, err := sshsigData(testNamespace, sshsigHash, message)
	if err != nil {
		t.Fatal(err)
	}
	edPub, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecPub, err := ecKey.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	const app = "ssh:"
	tokens := map[string]struct {
		public []byte
		sign   func(data []byte) []byte
	}{
		ssh.KeyAlgoSKED25519: {
			ssh.Marshal(struct {
				Type string
				Key  []byte
				App  string
			}{ssh.KeyAlgoSKED25519, edPub, app}),
			func(d []byte) []byte { return ed25519.Sign(edKey, d) },
		},
		ssh.KeyAlgoSKECDSA256: {
			ssh.Marshal(struct {
				Type, Curve string
				Key         []byte
				App         string
			}{ssh.KeyAlgoSKECDSA256, "nistp256", ecPub, app}),
			func(d []byte) []byte {
				h := sha256.Sum256(d)
				r, s, err := ecdsa.Sign(rand.Reader, ecKey, h[:])
				if err != nil {
					t.Fatal(err)
				}
				return ssh.Marshal(struct{ R, S *big.Int }{r, s})
			},
		},
	}
	for name, token := range tokens {
		t.Run(name, func(t *testing.T) {
			key, err := ssh.ParsePublicKey(token.public)
			if err != nil {
				t.Fatal(err)
			}
			if err := AcceptableKey(key); err != nil {
				t.Fatal(err)
			}
			blob := func(flags byte, tail ...byte) []byte {
				appHash, dataHash := sha256.Sum256([]byte(app)), sha256.Sum256(data)
				counter := []byte{0, 0, 0, 7}
				signed := append(append(append(appHash[:], flags), counter...), dataHash[:]...)
				sig := &ssh.Signature{Format: name, Blob: token.sign(signed), Rest: append(append([]byte{flags}, counter...), tail...)}
				return append([]byte(sshsigMagic), ssh.Marshal(sshsigWire{
					Version: sshsigVersion, PublicKey: token.public,
					Namespace: testNamespace, Hash: sshsigHash, Signature: ssh.Marshal(sig),
				})...)
			}
			if _, err := VerifySSH(blob(0x01), testNamespace, message); err != nil {
				t.Errorf("touched: %v", err)
			}
			if _, err := VerifySSH(blob(0x05), testNamespace, message); err != nil {
				t.Errorf("touched and user verified: %v", err)
			}
			if out, err := opensshVerify(t, key, testNamespace, message, blob(0x01)); err != nil {
				t.Errorf("ssh-keygen does not accept the software token: %v\n%s", err, out)
			}
			for _, flags := range []byte{0x00, 0x04} {
				_, err := VerifySSH(blob(flags), testNamespace, message)
				wantSSHCode(t, err, wire.Unauthenticated)
			}
			_, err = VerifySSH(blob(0x01, 0), testNamespace, message)
			wantSSHCode(t, err, wire.Unauthenticated)
		})
	}
}

func TestAcceptableKey(t *testing.T) {
	rsaOf := func(bits uint) ssh.PublicKey {
		// Only the size matters: the modulus is odd and has so many bits.
		n := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
		k, err := ssh.NewPublicKey(&rsa.PublicKey{N: n, E: 65537})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for bits, ok := range map[uint]bool{1024: false, 2047: false, 2048: true, 4096: true, 8192: true, 8193: false, 16384: false} {
		if err := AcceptableKey(rsaOf(bits)); ok != (err == nil) {
			t.Errorf("RSA of %d bits: %v", bits, err)
		} else if !ok {
			wantSSHCode(t, err, wire.KeyUnusable)
		}
	}
	wantSSHCode(t, AcceptableKey(nil), wire.KeyUnusable)

	_, ca := sshKeygen(t, "-t", "ed25519")
	cert := &ssh.Certificate{Key: ca.PublicKey(), CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	wantSSHCode(t, AcceptableKey(cert), wire.KeyUnusable)
	wantSSHCode(t, AcceptableKey(fakeSSHKey{"ssh-dss"}), wire.KeyUnusable)
	wantSSHCode(t, AcceptableKey(fakeSSHKey{ssh.KeyAlgoRSA}), wire.KeyUnusable)
}

type fakeSSHKey struct{ algorithm string }

func (k fakeSSHKey) Type() string                        { return k.algorithm }
func (k fakeSSHKey) Marshal() []byte                     { return ssh.Marshal(struct{ T string }{k.algorithm}) }
func (k fakeSSHKey) Verify([]byte, *ssh.Signature) error { return nil }
func (k fakeSSHKey) CryptoPublicKey() crypto.PublicKey   { return nil }

func FuzzVerifySSH(f *testing.F) {
	_, key, err := ed25519.GenerateKey(bytes.NewReader(make([]byte, 64)))
	if err != nil {
		f.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		f.Fatal(err)
	}
	message := []byte("message")
	good, err := SignSSH(rand.Reader, signer, testNamespace, message)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(sshsigMagic))
	f.Add([]byte(sshsigMagic + "\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		// Ed25519 signs deterministically and the decoder has one encoding a value, so no other
		// bytes than those of good may pass for this key.
		if k, err := VerifySSH(blob, testNamespace, message); err == nil &&
			bytes.Equal(k.Marshal(), signer.PublicKey().Marshal()) && !bytes.Equal(blob, good) {
			t.Errorf("a second encoding is accepted: %x", blob)
		}
	})
}
