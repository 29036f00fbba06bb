package web

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"
)

// listenHTTP3 serves handler over QUIC; it gives the address and the client's TLS.
func listenHTTP3(t *testing.T, handler func(*webtransport.Server) http.Handler) (string, *tls.Config) {
	t.Helper()
	tcp := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate
	t.Cleanup(tcp.Close)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := NewHTTP3(nil, &Attacher{Origin: func(*http.Request) error { return nil }})
	s.H3.TLSConfig = http3.ConfigureTLSConfig(tcp.TLS.Clone())
	s.H3.Handler = handler(s.Server)
	webtransport.ConfigureHTTP3Server(s.H3)
	done := make(chan error, 1)
	go func() { done <- s.Serve(udp) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
		_ = udp.Close()
	})
	return udp.LocalAddr().String(), tcp.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
}

// Over HTTP/3 as over TCP, a request whose body never ends ends.
func TestRequestsOverHTTP3AreTimely(t *testing.T) {
	ended := make(chan error, 1)
	addr, conf := listenHTTP3(t, func(*webtransport.Server) http.Handler {
		return timely(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusTeapot)
			ended <- err
		}), time.Second)
	})
	client := &http3.Transport{TLSClientConfig: conf}
	defer client.Close()
	body, more := io.Pipe()
	defer more.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", "https://"+addr+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || resp.StatusCode != http.StatusTeapot {
		t.Errorf("ended with %v, status %d", err, resp.StatusCode)
	}
}

// A page that is silent for too long is gone, whatever the browser's connection does.
func TestSilentPagesEnd(t *testing.T) {
	ended := make(chan error, 1)
	addr, conf := listenHTTP3(t, func(s *webtransport.Server) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, err := s.Upgrade(w, r)
			if err != nil {
				ended <- err
				return
			}
			stream, err := session.AcceptStream(r.Context())
			if err != nil {
				ended <- err
				return
			}
			_, err = io.ReadAll(&wtStream{s: stream, idle: 100 * time.Millisecond})
			ended <- err
		})
	})
	conf.NextProtos = []string{"h3"}
	d := &webtransport.Transport{TLSClientConfig: conf, QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true}}
	defer d.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, session, err := d.Dial(ctx, "https://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := session.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(stream, strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("it waits for ever")
	}
}
