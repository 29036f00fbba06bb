package forward

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh/agent"

	"scrier/client"
	"scrier/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ways are all kinds of forwards. Each gives a connection whose far end the server is.
func ways(t *testing.T) map[string]func(t *testing.T, serve func(net.Conn)) func() net.Conn {
	port := func(a net.Addr) string { return strconv.Itoa(a.(*net.TCPAddr).Port) }
	socks := func(t *testing.T, at string, hello []byte, skip int) net.Conn {
		c := dialTCP(t, at)
		write(t, c, hello)
		if _, err := io.ReadFull(c, make([]byte, skip)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	return map[string]func(t *testing.T, serve func(net.Conn)) func() net.Conn{
		"-L": func(t *testing.T, serve func(net.Conn)) func() net.Conn {
			at := server(t, "tcp", "127.0.0.1:0", serve)
			p := freePort(t)
			newMachine(t).start(Config{Local: []Spec{local(t, p+":127.0.0.1:"+port(at))}})
			return func() net.Conn { return dialTCP(t, "127.0.0.1:"+p) }
		},
		"-L sockets": func(t *testing.T, serve func(net.Conn)) func() net.Conn {
			dir := t.TempDir()
			server(t, "unix", filepath.Join(dir, "far"), serve)
			newMachine(t).start(Config{Local: []Spec{local(t, dir+"/near:"+dir+"/far")}})
			return func() net.Conn { return dialAny(t, "unix", dir+"/near") }
		},
		"-R": func(t *testing.T, serve func(net.Conn)) func() net.Conn {
			at := server(t, "tcp", "127.0.0.1:0", serve)
			p := freePort(t)
			newMachine(t).start(Config{Remote: []Spec{parsed(t, ParseRemote, "127.0.0.1:"+p+":127.0.0.1:"+port(at))}})
			return func() net.Conn { return dialTCP(t, "127.0.0.1:"+p) }
		},
		"-R sockets": func(t *testing.T, serve func(net.Conn)) func() net.Conn {
			dir := t.TempDir()
			server(t, "unix", filepath.Join(dir, "far"), serve)
			newMachine(t).start(Config{Remote: []Spec{parsed(t, ParseRemote, dir+"/near:"+dir+"/far")}})
			return func() net.Conn { return dialAny(t, "unix", dir+"/near") }
		},
		"-D with SOCKS 5": func(t *testing.T, serve func(net.Conn)) func() net.Conn {
			at := server(t, "tcp", "127.0.0.1:0", serve).(*net.TCPAddr)
			p := freePort(t)
			newMachine(t).start(Config{Local: []Spec{parsed(t, ParseDynamic, p)}})
			return func() net.Conn {
				return socks(t, "127.0.0.1:"+p, append([]byte("\x05\x01\x00\x05\x01\x00\x03\x09127.0.0.1"), byte(at.Port>>8), byte(at.Port)), 12)
			}
		},
		"-D with SOCKS 4a": func(t *testing.T, serve func(net.Conn)) func() net.Conn {
			at := server(t, "tcp", "127.0.0.1:0", serve).(*net.TCPAddr)
			p := freePort(t)
			newMachine(t).start(Config{Local: []Spec{parsed(t, ParseDynamic, p)}})
			return func() net.Conn {
				return socks(t, "127.0.0.1:"+p, append([]byte{4, 1, byte(at.Port >> 8), byte(at.Port), 0, 0, 0, 1}, "me\x00localhost\x00"...), 8)
			}
		},
		"-R with SOCKS 4": func(t *testing.T, serve func(net.Conn)) func() net.Conn {
			at := server(t, "tcp", "127.0.0.1:0", serve).(*net.TCPAddr)
			p := freePort(t)
			newMachine(t).start(Config{Remote: []Spec{parsed(t, ParseRemote, "127.0.0.1:"+p)}})
			return func() net.Conn {
				return socks(t, "127.0.0.1:"+p, []byte{4, 1, byte(at.Port >> 8), byte(at.Port), 127, 0, 0, 1, 0}, 8)
			}
		},
		"-A": func(t *testing.T, serve func(net.Conn)) func() net.Conn {
			dir := t.TempDir()
			server(t, "unix", filepath.Join(dir, "far"), serve)
			m := newMachine(t)
			l, err := net.Listen("unix", dir+"/near")
			if err != nil {
				t.Fatal(err)
			}
			m.agents = l.(*net.UnixListener)
			m.start(Config{Agent: dir + "/far"})
			return func() net.Conn { return dialAny(t, "unix", dir+"/near") }
		},
	}
}

func write(t *testing.T, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Error(err)
	}
}

// noise is n random bytes, the same for the same seed.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// pieces writes b in pieces of random length.
func pieces(w io.Writer, b []byte, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	for len(b) > 0 {
		n := min(len(b), 1+r.IntN(1<<r.IntN(18)))
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

type half interface {
	net.Conn
	CloseWrite() error
}

// Whoever shuts their writing side still reads the whole answer, which begins only behind that; all bytes are what they
// were, both ways, whoever of the two begins.
func TestHalfClose(t *testing.T) {
	for name, way := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connect := way(t, func(c net.Conn) { // answers the end of the question with the question's hash and as many bytes
				q, err := io.ReadAll(c)
				if err != nil {
					t.Error(err)
				}
				sum := sha256.Sum256(q)
				if err := pieces(c, append(sum[:], noise(len(q), uint64(len(q)))...), 7); err != nil {
					t.Error(err)
				}
			})
			for _, size := range []int{0, 1, 4095, 300_000, 2 << 20} {
				c := connect().(half)
				q := noise(size, uint64(size)+99)
				if err := pieces(c, q, uint64(size)); err != nil {
					t.Fatal(err)
				}
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				a, err := io.ReadAll(c)
				sum := sha256.Sum256(q)
				if err != nil || !bytes.Equal(a, append(sum[:], noise(size, uint64(size))...)) {
					t.Errorf("%d bytes: the answer has %d, %v", size, len(a), err)
				}
				_ = c.Close()
			}
		})
	}
}

// The server may shut its writing side first, and still read everything.
func TestHalfCloseByTheServer(t *testing.T) {
	for name, way := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan []byte, 1)
			connect := way(t, func(c net.Conn) {
				write(t, c, []byte("bye"))
				if err := c.(half).CloseWrite(); err != nil {
					t.Error(err)
				}
				b, err := io.ReadAll(c)
				if err != nil {
					t.Error(err)
				}
				got <- b
			})
			c := connect().(half)
			if b, err := io.ReadAll(c); err != nil || string(b) != "bye" {
				t.Errorf("%q, %v", b, err)
			}
			sent := noise(500_000, 1)
			if err := pieces(c, sent, 2); err != nil {
				t.Error(err)
			}
			_ = c.CloseWrite()
			if b := <-got; !bytes.Equal(b, sent) {
				t.Errorf("the server reads %d bytes", len(b))
			}
		})
	}
}

// What breaks at one end breaks at the other one, and leaves nothing.
func TestBrokenConnection(t *testing.T) {
	for name, way := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			met, broken := make(chan struct{}), make(chan error, 1)
			connect := way(t, func(c net.Conn) {
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					t.Error(err)
				}
				close(met)
				_, err := io.Copy(io.Discard, c)
				broken <- err
			})
			c := connect()
			write(t, c, []byte("x"))
			select {
			case <-met: // one that breaks before is none
			case <-time.After(patience):
				t.Error("nobody has taken it")
			}
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = c.Close()
			select {
			case <-broken:
			case <-time.After(patience):
				t.Error("the server is not told")
			}
		})
	}
}

// Three hundred connections are open at a time; the story forward has a thousand. None waits for another one: one that nobody reads is among them.
func TestManyConnections(t *testing.T) {
	const many = 300 // a file descriptor each, five times
	stuck := make(chan struct{})
	at := server(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err != nil {
			return
		}
		if first[0] == 's' {
			<-stuck // reads nothing more
			return
		}
		_, _ = io.Copy(c, c)
	})
	free := sync.OnceFunc(func() { close(stuck) })
	defer free()
	p := freePort(t)
	f, _ := newMachine(t).start(Config{Local: []Spec{local(t, p+":127.0.0.1:"+strconv.Itoa(at.(*net.TCPAddr).Port))}})
	slow := dialTCP(t, "127.0.0.1:"+p)
	go func() {
		for {
			if _, err := slow.Write(bytes.Repeat([]byte("s"), 1<<20)); err != nil {
				return
			}
		}
	}()
	var all []net.Conn
	for range many {
		all = append(all, dialTCP(t, "127.0.0.1:"+p))
	}
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() {
			word := fmt.Appendf(nil, "e%06d", i)
			write(t, c, word)
			got := make([]byte, len(word)-1)
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, word[1:]) {
				t.Errorf("%d: %q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if n := f.Open(); n != many+1 {
		t.Errorf("%d are open", n)
	}
	_ = slow.Close()
	free()
	for _, c := range all {
		_ = c.Close()
	}
	if err := f.Wait(t.Context()); err != nil || f.Open() != 0 {
		t.Errorf("%v, and %d are open", err, f.Open())
	}
}

// Further connections than there may be wait, and have their turn.
func TestConnectionsWait(t *testing.T) {
	at := server(t, "tcp", "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	p := freePort(t)
	m := newMachine(t)
	h := &heard{}
	f, err := New(t.Context(), Config{Messages: h, Local: []Spec{local(t, p+":127.0.0.1:"+strconv.Itoa(at.(*net.TCPAddr).Port))}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.slots = make(chan struct{}, 1)
	if err := f.Start(t.Context(), m.session); err != nil {
		t.Fatal(err)
	}
	echo := func(c net.Conn) error {
		write(t, c, []byte("x"))
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	one, two := dialTCP(t, "127.0.0.1:"+p), dialTCP(t, "127.0.0.1:"+p)
	if err := echo(one); err != nil {
		t.Fatal(err)
	}
	_ = two.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if err := echo(two); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second one: %v", err)
	}
	_ = two.SetDeadline(time.Now().Add(patience))
	_ = one.Close()
	if _, err := io.ReadFull(two, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// What the machine does not do is said for each connection, in ssh's words, and the others go on.
func TestOpenFails(t *testing.T) {
	at := server(t, "tcp", "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	good, closed, refused, socks := freePort(t), freePort(t), freePort(t), freePort(t)
	m := newMachine(t)
	m.refuse = func(c *wire.Channel) error {
		if c.Host == "secret" {
			return wire.Errorf(wire.ChannelNotAllowed, "the machine does not forward to secret:1")
		}
		return nil
	}
	_, h := m.start(Config{Local: []Spec{
		local(t, good+":127.0.0.1:"+strconv.Itoa(at.(*net.TCPAddr).Port)), local(t, closed+":127.0.0.1:"+freePort(t)), local(t, refused+":secret:1"),
		parsed(t, ParseDynamic, socks),
	}})
	wantEnd(t, dialTCP(t, "127.0.0.1:"+closed))
	h.wait(t, ": open failed: connect failed: Connection refused\n")
	wantEnd(t, dialTCP(t, "127.0.0.1:"+refused))
	h.wait(t, ": open failed: administratively prohibited: ")
	h.wait(t, "(channel_not_allowed)\n")
	for hello, answer := range map[string]string{
		"\x05\x01\x00\x05\x01\x00\x03\x06secret\x00\x01":       "\x05\x00\x05\x02",
		"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x01": "\x05\x00\x05\x05", // nothing listens at port 1
		"\x05\x01\x00\x05\x02\x00\x03\x01h\x00\x01":            "\x05\x00\x05\x07",
		"\x05\x01\x00\x05\x01\x00\x02\x01h\x00\x01":            "\x05\x00\x05\x08",
		"\x05\x01\x02": "\x05\xff",
		"\x05\x01\x00\x05\x01\x00\x03\x03a\x1bb\x00\x01":                   "\x05\x00\x05\x01",
		"\x05\x01\x00\x05\x01\x00\x03\x01h\x00\x00":                        "\x05\x00\x05\x01",
		"\x04\x01\x00\x01\x7f\x00\x00\x01\x00":                             "\x00\x5b",
		"\x04\x02\x00\x01\x7f\x00\x00\x01\x00":                             "\x00\x5b",
		"GET / HTTP/1.1\r\n":                                               "",
		"\x04\x01\x00\x01\x00\x00\x00\x01" + strings.Repeat("x", 300):      "",
		"\x04\x01\x00\x01\x00\x00\x00\x01u\x00" + strings.Repeat("x", 300): "",
	} {
		c := dialTCP(t, "127.0.0.1:"+socks).(half)
		write(t, c, []byte(hello))
		_ = c.CloseWrite()
		got, _ := io.ReadAll(c) // it may be reset behind the answer
		if !strings.HasPrefix(string(got), answer) || answer == "" && len(got) > 0 {
			t.Errorf("%q is answered with %q", hello, got)
		}
	}
	c := dialTCP(t, "127.0.0.1:"+good)
	write(t, c, []byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if text := h.String(); wire.Printable(strings.ReplaceAll(text, "\n", "")) != strings.ReplaceAll(text, "\n", "") {
		t.Errorf("it says %q", text)
	}
}

// Without a host only this machine can connect, in both families; with "*" everybody can, and with one that address.
func TestBind(t *testing.T) {
	for text, want := range map[string]string{
		"%s:h:1": "127.0.0.1 ::1", "localhost:%s:h:1": "127.0.0.1 ::1", "127.0.0.1:%s:h:1": "127.0.0.1", "[::1]:%s:h:1": "::1", "*:%s:h:1": "::", ":%s:h:1": "::", "0.0.0.0:%s:h:1": "0.0.0.0",
	} {
		f, err := New(t.Context(), Config{Messages: io.Discard, Strict: true, Local: []Spec{local(t, fmt.Sprintf(text, freePort(t)))}})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, l := range f.listeners {
			got = append(got, l.Addr().(*net.TCPAddr).IP.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s listens at %s, and not at %s", text, s, want)
		}
		f.Close()
	}
	path := filepath.Join(t.TempDir(), "s")
	f, err := New(t.Context(), Config{Messages: io.Discard, Local: []Spec{local(t, path+":h:1")}})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	f.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left")
	}
}

// A port that is taken is a message, and an error where there is nothing else to do.
func TestBindFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	spec := local(t, "127.0.0.1:"+strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)+":h:1")
	h := &heard{}
	if _, err := New(t.Context(), Config{Messages: h, Strict: true, Local: []Spec{spec}}); wire.CodeOf(err) != wire.Usage || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v", err)
	}
	for text, hint := range map[string]string{spec.String(): "free the port", "192.0.2.7:1:h:1": "an address of this machine", "/nonexist/s:h:1": "a folder that is there"} {
		if _, err := New(t.Context(), Config{Messages: h, Strict: true, Local: []Spec{local(t, text)}}); !strings.Contains(wire.HintOf(err), hint) {
			t.Errorf("%s: %v\nhint: %s", text, err, wire.HintOf(err))
		}
	}
	m := newMachine(t)
	m.refuse = func(c *wire.Channel) error {
		if c.Kind == wire.ListenTCP && c.Port == 7 {
			return wire.Errorf(wire.ForwardFailed, "the machine does not listen there")
		}
		return nil
	}
	_, h = m.start(Config{Local: []Spec{spec}, Remote: []Spec{parsed(t, ParseRemote, "7:h:1"), parsed(t, ParseRemote, "0:h:1")}})
	h.wait(t, "address already in use\n")
	h.wait(t, "7:h:1: remote port forwarding failed: the machine does not listen there\n")
	h.wait(t, "Allocated port ")
	h.wait(t, " for remote forward to h:1\n")
	f, err := New(t.Context(), Config{Messages: h, Strict: true, Remote: []Spec{parsed(t, ParseRemote, "7:h:1")}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Start(t.Context(), m.session); wire.CodeOf(err) != wire.ForwardFailed || !strings.HasPrefix(wire.DetailOf(err), "7:h:1: ") {
		t.Errorf("%v", err)
	}
}

// The ssh-agent is asked anew by each connection, and answers a real client.
func TestAgent(t *testing.T) {
	dir := t.TempDir()
	ring := agent.NewKeyring()
	var mu sync.Mutex
	dialled := 0
	server(t, "unix", dir+"/agent", func(c net.Conn) {
		mu.Lock()
		dialled++
		mu.Unlock()
		_ = agent.ServeAgent(ring, c)
	})
	m := newMachine(t)
	l, err := net.Listen("unix", dir+"/far")
	if err != nil {
		t.Fatal(err)
	}
	m.agents = l.(*net.UnixListener)
	f, h := m.start(Config{Agent: dir + "/agent"})
	for range 3 {
		c := dialAny(t, "unix", dir+"/far")
		if keys, err := agent.NewClient(c).List(); err != nil || len(keys) != 0 {
			t.Errorf("%v, %v", keys, err)
		}
		_ = c.Close()
	}
	if err := f.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if dialled != 3 {
		t.Errorf("the agent was dialled %d times", dialled)
	}
	if err := os.Remove(dir + "/agent"); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, dialAny(t, "unix", dir+"/far"))
	h.wait(t, "ssh-agent: connect failed: ")
}

// The end of all forwards ends what is open, and what waits to open.
func TestClose(t *testing.T) {
	at := server(t, "tcp", "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	p, q, r := freePort(t), freePort(t), freePort(t)
	m := newMachine(t)
	block := make(chan struct{})
	t.Cleanup(func() { close(block) })
	m.refuse = func(c *wire.Channel) error {
		if c.Host == "slow" {
			<-block
		}
		return nil
	}
	f, _ := m.start(Config{
		Local:  []Spec{local(t, p+":127.0.0.1:"+strconv.Itoa(at.(*net.TCPAddr).Port)), local(t, q+":slow:1"), parsed(t, ParseDynamic, r)},
		Remote: []Spec{parsed(t, ParseRemote, "127.0.0.1:0")},
	})
	one, two, three := dialTCP(t, "127.0.0.1:"+p), dialTCP(t, "127.0.0.1:"+q), dialTCP(t, "127.0.0.1:"+r)
	write(t, one, []byte("x"))
	write(t, three, []byte("\x05")) // and nothing more
	four := dialTCP(t, "127.0.0.1:"+strconv.Itoa(int(f.ports[0])))
	for f.Open() != 4 {
		time.Sleep(5 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := f.Wait(ctx); wire.CodeOf(err) != wire.Cancelled {
		t.Error(err)
	}
	f.Close()
	for _, c := range []net.Conn{one, two, three, four} {
		wantEnd(t, c)
	}
	if _, err := net.Dial("tcp", "127.0.0.1:"+p); err == nil {
		t.Error("it still listens")
	}
}

// When its session has come back over another connection, everything goes on, and a port that the machine chose stays.
func TestResume(t *testing.T) {
	at := server(t, "tcp", "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(c, c) })
	target := strconv.Itoa(at.(*net.TCPAddr).Port)
	p := freePort(t)
	old := newMachine(t)
	f, h := old.start(Config{Local: []Spec{local(t, p+":127.0.0.1:"+target)}, Remote: []Spec{parsed(t, ParseRemote, "127.0.0.1:0:127.0.0.1:"+target)}})
	echo := func(at string) {
		t.Helper()
		c := dialTCP(t, at)
		write(t, c, []byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		_ = c.Close()
	}
	far := "127.0.0.1:" + strconv.Itoa(int(f.ports[0]))
	echo("127.0.0.1:" + p)
	echo(far)
	_ = old.near.Close(wire.None, "")
	<-old.session.Done()
	wantEnd(t, dialTCP(t, "127.0.0.1:"+p))
	h.wait(t, "open failed: ")
	again := newMachine(t)
	f.Resume(again.session)
	echo("127.0.0.1:" + p)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // the one before may still be about to go
		if c, err := net.Dial("tcp", far); err == nil {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_, _ = c.Write([]byte("x"))
			_, err = io.ReadFull(c, make([]byte, 1))
			_ = c.Close()
			if err == nil {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatalf("nobody answers at %s", far)
		}
	}
}

// -W: both directions, with their ends.
func TestStdio(t *testing.T) {
	at := server(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		b, _ := io.ReadAll(c)
		write(t, c, append([]byte("got "), b...))
	})
	c := stdioTo(t, at)
	var out output
	if err := Stdio(t.Context(), c, strings.NewReader(strings.Repeat("x", 100_000)), &out); err != nil || len(out.String()) != 100_004 || !out.closed {
		t.Errorf("%d bytes, %v", len(out.String()), err)
	}
}

// When the other end has gone, it ends though standard input goes on.
func TestStdioServerGoes(t *testing.T) {
	seen := make(chan struct{})
	at := server(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		write(t, c, []byte("bye"))
		_ = c.(half).CloseWrite()
		<-seen // else a reset could overtake it
	})
	in, w := io.Pipe()
	defer w.Close()
	var out output
	done := make(chan error, 1)
	c := stdioTo(t, at)
	go func() { done <- Stdio(t.Context(), c, in, &out) }()
	out.wait(t, "bye")
	close(seen)
	go func() { // a machine's connection breaks when it is written to
		for {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	select {
	case err := <-done:
		if out.String() != "bye" {
			t.Errorf("%q, %v", out.String(), err)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
}

// It ends with its context, whatever waits.
func TestStdioIsEnded(t *testing.T) {
	at := server(t, "tcp", "127.0.0.1:0", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	in, w := io.Pipe()
	defer w.Close()
	c := stdioTo(t, at)
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := Stdio(ctx, c, in, &output{}); wire.CodeOf(err) != wire.Cancelled {
		t.Error(err)
	}
}

func stdioTo(t *testing.T, at net.Addr) client.Conn {
	t.Helper()
	c, err := newMachine(t).session.Dial(t.Context(), "tcp", "127.0.0.1", uint16(at.(*net.TCPAddr).Port), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// output is a standard output.
type output struct {
	heard
	closed bool
}

func (o *output) Close() error { o.closed = true; return nil }
