package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
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
	maxProofs = 1024 // changes of one operator within that time
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
var signable = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^/api/v1/[!#-&(-~]{0,1000}$`) })

// ChallengeChange makes a challenge for a change. site is where the browser is; zero for others.
func (a *Access) ChallengeChange(ctx context.Context, who Operator, site Site, c Change) (Challenge, error) {
	if !slices.Contains([]string{"POST", "PUT", "DELETE"}, c.Method) || !signable().MatchString(c.Path) {
		return Challenge{}, wire.Errorf(wire.BadRequest, "this is not a change that can be signed")
	}
	counts, err := a.credentials(ctx, who)
	if err != nil {
		return Challenge{}, err
	}
	id, nonce, expires := a.proofs.begin(who.ID, c, a.Now())
	ch := Challenge{
		ID: id, Text: certs.ChangeText(c.Method, c.Path, c.Body, who.Username, a.CA.Pin(), nonce),
		Namespace: certs.NamespaceChange(a.CA.Cluster()), Keys: append([]string{}, counts.keys...), Expires: expires,
	}
	for _, p := range counts.passkeys {
		ch.Passkeys = ch.Passkeys || p.RPID == site.Name
	}
	return ch, nil
}

// ChallengePasskey asks a browser for a passkey that signs a change.
func (a *Access) ChallengePasskey(who Operator, site Site, id string) (Flow, error) {
	if len(id) > maxProofID {
		return Flow{}, wire.Errorf(wire.BadRequest, "this is not a challenge's id")
	}
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

// maxProofID is more than a challenge's id has.
const maxProofID = 100

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
	nonce, ok := a.proofs.find(who.ID, id, c, a.Now())
	if !ok || c == (Change{}) {
		return who, wire.Errorf(wire.ProofRequired, "the signature was made for another change, was used already, or is older than 5 minutes")
	}
	switch kind {
	case "ssh":
		text := certs.ChangeText(c.Method, c.Path, c.Body, who.Username, a.CA.Pin(), nonce)
		var key ssh.PublicKey
		if key, err = signedBy(answer, certs.NamespaceChange(a.CA.Cluster()), text); err != nil {
			return who, err
		}
		if who.Proof = ssh.FingerprintSHA256(key); !slices.Contains(counts.keys, who.Proof) {
			return who, wire.Errorf(wire.ProofRequired, "the signature is by %s, which does not count for %s; these do: %s", who.Proof, who.Username, strings.Join(counts.keys, ", "))
		}
	case "passkey":
		who.Proof, err = a.provedByPasskey(ctx, who, b, site, id, answer)
	default:
		err = wire.Errorf(wire.BadRequest, "a signature is by ssh or by a passkey")
	}
	if err == nil {
		err = a.proofs.use(who.ID, nonce, a.Now())
	}
	return who, err
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

// signedBy is the key that has signed a text. signature is an SSHSIG in base64, or as ssh-keygen prints it.
func signedBy(signature, namespace, text string) (ssh.PublicKey, error) {
	blob, err := certs.ParseArmour(signature)
	if err != nil {
		return nil, err
	}
	return certs.VerifySSH(blob, namespace, []byte(text))
}

// proofs makes challenges and knows them again by its key, so that none waits in memory: whoever has stolen a login
// could ask for so many that the operator's own gave way. Those that were signed are remembered until they expire.
// After a restart of the relay another is asked for.
type proofs struct {
	key [sha256.Size]byte

	mu   sync.Mutex
	used map[string]map[string]time.Time // by operator's id and nonce: when it expires
}

// nonceSize is that of a challenge, in bytes: eight say when it expires, the others are random.
const nonceSize = 32

func newProofs() *proofs {
	p := &proofs{used: map[string]map[string]time.Time{}}
	rand.Read(p.key[:])
	return p
}

// begin makes a challenge's nonce, and the id by which it is known again for this operator and change.
func (p *proofs) begin(operator string, c Change, now time.Time) (id, nonce string, expires time.Time) {
	expires = now.Add(proofLife).UTC()
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, nonceSize+sha256.Size), uint64(expires.UnixNano()))
	raw = raw[:nonceSize]
	rand.Read(raw[8:])
	nonce = base64.RawURLEncoding.EncodeToString(raw)
	return base64.RawURLEncoding.EncodeToString(append(raw, p.mac(operator, c, raw)...)), nonce, expires
}

func (p *proofs) mac(operator string, c Change, nonce []byte) []byte {
	h := hmac.New(sha256.New, p.key[:])
	fmt.Fprintf(h, "%q %q %q %x %x", operator, c.Method, c.Path, c.Body, nonce)
	return h.Sum(nil)
}

// find is the nonce of the challenge with this id, if it was made for this operator and change, has not expired and
// was not used.
func (p *proofs) find(operator, id string, c Change, now time.Time) (nonce string, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(raw) != nonceSize+sha256.Size || !hmac.Equal(p.mac(operator, c, raw[:nonceSize]), raw[nonceSize:]) {
		return "", false
	}
	nonce = base64.RawURLEncoding.EncodeToString(raw[:nonceSize])
	p.mu.Lock()
	defer p.mu.Unlock()
	_, used := p.used[operator][nonce]
	return nonce, !used && now.Before(expiry(nonce))
}

// expiry is when a nonce of ours expires.
func expiry(nonce string) time.Time {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != nonceSize {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(raw)))
}

// use notes that a challenge was signed, as it is good once.
func (p *proofs) use(operator, nonce string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for who, all := range p.used {
		maps.DeleteFunc(all, func(_ string, expires time.Time) bool { return !now.Before(expires) })
		if len(all) == 0 {
			delete(p.used, who)
		}
	}
	all := p.used[operator]
	if _, used := all[nonce]; used {
		return wire.Errorf(wire.ProofRequired, "the signature was used already")
	}
	if len(all) >= maxProofs {
		return wire.Errorf(wire.Busy, "%d changes were signed within 5 minutes; wait", maxProofs)
	}
	if all == nil {
		all = map[string]time.Time{}
		p.used[operator] = all
	}
	all[nonce] = expiry(nonce)
	return nil
}
