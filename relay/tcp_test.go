package relay

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"scrier/wire"
)

// silentTCP begins connections over TCP from an address all the time, and says nothing on them, until the test ends.
func silentTCP(t *testing.T, addr string, from ...net.IP) {
	t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	t.Cleanup(func() {
		close(done)
		wg.Wait()
	})
	for i := range maxHandshakes {
		wg.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from[i%len(from)]}}
			for {
				conn, err := d.Dial("tcp", addr)
				if err == nil {
					go func() {
						<-done
						_ = conn.Close()
					}()
					_, _ = conn.Read(make([]byte, 1)) // until the relay ends it
					_ = conn.Close()
				}
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
}

// healthz asks a relay whether it is well, from an address, on a connection of its own.
func healthz(t *testing.T, addr string, from net.IP, conf *tls.Config) error {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: conf, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext,
	}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://" + addr + "/healthz")
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

// Two addresses that connect over TCP and say nothing keep nobody out, neither over TCP nor over QUIC.
func TestSilentTCPKeepsNobodyOut(t *testing.T) {
	r := start(t)
	silentTCP(t, r.Addr(), net.IPv4(127, 0, 0, 2), net.IPv4(127, 0, 0, 3))
	waitFor(t, "the two to have what they can", func() bool {
		return r.listener.handshakes.count() >= 2*(maxHandshakes/handshakePart)
	})
	conf := &tls.Config{RootCAs: trust(t, r)}
	for range 20 {
		if err := healthz(t, r.Addr(), net.IPv4(127, 0, 0, 1), conf.Clone()); err != nil {
			t.Fatalf("an honest browser beside them: %v", err)
		}
	}
	link, err := tryDial(t, r, wire.ALPNClient, nil)
	if err != nil {
		t.Fatalf("an honest client over QUIC: %v", err)
	}
	_ = link.Close(wire.None, "")
}

// A handshake takes no more bytes than an honest one has.
func TestLongHello(t *testing.T) {
	r := start(t)
	ours, theirs := net.Pipe() // which keeps nothing: what was written was read
	defer ours.Close()
	done := make(chan bool, 1)
	go func() {
		_, _, ok := r.listener.greet(t.Context(), addressed{theirs}, r.tls.TCP())
		done <- ok
	}()
	sent := 0
	record := append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 0x1000)...) // one record of many of the same message
	copy(record[5:], []byte{1, 0, 0xff, 0xff})                           // a ClientHello of 64 KiB
	for n, err := 0, error(nil); err == nil; sent += n {
		if n, err = ours.Write(record); sent > 2*helloBytes {
			break
		}
		record = append([]byte{22, 3, 1, 0x10, 0}, make([]byte, 0x1000)...)
	}
	if sent > helloBytes+len(record) {
		t.Errorf("%d bytes were taken", sent)
		_ = ours.Close()
	}
	if <-done {
		t.Error("the handshake succeeded")
	}
}

// addressed is a connection from an address of its own.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
