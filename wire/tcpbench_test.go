package wire_test

import (
	"io"
	"testing"

	"scrier/wire"
)

// One stream through a TCP link, and the same bytes through bare TLS.
func BenchmarkTCPLink(b *testing.B) {
	near, far := tcpLinks(b, true)
	s, err := near.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Write([]byte("!")); err != nil {
		b.Fatal(err)
	}
	peer, err := far.Accept(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(peer, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	carries(b, s, peer, s.CloseWrite)
}

func BenchmarkTLS(b *testing.B) {
	near, far := tlsPair(b)
	carries(b, near, far, near.CloseWrite)
	_, _ = near.Close(), far.Close()
}

func carries(b *testing.B, to io.Writer, from io.Reader, end func() error) {
	buf := make([]byte, 32<<10)
	b.SetBytes(int64(len(buf)))
	b.ResetTimer()
	sent := make(chan error, 1)
	go func() {
		for range b.N {
			if _, err := to.Write(buf); err != nil {
				sent <- err
				return
			}
		}
		sent <- end()
	}()
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{from}, make([]byte, 32<<10))
	if werr := <-sent; err != nil || werr != nil || n != int64(b.N)*int64(len(buf)) {
		b.Errorf("%d bytes, %v, %v", n, err, werr)
	}
}

// A key's round trip, alone and beside four streams of bulk.
func BenchmarkTCPLinkKey(b *testing.B) {
	for name, bulk := range map[string]int{"alone": 0, "beside bulk": 4} {
		b.Run(name, func(b *testing.B) {
			near, far := tcpLinks(b, true)
			stop := make(chan struct{})
			for range bulk {
				s, err := near.Open(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				go func() {
					buf := make([]byte, 32<<10)
					for {
						select {
						case <-stop:
							s.Reset(wire.None)
							return
						default:
							_, _ = s.Write(buf)
						}
					}
				}()
				peer, err := far.Accept(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				go func() { _, _ = io.Copy(io.Discard, peer) }()
			}
			s, err := near.Open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			peer, err := far.Accept(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			go func() { _, _ = io.Copy(peer, peer) }()
			key := []byte("k")
			b.ResetTimer()
			for range b.N {
				if _, err := s.Write(key); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(s, key); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			close(stop)
			s.Reset(wire.None)
		})
	}
}
