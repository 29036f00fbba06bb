package guactest

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// Server is a guacd on a port of its own, on 127.0.0.1. It ends with the test.
type Server struct {
	behave Behaviour
	ping   time.Duration
	greet  string // what is written to whoever is dialled
	expect int    // how many bytes are read from there
	l      net.Listener
	ctx    context.Context // ends with the test
	calls  sync.WaitGroup

	mu       sync.Mutex
	heard    []*Connection
	desktops map[string]*desktop
	next     int
}

// Option changes a Server.
type Option func(*Server)

// Ping sets how often nop is said; guacd says it every 5 seconds.
func Ping(every time.Duration) Option { return func(s *Server) { s.ping = every } }

// Greet writes text to whoever is dialled, and reads expect bytes from there, which
// [Connection].Read is made of. Then the picture is drawn.
func Greet(text string, expect int) Option {
	return func(s *Server) { s.greet, s.expect = text, expect }
}

// Connection is what the server heard on one connection.
type Connection struct {
	Protocol string            // of select: "rdp", "vnc", or the id that was joined
	ID       string            // the desktop's
	Asked    []string          // the arguments of args
	Connect  []string          // the arguments of connect, as they came
	Params   map[string]string // the same by name, without the version
	Heard    [][]string        // every instruction, select and connect among them; the last 10,000
	Read     string            // what the dialled side said
	Dialled  int               // how many connections to hostname:port were made
	Over     bool              // the connection has ended
}

const maxHeard = 10000

// Start runs a guacd that behaves so.
func Start(t testing.TB, behave Behaviour, options ...Option) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{behave: behave, ping: 5 * time.Second, l: l, ctx: ctx, desktops: map[string]*desktop{}}
	for _, o := range options {
		o(s)
	}
	s.calls.Go(s.accept)
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		s.calls.Wait()
	})
	return s
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.l.Addr().String() }

func (s *Server) accept() {
	for {
		c, err := s.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		s.calls.Go(func() { s.serve(c) })
	}
}

// Connections is what was heard so far, in the order of the connections.
func (s *Server) Connections() []Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Connection, len(s.heard))
	for n, c := range s.heard {
		all[n] = *c
		all[n].Heard = slices.Clone(c.Heard)
		all[n].Params = maps.Clone(c.Params)
	}
	return all
}

// Users is how many are connected to a desktop now, its owner among them.
func (s *Server) Users(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.desktops[id]; d != nil {
		return len(d.users)
	}
	return 0
}

// Await waits until ok likes what was heard. The test fails if that takes 30 seconds.
func (s *Server) Await(t testing.TB, what string, ok func([]Connection) bool) []Connection {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		all := s.Connections()
		if ok(all) {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("guacd never heard %s; it heard %+v", what, all)
		}
	}
}

// Said says whether an instruction was heard that begins with these elements.
func (c Connection) Said(elements ...string) bool {
	return slices.ContainsFunc(c.Heard, func(i []string) bool {
		return len(i) >= len(elements) && slices.Equal(i[:len(elements)], elements)
	})
}

// note changes what is known of a connection.
func (s *Server) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}
