package client

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/wire"
	"scrier/wire/relaytest"
	"scrier/wire/wiretest"
)

// A login is kept only if the relay has sent the operator's certificate for the key that was made for it, by
// the CA that is pinned. Nothing else leaves a trace.
func TestLoginThatDoesNotFit(t *testing.T) {
	ca, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := certs.LoadOrMakeCA(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(by *certs.CA, role certs.Role, csr []byte) [][]byte {
		pub, err := certs.ParseRequest(csr)
		if err != nil {
			t.Error(err)
			return nil
		}
		chain, err := by.Issue(certs.Identity{Role: role, ID: "x", Generation: 1}, pub)
		if err != nil {
			t.Error(err)
		}
		return chain
	}
	foreign := func() []byte {
		key, err := certs.NewKey()
		if err != nil {
			t.Error(err)
			return nil
		}
		csr, err := certs.NewRequest(key)
		if err != nil {
			t.Error(err)
		}
		return csr
	}
	for name, c := range map[string]struct {
		answer  func(csr []byte) wire.Message
		cluster string // of the challenge; empty: the right one
		want    wire.Code
	}{
		"the right one":   {answer: func(csr []byte) wire.Message { return &wire.Certified{Chain: issue(ca, certs.RoleOperator, csr)} }},
		"no certificate":  {answer: func([]byte) wire.Message { return &wire.Certified{} }, want: wire.Protocol},
		"junk":            {answer: func([]byte) wire.Message { return &wire.Certified{Chain: [][]byte{{1}, {2}}} }, want: wire.Protocol},
		"no CA":           {answer: func(csr []byte) wire.Message { return &wire.Certified{Chain: issue(ca, certs.RoleOperator, csr)[:1]} }, want: wire.Protocol},
		"another CA":      {answer: func(csr []byte) wire.Message { return &wire.Certified{Chain: issue(other, certs.RoleOperator, csr)} }, want: wire.Protocol},
		"another key":     {answer: func([]byte) wire.Message { return &wire.Certified{Chain: issue(ca, certs.RoleOperator, foreign())} }, want: wire.Protocol},
		"an agent":        {answer: func(csr []byte) wire.Message { return &wire.Certified{Chain: issue(ca, certs.RoleAgent, csr)} }, want: wire.Protocol},
		"another cluster": {answer: func(csr []byte) wire.Message { return &wire.Certified{Chain: issue(ca, certs.RoleOperator, csr)} }, cluster: "evil", want: wire.Protocol},
		"another message": {answer: func([]byte) wire.Message { return &wire.Opened{} }, want: wire.Protocol},
		"a refusal":       {answer: func([]byte) wire.Message { return &wire.Refused{Code: wire.Busy, Detail: relaytest.Evil} }, want: wire.Busy},
	} {
		near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
		if c.cluster == "" {
			c.cluster = ca.Cluster()
		}
		done := make(chan error, 1)
		go func() {
			s, err := far.Accept(t.Context())
			if err != nil {
				done <- err
				return
			}
			if _, err = wire.Expect[wire.Login](s); err == nil {
				err = wire.Send(s, &wire.Challenge{Cluster: c.cluster, Key: signer.PublicKey().Marshal(), Nonce: make([]byte, 32)})
			}
			var p *wire.Proof
			if err == nil {
				p, err = wire.Expect[wire.Proof](s)
			}
			if err == nil {
				err = wire.Send(s, c.answer(p.CSR))
			}
			done <- err
		}()
		h := Home{Dir: t.TempDir()}
		s, challenge, err := ask(t.Context(), near, &wire.Login{Keys: [][]byte{signer.PublicKey().Marshal()}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.answer(LoginRequest{Relay: "relay:1", Now: time.Now}, ca.Pin(), near, s, challenge, signer)
		if d := wire.DetailOf(err); wire.CodeOf(err) != c.want || wire.Printable(d) != d {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: the relay: %v", name, err)
		}
		if k, err := h.load(); err != nil || (len(k.Relays) == 0) != (c.want != wire.None) {
			t.Errorf("%s: what is kept is %+v, %v", name, k, err)
		}
		_ = near.Close(wire.None, "")
	}
}
