package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"scrier/relay/boltfile"
	"scrier/wire"
)

// signingKey is the key of a log's checkpoints.
type signingKey struct {
	signer   note.Signer
	verifier note.Verifier
	public   string // verifier key: name+hash+base64
}

// loadKey reads the key at path, or makes one if there is none and create allows it.
func loadKey(path, name string, create bool) (signingKey, error) {
	if name == "" || !utf8.ValidString(name) || strings.ContainsRune(name, '+') || strings.ContainsFunc(name, unicode.IsSpace) || len(name) > maxName {
		return signingKey{}, wire.Errorf(wire.BadConfig, "%q cannot name an audit log: 1 to %d bytes without space and plus sign", wire.Printable(name), maxName)
	}
	text, err := readPrivate(path)
	if errors.Is(err, os.ErrNotExist) {
		if !create {
			return signingKey{}, keyGone(path)
		}
		if text, _, err = note.GenerateKey(rand.Reader, name); err != nil {
			return signingKey{}, fmt.Errorf("make audit key: %w", err)
		}
		if err := boltfile.Replace(path, []byte(text+"\n")); err != nil {
			return signingKey{}, fmt.Errorf("save audit key: %w", err)
		}
	}
	if err != nil {
		return signingKey{}, err
	}
	return parseKey(path, strings.TrimSpace(text), name)
}

func keyGone(path string) error {
	return wire.Errorf(wire.AuditUnavailable, "the audit log is there, but its signing key %s is gone", path).
		Advise("put the key back, or, to begin a new log, move the log and its .head away and start with --accept-rollback")
}

func parseKey(path, text, name string) (signingKey, error) {
	signer, err := note.NewSigner(text)
	if err != nil {
		return signingKey{}, wire.Errorf(wire.BadConfig, "the audit key %s is not readable: %w", path, err)
	}
	if signer.Name() != name {
		return signingKey{}, wire.Errorf(wire.BadConfig, "the audit key %s belongs to the log %q, this one is %q", path, wire.Printable(signer.Name()), name)
	}
	// PRIVATE+KEY+<name>+<8 digits>+<base64 of algorithm and seed>: NewSigner has checked it, but
	// keeps the public half to itself. Base64 may hold plus signs, the name may not.
	fields := strings.SplitN(text, "+", 5)
	seed, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return signingKey{}, wire.Errorf(wire.BadConfig, "the audit key %s is not readable", path)
	}
	pub := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	public, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return signingKey{}, fmt.Errorf("derive audit verifier key: %w", err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return signingKey{}, fmt.Errorf("derive audit verifier key: %w", err)
	}
	return signingKey{signer, verifier, public}, nil
}

// readPrivate reads a small file that nobody else can read.
func readPrivate(path string) (string, error) {
	f, err := boltfile.OpenBeside(path)
	if err != nil {
		return "", fmt.Errorf("read audit key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read audit key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", wire.Errorf(wire.BadConfig, "the audit key %s has mode %v: it should be a regular file that only its owner reads (chmod 600)", path, info.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxCheckpoint))
	if err != nil {
		return "", fmt.Errorf("read audit key: %w", err)
	}
	return string(data), nil
}
