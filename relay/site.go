package relay

import (
	"bytes"
	"context"

	"golang.org/x/crypto/ssh"

	"scrier/relay/access"
	"scrier/relay/web"
	"scrier/static"
	"scrier/wire"
)

// site is what browsers reach.
func (r *Relay) site() web.Site {
	return web.Site{
		API:    r.api,
		Pages:  web.Pages(web.PagesConfig{Files: static.Files(), Covered: r.tls.Covers, HTTP3: r.tls.Known}),
		Attach: &web.Attacher{Attach: r.attachBrowser, Origin: web.SameOrigin, Log: r.Log},
		Guard: web.BrowserConfig{
			Access: r.access, Hosts: r.tls.Hosts, Covered: r.tls.Covers, Log: r.Log,
		},
	}
}

// connectWeb opens a session for the API. Its viewer attaches with a ticket.
func (r *Relay) connectWeb(ctx context.Context, who access.Operator, req web.ConnectRequest) (wire.SessionID, error) {
	c := &request{
		Connect: wire.Connect{
			Envoy: req.EnvoyID, Kind: wire.Kind(req.Protocol), Port: req.Port, Login: req.Login,
			Size: wire.Size{Cols: req.Cols, Rows: req.Rows}, Term: "xterm-256color", Env: map[string]string{"LANG": "C.UTF-8"},
		},
		Desktop: req.Desktop,
	}
	if req.Console {
		c.Console = &wire.Console{View: req.View, Purpose: req.Purpose}
	}
	if req.Cols == 0 || req.Rows == 0 {
		c.Size = wire.Size{Cols: 80, Rows: 24} // the viewer tells its own
	}
	c.prove = func(ctx context.Context) ([]ssh.PublicKey, error) {
		keys, err := r.access.Keys(ctx, who)
		if err != nil || req.SSHPublicKey == "" {
			return keys, err
		}
		return only(keys, req.SSHPublicKey)
	}
	s, err := r.open(ctx, who, c)
	if err != nil {
		return wire.SessionID{}, err
	}
	return s.ID(), nil
}

// only is the one of the operator's keys that the request names.
func only(keys []ssh.PublicKey, line string) ([]ssh.PublicKey, error) {
	wanted, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, wire.Errorf(wire.BadRequest, "ssh_public_key is not a public key in authorized_keys form")
	}
	for _, k := range keys {
		if bytes.Equal(k.Marshal(), wanted.Marshal()) {
			return []ssh.PublicKey{k}, nil
		}
	}
	return nil, wire.Errorf(wire.NoSSHPubkey, "the key %s is not registered for you", ssh.FingerprintSHA256(wanted))
}
