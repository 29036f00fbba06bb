package sshtest

import (
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Honest serves a connection as a server should: shells that echo what is typed. It remembers what it
// was asked for. It is safe for concurrent use.
type Honest struct {
	mu    sync.Mutex
	heard []string
}

// Heard is what was asked for, in order: attempts to be let in, channels, requests with their content.
func (h *Honest) Heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.heard...)
}

func (h *Honest) hear(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = append(h.heard, what)
}

// Serve serves a connection to its end.
func (h *Honest) Serve(s *Server) error {
	if err := s.shake(); err != nil {
		return err
	}
	if err := s.admit(h.hear); err != nil {
		return err
	}
	for {
		p, err := s.receive()
		if err != nil {
			return err
		}
		if err := h.answer(s, p); err != nil {
			return err
		}
	}
}

// opening asks for a channel.
type opening struct {
	Kind                   string
	Sender, Window, Packet uint32
	Rest                   []byte `ssh:"rest"`
}

type opened struct{ To, Sender, Window, Packet uint32 }

// request asks for something on a channel.
type request struct {
	To    uint32
	Kind  string
	Reply bool
	Rest  []byte `ssh:"rest"`
}

// data is output or input.
type data struct {
	To    uint32
	Bytes []byte
}

type to struct{ To uint32 }

const window = 1 << 20 // that a client gets

// answer does what a packet asks for. The numbers of channels are the client's, on both sides.
func (h *Honest) answer(s *Server, p []byte) error {
	switch p[0] {
	case msgGlobal:
		h.hear("global request")
		return s.send([]byte{msgFailure - 18}) // SSH_MSG_REQUEST_FAILURE
	case msgOpen:
		var m opening
		if err := ssh.Unmarshal(p[1:], &m); err != nil {
			return err
		}
		h.hear("channel " + m.Kind)
		return s.send(message(msgOpened, opened{m.Sender, m.Sender, window, 32 << 10}))
	case msgRequest:
		var m request
		if err := ssh.Unmarshal(p[1:], &m); err != nil {
			return err
		}
		h.hear(fmt.Sprintf("%s %q", m.Kind, m.Rest))
		if !m.Reply {
			return nil
		}
		return s.send(message(msgSuccess, to{m.To}))
	case msgData:
		var m data
		if err := ssh.Unmarshal(p[1:], &m); err != nil {
			return err
		}
		if err := s.send(message(msgData, m)); err != nil {
			return err
		}
		return s.send(message(msgWindow, struct{ To, More uint32 }{m.To, uint32(len(m.Bytes))}))
	case msgClose:
		var m to
		if err := ssh.Unmarshal(p[1:], &m); err != nil {
			return err
		}
		return s.send(message(msgClose, m))
	}
	return nil
}
