package relaytest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"time"

	"scrier/wire"
)

// Viewer is one way to behave badly towards a terminal that asks for a shell.
type Viewer struct {
	Name string
	// Code is what the terminal's program ends with; None: the person has to leave by themselves.
	Code   wire.Code
	Behave func(*wire.Framed) error
}

// Session is the one that the ways of [Viewers] attach to.
func Session() wire.SessionID { return wire.SessionID{UUID: [16]byte{1, 2, 3}} }

// attached is an honest answer.
func attached() *wire.Attached {
	return &wire.Attached{Session: Session(), Envoy: "web1", Login: "ann", Window: 64 << 10, Kind: wire.KindSSH, Channel: true, Part: 1}
}

// attaching answers honestly, and then does something else.
func attaching(f func(*wire.Framed) error) func(*wire.Framed) error {
	return func(s *wire.Framed) error {
		if err := s.Send(attached()); err != nil {
			return err
		}
		return f(s)
	}
}

// forever sends messages in bursts, until the terminal has gone.
func forever(s *wire.Framed, m func(i int) wire.Message) error {
	for i := 0; ; i++ {
		if i%16 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		var err error
		if d, ok := m(i).(*wire.Data); ok {
			frame := append(make([]byte, wire.DataHeader), d.Bytes...)
			err = s.WriteData(wire.DataFrame(frame, len(d.Bytes)))
		} else {
			err = s.Send(m(i))
		}
		if err != nil {
			return err
		}
	}
}

// says sends bytes as they are, and waits for the terminal's end.
func says(b []byte) func(*wire.Framed) error {
	return func(s *wire.Framed) error {
		_, err := s.Stream.Write(b)
		_, _ = io.Copy(io.Discard, s.Stream)
		return err
	}
}

func sends(m ...wire.Message) func(*wire.Framed) error {
	return func(s *wire.Framed) error {
		for _, m := range m {
			if err := s.Send(m); err != nil {
				return err
			}
		}
		_, _ = io.Copy(io.Discard, s.Stream)
		return nil
	}
}

// Viewers are all ways to behave badly towards a terminal.
func Viewers() []Viewer {
	noise := make([]byte, 4096)
	rand.Read(noise)
	noise[0], noise[1] = 0x3f, 4 // no frame that may be skipped
	return []Viewer{
		{Name: "says nothing", Behave: says(nil)},
		{Name: "says half a message", Behave: says([]byte{0x0f, 0x40, 0xff, 0xa1})},
		{Name: "hangs up at once", Code: wire.Internal, Behave: func(s *wire.Framed) error { return s.CloseWrite() }},
		{Name: "resets at once", Code: 60000, Behave: func(s *wire.Framed) error { s.Reset(60000); return nil }},
		{Name: "answers with noise", Code: wire.Protocol, Behave: says(noise)},
		{Name: "answers with an endless message", Code: wire.Protocol, Behave: says(endless)},
		{Name: "answers with frames to skip", Code: wire.Protocol, Behave: says(bytes.Repeat([]byte{0x40, 0x41, 0x00}, 1000))},
		{Name: "opens instead of attaching", Code: wire.Protocol, Behave: sends(&wire.Opened{Login: Evil})},
		{Name: "exits before it attached", Code: wire.Protocol, Behave: sends(&wire.Exit{Detail: Evil})},
		{Name: "sends output before it attached", Code: wire.Protocol, Behave: says(append([]byte{0x22, 0x03}, "abc"...))},
		{Name: "refuses with control characters", Code: wire.Limit, Behave: sends(&wire.Refused{Code: wire.Limit, Detail: strings.Repeat(Evil, 10_00)})},
		{Name: "refuses with a code that there is not", Code: 60000, Behave: sends(&wire.Refused{Code: 60000, Detail: Evil})},
		{Name: "refuses with no reason", Code: wire.None, Behave: sends(&wire.Refused{})},
		{Name: "attaches to a desktop", Code: wire.Protocol, Behave: func(s *wire.Framed) error {
			a := attached()
			a.Kind = wire.KindRDP
			return sends(a)(s)
		}},
		{Name: "has control characters in its names", Behave: func(s *wire.Framed) error {
			a := attached()
			a.Envoy, a.Login = strings.Repeat(Evil, 10), strings.Repeat(Evil, 10)
			return sends(a)(s)
		}},
		{Name: "gives no window", Behave: func(s *wire.Framed) error {
			a := attached()
			a.Window = 0
			return sends(a)(s)
		}},
		{Name: "gives all windows and numbers", Behave: func(s *wire.Framed) error {
			a := attached()
			a.Window, a.Offset, a.Head, a.Typed = 1<<32-1, 1<<64-1, 1<<64-1, 1<<64-1
			a.Size = wire.Size{Cols: 65535, Rows: 65535}
			return sends(a, &wire.Ack{Offset: 1<<64 - 1}, &wire.Ack{}, &wire.Skip{To: 1<<64 - 1}, &wire.Skip{To: 1})(s)
		}},
		{Name: "attaches twice", Code: wire.Protocol, Behave: attaching(sends(attached()))},
		{Name: "asks the terminal for a session", Code: wire.Protocol, Behave: attaching(sends(&wire.Connect{Envoy: Evil}))},
		{Name: "sends noise in the shell", Code: wire.RelayUnreachable, Behave: attaching(says(noise))},
		{Name: "sends an endless message in the shell", Code: wire.RelayUnreachable, Behave: attaching(says(endless))},
		{Name: "goes in the shell", Code: wire.RelayUnreachable, Behave: attaching(func(s *wire.Framed) error {
			_, err := s.Receive() // a reset overtakes what was sent before it
			s.Reset(60000)
			return err
		})},
		{Name: "ends the stream in the shell", Code: wire.RelayUnreachable, Behave: attaching(func(s *wire.Framed) error { return s.CloseWrite() })},
		{Name: "ends the shell with control characters", Code: wire.Killed, Behave: attaching(sends(&wire.Exit{Code: wire.Killed, Detail: Evil, Signal: Evil}))},
		{Name: "prints without end", Behave: attaching(func(s *wire.Framed) error {
			line := bytes.Repeat([]byte("y\n"), 8<<10)
			return forever(s, func(int) wire.Message { return &wire.Data{Bytes: line} })
		})},
		{Name: "prints nothing without end", Behave: attaching(func(s *wire.Framed) error {
			return forever(s, func(int) wire.Message { return &wire.Data{} })
		})},
		{Name: "skips without end", Behave: attaching(func(s *wire.Framed) error {
			return forever(s, func(i int) wire.Message { return &wire.Skip{Screen: []byte("x"), To: uint64(i), More: true} })
		})},
		{Name: "notices without end", Behave: attaching(func(s *wire.Framed) error {
			return forever(s, func(i int) wire.Message {
				if i%2 == 0 {
					return &wire.Watchers{Names: []string{Evil, strings.Repeat(Evil, 100)}}
				}
				return &wire.Notice{Code: 60000, Text: strings.Repeat(Evil, 100)}
			})
		})},
		{Name: "ends with a status that there is not", Code: wire.None, Behave: attaching(func(s *wire.Framed) error {
			if err := s.Send(&wire.Exit{Status: 1<<32 - 1}); err != nil {
				return err
			}
			return errors.Join(s.CloseWrite(), errEnded)
		})},
	}
}

// errEnded is no failure: the session is over.
var errEnded = errors.New("the session is over")
