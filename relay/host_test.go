package relay

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// The guard sees the same over TCP and HTTP/3: the address that a connection was made to, and
// requests without a body.
func TestGuardOverTCPAndHTTP3(t *testing.T) {
	r := start(t, func(s *Settings) { s.Config.Listen = "0.0.0.0:0" })
	_, port, err := net.SplitHostPort(r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{InsecureSkipVerify: true} // this is not about certificates
	h3 := &http3.Transport{TLSClientConfig: conf}
	defer h3.Close()
	tcp := &http.Transport{TLSClientConfig: conf.Clone(), DisableKeepAlives: true}
	h2 := &http.Transport{TLSClientConfig: conf.Clone(), ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	for name, via := range map[string]http.RoundTripper{"HTTP/1.1": tcp, "HTTP/2": h2, "HTTP/3": h3} {
		for host, want := range map[string]int{"127.0.0.2": http.StatusOK, "localhost": http.StatusOK, "127.0.0.3": http.StatusMisdirectedRequest, "evil.example": http.StatusMisdirectedRequest} {
			if got := send(t, via, "GET", "https://127.0.0.2:"+port+"/api/v1/signin", host+":"+port, nil, ""); got != want {
				t.Errorf("%s, Host %s: status %d", name, host, got)
			}
		}
		own := map[string]string{"Origin": "https://127.0.0.2:" + port}
		for what, c := range map[string]struct {
			header map[string]string
			body   string
			want   int
		}{
			"without a body":         {own, "", http.StatusUnauthorized}, // nobody is signed in
			"from nowhere":           {nil, "", http.StatusForbidden},
			"a body without a type":  {own, "{}", http.StatusForbidden},
			"a body of another type": {map[string]string{"Origin": own["Origin"], "Content-Type": "text/plain"}, "{}", http.StatusForbidden},
			"JSON":                   {map[string]string{"Origin": own["Origin"], "Content-Type": "application/json"}, "{}", http.StatusUnauthorized},
		} {
			if got := send(t, via, "POST", "https://127.0.0.2:"+port+"/api/v1/signout", "127.0.0.2:"+port, c.header, c.body); got != c.want {
				t.Errorf("%s, %s: status %d", name, what, got)
			}
		}
	}
}

func send(t *testing.T, via http.RoundTripper, method, url, host string, header map[string]string, body string) int {
	t.Helper()
	var req *http.Request
	var err error
	if body == "" {
		req, err = http.NewRequestWithContext(t.Context(), method, url, nil)
	} else {
		req, err = http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	}
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := via.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}
