package sshtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// Stage is how far a client comes with a server.
type Stage int

// The stages.
const (
	Dials Stage = iota // it is refused before it is let in
	Opens              // it is let in, and gets no shell
	Talks              // it gets a shell, which it has to end by itself
	Ends               // it gets a shell, and the server's end of it
)

// Behaviour is a way to behave badly.
type Behaviour struct {
	Name   string
	At     Stage
	Code   wire.Code // of the refusal; for Ends and Talks it says nothing
	behave func(*Server) error
	// Clogs says that the server reads no more, so that the client's writes block. Then the clock of a
	// synctest bubble stands still: package ssh waits for a mutex. Also, that it may end the connection in the moment
	// in which a channel is opened, which leaves a goroutine of package ssh's behind.
	Clogs bool
}

// Serve behaves so, until the client has gone.
func (b Behaviour) Serve(s *Server) {
	if b.behave(s) == nil {
		_, _ = io.Copy(io.Discard, s.in)
	}
}

// Evil is what no name for a person to see may hold.
const Evil = "\x1b]0;evil\x07\x1b[2Jroot@\r\n\u202e"

// pause is between two bursts of what goes on without end.
const pause = 20 * time.Millisecond

// flood sends packets in bursts, until the client has gone.
func (s *Server) flood(burst int, packet func(i int) []byte) error {
	for i := 0; ; i++ {
		if i%burst == 0 {
			time.Sleep(pause)
		}
		if err := s.send(packet(i)); err != nil {
			return err
		}
	}
}

// again sends the same packet without end.
func again(packet []byte) func(int) []byte { return func(int) []byte { return packet } }

// errHangUp is the end of a server that hangs up.
var errHangUp = errors.New("hangs up")

func (s *Server) hangUp() error {
	_ = s.conn.Close()
	return errHangUp
}

// in sequence: each step of an ordinary server, up to where a behaviour begins.

func afterKeys(f func(*Server) error) func(*Server) error {
	return func(s *Server) error {
		if err := s.shake(); err != nil {
			return err
		}
		return f(s)
	}
}

func afterService(f func(*Server) error) func(*Server) error {
	return afterKeys(func(s *Server) error {
		if _, err := s.await(msgService); err != nil {
			return err
		}
		if err := s.send(message(msgServiceOK, struct{ Name string }{"ssh-userauth"})); err != nil {
			return err
		}
		return f(s)
	})
}

// afterKey accepts the client's key, and wants more.
func afterKey(f func(*Server) error) func(*Server) error {
	return afterService(func(s *Server) error {
		for {
			a, err := s.attempt()
			if err != nil {
				return err
			}
			answer := message(msgAuthFailure, failure{[]string{"publickey"}, false})
			switch {
			case a.Method == "publickey" && a.Signed:
				if err := s.send(message(msgAuthFailure, failure{[]string{"keyboard-interactive", "password"}, true})); err != nil {
					return err
				}
				return f(s)
			case a.Method == "publickey":
				answer = message(msgKeyOK, struct{ Algorithm, Key string }{a.Algorithm, a.Key})
			}
			if err := s.send(answer); err != nil {
				return err
			}
		}
	})
}

// asking answers whatever the client says with another packet, a round of keyboard-interactive for example.
func asking(packet func(round int) []byte) func(*Server) error {
	return afterKey(func(s *Server) error {
		for i := 0; ; i++ {
			if _, err := s.receive(); err != nil {
				return err
			}
			if err := s.send(packet(i)); err != nil {
				return err
			}
		}
	})
}

// round is one of keyboard-interactive, with so many prompts.
func round(name, instruction, prompt string, prompts int, announced uint32) []byte {
	p := message(msgInfoRequest, struct {
		Name, Instruction, Lang string
		Prompts                 uint32
	}{name, instruction, "", announced})
	one := ssh.Marshal(struct {
		Prompt string
		Echo   bool
	}{prompt, false})
	return append(p, bytes.Repeat(one, prompts)...)
}

func afterLogin(f func(*Server) error) func(*Server) error {
	return afterKeys(func(s *Server) error {
		if err := s.admit(func(string) {}); err != nil {
			return err
		}
		return f(s)
	})
}

// afterOpen knows the number of the client's channel.
func afterOpen(f func(s *Server, channel uint32) error) func(*Server) error {
	return afterLogin(func(s *Server) error {
		p, err := s.await(msgOpen)
		if err != nil {
			return err
		}
		var m opening
		if err := ssh.Unmarshal(p[1:], &m); err != nil {
			return err
		}
		if err := s.send(message(msgOpened, opened{m.Sender, m.Sender, window, 32 << 10})); err != nil {
			return err
		}
		return f(s, m.Sender)
	})
}

// afterShell grants the terminal and the shell.
func afterShell(f func(s *Server, channel uint32) error) func(*Server) error {
	return afterOpen(func(s *Server, channel uint32) error {
		for kind := ""; kind != "shell"; {
			p, err := s.await(msgRequest)
			if err != nil {
				return err
			}
			var m request
			if err := ssh.Unmarshal(p[1:], &m); err != nil {
				return err
			}
			kind = m.Kind
			if m.Reply {
				if err := s.send(message(msgSuccess, to{channel})); err != nil {
					return err
				}
			}
		}
		return f(s, channel)
	})
}

// reading throws away what the client says meanwhile, and then until it has gone.
func (s *Server) reading(f func() error) error {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(io.Discard, s.in)
	}()
	err := f()
	<-gone
	return err
}

func (s *Server) silent() error { return nil }

// deaf reads nothing any more. It waits for a client that has gone: a Write finds out.
func (s *Server) deaf() error { return s.flood(1, again([]byte{msgIgnore, 0, 0, 0, 0})) }

type ask struct {
	To    uint32
	Kind  string
	Reply bool
	Rest  []byte `ssh:"rest"`
}

// exit tells an exit status.
func exit(channel, status uint32) []byte {
	return message(msgRequest, ask{channel, "exit-status", false, binary.BigEndian.AppendUint32(nil, status)})
}

// Behaviours are all of them.
func Behaviours() []Behaviour {
	raw := func(text string) func(*Server) error {
		return func(s *Server) error {
			_, err := s.conn.Write([]byte(text))
			return err
		}
	}
	offering := func(change func(*kexInit)) func(*Server) error {
		return func(s *Server) error {
			if err := s.versions(); err != nil {
				return err
			}
			offer := s.offer()
			change(&offer)
			return s.send(message(msgKexInit, offer))
		}
	}
	return []Behaviour{
		// Before there are keys.
		{Name: "says nothing", At: Dials, Code: wire.SSHTimeout, behave: (*Server).silent},
		{Name: "hangs up at once", At: Dials, Code: wire.TargetRefused, behave: (*Server).hangUp},
		{Name: "is a web server", At: Dials, Code: wire.SSHTimeout, behave: raw("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")},
		{Name: "speaks another version", At: Dials, Code: wire.SSHTimeout, behave: raw("SSH-1.5-old\r\n")},
		{Name: "has a version line without end", At: Dials, Code: wire.TargetRefused, behave: raw("SSH-2.0-" + strings.Repeat("x", 64<<10))},
		{Name: "greets without end", At: Dials, Code: wire.TargetRefused, behave: func(s *Server) error {
			for {
				time.Sleep(pause)
				if _, err := s.conn.Write(bytes.Repeat([]byte("welcome"+Evil), 16)); err != nil {
					return err
				}
			}
		}},
		{Name: "drips one byte a second", At: Dials, Code: wire.SSHTimeout, behave: func(s *Server) error {
			offer := s.seal(message(msgKexInit, s.offer()))
			for _, b := range append([]byte(version+"\r\n"), offer...) {
				time.Sleep(time.Second)
				if _, err := s.conn.Write([]byte{b}); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "sends noise for packets", At: Dials, Code: wire.TargetRefused, behave: func(s *Server) error {
			noise := make([]byte, 64<<10)
			rand.Read(noise)
			return raw(version + "\r\n" + string(noise))(s)
		}},
		{Name: "sends a packet of 4 GiB", At: Dials, Code: wire.TargetRefused, behave: raw(version + "\r\n\xff\xff\xff\xff" + strings.Repeat("x", 1<<10))},
		{Name: "sends a packet of no bytes", At: Dials, Code: wire.TargetRefused, behave: raw(version + "\r\n\x00\x00\x00\x00\x00\x00\x00\x00")},
		{Name: "has no key exchange in common", At: Dials, Code: wire.TargetRefused, behave: offering(func(k *kexInit) { k.Kex = []string{"none-of-yours"} })},
		{Name: "has no cipher in common", At: Dials, Code: wire.TargetRefused, behave: offering(func(k *kexInit) { k.CipherIn, k.CipherOut = []string{"none"}, []string{"none"} })},
		{Name: "offers 100,000 algorithms", At: Dials, Code: wire.TargetRefused, behave: offering(func(k *kexInit) { k.Kex = strings.Split(strings.Repeat("x,", 100_000)+"y", ",") })},
		{Name: "breaks off in the key exchange", At: Dials, Code: wire.TargetRefused, behave: func(s *Server) error {
			if err := offering(func(*kexInit) {})(s); err != nil {
				return err
			}
			if _, err := s.await(msgECDHInit); err != nil {
				return err
			}
			return s.hangUp()
		}},
		{Name: "says the key exchange for ever", At: Dials, Code: wire.SSHTimeout, behave: func(s *Server) error {
			if err := offering(func(*kexInit) {})(s); err != nil {
				return err
			}
			return s.reading(func() error { return s.flood(8, again([]byte{msgIgnore, 0, 0, 0, 0})) })
		}},
		{Name: "shows another host key", At: Dials, Code: wire.HostKeyMismatch, behave: func(s *Server) error {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			if s.hostKey, err = ssh.NewSignerFromKey(private); err != nil {
				return err
			}
			return s.shake()
		}},
		{Name: "signs with another host key", At: Dials, Code: wire.TargetRefused, behave: func(s *Server) error {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			other, err := ssh.NewSignerFromKey(private)
			if err != nil {
				return err
			}
			if err := s.versions(); err != nil {
				return err
			}
			offered := message(msgKexInit, s.offer())
			if err := s.send(offered); err != nil {
				return err
			}
			wanted, err := s.await(msgKexInit)
			if err != nil {
				return err
			}
			return s.exchange(wanted, offered, other)
		}},
		{Name: "disconnects with control characters", At: Dials, Code: wire.TargetRefused, behave: func(s *Server) error {
			if err := s.versions(); err != nil {
				return err
			}
			return s.send(message(msgDisconnect, struct {
				Reason     uint32
				Text, Lang string
			}{2, strings.Repeat(Evil, 100), Evil}))
		}},

		// Before the client is let in.
		{Name: "has no services", At: Dials, Code: wire.AuthFailed, behave: afterKeys(func(s *Server) error {
			return s.send(message(msgDisconnect, struct {
				Reason     uint32
				Text, Lang string
			}{7, Evil, ""}))
		})},
		{Name: "never finishes authentication", At: Dials, Code: wire.SSHTimeout, behave: afterService((*Server).silent)},
		{Name: "breaks off in authentication", At: Dials, Code: wire.AuthFailed, behave: afterService(func(s *Server) error {
			if _, err := s.attempt(); err != nil {
				return err
			}
			return s.hangUp()
		})},
		{Name: "has banners without end", At: Dials, Code: wire.AuthFailed, behave: afterService(func(s *Server) error {
			return s.reading(func() error { return s.flood(8, again(message(msgBanner, struct{ Text, Lang string }{Evil, ""}))) })
		})},
		{Name: "lets in half, again and again", At: Dials, Code: wire.AuthFailed, behave: afterService(func(s *Server) error {
			for {
				if _, err := s.attempt(); err != nil {
					return err
				}
				if err := s.send(message(msgAuthFailure, failure{[]string{"publickey"}, true})); err != nil {
					return err
				}
			}
		})},
		{Name: "asks questions without end", At: Dials, Code: wire.AuthFailed, behave: afterService(func(s *Server) error {
			question := message(msgInfoRequest, struct {
				Name, Instruction, Lang string
				Prompts                 uint32
				Prompt                  string
				Echo                    bool
			}{Evil, "", "", 1, "Password: ", false})
			return s.reading(func() error { return s.flood(8, again(question)) })
		})},
		{Name: "wants a password", At: Dials, Code: wire.AuthFailed, behave: afterService(func(s *Server) error {
			for {
				if _, err := s.attempt(); err != nil {
					return err
				}
				if err := s.send(message(msgAuthFailure, failure{[]string{"password", "keyboard-interactive"}, false})); err != nil {
					return err
				}
			}
		})},
		{Name: "takes another key", At: Dials, Code: wire.AuthFailed, behave: afterService(func(s *Server) error {
			for {
				if _, err := s.attempt(); err != nil {
					return err
				}
				if err := s.send(message(msgKeyOK, struct{ Algorithm, Key string }{ssh.KeyAlgoED25519, Evil})); err != nil {
					return err
				}
			}
		})},

		// When it has accepted the key.
		{Name: "asks for ever", At: Dials, Code: wire.AuthFailed, behave: asking(func(int) []byte { return round(Evil, Evil, Evil, 1, 1) })},
		{Name: "asks nothing for ever", At: Dials, Code: wire.AuthFailed, behave: asking(func(int) []byte { return round(Evil, Evil, "", 0, 0) })},
		{Name: "asks nothing for ever, unasked", At: Dials, Code: wire.AuthFailed, behave: afterKey(func(s *Server) error {
			return s.reading(func() error { return s.flood(8, again(round("", Evil, "", 0, 0))) })
		})},
		{Name: "asks 45,000 questions", At: Dials, Code: wire.AuthFailed, behave: asking(func(int) []byte { return round("", "", "", 45_000, 45_000) })},
		{Name: "announces 4 billion questions", At: Dials, Code: wire.AuthFailed, behave: asking(func(int) []byte { return round("", "", "", 1, 1<<32-1) })},
		{Name: "asks with 200 kB", At: Dials, Code: wire.AuthFailed, behave: asking(func(int) []byte {
			text := strings.Repeat(Evil, 60_000/len(Evil))
			return round(text, text, text, 1, 1)
		})},
		{Name: "asks 32 long questions", At: Dials, Code: wire.AuthFailed, behave: asking(func(int) []byte {
			return round("", "", strings.Repeat("\x00", 1000), 32, 32)
		})},
		{Name: "accepts no answer", At: Dials, Code: wire.AuthFailed, behave: asking(func(i int) []byte {
			if i%2 == 0 {
				return round("", "", "Code: ", 1, 1)
			}
			return message(msgAuthFailure, failure{[]string{"keyboard-interactive", "password"}, false})
		})},
		{Name: "accepts no password", At: Dials, Code: wire.AuthFailed, behave: asking(func(int) []byte {
			return message(msgAuthFailure, failure{[]string{"password"}, false})
		})},
		{Name: "wants another answer each time", At: Dials, Code: wire.AuthFailed, behave: asking(func(i int) []byte {
			if i%2 == 0 {
				return round("", "", "Code: ", 1, 1)
			}
			return message(msgAuthFailure, failure{[]string{"keyboard-interactive"}, true})
		})},
		{Name: "wants a new password", At: Dials, Code: wire.AuthFailed, behave: asking(func(int) []byte { // PASSWD_CHANGEREQ has this number too
			return message(msgInfoRequest, struct{ Prompt, Lang string }{Evil, ""})
		})},
		{Name: "says nothing to an answer", At: Dials, Code: wire.SSHTimeout, behave: afterKey(func(s *Server) error {
			if err := s.send(round("", "", "Code: ", 1, 1)); err != nil {
				return err
			}
			return s.reading(func() error { return nil })
		})},
		{Name: "asks and hangs up", At: Dials, Code: wire.AuthFailed, behave: afterKey(func(s *Server) error {
			if _, err := s.receive(); err != nil {
				return err
			}
			if err := s.send(round("", "", "Code: ", 1, 1)); err != nil {
				return err
			}
			return s.hangUp()
		})},

		// Before there is a shell.
		{Name: "opens no channel", At: Opens, Code: wire.AccountNotLoginable, behave: afterLogin(func(s *Server) error {
			p, err := s.await(msgOpen)
			if err != nil {
				return err
			}
			var m opening
			if err := ssh.Unmarshal(p[1:], &m); err != nil {
				return err
			}
			return s.send(message(msgOpenFailure, struct {
				To, Reason uint32
				Text, Lang string
			}{m.Sender, 1, Evil, ""}))
		})},
		{Name: "never answers the channel", At: Opens, Code: wire.SSHTimeout, behave: afterLogin((*Server).silent)},
		{Name: "opens channels that nobody asked for", At: Opens, Code: wire.TargetRefused, Clogs: true, behave: afterLogin(func(s *Server) error {
			return s.send(message(msgOpened, opened{12345, 1, window, 32 << 10}))
		})},
		{Name: "gives no terminal", At: Opens, Code: wire.AccountNotLoginable, behave: afterOpen(func(s *Server, channel uint32) error {
			if _, err := s.await(msgRequest); err != nil {
				return err
			}
			return s.send(message(msgFailure, to{channel}))
		})},
		{Name: "never answers about the terminal", At: Opens, Code: wire.SSHTimeout, behave: afterOpen(func(s *Server, _ uint32) error { return s.silent() })},
		{Name: "closes the channel for an answer", At: Opens, Code: wire.TargetRefused, behave: afterOpen(func(s *Server, channel uint32) error {
			return s.send(message(msgClose, to{channel}))
		})},
		{Name: "sends more than the window", At: Opens, Code: wire.TargetRefused, behave: afterOpen(func(s *Server, channel uint32) error {
			return s.reading(func() error { return s.flood(64, again(message(msgData, data{channel, make([]byte, 32<<10)}))) })
		})},
		{Name: "breaks the protocol, with much behind that", At: Opens, Code: wire.TargetRefused, behave: afterOpen(func(s *Server, channel uint32) error {
			all := s.seal(message(msgOpened, opened{12345, 1, window, 32 << 10}))
			for range 100 {
				all = append(all, s.seal(message(msgData, data{channel, []byte("x")}))...)
			}
			return raw(string(all))(s)
		})},
		{Name: "keeps alive without end, and opens nothing", At: Opens, Code: wire.SSHTimeout, behave: afterLogin(func(s *Server) error {
			keepAlive := message(msgGlobal, struct {
				Kind  string
				Reply bool
			}{"keepalive@openssh.com", true})
			return s.reading(func() error { return s.flood(8, again(keepAlive)) })
		})},

		// With a shell.
		{Name: "opens channels towards the client", At: Talks, behave: afterShell(func(s *Server, _ uint32) error {
			kinds := []string{"forwarded-tcpip", "x11", "auth-agent@openssh.com", "session", "direct-tcpip", "forwarded-streamlocal@openssh.com", Evil}
			return s.reading(func() error {
				return s.flood(16, func(i int) []byte {
					return message(msgOpen, opening{kinds[i%len(kinds)], uint32(i), window, 32 << 10, make([]byte, 64)})
				})
			})
		})},
		{Name: "asks globally without reading the answers", At: Talks, Clogs: true, behave: afterShell(func(s *Server, _ uint32) error {
			return s.flood(16, again(message(msgGlobal, struct {
				Kind  string
				Reply bool
			}{"tcpip-forward", true})))
		})},
		{Name: "asks on the channel without reading the answers", At: Talks, Clogs: true, behave: afterShell(func(s *Server, channel uint32) error {
			return s.flood(16, again(message(msgRequest, ask{channel, "auth-agent-req@openssh.com", true, nil})))
		})},
		{Name: "answers what nobody asked", At: Talks, behave: afterShell(func(s *Server, channel uint32) error {
			return s.reading(func() error { return s.flood(16, again(message(msgSuccess, to{channel}))) })
		})},
		{Name: "takes no input", At: Talks, Clogs: true, behave: afterShell(func(s *Server, _ uint32) error { return s.deaf() })},
		{Name: "prints without end", At: Talks, behave: afterShell(func(s *Server, channel uint32) error {
			return s.reading(func() error {
				return s.flood(1, again(message(msgData, data{channel, []byte(strings.Repeat(Evil, 100))})))
			})
		})},
		{Name: "sends more data than a packet may have", At: Ends, behave: afterShell(func(s *Server, channel uint32) error {
			return s.send(message(msgData, data{channel, make([]byte, 128<<10)}))
		})},
		{Name: "sends data of a length that it has not", At: Ends, behave: afterShell(func(s *Server, channel uint32) error {
			return s.send(message(msgData, struct{ To, Length uint32 }{channel, 1 << 30}))
		})},
		{Name: "sends data for another channel", At: Ends, behave: afterShell(func(s *Server, channel uint32) error {
			return s.send(message(msgData, data{channel + 77, []byte("x")}))
		})},
		{Name: "sends a packet of 4 GiB into the shell", At: Ends, behave: afterShell(func(s *Server, _ uint32) error { return raw("\xff\xff\xff\xff" + strings.Repeat("x", 1<<10))(s) })},
		{Name: "sends half a packet", At: Talks, Clogs: true, behave: afterShell(func(s *Server, channel uint32) error {
			whole := s.seal(message(msgData, data{channel, make([]byte, 1<<10)}))
			return raw(string(whole[:len(whole)/2]))(s)
		})},
		{Name: "sends a message that was changed on the way", At: Ends, behave: afterShell(func(s *Server, channel uint32) error {
			whole := s.seal(message(msgData, data{channel, make([]byte, 1<<10)}))
			whole[len(whole)/2] ^= 1
			return raw(string(whole))(s)
		})},
		{Name: "sends output of unknown kinds without end", At: Talks, behave: afterShell(func(s *Server, channel uint32) error {
			return s.reading(func() error {
				return s.flood(16, func(i int) []byte {
					return message(msgExtendedData, struct {
						To, Kind uint32
						Bytes    []byte
					}{channel, uint32(2 + i%5), []byte("x")})
				})
			})
		})},
		{Name: "gives a window beyond its size", At: Ends, behave: afterShell(func(s *Server, channel uint32) error {
			return s.reading(func() error {
				for range 3 {
					if err := s.send(message(msgWindow, struct{ To, More uint32 }{channel, 1<<32 - 1})); err != nil {
						return err
					}
				}
				return nil
			})
		})},
		{Name: "ends twice, with data behind", At: Ends, behave: afterShell(func(s *Server, channel uint32) error {
			for _, p := range [][]byte{
				exit(channel, 3), exit(channel, 4), message(msgEOF, to{channel}), message(msgEOF, to{channel}), message(msgData, data{channel, []byte(Evil)}),
				message(msgClose, to{channel}), message(msgClose, to{channel}),
			} {
				if err := s.send(p); err != nil {
					return err
				}
			}
			return nil
		})},
		{Name: "ends by a signal with control characters", At: Ends, behave: afterShell(func(s *Server, channel uint32) error {
			killed := ssh.Marshal(struct {
				Signal     string
				Core       bool
				Text, Lang string
			}{Evil, true, strings.Repeat(Evil, 1000), Evil})
			if err := s.send(message(msgRequest, ask{channel, "exit-signal", false, killed})); err != nil {
				return err
			}
			return s.send(message(msgClose, to{channel}))
		})},
		{Name: "changes keys without end", At: Talks, Clogs: true, behave: afterShell(func(s *Server, _ uint32) error {
			for {
				time.Sleep(pause)
				if err := s.rekey(); err != nil {
					return err
				}
			}
		})},
		{Name: "begins to change keys and stops", At: Talks, Clogs: true, behave: afterShell(func(s *Server, _ uint32) error { return s.send(message(msgKexInit, s.offer())) })},
		{Name: "begins to change keys twice", At: Ends, behave: afterShell(func(s *Server, _ uint32) error {
			return s.reading(func() error {
				for range 3 {
					if err := s.send(message(msgKexInit, s.offer())); err != nil {
						return err
					}
				}
				return nil
			})
		})},
		{Name: "shows another host key later", At: Ends, behave: afterShell(func(s *Server, _ uint32) error {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			if s.hostKey, err = ssh.NewSignerFromKey(private); err != nil {
				return err
			}
			return s.rekey()
		})},
		{Name: "disconnects in the shell", At: Ends, behave: afterShell(func(s *Server, _ uint32) error {
			return s.send(message(msgDisconnect, struct {
				Reason     uint32
				Text, Lang string
			}{11, Evil, ""}))
		})},
		{Name: "says that it understands nothing", At: Ends, behave: afterShell(func(s *Server, _ uint32) error {
			return s.reading(func() error { return s.flood(16, again(message(msgUnimplement, struct{ N uint32 }{1}))) })
		})},
	}
}
