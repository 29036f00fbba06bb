package stories

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdXRDP starts xrdp and its sesman on $XRDP, port $XRDP_port, and gives a user of the script a
// password and a desktop: an xterm that fills the screen.
//
//	xrdp USER PASSWORD
func cmdXRDP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: xrdp USER PASSWORD")
	}
	hash := exec.Command("chpasswd")
	hash.Stdin = strings.NewReader(ts.Getenv(args[0]) + ":" + args[1] + "\n")
	out, err := hash.CombinedOutput()
	if err != nil {
		ts.Fatalf("chpasswd: %v: %s", err, out)
	}
	w := worldOf(ts)
	addr := w.address()
	_, port, _ := strings.Cut(addr, ":")
	ts.Setenv("XRDP", addr)
	ts.Setenv("XRDP_port", port)
	const dir, managerPort = "/etc/xrdp", "3350"
	edit := func(name string, change func(string) string) {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(change(string(text))), 0o644))
	}
	cert, key := filepath.Join(dir, "own-cert.pem"), filepath.Join(dir, "own-key.pem")
	ts.Check(selfSigned(cert, key))
	edit("xrdp.ini", func(s string) string {
		s, _, _ = strings.Cut(s, "\n[Xvnc]") // and what stands behind it: one kind of session is left
		return replaceAll(s, `(?m)^port=3389$`, "port=tcp://"+addr, `(?m)^certificate=$`, "certificate="+cert, `(?m)^key_file=$`, "key_file="+key,
			`(?m)^EnableSyslog=.*$`, "EnableSyslog=false", `(?m)^LogFile=.*$`, "LogFile="+ts.MkAbs("xrdp-own.log"))
	})
	edit("sesman.ini", func(s string) string {
		return replaceAll(s, `(?m)^EnableSyslog=.*$`, "EnableSyslog=false", `(?m)^LogFile=.*$`, "LogFile="+ts.MkAbs("sesman-own.log"))
	})
	edit("startwm.sh", func(string) string { return xrdpSession })
	ts.Check(os.Chmod(filepath.Join(dir, "startwm.sh"), 0o755))
	ts.Check(os.MkdirAll("/run/xrdp/sockdir", 0o755))
	ts.Check(os.Chmod("/run/xrdp/sockdir", 0o777|os.ModeSticky|os.ModeSetgid))
	p := w.start(ts, "xrdp", "sh", "-c", "xrdp-sesman -n & exec xrdp -n")
	listens(ts, p, net.JoinHostPort("::1", managerPort)) // what sesman makes of 127.0.0.1
	listens(ts, p, addr)
}

var xrdpSession = `#!/bin/sh
openbox &
until xprop -root _NET_SUPPORTING_WM_CHECK | grep -q "window id #"; do sleep 0.05; done
exec '` + strings.Join(xterm, "' '") + "'\n"

// replaceAll replaces pairs of expression and text, each of which must be there.
func replaceAll(s string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		re := regexp.MustCompile(pairs[i])
		if !re.MatchString(s) {
			panic("no " + pairs[i] + " in a configuration file of the package xrdp")
		}
		s = re.ReplaceAllLiteralString(s, pairs[i+1])
	}
	return s
}

// selfSigned makes a key and a certificate like a machine's own.
func selfSigned(cert, key string) error {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "desk"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, k.Public(), k)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
