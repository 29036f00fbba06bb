package sshtest

import (
	"encoding/binary"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// Forward is a way to behave badly towards a client that is let in, asks for a listener at 127.0.0.1 port 4000, and then
// for a connection.
type Forward struct {
	Behaviour
	Listens wire.Code // what becomes of the listener; Internal: it depends on what comes first
	Dials   wire.Code // what becomes of the connection; the same
	Accepts int       // how many connections the listener may give; below 0: any number
	Breaks  bool      // the connection to the server breaks: no end of data may be told
}

const msgGlobalSuccess, msgGlobalFailure = 81, 82

// forwards serves forwards as a server should, but for what is replaced: every connection echoes.
type forwards struct {
	*Server
	open   func(opening) error
	data   func(data) error
	close  func(channel uint32) error
	listen func(kind string, reply bool, rest []byte) error
}

func forwarding(change func(*forwards)) func(*Server) error {
	return afterLogin(func(s *Server) error {
		f := &forwards{Server: s}
		f.open = func(m opening) error { return s.send(message(msgOpened, opened{m.Sender, m.Sender, window, 32 << 10})) }
		f.data = func(m data) error {
			if err := s.send(message(msgData, m)); err != nil {
				return err
			}
			return s.send(message(msgWindow, struct{ To, More uint32 }{m.To, uint32(len(m.Bytes))}))
		}
		f.close = func(channel uint32) error { return s.send(message(msgClose, to{channel})) }
		f.listen = func(_ string, reply bool, rest []byte) error {
			if !reply {
				return nil
			}
			return s.send(binary.BigEndian.AppendUint32([]byte{msgGlobalSuccess}, 4000))
		}
		change(f)
		return f.serve()
	})
}

func (f *forwards) serve() error {
	for {
		p, err := f.receive()
		if err != nil {
			return err
		}
		switch p[0] {
		case msgGlobal:
			var m struct {
				Kind  string
				Reply bool
				Rest  []byte `ssh:"rest"`
			}
			if err = ssh.Unmarshal(p[1:], &m); err == nil {
				err = f.listen(m.Kind, m.Reply, m.Rest)
			}
		case msgOpen:
			var m opening
			if err = ssh.Unmarshal(p[1:], &m); err == nil {
				err = f.open(m)
			}
		case msgData:
			var m data
			if err = ssh.Unmarshal(p[1:], &m); err == nil {
				err = f.data(m)
			}
		case msgEOF, msgClose:
			var m to
			if err = ssh.Unmarshal(p[1:], &m); err == nil {
				if p[0] == msgClose {
					err = f.close(m.To)
				} else {
					err = f.send(message(msgEOF, m))
				}
			}
		}
		if err != nil {
			return err
		}
	}
}

// arrival is a connection that the server passes on.
func arrival(number uint32, host string, port uint32, origin string, originPort uint32) []byte {
	return message(msgOpen, opening{"forwarded-tcpip", 10_000 + number, window, 32 << 10, ssh.Marshal(struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}{host, port, origin, originPort})})
}

// all sends several packets.
func (s *Server) all(packets ...[]byte) error {
	for _, p := range packets {
		if err := s.send(p); err != nil {
			return err
		}
	}
	return nil
}

// last sends several packets, and then only reads.
func (s *Server) last(packets ...[]byte) error {
	return s.reading(func() error { return s.all(packets...) })
}

// ListensAt is where a client is to ask for a listener.
const ListensAt = 4000

// Forwards are all of them.
func Forwards() []Forward {
	ends := func(name string, change func(*forwards)) Forward {
		return Forward{Behaviour: Behaviour{Name: name, At: Ends, behave: forwarding(change)}, Dials: wire.Internal}
	}
	talks := func(name string, change func(*forwards)) Forward {
		return Forward{Behaviour: Behaviour{Name: name, At: Talks, behave: forwarding(change)}}
	}
	opens := func(name string, code wire.Code, change func(*forwards)) Forward {
		f := talks(name, change)
		f.Dials = code
		return f
	}
	listens := func(name string, code wire.Code, change func(*forwards)) Forward {
		f := talks(name, change)
		f.Listens = code
		return f
	}
	accepts := func(n int, f Forward) Forward {
		f.Accepts = n
		return f
	}
	breaks := func(f Forward) Forward {
		f.Breaks = true
		return f
	}
	clogs := func(f Forward) Forward {
		f.Clogs = true
		return f
	}
	granted := []byte{msgGlobalSuccess}

	return []Forward{
		talks("is honest", func(*forwards) {}),

		// When it is asked for a connection.
		opens("refuses with many words", wire.ForwardFailed, func(f *forwards) {
			f.open = func(m opening) error {
				return f.send(message(msgOpenFailure, struct {
					To, Reason uint32
					Text, Lang string
				}{m.Sender, 77, strings.Repeat(Evil, 30_000/len(Evil)), Evil}))
			}
		}),
		opens("never answers", wire.SSHTimeout, func(f *forwards) { f.open = func(opening) error { return nil } }),
		opens("closes a connection that it has not opened", wire.SSHTimeout, func(f *forwards) {
			f.open = func(m opening) error {
				return f.all(message(msgData, data{m.Sender, []byte("x")}), message(msgClose, to{m.Sender}))
			}
		}),
		opens("opens it too late", wire.SSHTimeout, func(f *forwards) {
			f.open = func(m opening) error {
				time.Sleep(90 * time.Second)
				return f.all(message(msgOpened, opened{m.Sender, m.Sender, window, 32 << 10}), message(msgData, data{m.Sender, make([]byte, 1<<10)}))
			}
		}),
		ends("opens it twice", func(f *forwards) {
			f.open = func(m opening) error {
				yes := message(msgOpened, opened{m.Sender, m.Sender, window, 32 << 10})
				return f.last(yes, yes)
			}
		}),
		ends("opens it and refuses it", func(f *forwards) {
			f.open = func(m opening) error {
				return f.last(message(msgOpened, opened{m.Sender, m.Sender, window, 32 << 10}), message(msgOpenFailure, struct {
					To, Reason uint32
					Text, Lang string
				}{m.Sender, 1, Evil, ""}))
			}
		}),
		ends("opens another", func(f *forwards) {
			f.open = func(opening) error { return f.last(message(msgOpened, opened{12345, 1, window, 32 << 10})) }
		}),
		ends("wants packets of one byte", func(f *forwards) {
			f.open = func(m opening) error { return f.last(message(msgOpened, opened{m.Sender, m.Sender, window, 1})) }
		}),
		talks("gives no window", func(f *forwards) {
			f.open = func(m opening) error { return f.send(message(msgOpened, opened{m.Sender, m.Sender, 0, 32 << 10})) }
		}),

		// When there is a connection.
		talks("says something and closes", func(f *forwards) {
			f.data = func(m data) error {
				return f.all(message(msgData, data{m.To, []byte("last words")}), message(msgEOF, to{m.To}), message(msgClose, to{m.To}))
			}
			f.data = onceEach(f.data)
			f.close = func(uint32) error { return nil }
		}),
		talks("closes without an end", func(f *forwards) {
			f.data = onceEach(func(m data) error {
				return f.all(message(msgData, data{m.To, []byte("last words")}), message(msgClose, to{m.To}))
			})
			f.close = func(uint32) error { return nil }
		}),
		talks("sends data behind the end", func(f *forwards) {
			f.data = onceEach(func(m data) error {
				p := [][]byte{message(msgEOF, to{m.To})}
				for range 60 {
					p = append(p, message(msgData, data{m.To, make([]byte, 32<<10)}))
				}
				return f.all(p...)
			})
		}),
		ends("closes twice", func(f *forwards) {
			f.data = func(m data) error { return f.last(message(msgClose, to{m.To}), message(msgClose, to{m.To})) }
		}),
		ends("sends data to a connection that it has closed", func(f *forwards) {
			f.data = func(m data) error {
				return f.all(message(msgClose, to{m.To}), message(msgData, data{m.To, []byte("x")}))
			}
		}),
		talks("never closes", func(f *forwards) { f.close = func(uint32) error { return nil } }),
		ends("sends more than the window", func(f *forwards) {
			f.open = func(m opening) error { // all at once, so that nobody can have read it
				return f.last(message(msgOpened, opened{m.Sender, m.Sender, window, 32 << 10}), message(msgData, data{m.Sender, make([]byte, 64<<10)}))
			}
		}),
		talks("asks on the connection without end", func(f *forwards) {
			f.data = func(m data) error {
				return f.reading(func() error { return f.flood(16, again(message(msgRequest, ask{m.To, "exit-status", true, nil}))) })
			}
		}),
		clogs(talks("asks on the connection without reading the answers", func(f *forwards) {
			f.data = func(m data) error { return f.flood(16, again(message(msgRequest, ask{m.To, Evil, true, nil}))) }
		})),
		clogs(talks("reads nothing", func(f *forwards) { f.data = func(data) error { return f.deaf() } })),
		talks("takes no data", func(f *forwards) { f.data = func(data) error { return nil } }),
		talks("sends tiny pieces", func(f *forwards) {
			f.data = func(m data) error {
				return f.reading(func() error { return f.flood(64, again(message(msgData, data{m.To, []byte{1}}))) })
			}
		}),
		breaks(ends("hangs up", func(f *forwards) {
			f.data = func(m data) error {
				if err := f.send(message(msgData, data{m.To, []byte("half of it")})); err != nil {
					return err
				}
				return f.hangUp()
			}
		})),
		breaks(ends("disconnects", func(f *forwards) {
			f.data = func(m data) error {
				return f.last(message(msgData, data{m.To, []byte("half of it")}), message(msgDisconnect, struct {
					Reason     uint32
					Text, Lang string
				}{11, strings.Repeat(Evil, 100), ""}))
			}
		})),
		breaks(ends("has its messages changed on the way", func(f *forwards) {
			f.data = func(m data) error {
				whole := f.seal(message(msgData, data{m.To, make([]byte, 1<<10)}))
				whole[len(whole)/2] ^= 1
				return f.reading(func() error {
					_, err := f.conn.Write(whole)
					return err
				})
			}
		})),

		// When it is asked to listen.
		listens("does not listen", wire.ForwardFailed, func(f *forwards) {
			f.listen = func(string, bool, []byte) error { return f.send(append([]byte{msgGlobalFailure}, Evil...)) }
		}),
		listens("never answers about listening", wire.SSHTimeout, func(f *forwards) { f.listen = func(string, bool, []byte) error { return nil } }),
		accepts(0, listens("passes connections on before it refuses to listen", wire.ForwardFailed, func(f *forwards) {
			f.listen = func(_ string, reply bool, _ []byte) error {
				if !reply {
					return nil
				}
				for i := range uint32(50) {
					if err := f.send(arrival(i, "127.0.0.1", ListensAt, "127.0.0.1", 1)); err != nil {
						return err
					}
				}
				return f.send([]byte{msgGlobalFailure})
			}
		})),
		talks("answers what nobody asked, without end", func(f *forwards) {
			f.data = func(data) error { return f.reading(func() error { return f.flood(16, again(granted)) }) }
		}),

		// When it listens.
		accepts(-1, talks("passes connections on without end", func(f *forwards) {
			f.data = func(data) error {
				return f.reading(func() error {
					return f.flood(32, func(i int) []byte { return arrival(uint32(i), "127.0.0.1", ListensAt, "127.0.0.1", uint32(i)) })
				})
			}
		})),
		accepts(0, talks("passes connections on that came elsewhere", func(f *forwards) {
			short := arrival(0, "127.0.0.1", ListensAt, "127.0.0.1", 1)
			forged := [][]byte{
				arrival(1, "localhost", ListensAt, "127.0.0.1", 1), arrival(2, "127.0.0.1", ListensAt+1, "127.0.0.1", 1), arrival(3, "", ListensAt, "127.0.0.1", 1),
				arrival(4, "127.0.0.1", 0, "127.0.0.1", 1), arrival(5, "127.0.0.1", ListensAt+1<<16, "127.0.0.1", 1), arrival(6, "127.0.0.1\x00", ListensAt, "127.0.0.1", 1),
				arrival(7, Evil, ListensAt, Evil, 1), arrival(8, "0.0.0.0", ListensAt, "127.0.0.1", 1), short[:len(short)-1], append(short, 0),
			}
			for i, kind := range []string{"auth-agent@openssh.com", "x11", "session", "direct-tcpip", "forwarded-streamlocal@openssh.com", Evil} {
				forged = append(forged,
					message(msgOpen, opening{kind, uint32(20_000 + i), window, 32 << 10, ssh.Marshal(struct{ Path, Reserved string }{"127.0.0.1", ""})}),
					message(msgOpen, opening{kind, uint32(30_000 + i), window, 32 << 10, nil}))
			}
			f.data = func(data) error {
				return f.reading(func() error { return f.flood(16, func(i int) []byte { return forged[i%len(forged)] }) })
			}
		})),
		accepts(-1, talks("says strange things of who connects", func(f *forwards) {
			f.data = onceEach(func(data) error {
				return f.all(arrival(1, "127.0.0.1", ListensAt, strings.Repeat(Evil, 30_000/len(Evil)), 1<<32-1), arrival(2, "127.0.0.1", ListensAt, "\xff\x00", 1<<16))
			})
		})),
		accepts(-1, talks("closes connections that nobody has accepted", func(f *forwards) {
			f.data = func(data) error {
				return f.reading(func() error {
					return f.flood(3, func(i int) []byte {
						n := uint32(i / 3)
						return [][]byte{
							arrival(n, "127.0.0.1", ListensAt, "127.0.0.1", 1), message(msgData, data{1 + n%8, make([]byte, 1<<10)}), message(msgWindow, struct{ To, More uint32 }{1 + n%8, 1}),
						}[i%3]
					})
				})
			}
		})),
		accepts(0, talks("passes connections on that take no packets", func(f *forwards) {
			f.data = func(data) error {
				bad := arrival(1, "127.0.0.1", ListensAt, "127.0.0.1", 1)
				copy(bad[1+4+len("forwarded-tcpip")+8:], []byte{0, 0, 0, 0}) // the largest packet
				return f.reading(func() error { return f.flood(16, again(bad)) })
			}
		})),
	}
}

// onceEach does it for the first data of each channel.
func onceEach(f func(data) error) func(data) error {
	seen := map[uint32]bool{}
	return func(m data) error {
		if seen[m.To] {
			return nil
		}
		seen[m.To] = true
		return f(m)
	}
}
