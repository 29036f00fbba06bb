package wire

import (
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

func loopbackSocket(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// What the network says of one peer is told to whoever expects it, and ends nothing for the others: not what is read, and
// not what is sent.
func TestSocketRefused(t *testing.T) {
	for name, bound := range map[string]*net.UDPAddr{"one address": {IP: net.IPv4(127, 0, 0, 1)}, "all addresses": nil} {
		t.Run(name, func(t *testing.T) {
			c, err := net.ListenUDP("udp", bound)
			if err != nil {
				t.Fatal(err)
			}
			s := NewSocket(c)
			defer s.Close()
			gone, other := loopbackSocket(t), loopbackSocket(t)
			refused, forget := s.Expect(gone.LocalAddr())
			unharmed, forgetOther := s.Expect(other.LocalAddr())
			defer forgetOther()
			_ = gone.Close()
			got := make(chan error, 1)
			go func() {
				ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 100)}}}
				_, err := s.ReadBatch(ms, 0)
				got <- err
			}()
			for deadline := time.Now().Add(20 * time.Second); refused() < 3; {
				if time.Now().After(deadline) {
					t.Fatalf("it was refused %d times", refused())
				}
				for _, to := range []*net.UDPConn{gone, other} {
					if _, _, err := s.WriteMsgUDP([]byte("x"), nil, to.LocalAddr().(*net.UDPAddr)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Millisecond)
			}
			if unharmed() != 0 {
				t.Error("who is there is taken for one that is gone")
			}
			forget()
			if len(s.refusals.of) != 1 {
				t.Error("something is kept of who is expected no more")
			}
			select {
			case err := <-got:
				t.Fatalf("the reading has ended: %v", err)
			default:
			}
			_, port, _ := net.SplitHostPort(s.LocalAddr().String())
			to, err := net.ResolveUDPAddr("udp", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.WriteTo([]byte("hello"), to); err != nil {
				t.Fatal(err)
			}
			if err := <-got; err != nil {
				t.Error(err)
			}
		})
	}
}

// What a network says that is away ends no connection, and what no later packet can mend does.
func TestSocketPasses(t *testing.T) {
	for err, passing := range map[error]bool{
		unix.ENETUNREACH: true, unix.EHOSTUNREACH: true, unix.ENETDOWN: true, unix.EADDRNOTAVAIL: true, unix.EPERM: true,
		unix.EMSGSIZE: false, unix.EBADF: false, net.ErrClosed: false,
	} {
		if passes(&net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", err)}) != passing {
			t.Errorf("%v: it is the other way round", err)
		}
	}
}
