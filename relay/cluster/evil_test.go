package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"scrier/certs"
	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

// shown saves a certificate that somebody could have, and is how they would come to the members' port.
func shown(t *testing.T, n *node, role certs.Role) certs.Member {
	t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := n.CA.Issue(certs.Identity{Role: role, ID: "b", Generation: 1}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pair.pem")
	if err := certs.SavePair(path, key, chain); err != nil {
		t.Fatal(err)
	}
	return as(t, n, path)
}

func as(t *testing.T, n *node, pair string) certs.Member {
	t.Helper()
	id, err := n.Member.home.identity(n.cfg, func(string, certs.Pin) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	id.Pair = pair
	return id
}

// ask sends one request to a member's port.
func ask(t *testing.T, n *node, conf *tls.Config, path string) (status int, err error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequestWithContext(within(t), http.MethodGet, "https://"+n.cfg.Listen+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// The members' port takes members. Neither the cluster's other certificates come in, nor those of another one, nor a member's whose row
// is not there; and there is no other port.
func TestStrangersAtThePort(t *testing.T) {
	a := first(t, false)
	other := first(t, false)
	spare, err := openHome(filepath.Join(t.TempDir(), "spare"))
	if err != nil {
		t.Fatal(err)
	}
	// Signed by the very CA, for a name that has a row, and for one that has none: it is the key that counts.
	forged := func(name string) certs.Member {
		_, chain, err := spare.certified(a.CA, name, "127.0.0.1:1", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		key, err := spare.key()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "pair.pem")
		if err := certs.SavePair(path, key, chain); err != nil {
			t.Fatal(err)
		}
		return as(t, a, path)
	}
	own := as(t, a, a.Member.home.path("member.pem"))
	for _, path := range []string{"/members", "/raft", "/version", healthPath} {
		if status, err := ask(t, a, own.Client("a"), path); err != nil || status == http.StatusForbidden {
			t.Errorf("a member gets %d for %s: %v", status, path, err)
		}
		for name, conf := range map[string]*tls.Config{
			"nobody":                        {InsecureSkipVerify: true},
			"an agent":                      shown(t, a, certs.RoleAgent).Client("a"),
			"an operator":                   shown(t, a, certs.RoleOperator).Client("a"),
			"a member by role alone":        shown(t, a, certs.RoleMember).Client("a"),
			"another cluster's member":      as(t, a, other.Member.home.path("member.pem")).Client("a"),
			"a member that has no row":      forged("z").Client("a"),
			"another key in a member's row": forged("a").Client("a"),
		} {
			if status, err := ask(t, a, conf, path); err == nil {
				t.Errorf("%s gets %d for %s", name, status, path)
			}
		}
	}
	if s := a.Member.server.Cluster().Members()[0].ClientURLs; len(s) > 0 {
		t.Errorf("there is a port for clients: %q", s)
	}
	// What is no TLS gets nothing, and costs nothing for longer than a handshake may take.
	conn, err := net.Dial("tcp", a.cfg.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /members HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, net.ErrClosed) && strings.Contains(string(got), "200") {
		t.Errorf("plain text gets %q, %v", got, err)
	}
}

// Who opens connections and says nothing keeps no member out: of one network some handshakes run at once, and all of them end.
func TestSilentStrangers(t *testing.T) {
	a := first(t, false)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range 4 * maxHandshakes {
		c, err := net.Dial("tcp", a.cfg.Listen)
		if err != nil {
			break
		}
		conns = append(conns, c)
	}
	p := a.Member.peers
	running := func() (most int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, n := range p.handshakes {
			most = max(most, n)
		}
		return max(most, p.running-maxHandshakes+maxOfNetwork)
	}
	if n := running(); n > maxOfNetwork {
		t.Errorf("%d handshakes of one network", n)
	}
	eventually(t, "the silent ones are gone", func() bool { return running() <= 0 })
	p.mu.Lock()
	left := len(p.conns)
	p.mu.Unlock()
	if left > 0 {
		t.Errorf("%d connections are left", left)
	}
	if _, err := ask(t, a, as(t, a, a.Member.home.path("member.pem")).Client("a"), healthPath); err != nil {
		t.Errorf("a member is kept out: %v", err)
	}
}

// request is what a relay with a key of its own would say.
func request(t *testing.T, token certs.Token, name, peer string) *wire.Join {
	t.Helper()
	key, err := certs.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := certs.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return &wire.Join{Secret: token.Secret[:], Name: name, CSR: csr, Recipient: id.Recipient().String(), Peer: peer, Version: "v", Time: wire.Millis(time.Now())}
}

// Nobody joins without a token that is good, and a token lets one relay in. What is refused leaves nothing behind, and its token good.
func TestWhoMayNotJoin(t *testing.T) {
	a := first(t, false)
	good := a.token("")
	say := func(f func(*wire.Join)) *wire.Join {
		m := request(t, good, "b", "127.0.0.1:1")
		f(m)
		return m
	}
	late, _, err := a.MakeToken(within(t), Order{TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	own, err := a.Member.home.key()
	if err != nil {
		t.Fatal(err)
	}
	csrOfA, err := certs.NewRequest(own)
	if err != nil {
		t.Fatal(err)
	}
	named := a.token("y")
	for what, c := range map[string]struct {
		m    *wire.Join
		code wire.Code
	}{
		"no token":                  {say(func(m *wire.Join) { m.Secret = nil }), wire.TokenInvalid},
		"another token":             {say(func(m *wire.Join) { m.Secret = bytes.Repeat([]byte{1}, 24) }), wire.TokenInvalid},
		"half a token":              {say(func(m *wire.Join) { m.Secret = m.Secret[:12] }), wire.TokenInvalid},
		"a member's name, no token": {say(func(m *wire.Join) { m.Name, m.Secret = "a", nil }), wire.TokenInvalid},
		"a token for another name":  {say(func(m *wire.Join) { m.Secret = named.Secret[:] }), wire.BadRequest},
		"no name":                   {say(func(m *wire.Join) { m.Name = "" }), wire.BadRequest},
		"a path":                    {say(func(m *wire.Join) { m.Name = "../a" }), wire.BadRequest},
		"an endless name":           {say(func(m *wire.Join) { m.Name = strings.Repeat("b", 60000) }), wire.BadRequest},
		"a's name":                  {say(func(m *wire.Join) { m.Name = "a" }), wire.Conflict},
		"a's key":                   {say(func(m *wire.Join) { m.CSR = csrOfA }), wire.Conflict},
		"a's address":               {say(func(m *wire.Join) { m.Peer = a.cfg.Listen }), wire.Conflict},
		"no address":                {say(func(m *wire.Join) { m.Peer = "" }), wire.BadRequest},
		"everywhere":                {say(func(m *wire.Join) { m.Peer = "0.0.0.0:1" }), wire.BadRequest},
		"a path in the address":     {say(func(m *wire.Join) { m.Peer = "127.0.0.1:1/x" }), wire.BadRequest},
		"a user in the address":     {say(func(m *wire.Join) { m.Peer = "x@host:1" }), wire.BadRequest},
		"no port":                   {say(func(m *wire.Join) { m.Peer = "host" }), wire.BadRequest},
		"no request":                {say(func(m *wire.Join) { m.CSR = nil }), wire.BadRequest},
		"a request of 60 KB":        {say(func(m *wire.Join) { m.CSR = make([]byte, 60000) }), wire.BadRequest},
		"somebody else's request":   {say(func(m *wire.Join) { m.CSR = slices.Concat(m.CSR[:len(m.CSR)-1], []byte{m.CSR[len(m.CSR)-1] ^ 1}) }), wire.BadRequest},
		"no recipient":              {say(func(m *wire.Join) { m.Recipient = "" }), wire.BadRequest},
		"a plugin": {say(func(m *wire.Join) {
			m.Recipient = "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"
		}), wire.BadRequest},
		"a clock an hour off": {say(func(m *wire.Join) { m.Time -= time.Hour.Milliseconds() }), wire.ClockSkew},
	} {
		if _, err := a.Admit(within(t), "192.0.2.1", c.m); wire.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %v", what, err, c.code)
		}
	}
	now := a.Now
	a.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if _, err := a.Admit(within(t), "192.0.2.1", request(t, late, "b", "127.0.0.1:1")); wire.CodeOf(err) != wire.TokenInvalid {
		t.Errorf("an expired token: %v", err)
	}
	a.Now = now
	a.want("a")
	if k := a.key(); !slices.Equal(k.Names, []string{"a"}) {
		t.Errorf("the CA's key is sealed for %q", k.Names)
	}
	for _, e := range a.journal.events {
		if e.Type == "relay.join_refused" && (len(e.Fields["name"]) > 64 || e.Code == "ok" || e.Source == "") {
			t.Errorf("the audit log has %+v", e)
		}
	}

	// Of many that have one token at the same time, one comes in.
	var group sync.WaitGroup
	var mu sync.Mutex
	in := 0
	var winner *wire.Join
	for i := range 10 {
		m := request(t, good, "b", net.JoinHostPort("127.0.0.1", []string{"1", "2"}[i%2]))
		group.Go(func() {
			if _, err := a.Admit(within(t), "192.0.2.1", m); err == nil {
				mu.Lock()
				in++
				winner = m
				mu.Unlock()
			} else if wire.CodeOf(err) != wire.TokenInvalid {
				t.Errorf("one of many: %v", err)
			}
		})
	}
	group.Wait()
	if in != 1 {
		t.Errorf("%d relays came in with one token", in)
	}
	// The one that never comes has no vote, so that everything goes on, and can be taken out.
	a.want("a", "b (joining)")
	if err := a.put("k", "v"); err != nil {
		t.Error(err)
	}
	if _, err := a.Admit(within(t), "192.0.2.1", request(t, late, "c", "127.0.0.1:3")); wire.CodeOf(err) != wire.Busy {
		t.Errorf("two at once: %v", err)
	}
	a.want("a", "b (joining)", "c (half)")
	for _, name := range []string{"c", "b"} {
		if err := a.Remove(within(t), audit.Event{}, name, false); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	a.want("a")
	if _, err := a.Admit(within(t), "192.0.2.1", winner); wire.CodeOf(err) != wire.TokenInvalid {
		t.Errorf("a removed one comes again with its token: %v", err)
	}
	if err := a.Remove(within(t), audit.Event{}, "b", false); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("remove b twice: %v", err)
	}
	if err := a.Remove(within(t), audit.Event{}, "a", true); wire.CodeOf(err) != wire.BadRequest {
		t.Errorf("remove itself: %v", err)
	}
}

// A relay that joins believes nothing that its token does not cover, whoever answers.
func TestRogueMember(t *testing.T) {
	a, other := first(t, false), first(t, false)
	for what, lie := range map[string]func(*wire.Join, *wire.Joined){
		"another CA": func(m *wire.Join, j *wire.Joined) {
			pub, err := certs.ParseRequest(m.CSR)
			if err != nil {
				t.Fatal(err)
			}
			if j.Chain, err = other.CA.IssueMember("b", pub, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
		},
		"another CA behind its certificate": func(_ *wire.Join, j *wire.Joined) { j.Chain[1] = other.CA.Certificate() },
		"an agent's certificate": func(m *wire.Join, j *wire.Joined) {
			pub, err := certs.ParseRequest(m.CSR)
			if err != nil {
				t.Fatal(err)
			}
			if j.Chain, err = a.CA.Issue(certs.Identity{Role: certs.RoleAgent, ID: "b", Generation: 1}, pub); err != nil {
				t.Fatal(err)
			}
		},
		"another name": func(m *wire.Join, j *wire.Joined) {
			pub, err := certs.ParseRequest(m.CSR)
			if err != nil {
				t.Fatal(err)
			}
			if j.Chain, err = a.CA.IssueMember("x", pub, "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
		},
		"another key": func(_ *wire.Join, j *wire.Joined) {
			key, err := certs.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			if j.Chain, err = a.CA.IssueMember("b", key.Public(), "127.0.0.1"); err != nil {
				t.Fatal(err)
			}
		},
		"no certificate":       func(_ *wire.Join, j *wire.Joined) { j.Chain = nil },
		"half a certificate":   func(_ *wire.Join, j *wire.Joined) { j.Chain[0] = j.Chain[0][:20] },
		"nobody":               func(_ *wire.Join, j *wire.Joined) { j.Members = nil },
		"not this relay":       func(_ *wire.Join, j *wire.Joined) { j.Members = j.Members[:1] },
		"somebody else's key":  func(_ *wire.Join, j *wire.Joined) { j.Members[0].Key = bytes.Repeat([]byte{7}, 32) },
		"its own recipient":    func(_ *wire.Join, j *wire.Joined) { j.Members[0].Recipient = j.Members[1].Recipient },
		"an address of a path": func(_ *wire.Join, j *wire.Joined) { j.Members[0].Peer = "127.0.0.1:1/x" },
		"many members": func(_ *wire.Join, j *wire.Joined) {
			for range 100 {
				j.Members = append(j.Members, j.Members[0])
			}
		},
		"another number":         func(_ *wire.Join, j *wire.Joined) { j.Number++ },
		"another cluster":        func(_ *wire.Join, j *wire.Joined) { j.Cluster = "x" },
		"another CA's key":       func(m *wire.Join, j *wire.Joined) { j.Sealed = sealedTo(t, other, m.Recipient, nil) },
		"rubbish, sealed":        func(m *wire.Join, j *wire.Joined) { j.Sealed = sealedTo(t, nil, m.Recipient, []byte("x")) },
		"a MiB, sealed":          func(m *wire.Join, j *wire.Joined) { j.Sealed = make([]byte, 40000) },
		"a key for others":       func(_ *wire.Join, j *wire.Joined) { j.Sealed = other.key().Sealed },
		"a key that is no age's": func(_ *wire.Join, j *wire.Joined) { j.Sealed = []byte("age-encryption.org/v1\n-> X25519") },
	} {
		t.Run(what, func(t *testing.T) {
			peer := port(t)
			cfg := configOf(t, peer)
			token := a.token("b")
			near, far := wiretest.Streams()
			defer near.Reset(wire.None)
			var group sync.WaitGroup
			group.Go(func() {
				m, err := wire.Expect[wire.Join](far)
				if err != nil {
					t.Error(err)
					return
				}
				j, err := a.Admit(context.Background(), "", m)
				if err != nil {
					_ = wire.Send(far, wire.Refuse(err))
					t.Error(err)
					return
				}
				lie(m, j)
				_ = wire.Send(far, j)
			})
			err := Join(within(t), cfg, Request{Token: token, Name: "b", Peer: peer}, near)
			group.Wait()
			if err == nil {
				t.Error("it is believed")
			}
			if _, err := Start(within(t), cfg); wire.CodeOf(err) != wire.BadConfig {
				t.Errorf("and it starts: %v", err)
			}
			if err := a.Remove(within(t), audit.Event{}, "b", false); err != nil {
				t.Error(err)
			}
		})
	}
	// Nor does one wait for ever for somebody who says nothing.
	near, _ := wiretest.Streams()
	peer := port(t)
	ctx, cancel := contextFor(t, 100*time.Millisecond)
	defer cancel()
	if err := Join(ctx, configOf(t, peer), Request{Token: a.token("b"), Name: "b", Peer: peer}, near); wire.CodeOf(err) != wire.RelayUnreachable {
		t.Errorf("a silent member: %v", err)
	}
}

// sealedTo seals the key of a node's CA, or a text, to somebody.
func sealedTo(t *testing.T, n *node, recipient string, text []byte) []byte {
	t.Helper()
	r, err := parseRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	if n != nil {
		if text, err = n.CA.MarshalKey(); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Who can write to the store has the CA's key sealed for nobody.
func TestARowAlone(t *testing.T) {
	a := first(t, false)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	mine := store.Member{Name: "evil", Key: bytes.Repeat([]byte{1}, 32), Recipient: id.Recipient().String(), Peer: "127.0.0.1:1", Vouch: []byte("no")}
	before := a.key()
	for what, row := range map[string]store.Member{
		"a row of its own":         mine,
		"another member's promise": func() store.Member { m := mine; m.Vouch = a.Member.known().Members[0].Vouch; return m }(),
	} {
		if err := a.kv.Update(within(t), func(tx store.Tx) error { return store.PutMember(tx, row) }); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Admit(within(t), "", request(t, a.token("b"), "b", "127.0.0.1:2")); wire.CodeOf(err) != wire.Conflict {
			t.Errorf("%s: %v", what, err)
		}
		if now := a.key(); !bytes.Equal(now.Sealed, before.Sealed) {
			t.Errorf("%s: the key was sealed for %q", what, now.Names)
		}
		if err := a.kv.Update(within(t), func(tx store.Tx) error {
			return errors.Join(store.DeleteMember(tx, "evil"), store.DeleteMember(tx, "b"))
		}); err != nil {
			t.Fatal(err)
		}
		if list, err := a.Member.Client().MemberList(within(t)); err != nil {
			t.Fatal(err)
		} else {
			for _, m := range list.Members {
				if m.IsLearner {
					if _, err := a.Member.Client().MemberRemove(within(t), m.ID); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	// And a key that somebody else has put there is not taken for the CA's.
	other := newCA(t)
	key, err := other.MarshalKey()
	if err != nil {
		t.Fatal(err)
	}
	own, err := a.Member.home.identityKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Member.CA(store.CAKey{Sealed: sealedTo(t, nil, own.Recipient().String(), key)}); wire.CodeOf(err) != wire.BadConfig {
		t.Errorf("another CA's key: %v", err)
	}
	if ca, err := a.Member.CA(before); err != nil || ca.Pin() != a.CA.Pin() {
		t.Errorf("the CA's key: %v", err)
	}
}

// A connection that is there when its member goes ends with it, however busy it is.
func TestConnectionsEndWithTheRow(t *testing.T) {
	a := first(t, false)
	b := a.join("b")
	conn, err := tls.Dial("tcp", a.cfg.Listen, as(t, a, b.Member.home.path("member.pem")).Client("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	works := func() bool {
		if _, err := io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			return false
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return false
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK
	}
	for range 2 {
		if !works() {
			t.Fatal("a member's connection does not work")
		}
	}
	if err := a.Member.Know(a.Member.known().Members[:1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection is gone", func() bool { return !works() })
}
