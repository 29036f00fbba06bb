package ssh

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// What connects at the machine comes here, with who it is, and half-close is kept in both directions.
func TestListen(t *testing.T) {
	c := connected(t)
	for name, target := range map[string]Target{
		"any port": {Host: "127.0.0.1"}, "a name": {Host: "localhost"}, "all addresses": {}, "a socket": {Unix: true, Host: t.TempDir() + "/socket"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := c.Listen(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			network, address := "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(l.Port())))
			if target.Unix {
				network, address = "unix", target.Host
			}
			for _, size := range []int{0, 1, 5<<20 + 3} {
				seed := rand.Uint64()
				_, want, _ := sum(source(seed, size))
				there, err := net.Dial(network, address)
				if err != nil {
					t.Fatal(err)
				}
				here, origin, port, err := l.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if a, ok := there.LocalAddr().(*net.TCPAddr); ok && (origin != a.IP.String() || int(port) != a.Port) || !ok && origin != "" {
					t.Errorf("%s is told as %q, %d", there.LocalAddr(), origin, port)
				}
				go func() {
					if err := errors.Join(send(there, seed, size), there.(interface{ CloseWrite() error }).CloseWrite()); err != nil {
						t.Error(err)
					}
				}()
				if n, got, err := sum(here); err != nil || int(n) != size || got != want {
					t.Errorf("%d bytes come as %d others, %v", size, n, err)
				}
				go func() {
					if err := errors.Join(send(here, seed, size), here.CloseWrite()); err != nil {
						t.Error(err)
					}
				}()
				if n, got, err := sum(there); err != nil || int(n) != size || got != want {
					t.Errorf("%d bytes go as %d others, %v", size, n, err)
				}
				if _, err := here.Read(make([]byte, 1)); err != io.EOF {
					t.Error(err)
				}
				_ = there.Close()
			}
		})
	}
}
