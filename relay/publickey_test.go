package relay

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/web"
	"scrier/wire"
)

func lineOf(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }

// An operator's keys are a list, and one key of its own name beside it, in what is taken and in what is given.
func TestUserHasOneKeyAndSeveral(t *testing.T) {
	r := start(t)
	a, b := lineOf(newSigner(t).PublicKey()), lineOf(newSigner(t).PublicKey())
	type in map[string]any
	for _, c := range []struct {
		name   string
		in     in
		status int
		want   []string
	}{
		{"one", in{"ssh_public_key": a}, 200, []string{a}},
		{"only the role", in{"role": "viewer"}, 200, []string{a}},
		{"several", in{"keys": []string{a, b}}, 200, []string{a, b}},
		{"both", in{"keys": []string{b, a}, "ssh_public_key": a + " a comment"}, 200, []string{b, a}},
		{"one in the place of several", in{"ssh_public_key": b}, 200, []string{b}},
		{"one that is not among the others", in{"keys": []string{a}, "ssh_public_key": b}, 400, []string{b}},
		{"no key", in{"ssh_public_key": "-----BEGIN"}, 400, []string{b}},
		{"two keys", in{"ssh_public_key": a + "\n" + b}, 400, []string{b}},
		{"none", in{"keys": []string{}}, 200, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "one" {
				_ = answer[web.Created](t, call(t, r, "POST", "/users", in{"username": "ann", "role": "admin", "ssh_public_key": b}))
			}
			resp := call(t, r, "PUT", "/users/ann", c.in)
			if resp.StatusCode != c.status {
				t.Fatal(resp.StatusCode)
			}
			users := answer[[]access.User](t, call(t, r, "GET", "/users", nil))
			if c.status == 200 {
				users = append(users, answer[access.User](t, resp))
			}
			for _, u := range users {
				first := ""
				if len(c.want) > 0 {
					first = c.want[0]
				}
				if !slices.Equal(u.Keys, c.want) || u.SSHPublicKey != first {
					t.Errorf("keys %q, ssh_public_key %q", u.Keys, u.SSHPublicKey)
				}
			}
		})
	}
}

// A private key that was sent by a mistake is named, and not repeated.
func TestPrivateKeyIsNotRepeated(t *testing.T) {
	r := start(t)
	secret := "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
	for name, in := range map[string]map[string]any{
		"one": {"ssh_public_key": secret}, "several": {"keys": []string{lineOf(newSigner(t).PublicKey()), secret}},
	} {
		in["username"], in["role"] = "ann", "viewer"
		resp := call(t, r, "POST", "/users", in)
		var p wire.Problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Code != wire.BadRequest || !strings.Contains(p.Detail, "is a private key") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if strings.Contains(p.Detail, "b3Bl") || name == "several" && !strings.HasPrefix(p.Detail, "SSH key 2 ") {
			t.Errorf("%s: %s", name, p.Detail)
		}
	}
}

// A session may be asked for with some of the operator's keys, and the answer says with which it was.
func TestConnectNamesKeys(t *testing.T) {
	r := start(t)
	offers := make(chan [][]byte, 1)
	e := serve(t, r, "web1", func(e *envoy, open *wire.Open, s wire.Stream) {
		offers <- open.Keys
		e.opened(s)
		e.sshServer(s, open, echo)
	})
	ann := newPerson(t, r, "ann", access.Admin)
	first, second, foreign := ann.signer.PublicKey(), newSigner(t).PublicKey(), lineOf(newSigner(t).PublicKey())
	user := answer[access.User](t, call(t, r, "PUT", "/users/ann", map[string]any{"keys": []string{lineOf(first), lineOf(second)}}))
	who := access.Operator{ID: user.ID, Username: "ann", Role: access.Admin, Epoch: 2}
	type in map[string]any
	for _, c := range []struct {
		name   string
		in     in
		status int
		want   []ssh.PublicKey
	}{
		{"all", in{}, 200, []ssh.PublicKey{first, second}},
		{"one", in{"ssh_public_key": lineOf(second)}, 200, []ssh.PublicKey{second}},
		{"several", in{"keys": []string{lineOf(second), lineOf(first)}}, 200, []ssh.PublicKey{second, first}},
		{"both", in{"keys": []string{lineOf(second)}, "ssh_public_key": lineOf(second)}, 200, []ssh.PublicKey{second}},
		{"not the same", in{"keys": []string{lineOf(second)}, "ssh_public_key": lineOf(first)}, 400, nil},
		{"none", in{"keys": []string{}}, 400, nil},
		{"too many", in{"keys": []string{lineOf(first), lineOf(second), foreign}}, 400, nil},
		{"somebody else's", in{"keys": []string{foreign}}, 400, nil},
		{"somebody else's as the one", in{"ssh_public_key": foreign}, 400, nil},
		{"no key", in{"keys": []string{"x"}}, 400, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.in["envoy_id"], c.in["protocol"] = e.id.String(), "ssh"
			resp := callAs(t, r, who, "POST", "/scrier/connect", c.in)
			if resp.StatusCode != c.status {
				t.Fatal(resp.StatusCode)
			}
			if c.status != http.StatusOK {
				return
			}
			got, offered := answer[web.Opened](t, resp), <-offers
			var lines []string
			for i, k := range c.want {
				lines = append(lines, lineOf(k))
				if len(offered) != len(c.want) || !bytes.Equal(offered[i], k.Marshal()) {
					t.Errorf("the machine was asked for %d keys", len(offered))
				}
			}
			if !slices.Equal(got.Keys, lines) || got.SSHPublicKey != lines[0] || got.Ticket.Ticket == "" {
				t.Errorf("%+v", got)
			}
			if resp := call(t, r, "DELETE", "/sessions/"+got.SessionID.String(), nil); resp.StatusCode != http.StatusNoContent {
				t.Error(resp.StatusCode)
			}
		})
	}
	settled(t, r)
}
