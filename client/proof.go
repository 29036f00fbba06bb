package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// challenge is what a relay wants signed before it changes who may do what.
type challenge struct {
	ID        string   `json:"id"`
	Text      string   `json:"text"`
	Namespace string   `json:"namespace"`
	Keys      []string `json:"keys"` // fingerprints of those that count
}

// signChange signs a request with one of the operator's SSH keys, and returns the header that says so.
func (r *Relay) signChange(ctx context.Context, method, path string, body []byte) (string, error) {
	data, err := r.Do(ctx, http.MethodPost, "/self/proofs", map[string]any{
		"method": method, "path": apiPath + path, "sha256": fmt.Sprintf("%x", sha256.Sum256(body)),
	})
	if err != nil {
		return "", err
	}
	var c challenge
	if err := json.Unmarshal(data, &c); err != nil {
		return "", &wire.Error{Code: wire.Protocol, Detail: "malformed challenge", Err: err}
	}
	keys := r.SSHKeys
	keys.Wanted = func(k ssh.PublicKey) bool { return slices.Contains(c.Keys, ssh.FingerprintSHA256(k)) }
	signer, err := Signer(ctx, keys)
	if err != nil {
		return "", wire.Errorf(wire.ProofRequired, "this change has to be signed with an SSH key that counts for you, and none can be used (%w)", err)
	}
	defer signer.Close()
	sig, err := sign(signer, c.Namespace, []byte(c.Text))
	if err != nil {
		return "", err
	}
	return "ssh " + c.ID + " " + base64.StdEncoding.EncodeToString(sig), nil
}
