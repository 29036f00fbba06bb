package relay

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/relay/access"
	"scrier/relay/audit"
	"scrier/wire"
)

// opensWith asks for a session with one key. edit may spoil the request, or say who signs.
func (p *person) opensWith(key ssh.Signer, edit func(c *wire.Connect, sign func(ssh.Signer, string, string))) (*viewer, error) {
	p.t.Helper()
	cert, err := p.login(attempt{})
	if err != nil {
		return nil, err
	}
	link := dial(p.t, p.relay, wire.ALPNClient, cert)
	s, err := link.Open(p.t.Context())
	if err != nil {
		return nil, err
	}
	c := &wire.Connect{Envoy: "web1", Kind: wire.KindSSH, Size: wire.Size{Cols: 80, Rows: 24}, Term: "xterm", Key: key.PublicKey().Marshal()}
	sign := func(by ssh.Signer, namespace, envoy string) {
		exporter, err := link.Peer().Export(certs.ExporterLabel, certs.ExporterSize)
		if err != nil {
			p.t.Fatal(err)
		}
		message, err := certs.KeyMessage(exporter, envoy, "")
		if err != nil {
			p.t.Fatal(err)
		}
		if c.Proof, err = certs.SignSSH(rand.Reader, by, namespace, message); err != nil {
			p.t.Fatal(err)
		}
	}
	sign(key, certs.NamespaceKey(p.relay.ca.Cluster()), "web1")
	if edit != nil {
		edit(c, sign)
	}
	f := wire.NewFramed(s)
	if err := f.Send(c); err != nil {
		return nil, err
	}
	if err := s.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	a, err := wire.Expect[wire.Attached](f)
	return &viewer{f, a}, err
}

// A key that nobody has registered counts in the session of who proves to hold it, in their own name, and the relay's
// configuration says whether it does and whether it stays.
func TestInlineKeys(t *testing.T) {
	for policy, want := range map[access.InlineKeys]wire.Code{access.InlineSession: wire.None, access.InlineRegister: wire.None, access.InlineRefuse: wire.NoSSHPubkey} {
		t.Run(string(policy), func(t *testing.T) {
			r := start(t, func(s *Settings) { s.Config.Operators.InlineKeys = string(policy) })
			offers := make(chan *wire.Open, 1)
			serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
				offers <- open
				e.opened(s)
				e.sshServer(s, open, echo)
			})
			ann := newPerson(t, r, "ann", access.Opener)
			fresh := newSigner(t)
			v, err := ann.opensWith(fresh, nil)
			if wire.CodeOf(err) != want {
				t.Fatal(err)
			}
			registered := policy == access.InlineRegister
			if err == nil {
				open := <-offers
				if len(open.Keys) != 1 || !bytes.Equal(open.Keys[0], fresh.PublicKey().Marshal()) || open.Operator != "ann" {
					t.Errorf("the machine is asked for %d keys, for %s", len(open.Keys), open.Operator)
				}
				e := recorded(t, r, "scrier.connect")
				if e.Operator != "ann" || e.Fields["key"] != ssh.FingerprintSHA256(fresh.PublicKey()) || e.Fields["inline_key"] != "true" {
					t.Errorf("%+v", e)
				}
				if err := r.sessions.Kill(t.Context(), audit.Event{}, v.attached.Session); err != nil {
					t.Error(err)
				}
				_ = v.exit(t)
			}
			// What is registered, and what it opens.
			keys, err := r.access.Keys(t.Context(), access.Operator{ID: ann.user.ID, Username: "ann"})
			if err != nil || (len(keys) == 2) != registered {
				t.Errorf("%d keys: %v", len(keys), err)
			}
			if n := audited(t, r, "operator.key_register"); (n == 1) != registered {
				t.Errorf("%d records", n)
			}
			if _, err := ann.login(attempt{signer: fresh, offer: fresh.PublicKey()}); (err == nil) != registered {
				t.Errorf("a login with it: %v", err)
			}
			if registered {
				v, err := ann.opensWith(fresh, nil)
				if err != nil {
					t.Fatal(err)
				}
				<-offers
				if e := recorded(t, r, "scrier.connect"); e.Fields["inline_key"] != "" || e.Fields["key"] == "" {
					t.Errorf("%+v", e)
				}
				if err := r.sessions.Kill(t.Context(), audit.Event{}, v.attached.Session); err != nil {
					t.Error(err)
				}
				_ = v.exit(t)
			}
			// The operator's own key is theirs in any case.
			v, err = ann.opensWith(ann.signer, nil)
			if err != nil {
				t.Fatal(err)
			}
			<-offers
			if err := r.sessions.Kill(t.Context(), audit.Event{}, v.attached.Session); err != nil {
				t.Error(err)
			}
			_ = v.exit(t)
			settled(t, r)
		})
	}
}

// A key that is not proved, or is somebody else's, opens nothing.
func TestInlineKeyNeedsProof(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Operators.InlineKeys = string(access.InlineRegister) })
	serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		if err := wire.Send(s, &wire.Refused{Code: wire.PubkeyNotAuthorized}); err != nil {
			t.Error(err)
		}
	})
	ann, bob, fresh := newPerson(t, r, "ann", access.Opener), newPerson(t, r, "bob", access.Viewer), newSigner(t)
	namespace := certs.NamespaceKey(r.ca.Cluster())
	type signs = func(ssh.Signer, string, string)
	for name, c := range map[string]struct {
		key  ssh.Signer
		edit func(*wire.Connect, signs)
		code wire.Code
	}{
		"no proof":                         {fresh, func(c *wire.Connect, _ signs) { c.Proof = nil }, wire.Unauthenticated},
		"another key's proof":              {fresh, func(_ *wire.Connect, sign signs) { sign(ann.signer, namespace, "web1") }, wire.Unauthenticated},
		"another machine's":                {fresh, func(_ *wire.Connect, sign signs) { sign(fresh, namespace, "web2") }, wire.Unauthenticated},
		"a proof for something else":       {fresh, func(_ *wire.Connect, sign signs) { sign(fresh, certs.NamespaceLogin(r.ca.Cluster()), "web1") }, wire.Unauthenticated},
		"no key":                           {fresh, func(c *wire.Connect, _ signs) { c.Key = []byte("x") }, wire.BadRequest},
		"another operator's":               {bob.signer, nil, wire.NoSSHPubkey},
		"one that no machine lets in":      {fresh, nil, wire.PubkeyNotAuthorized},
		"one that no machine lets in, yet": {fresh, nil, wire.PubkeyNotAuthorized},
	} {
		if _, err := ann.opensWith(c.key, c.edit); wire.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := bob.opensWith(newSigner(t), nil); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("a viewer: %v", err)
	}
	users, err := r.access.Users(t.Context())
	if err != nil || slices.ContainsFunc(users, func(u access.User) bool { return len(u.Keys) != 1 }) || audited(t, r, "operator.key_register") != 0 {
		t.Errorf("something was registered: %+v, %v", users, err)
	}
	settled(t, r)
}

// A key that an administrator has named, and nobody has proved, counts in a session of its owner's and is not proved by it,
// unless the relay is configured to register.
func TestInlineKeyThatIsNamed(t *testing.T) {
	for policy, unproved := range map[access.InlineKeys]int{access.InlineSession: 1, access.InlineRegister: 0} {
		r := start(t, func(s *Settings) { s.Config.Operators.InlineKeys = string(policy) })
		serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
			e.opened(s)
			e.sshServer(s, open, echo)
		})
		boss, ann, named := newPerson(t, r, "boss", access.Admin), newPerson(t, r, "ann", access.Opener), newSigner(t)
		by := access.Operator{ID: boss.user.ID, Username: "boss", Role: access.Admin, Epoch: 1}
		if _, err := r.access.Update(t.Context(), by, "ann", access.User{Keys: []string{lineOf(ann.signer.PublicKey()), lineOf(named.PublicKey())}}); err != nil {
			t.Fatal(err)
		}
		v, err := ann.opensWith(named, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.sessions.Kill(t.Context(), audit.Event{}, v.attached.Session); err != nil {
			t.Error(err)
		}
		_ = v.exit(t)
		users, err := r.access.Users(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range users {
			if u.Username == "ann" && (len(u.Keys) != 2 || len(u.Unproved) != unproved) {
				t.Errorf("%s: %+v", policy, u)
			}
		}
		settled(t, r)
	}
}

// recorded is the last audit record of a type.
func recorded(t *testing.T, r *Relay, what string) (last audit.Record) {
	t.Helper()
	records, err := r.audit.Records(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if rec.Type == what {
			last = rec
		}
	}
	return last
}
