package stories

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"scrier/certs"
	"scrier/wire"
)

// cmdBrowse sends a request to the relay as a page of its own makes the browser send it.
//
//	browse [-host HOST] [-origin ORIGIN] [-jar FILE] STATUS METHOD PATH [JSON]
//
// The answer must have the status; it is "stdout", and of a problem that is its code, in brackets,
// with the detail. HOST, localhost unless given, is what the browser calls the relay, and gets
// the port of $RELAY; ORIGIN is the page's, "" for none. The cookie is kept in FILE.
func cmdBrowse(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: browse [-host HOST] [-origin ORIGIN] [-jar FILE] STATUS METHOD PATH [JSON]"
	_, port, err := net.SplitHostPort(worldOf(ts).relay)
	ts.Check(err)
	host, jar := "localhost", ""
	var origin *string
	for len(args) > 1 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-host":
			host = args[1]
		case "-origin":
			origin = &args[1]
		case "-jar":
			jar = ts.MkAbs(args[1])
		default:
			ts.Fatalf(usage)
		}
		args = args[2:]
	}
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf(usage)
	}
	var body io.Reader
	if len(args) == 4 {
		body = strings.NewReader(args[3])
	}
	req, err := http.NewRequest(args[1], "https://"+worldOf(ts).relay+args[2], body)
	ts.Check(err)
	req.Host = host + ":" + port
	if origin == nil {
		own := "https://" + req.Host
		origin = &own
	}
	if *origin != "" {
		req.Header.Set("Origin", *origin)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if jar != "" {
		cookie, err := os.ReadFile(jar)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Fatalf("%v", err)
		}
		if len(cookie) > 0 {
			req.Header.Set("Cookie", string(cookie))
		}
	}
	chain, err := certs.LoadChain(ts.MkAbs("relay/ca.crt"))
	ts.Check(err)
	roots := x509.NewCertPool()
	roots.AddCert(chain[0])
	c := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", Time: time.Now},
	}}
	resp, err := c.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ts.Check(err)
	for _, cookie := range resp.Cookies() {
		if jar != "" {
			ts.Check(os.WriteFile(jar, []byte(cookie.Name+"="+cookie.Value), 0o600))
		}
	}
	out := string(data)
	if resp.Header.Get("Content-Type") == "application/problem+json" {
		var p wire.Problem
		ts.Check(json.Unmarshal(data, &p))
		out = fmt.Sprintf("(%s) %s\n", wire.CodeOf(p.Err()), p.Detail)
	}
	fmt.Fprint(ts.Stdout(), out)
	if got := fmt.Sprint(resp.StatusCode); got != args[0] {
		ts.Fatalf("%s %s: status %s, not %s: %s", args[1], args[2], got, args[0], out)
	}
}

// cmdLink finds the token of a sign-in link that a command printed.
func cmdLink(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: link FILE")
	}
	_, token, ok := strings.Cut(ts.ReadFile(args[0]), "/signin#")
	if !ok {
		ts.Fatalf("no link in %s", args[0])
	}
	token, _, _ = strings.Cut(token, "\n")
	ts.Setenv("SIGNIN", token)
}
