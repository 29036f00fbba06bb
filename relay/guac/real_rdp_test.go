package guac_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"scrier/relay/guac"
	"scrier/wire"
)

// realRDP starts xrdp without anything behind it: who connects sees its own window that asks for
// a name and a password. certificate is the SHA-256 of its certificate.
func realRDP(t *testing.T) (port int, certificate []byte) {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "xrdp"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	port = freePort(t)
	for name, data := range map[string]string{
		"cert.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		"key.pem":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"xrdp.ini": fmt.Sprintf(`[Globals]
ini_version=1
fork=true
port=tcp://127.0.0.1:%d
security_layer=negotiate
crypt_level=high
certificate=%s/cert.pem
key_file=%[2]s/key.pem
ssl_protocols=TLSv1.2, TLSv1.3
allow_channels=true
allow_multimon=true
bulk_compression=true
max_bpp=32
bitmap_cache=true
bitmap_compression=true
new_cursors=true
use_fastpath=both
ls_width=350
ls_height=430
[Logging]
LogFile=%[2]s/xrdp.log
LogLevel=INFO
EnableSyslog=false
[Channels]
rdpdr=true
rdpsnd=true
drdynvc=true
cliprdr=true
[Xorg]
name=Xorg
lib=libxup.so
username=ask
password=ask
ip=127.0.0.1
port=-1
code=20
`, port, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, exec.Command("xrdp", "-n", "-c", filepath.Join(dir, "xrdp.ini")))
	t.Cleanup(func() {
		if log, _ := os.ReadFile(filepath.Join(dir, "xrdp.log")); t.Failed() {
			t.Logf("xrdp's log:\n%s", log)
		}
	})
	awaitPort(t, fmt.Sprintf("127.0.0.1:%d", port))
	sum := sha256.Sum256(cert)
	return port, sum[:]
}

func TestRealGuacdDrawsRDP(t *testing.T) {
	addr := realGuacd(t)
	port, certificate := realRDP(t)
	drive, err := os.MkdirTemp("", "drive")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(drive) })
	if err := os.Chmod(drive, 0o777); err != nil { // guacd is another user
		t.Fatal(err)
	}
	rdp := guac.RDP{Hostname: "127.0.0.1", Port: port, Keyboard: "de-de-qwertz", Timezone: "Europe/Berlin", Policy: everything,
		Certificate: certificate, DrivePath: drive}
	params := func(r guac.RDP) guac.Params {
		return guac.Params{Protocol: "rdp", Args: r.Args(), Width: 1024, Height: 768, Audio: []string{"audio/L16"}, Timezone: r.Timezone, Name: "alice"}
	}
	t.Run("all is allowed", func(t *testing.T) {
		v := insist(t, addr, params(rdp), everything, "drive", func(v *viewer, i *guac.Instruction) bool {
			return i.Is("sync") && v.seen["img"] > 0 && v.seen["filesystem"] > 0
		})
		for range 20 { // xrdp's window has several fields
			v.send("key", "97", "1")
			v.send("key", "97", "0")
			v.send("mouse", "500", "400", "1")
			v.send("mouse", "500", "400", "0")
		}
		if err := v.until("a cursor", func(i *guac.Instruction) bool { return i.Is("sync") && v.seen["cursor"] > 0 }); err != nil {
			t.Fatal(err)
		}

		// The drive: a file is put there, and the folder's listing is read.
		v.send("put", "0", "0", "text/plain", "/hello.txt")
		v.send("blob", "0", "aGVsbG8=")
		v.send("end", "0")
		v.send("get", "0", "/")
		listed := false
		if err := v.until("a listing", func(i *guac.Instruction) bool {
			if i.Is("body") {
				v.send("ack", string(i.Arg(1)), "OK", "0")
			}
			listed = listed || i.Is("blob") && v.seen["body"] > 0
			return listed && i.Is("end")
		}); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(drive, "hello.txt")); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
		v.send("disconnect")
		t.Logf("guacd sent %v", v.seen)
	})
	t.Run("nothing is allowed", func(t *testing.T) {
		r := rdp
		r.Policy = guac.Policy{}
		v := open(t, addr, params(r), guac.Policy{})
		v.picture()
		v.send("disconnect")
	})
	t.Run("TLS", func(t *testing.T) {
		r := rdp
		r.Security = wire.TLS
		v := open(t, addr, params(r), everything)
		v.picture()
		v.send("disconnect")
	})
	t.Run("NLA, which xrdp has not", func(t *testing.T) {
		r := rdp
		r.Security, r.Username, r.Password = wire.NLA, "alice", wire.NewSecret("secret")
		if err := refusal(t, addr, params(r)); err.Code != wire.DesktopSecurity {
			t.Error(err)
		} else {
			t.Log(err)
		}
	})
	t.Run("a certificate that nobody knows", func(t *testing.T) {
		r := rdp
		r.Certificate = make([]byte, sha256.Size)
		p := params(r)
		p.Args["ignore-cert"] = "" // 1.3 looks into a store of its own then
		if err := refusal(t, addr, p); err.Code != wire.CertificateMismatch {
			t.Error(err)
		} else {
			t.Log(err)
		}
	})
	t.Run("a closed port", func(t *testing.T) {
		r := rdp
		r.Port = freePort(t)
		if err := refusal(t, addr, params(r)); err.Code != wire.TargetRefused {
			t.Error(err)
		} else {
			t.Log(err)
		}
	})
}
