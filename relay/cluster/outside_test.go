package cluster

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"scrier/certs"
	"scrier/relay/store"
	"scrier/relay/store/etcd"
	"scrier/wire"
)

// An etcd outside is reached with a certificate of its CA, and by nobody without; and the relay talks to no other one.
func TestOutside(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := newCA(t), newCA(t)
	files := func(name string, ca *certs.CA, root *certs.CA) certs.Outside {
		key, err := certs.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		chain, err := ca.IssueMember(name, key.Public(), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		pair, ca2 := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".ca")
		if err := certs.SavePair(pair, key, chain); err != nil {
			t.Fatal(err)
		}
		if err := certs.SaveChain(ca2, [][]byte{root.Certificate()}); err != nil {
			t.Fatal(err)
		}
		return certs.Outside{Cert: pair, Key: pair, CA: ca2}
	}
	server := files("server", ours, ours)
	listen := port(t)
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Name, cfg.LogLevel, cfg.LogOutputs = filepath.Join(dir, "etcd"), "x", "fatal", []string{filepath.Join(dir, "log")}
	at := func(scheme, addr string) []url.URL { return []url.URL{{Scheme: scheme, Host: addr}} }
	cfg.ListenPeerUrls, cfg.ListenClientUrls = at("http", port(t)), at("https", listen)
	cfg.AdvertisePeerUrls, cfg.AdvertiseClientUrls = cfg.ListenPeerUrls, cfg.ListenClientUrls
	cfg.InitialCluster = cfg.InitialClusterFromName("x")
	cfg.ClientTLSInfo = transport.TLSInfo{CertFile: server.Cert, KeyFile: server.Key, TrustedCAFile: server.CA, ClientCertAuth: true}
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()

	log := slog.New(slog.DiscardHandler)
	c, err := Dial(within(t), Outside{Endpoints: []string{"https://" + listen}, Files: files("relay", ours, ours), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	kv, err := etcd.Open(within(t), etcd.Config{Client: c, Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	if err := kv.Update(within(t), func(tx store.Tx) error { return tx.Put("k", []byte("v")) }); err != nil {
		t.Error(err)
	}
	if h := ClientHealth(within(t), c); len(h) != 1 || h[0].Err != "" || !h[0].Leader {
		t.Errorf("health: %+v", h)
	}

	for what, files := range map[string]certs.Outside{
		"a certificate of another CA": files("stranger", theirs, ours),
		"a server of another CA":      files("doubter", ours, theirs),
	} {
		ctx, cancel := contextFor(t, 2*time.Second)
		c, err := Dial(ctx, Outside{Endpoints: []string{"https://" + listen}, Files: files, Log: log})
		cancel()
		if wire.CodeOf(err) != wire.RelayUnreachable {
			t.Errorf("%s: %v", what, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
	good := files("careless", ours, ours)
	for _, endpoints := range [][]string{nil, {"http://" + listen}, {listen}, {"https://"}, {"https://u:p@" + listen}, {"https://" + listen + "/x"}, {"unix:///tmp/x"}, make([]string, 17)} {
		if _, err := Dial(within(t), Outside{Endpoints: endpoints, Files: good, Log: log}); wire.CodeOf(err) != wire.BadConfig {
			t.Errorf("%q: %v", endpoints, err)
		}
	}
	if err := os.Chmod(good.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(within(t), Outside{Endpoints: []string{"https://" + listen}, Files: good, Log: log}); wire.CodeOf(err) != wire.BadConfig {
		t.Errorf("a key that all can read: %v", err)
	}
}
