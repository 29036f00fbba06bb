package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/wire"
)

// challenge is what a relay wants signed before it changes who may do what.
type challenge struct {
	ID        string   `json:"id"`
	Text      string   `json:"text"`
	Namespace string   `json:"namespace"`
	Keys      []string `json:"keys"` // fingerprints of those that count
}

// endNonce is the end of a challenge's text that the relay chooses.
var endNonce = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[A-Za-z0-9_-]{20,100}$`) })

// isFor says whether a challenge is for this change and nothing else. A signature under any other text, or in any
// other namespace, may be worth something elsewhere: at another relay, or in a git repository.
func (c challenge) isFor(l Login, method, path string, body [sha256.Size]byte) error {
	nonce := endNonce().FindString(c.Text)
	text := certs.ChangeText(method, path, body, l.Username, l.pin, nonce)
	if l.Cluster == "" || nonce == "" || c.Namespace != certs.NamespaceChange(l.Cluster) || c.Text != text {
		return wire.Errorf(wire.Protocol, "the relay asked for a signature under something else than this change; nothing was signed")
	}
	return nil
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
	if err := c.isFor(r.Login, method, apiPath+path, sha256.Sum256(body)); err != nil {
		return "", err
	}
	keys := r.SSHKeys
	keys.Wanted = func(k ssh.PublicKey) bool { return slices.Contains(c.Keys, ssh.FingerprintSHA256(k)) }
	signer, err := Signer(ctx, keys)
	if err != nil {
		return "", wire.Errorf(wire.ProofRequired, "this change has to be signed with an SSH key that counts for you, and none can be used (%w)", err).
			Advise("add the key to ssh-agent (`ssh-add`), or name it: `scrier login %s --ssh-key-file FILE`", r.Login.Relay)
	}
	defer signer.Close()
	sig, err := sign(signer, c.Namespace, []byte(c.Text))
	if err != nil {
		return "", err
	}
	return "ssh " + c.ID + " " + base64.StdEncoding.EncodeToString(sig), nil
}
