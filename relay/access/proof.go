package access

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/wire"
)

// What changes who may do what needs more than a login, which may have been stolen: a signature by one of the
// operator's SSH keys or passkeys, made for this very change. The relay gives a challenge for it, which is good
// once, for one operator and one request.
//
// An operator who has nothing yet that could sign is let through: the first key or passkey is that of who comes
// first, and all others need one that counts already.
const (
	proofLife = 5 * time.Minute
	maxProofs = 16 // that wait, of one operator; the oldest gives way
)

// Change is a request that changes who may do what.
type Change struct {
	Method string
	Path   string            // with its query
	Body   [sha256.Size]byte // SHA-256 of the body
}

// Challenge is what is to be signed.
type Challenge struct {
	ID        string    `json:"id"`
	Text      string    `json:"text"`      // to be signed as it is, without a newline
	Namespace string    `json:"namespace"` // of the SSH signature, as of ssh-keygen -Y sign -n
	Keys      []string  `json:"keys"`      // fingerprints of the SSH keys that count
	Passkeys  bool      `json:"passkeys"`  // whether a passkey of the operator's counts here as well
	Expires   time.Time `json:"expires"`

	change Change // zero: a claim
}

// credentials are what of an operator's proves who they are.
type credentials struct {
	keys     []string // fingerprints
	passkeys []store.Passkey
}

func credentialsOf(tx store.Tx, o store.Operator) (c credentials, err error) {
	for _, k := range o.Keys {
		if !k.Proved.IsZero() {
			c.keys = append(c.keys, k.Fingerprint)
		}
	}
	c.passkeys, err = store.Passkeys(tx, o.ID)
	return c, err
}

func (c credentials) none() bool { return len(c.keys) == 0 && len(c.passkeys) == 0 }

// credentials looks up those of who asks.
func (a *Access) credentials(ctx context.Context, who Operator) (c credentials, err error) {
	err = a.KV.View(ctx, func(tx store.Tx) error {
		o, err := self(tx, who)
		if err == nil {
			c, err = credentialsOf(tx, o)
		}
		return err
	})
	return c, err
}

// signable is what may stand in a text that is signed: no space, and no quote, as it is pasted into a shell.
var signable = regexp.MustCompile(`^/api/v1/[!#-&(-~]{0,1000}$`)

// ChallengeChange makes a challenge for a change. site is where the browser is; zero for others.
func (a *Access) ChallengeChange(ctx context.Context, who Operator, site Site, c Change) (Challenge, error) {
	if !slices.Contains([]string{"POST", "PUT", "DELETE"}, c.Method) || !signable.MatchString(c.Path) {
		return Challenge{}, wire.Errorf(wire.BadRequest, "this is not a change that can be signed")
	}
	counts, err := a.credentials(ctx, who)
	if err != nil {
		return Challenge{}, err
	}
	nonce, _ := newSecret()
	ch := Challenge{
		Text:      certs.ChangeText(c.Method, c.Path, c.Body, who.Username, nonce),
		Namespace: certs.NamespaceChange(a.CA.Cluster()), Keys: append([]string{}, counts.keys...), change: c,
	}
	for _, p := range counts.passkeys {
		ch.Passkeys = ch.Passkeys || p.RPID == site.Name
	}
	return a.proofs.add(who.ID, ch, a.Now()), nil
}

// ChallengePasskey asks a browser for a passkey that signs a change.
func (a *Access) ChallengePasskey(who Operator, site Site, id string) (Flow, error) {
	party, err := party(site)
	if err != nil {
		return Flow{}, err
	}
	options, data, err := party.BeginDiscoverableLogin()
	if err != nil {
		return Flow{}, err
	}
	return a.flows.add(flow{operator: signing(who, id), site: site, source: who.Source, data: *data, expires: a.Now().Add(flowLife)}, options, a.Now())
}

// signing is whom a passkey's flow is for that signs a change: no flow of another kind has such a name.
func signing(who Operator, id string) string { return who.ID + " signs " + id }

// Prove checks the signature under a change: "ssh ID SIGNATURE" with an SSHSIG in base64, or "passkey ID FLOW
// CREDENTIAL" with PublicKeyCredential.toJSON in base64url. Without one it is [wire.ProofRequired], but for root of
// the relay's host and for operators who have nothing to sign with, who are returned as First.
func (a *Access) Prove(ctx context.Context, who Operator, b Browser, site Site, c Change, proof string) (Operator, error) {
	if who.ID == "" {
		return who, nil
	}
	counts, err := a.credentials(ctx, who)
	if err != nil {
		return who, err
	}
	if proof == "" {
		if counts.none() {
			who.First = true
			return who, nil
		}
		return who, &wire.Error{Code: wire.ProofRequired}
	}
	kind, rest, _ := strings.Cut(proof, " ")
	id, answer, _ := strings.Cut(rest, " ")
	ch, ok := a.proofs.take(who.ID, id, a.Now())
	if !ok || ch.change != c || c == (Change{}) {
		return who, wire.Errorf(wire.ProofRequired, "the signature was made for another change, was used already, or is older than 5 minutes")
	}
	switch kind {
	case "ssh":
		key, err := signedBy(answer, ch)
		if err != nil {
			return who, err
		}
		if who.Proof = ssh.FingerprintSHA256(key); !slices.Contains(counts.keys, who.Proof) {
			return who, wire.Errorf(wire.ProofRequired, "the signature is by %s, which does not count for %s; these do: %s", who.Proof, who.Username, strings.Join(counts.keys, ", "))
		}
		return who, nil
	case "passkey":
		who.Proof, err = a.provedByPasskey(ctx, who, b, site, id, answer)
		return who, err
	}
	return who, wire.Errorf(wire.BadRequest, "a signature is by ssh or by a passkey")
}

func (a *Access) provedByPasskey(ctx context.Context, who Operator, b Browser, site Site, id, answer string) (name string, err error) {
	flow, text, _ := strings.Cut(answer, " ")
	credential, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", wire.Errorf(wire.BadRequest, "the passkey's answer is not base64url")
	}
	o, key, used, err := a.checkPasskey(ctx, b, site, signing(who, id), flow, json.RawMessage(credential))
	if err != nil {
		return "", err
	}
	if o.ID != who.ID {
		return "", wire.Errorf(wire.ProofRequired, "the passkey is another operator's")
	}
	now := a.Now()
	return "passkey " + key.ID(), a.KV.Update(ctx, func(tx store.Tx) error { return usePasskey(tx, key, used, now) })
}

// signedBy is the key that has signed a challenge. signature is an SSHSIG in base64, or as ssh-keygen prints it.
func signedBy(signature string, ch Challenge) (ssh.PublicKey, error) {
	blob, err := certs.ParseArmour(signature)
	if err != nil {
		return nil, err
	}
	return certs.VerifySSH(blob, ch.Namespace, []byte(ch.Text))
}

// proofs are the challenges that wait for their signature. They are kept in memory; after a restart of the relay
// another is asked for.
type proofs struct {
	mu sync.Mutex
	by map[string][]Challenge // by operator's id, oldest first
}

// maxProvers is how many operators are remembered before those are looked for whose challenges have expired.
const maxProvers = 1024

func (p *proofs) add(operator string, ch Challenge, now time.Time) Challenge {
	ch.ID, _ = newSecret()
	ch.Expires = now.Add(proofLife).UTC()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = map[string][]Challenge{}
	}
	if len(p.by) >= maxProvers {
		for o, all := range p.by {
			if !now.Before(all[len(all)-1].Expires) {
				delete(p.by, o)
			}
		}
	}
	all := append(p.by[operator], ch)
	p.by[operator] = slices.Clone(all[max(0, len(all)-maxProofs):])
	return ch
}

// take removes a challenge, as it is good for one answer, right or wrong.
func (p *proofs) take(operator, id string, now time.Time) (Challenge, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.by[operator]
	i := slices.IndexFunc(all, func(ch Challenge) bool { return ch.ID == id })
	if i < 0 {
		return Challenge{}, false
	}
	ch := all[i]
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		delete(p.by, operator)
	} else {
		p.by[operator] = all
	}
	return ch, now.Before(ch.Expires)
}
