package relaytest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"scrier/wire"
)

// patience is how long an agent's answer may take; it is no measure of speed.
const patience = 60 * time.Second

// Evil is what no log and no terminal may get as it is.
const Evil = "\x1b]0;evil\x07\x1b[2Jroot@\r\n\u202e"

// Relay is the relay's end of an agent's link.
type Relay struct {
	Link    wire.Link
	Control *wire.Framed
	Heard   <-chan wire.Message // what the agent says on Control; closed when it says no more
	// Grant is a request that the agent grants, of a session with a server that sends back what it gets.
	Grant func() *wire.Open
}

// Agent is one way to behave badly towards an agent.
type Agent struct {
	Name string
	// Ends says that the agent ends the link. Else the link must go on, and Behave fails if the agent's
	// answers are not the right ones.
	Ends   bool
	Deaf   bool // nobody reads Control
	Behave func(*Relay) error
}

// Ask opens a stream with a request, and returns the agent's answer.
func (r *Relay) Ask(o *wire.Open) (wire.Stream, *wire.Opened, error) {
	s, err := r.stream()
	if err != nil {
		return nil, nil, err
	}
	if err := wire.Send(s, o); err != nil {
		return nil, nil, err
	}
	opened, err := wire.Expect[wire.Opened](s)
	return s, opened, err
}

func (r *Relay) stream() (wire.Stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := r.Link.Open(ctx)
	if err != nil {
		return nil, err
	}
	return s, s.SetDeadline(time.Now().Add(patience))
}

// Echo demands that a session sends back what it gets.
func Echo(s wire.Stream) error {
	word := []byte("still here")
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := s.Write(word); err != nil {
		return fmt.Errorf("write to the session: %w", err)
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, word) {
		return fmt.Errorf("the session says %q: %w", got, err)
	}
	return nil
}

// refused demands that a request is refused with one of these codes, in words that can be shown.
func (r *Relay) refused(what string, o *wire.Open, codes ...wire.Code) error {
	s, _, err := r.Ask(o)
	if s != nil {
		s.Reset(wire.None)
	}
	if d := wire.DetailOf(err); !slices.Contains(codes, wire.CodeOf(err)) || wire.Printable(d) != d {
		return fmt.Errorf("%s: %v, want one of %v", what, err, codes)
	}
	return nil
}

// changed is a granted request with something changed.
func (r *Relay) changed(f func(o *wire.Open)) *wire.Open {
	o := r.Grant()
	f(o)
	return o
}

// shell asks for a shell with this login.
func (r *Relay) shell(login string) *wire.Open {
	return r.changed(func(o *wire.Open) {
		o.Kind, o.Port, o.Login, o.Keys, o.Ephemeral = wire.KindSSH, 0, login, [][]byte{ed25519(1)}, ed25519(2)
	})
}

// ed25519 is a public key as SSH writes one.
func ed25519(seed byte) []byte {
	return append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), bytes.Repeat([]byte{seed}, 32)...)
}

// broken demands that the agent ends a stream on which something was written.
func (r *Relay) broken(what string, b []byte) error {
	s, err := r.stream()
	if err != nil {
		return err
	}
	defer s.Reset(wire.None)
	if _, err := s.Write(b); err != nil {
		return nil
	}
	if _, err := io.Copy(io.Discard, s); errors.Is(err, os.ErrDeadlineExceeded) || r.Link.Err() != nil {
		return fmt.Errorf("%s: %v, and the link %v", what, err, r.Link.Err())
	}
	return nil
}

// endless is a frame that says that it has 2^62-1 bytes.
var endless = append([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, bytes.Repeat([]byte{'x'}, 8<<10)...)

// Agents are all ways to behave badly towards an agent.
func Agents() []Agent {
	control := func(m wire.Message) func(*Relay) error {
		return func(r *Relay) error { return r.Control.Send(m) }
	}
	return []Agent{
		{Name: "opens a session again", Behave: func(r *Relay) error {
			o := r.Grant()
			s, _, err := r.Ask(o)
			if err != nil {
				return err
			}
			defer s.Reset(wire.None)
			for range 3 {
				if err := r.refused("the same", o, wire.Conflict); err != nil {
					return err
				}
			}
			shell := r.shell("")
			shell.Session = o.Session
			if err := r.refused("a shell of the same id", shell, wire.Conflict); err != nil {
				return err
			}
			return Echo(s)
		}},
		{Name: "wants to be root", Behave: func(r *Relay) error {
			for _, login := range []string{"root", "0", "-s", "../root", "root\n", "root ", "ROOT:", strings.Repeat("x", 5000), Evil} {
				if err := r.refused(login, r.shell(login), wire.LoginNotAllowed, wire.BadRequest, wire.PubkeyNotAuthorized); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "wants other ports", Behave: func(r *Relay) error {
			for _, kind := range []wire.Kind{wire.KindVNC, wire.KindRDP} {
				for _, port := range []uint16{1, 22, 23, 80, 65535} {
					if err := r.refused(fmt.Sprint(kind, port), r.changed(func(o *wire.Open) { o.Kind, o.Port = kind, port }), wire.PortNotAllowed); err != nil {
						return err
					}
				}
			}
			return r.refused("a shell at a desktop's port", r.changed(func(o *wire.Open) { o.Kind, o.Port = wire.KindSSH, 3389 }), wire.PortNotAllowed)
		}},
		{Name: "wants what there is not", Behave: func(r *Relay) error {
			for _, kind := range []wire.Kind{"", "exec", "files", Evil} {
				if err := r.refused(string(kind), r.changed(func(o *wire.Open) { o.Kind = kind }), wire.BadRequest); err != nil {
					return err
				}
			}
			return r.refused("security", r.changed(func(o *wire.Open) { o.Security = Evil }), wire.BadRequest)
		}},
		{Name: "has keys that are none", Behave: func(r *Relay) error {
			for name, change := range map[string]func(o *wire.Open){
				"no key":         func(o *wire.Open) { o.Keys = nil },
				"many keys":      func(o *wire.Open) { o.Keys = slices.Repeat([][]byte{ed25519(1)}, 65) },
				"junk":           func(o *wire.Open) { o.Keys = [][]byte{[]byte(Evil)} },
				"no ephemeral":   func(o *wire.Open) { o.Ephemeral = nil },
				"junk ephemeral": func(o *wire.Open) { o.Ephemeral = bytes.Repeat([]byte{0xff}, 4096) },
				"address":        func(o *wire.Open) { o.Source = Evil },
				"address, zone":  func(o *wire.Open) { o.Source = "fe80::1%lo" },
			} {
				o := r.shell("")
				change(o)
				if err := r.refused(name, o, wire.BadRequest); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "asks for the screen in words that would deceive", Behave: func(r *Relay) error {
			for _, purpose := range []string{Evil, strings.Repeat("x", wire.MaxPurpose+1), "a\nb"} {
				if err := r.refused("a purpose", r.changed(func(o *wire.Open) { o.Console = &wire.Console{Purpose: purpose} }), wire.BadRequest); err != nil {
					return err
				}
			}
			return r.refused("by RDP", r.changed(func(o *wire.Open) { o.Kind, o.Console = wire.KindRDP, &wire.Console{} }), wire.BadRequest)
		}},
		{Name: "begins sessions with anything", Behave: func(r *Relay) error {
			noise := make([]byte, 4096)
			rand.Read(noise)
			all := map[string][]byte{
				"an endless message": endless, "noise": noise, "text": []byte("GET / HTTP/1.1\r\n\r\n"), "many frames to skip": bytes.Repeat([]byte{0x40, 0x41, 0x00}, 10_000),
				"another message": {0x04, 0x01, 0xa0}, "half a message": {0x0a, 0x40, 0xff, 0xa1},
			}
			errs := make(chan error, len(all))
			for name, b := range all { // at the same time: some of them end when the agent has waited for long enough
				go func() { errs <- r.broken(name, b) }()
			}
			var err error
			for range all {
				err = errors.Join(err, <-errs)
			}
			return err
		}},
		{Name: "opens streams without end", Behave: func(r *Relay) error {
			const many = 2000
			var busy int
			for range many {
				s, err := r.stream()
				if err != nil {
					return err
				}
				defer s.Reset(wire.None)
				if _, err := s.Write([]byte{0x0a}); wire.CodeOf(err) == wire.Busy {
					busy++
					continue
				}
				if err := s.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
					return err
				}
				if _, err := s.Read(make([]byte, 1)); wire.CodeOf(err) == wire.Busy {
					busy++
				}
			}
			if busy == 0 {
				return fmt.Errorf("the agent takes %d streams that say nothing", many)
			}
			return nil
		}},
		{Name: "resets each session at once", Behave: func(r *Relay) error {
			for i := range 300 {
				s, err := r.stream()
				if err != nil {
					return err
				}
				if err := wire.Send(s, r.Grant()); err != nil && wire.CodeOf(err) != wire.Busy {
					return err
				}
				s.Reset(wire.Code(i))
			}
			return nil
		}},
		{Name: "gives no time, and all of it", Behave: func(r *Relay) error {
			if err := r.refused("no time", r.changed(func(o *wire.Open) { o.Timeout = 0 }), wire.AgentTimeout, wire.TargetRefused); err != nil {
				return err
			}
			s, _, err := r.Ask(r.changed(func(o *wire.Open) { o.Timeout = 1<<32 - 1 }))
			if err != nil {
				return err
			}
			defer s.Reset(wire.None)
			return Echo(s)
		}},
		{Name: "does not wait for the answer", Behave: func(r *Relay) error {
			s, err := r.stream()
			if err != nil {
				return err
			}
			defer s.Reset(wire.None)
			var b bytes.Buffer
			if err := wire.Send(&b, r.changed(func(o *wire.Open) { o.Kind = "none" })); err != nil {
				return err
			}
			b.Write(make([]byte, 32<<10))
			if _, err := s.Write(b.Bytes()); err != nil {
				return err
			}
			if _, err := wire.Expect[wire.Opened](s); wire.CodeOf(err) != wire.BadRequest {
				return fmt.Errorf("bytes behind a request that is refused: %w", err)
			}
			return nil
		}},
		{Name: "reads nothing of a session", Behave: func(r *Relay) error {
			s, _, err := r.Ask(r.Grant())
			if err != nil {
				return err
			}
			defer s.Reset(wire.None)
			if err := s.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				return err
			}
			for total := 0; total < 64<<20; { // what comes back fills all buffers on the way
				n, err := s.Write(make([]byte, 32<<10))
				if total += n; err != nil {
					return nil
				}
			}
			return errors.New("64 MiB lie somewhere on the way")
		}},
		{Name: "opens and closes at once", Behave: func(r *Relay) error {
			s, _, err := r.Ask(r.Grant())
			if err != nil {
				return err
			}
			defer s.Reset(wire.None)
			if err := s.CloseWrite(); err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, s)
			return err
		}},

		{Name: "pings without end and reads", Behave: func(r *Relay) error {
			const many = 5000
			sent := make(chan error, 1)
			go func() {
				for i := range uint64(many) {
					if err := r.Control.Send(&wire.Ping{N: i}); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for next := uint64(0); next < many; {
				m, ok := <-r.Heard
				if !ok {
					return errors.New("the agent says no more")
				}
				if p, ok := m.(*wire.Pong); ok {
					if p.N != next {
						return fmt.Errorf("pong %d, want %d", p.N, next)
					}
					next++
				}
			}
			return <-sent
		}},
		{Name: "pings without end and reads nothing", Ends: true, Deaf: true, Behave: func(r *Relay) error {
			for r.Control.Send(&wire.Ping{N: 1}) == nil {
			}
			return nil
		}},
		{Name: "tells of sessions that are not there", Behave: func(r *Relay) error {
			for range 2000 {
				if err := r.Control.Send(&wire.Authenticated{Session: wire.NewSessionID()}); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "tells of a session again and again", Behave: func(r *Relay) error {
			o := r.Grant()
			s, _, err := r.Ask(o)
			if err != nil {
				return err
			}
			defer s.Reset(wire.None)
			for range 100 {
				if err := r.Control.Send(&wire.Authenticated{Session: o.Session}); err != nil {
					return err
				}
			}
			return Echo(s)
		}},
		{Name: "refuses what was not asked, with control characters", Behave: control(&wire.Refused{Code: 60000, Detail: strings.Repeat(Evil, 100)})},
		{Name: "renews what was not asked", Ends: true, Behave: control(&wire.Renewed{Chain: [][]byte{[]byte(Evil)}})},
		{Name: "says Opened on the control stream", Ends: true, Behave: control(&wire.Opened{Login: "root"})},
		{Name: "says Exit on the control stream", Ends: true, Behave: control(&wire.Exit{})},
		{Name: "sends an endless message on the control stream", Ends: true, Behave: func(r *Relay) error {
			_, err := r.Control.Stream.Write(endless)
			return err
		}},
		{Name: "sends frames to skip on the control stream", Ends: true, Behave: func(r *Relay) error {
			_, err := r.Control.Stream.Write(bytes.Repeat([]byte{0x40, 0x41, 0x00}, 1000))
			return err
		}},
		{Name: "ends the control stream", Ends: true, Behave: func(r *Relay) error { return r.Control.CloseWrite() }},
		{Name: "resets the control stream", Ends: true, Behave: func(r *Relay) error { r.Control.Reset(60000); return nil }},
		{Name: "goes in the middle of a session", Ends: true, Behave: func(r *Relay) error {
			s, _, err := r.Ask(r.Grant())
			if err != nil {
				return err
			}
			if _, err := s.Write(make([]byte, 1<<10)); err != nil {
				return err
			}
			return r.Link.Close(60000, Evil)
		}},
	}
}
