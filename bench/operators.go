package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"scrier/certs"
	"scrier/client"
	"scrier/wire"
)

// operators are people with shells, many in one process. Each shell has a link to the relay of its own, as
// `scrier ssh` has, and says on it what that would.
const operatorsRole = "operators"

type operatorsConf struct {
	Dir    string
	Relays []string // as each of the operators names the relay; they log in as NAME0, NAME1, …
	Name   string
	Pin    string
}

// operatorsOrder is one of these.
type operatorsOrder struct {
	Keys  bool          `json:",omitempty"` // make each an SSH key, and say the public halves
	Login bool          `json:",omitempty"` // all of them log in
	Dial  int           `json:",omitempty"` // so many links, an operator after the other, each for a shell
	Open  []string      `json:",omitempty"` // a shell on each of these machines, each on the next link that has none
	Type  time.Duration `json:",omitempty"` // into each shell one key a second for so long
	Close bool          `json:",omitempty"` // end all shells, and then their links
}

// shellTimes is what an order has found out.
type shellTimes struct {
	All  time.Duration // from the first to the last
	Each samples
}

type operators struct {
	operatorsConf
	pin   certs.Pin
	certs []certs.Client // one an operator, once they have logged in

	shells []*remoteShell
	opened int // how many of them have a shell
}

// remoteShell is a shell that one of them has open.
type remoteShell struct {
	link wire.Link
	f    *wire.Framed
	done chan struct{} // closed when nothing more comes; nil: there is only the link

	mu     sync.Mutex
	seen   []byte
	news   chan struct{} // there is something in seen, or done
	offset uint64
	err    error
}

func operatorsMain() error {
	var o operators
	err := obey(&o.operatorsConf, o.do)
	o.close()
	return err
}

func (o *operators) do(order operatorsOrder) (any, error) {
	ctx := context.Background()
	switch {
	case order.Keys:
		return o.keys()
	case order.Login:
		return nil, o.login(ctx)
	case order.Dial > 0:
		return o.dial(ctx, order.Dial)
	case order.Open != nil:
		return o.open(ctx, order.Open)
	case order.Type > 0:
		return o.types(order.Type)
	case order.Close:
		times, err := inParallel(o.opened, func(i int) error { return o.shells[i].leave() })
		o.close()
		return times, err
	}
	return nil, errors.New("an empty order")
}

func (o *operators) home(i int) string { return filepath.Join(o.Dir, fmt.Sprintf("%s%d", o.Name, i)) }

// keys makes an SSH key for each operator.
func (o *operators) keys() (public []string, err error) {
	for i := range o.Relays {
		pub, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		block, err := ssh.MarshalPrivateKey(private, "bench")
		if err != nil {
			return nil, err
		}
		key, err := ssh.NewPublicKey(pub)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(o.home(i), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(o.home(i), "id"), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
		public = append(public, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
	}
	return public, nil
}

func (o *operators) login(ctx context.Context) (err error) {
	if o.pin, err = certs.ParsePin(o.Pin); err != nil {
		return err
	}
	for i, relay := range o.Relays {
		home := client.Home{Dir: filepath.Join(o.home(i), "scrier")}
		if _, err := home.Login(ctx, client.LoginRequest{
			Relay: relay, Username: fmt.Sprintf("%s%d", o.Name, i), Fingerprint: o.Pin, Now: time.Now,
			Keys: client.SSHKeyConfig{KeyFile: filepath.Join(o.home(i), "id")},
		}); err != nil {
			return fmt.Errorf("log in as operator %d: %w", i, err)
		}
		pairs, err := filepath.Glob(filepath.Join(home.Dir, "login-*.pem"))
		if err != nil || len(pairs) != 1 {
			return fmt.Errorf("operator %d has %d logins: %w", i, len(pairs), err)
		}
		cert, err := certs.LoadPair(pairs[0])
		if err != nil {
			return err
		}
		o.certs = append(o.certs, certs.Client{ALPN: wire.ALPNClient, Pin: &o.pin, Cert: cert, Now: time.Now})
	}
	return nil
}

// dialAtATime is how many links or shells are opened at the same time: a relay has so many handshakes for each processor,
// and one who was turned away would have to come again.
const dialAtATime = 64

// opening bounds the wait for one link or shell while many are opened. It is no measure of speed.
const opening = 3 * time.Minute

// dial makes links.
func (o *operators) dial(ctx context.Context, n int) (shellTimes, error) {
	all := make([]*remoteShell, n)
	times, err := inParallel(n, func(i int) error {
		who := i % len(o.Relays)
		ctx, cancel := context.WithTimeout(ctx, opening)
		defer cancel()
		link, err := wire.Dialer{TLS: o.certs[who].TLS()}.Dial(ctx, o.Relays[who])
		if err == nil {
			all[i] = &remoteShell{link: link, news: make(chan struct{}, 1)}
		}
		return err
	})
	for _, s := range all {
		if s != nil {
			o.shells = append(o.shells, s)
		}
	}
	return times, err
}

// open opens a shell on each machine and waits for their prompts.
func (o *operators) open(ctx context.Context, machines []string) (shellTimes, error) {
	free := o.shells[o.opened:]
	if len(machines) > len(free) {
		return shellTimes{}, fmt.Errorf("%d shells need as many links, and there are %d", len(machines), len(free))
	}
	o.opened += len(machines)
	return inParallel(len(machines), func(i int) error {
		err := free[i].open(ctx, machines[i])
		if err == nil {
			err = free[i].await([]byte(prompt), opening)
		}
		if err != nil {
			return fmt.Errorf("a shell on %s: %w", machines[i], err)
		}
		return nil
	})
}

// inParallel does something n times, and times it.
func inParallel(n int, do func(i int) error) (shellTimes, error) {
	var g errgroup.Group
	g.SetLimit(dialAtATime)
	took := make(samples, n)
	begin := time.Now()
	for i := range n {
		g.Go(func() error {
			from := time.Now()
			err := do(i)
			took[i] = time.Since(from)
			return err
		})
	}
	err := g.Wait()
	return shellTimes{All: time.Since(begin), Each: took}, err
}

func (s *remoteShell) open(ctx context.Context, machine string) error {
	stream, err := s.link.Open(ctx)
	if err != nil {
		return err
	}
	s.f = wire.NewFramed(stream)
	id := make([]byte, 16)
	rand.Read(id)
	if err := stream.SetDeadline(time.Now().Add(opening)); err != nil {
		return err
	}
	if err := s.f.Send(&wire.Connect{
		Envoy: machine, Kind: wire.KindSSH, Size: wire.Size{Cols: 80, Rows: 24}, Term: "xterm-256color", Client: id,
		Skip: true, Paint: true, Prompt: true, Answers: true,
	}); err != nil {
		return err
	}
	for {
		m, err := s.f.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.Said: // the session is being opened
		case *wire.Refused:
			return m.Err()
		case *wire.Attached:
			s.offset = m.Offset
			if err := stream.SetDeadline(time.Time{}); err != nil {
				return err
			}
			s.done = make(chan struct{})
			go s.read()
			return nil
		default:
			return fmt.Errorf("the relay answers with %T", m)
		}
	}
}

// read takes what the session shows until it ends. Each piece is acknowledged at once.
func (s *remoteShell) read() {
	defer close(s.done)
	for {
		m, err := s.f.Receive()
		s.mu.Lock()
		var ack *wire.Ack
		switch m := m.(type) {
		case *wire.Data:
			s.seen = append(s.seen, m.Bytes...)
			s.offset += uint64(len(m.Bytes))
			ack = &wire.Ack{Offset: s.offset}
		case *wire.Exit:
			if err = io.EOF; m.Code != wire.None {
				err = &wire.Error{Code: m.Code, Detail: m.Detail}
			}
		}
		s.err = err
		s.mu.Unlock()
		select {
		case s.news <- struct{}{}:
		default:
		}
		if err == nil && ack != nil {
			err = s.f.Send(ack)
		}
		if err != nil {
			return
		}
	}
}

// await waits until what was shown since the last one was found holds text.
func (s *remoteShell) await(text []byte, limit time.Duration) error {
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		s.mu.Lock()
		_, after, found := bytes.Cut(s.seen, text)
		seen, err := s.seen, s.err
		if found {
			s.seen = slices.Clone(after)
		}
		s.mu.Unlock()
		switch {
		case found:
			return nil
		case err != nil:
			return fmt.Errorf("the shell has ended: %w", err)
		}
		select {
		case <-s.news:
		case <-late.C:
			return fmt.Errorf("it shows nothing more; it showed %q", seen)
		}
	}
}

// types has each operator type a key a second into each of their shells, and times the echoes.
func (o *operators) types(whole time.Duration) (shellTimes, error) {
	var g errgroup.Group
	var mu sync.Mutex
	var took samples
	end := time.Now().Add(whole)
	for _, s := range o.shells[:o.opened] {
		g.Go(func() error {
			next := time.Now().Add(mathrand.N(time.Second))
			for n := 0; next.Before(end); n++ {
				time.Sleep(time.Until(next))
				next = next.Add(time.Second)
				key := []byte{'a' + byte(n%26)}
				begin := time.Now()
				if err := s.send(key); err != nil {
					return err
				}
				if err := s.await(key, opening); err != nil {
					return err
				}
				d := time.Since(begin)
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
			}
			return nil
		})
	}
	err := g.Wait()
	return shellTimes{Each: took}, err
}

func (s *remoteShell) send(keys []byte) error {
	return s.f.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), keys...), len(keys)))
}

// leave ends the shell from within, whatever stands on its line.
func (s *remoteShell) leave() error {
	const killLine = 'U' - '@'
	if err := s.send([]byte{killLine, 'e', 'x', 'i', 't', '\r'}); err != nil {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(opening):
		return errors.New("a shell does not end")
	}
}

// close ends all links, and with them the shells.
func (o *operators) close() {
	for _, s := range o.shells {
		_ = s.link.Close(wire.None, "") // the relay may be gone
		if s.done != nil {
			<-s.done
		}
	}
	o.shells, o.opened = nil, 0
}
