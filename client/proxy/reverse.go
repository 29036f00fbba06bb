package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// place is where the machine is to listen, as the client writes it.
type place struct {
	network, host string
	port          uint16
}

// placeOf reads it from a request that begins or ends the listening.
func placeOf(r *ssh.Request) (p place, ok bool) {
	switch r.Type {
	case "tcpip-forward", "cancel-tcpip-forward":
		var m struct {
			Host string
			Port uint32
		}
		if ssh.Unmarshal(r.Payload, &m) != nil || m.Port > 65535 {
			return place{}, false
		}
		return place{"tcp", m.Host, uint16(m.Port)}, true
	default:
		var m struct{ Path string }
		if ssh.Unmarshal(r.Payload, &m) != nil {
			return place{}, false
		}
		return place{network: "unix", host: m.Path}, true
	}
}

// opens is what is said of a connection that arrives there: a channel's type and what goes with it.
func (p place) opens(origin string, port uint16) (kind string, extra []byte) {
	if p.network == "unix" {
		return "forwarded-streamlocal@openssh.com", ssh.Marshal(struct{ Path, Reserved string }{p.host, ""})
	}
	return "forwarded-tcpip", ssh.Marshal(struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}{p.host, uint32(p.port), origin, uint32(port)})
}

func (p place) String() string {
	if p.network == "unix" {
		return wire.Printable(p.host)
	}
	return fmt.Sprintf("%s:%d", wire.Printable(p.host), p.port)
}

// reverse is where the machine listens for the client.
type reverse struct {
	mu        sync.Mutex
	listeners map[place]Listener
}

// put remembers a listener; not at a place that is taken.
func (v *reverse) put(p place, l Listener) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, taken := v.listeners[p]; taken {
		return false
	}
	if v.listeners == nil {
		v.listeners = map[place]Listener{}
	}
	v.listeners[p] = l
	return true
}

// take forgets the listener of a place; nil: there is none.
func (v *reverse) take(p place) Listener {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.listeners[p]
	delete(v.listeners, p)
	return l
}

// drop forgets a listener, unless the place has got another one meanwhile.
func (v *reverse) drop(p place, l Listener) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listeners[p] == l {
		delete(v.listeners, p)
	}
}

// listen has the machine listen, and gives the reply to the request. A server says no more than no to a client that wants to
// listen, so the person is told why.
func (s *server) listen(ctx context.Context, r *ssh.Request) <-chan reply {
	answer := make(chan reply, 1)
	p, ok := placeOf(r)
	if !ok || !s.slots.TryAcquire(1) {
		answer <- reply{}
		return answer
	}
	s.wg.Go(func() {
		defer s.slots.Release(1)
		asked := p.port
		l, err := s.session.Listen(ctx, p.network, p.host, p.port)
		if err != nil {
			if ctx.Err() == nil {
				s.note("the machine does not listen at %s: %s", p, words(err))
			}
			answer <- reply{}
			return
		}
		defer l.Close()
		if p.network == "tcp" {
			p.port = l.Port()
		}
		if !s.reverse.put(p, l) {
			answer <- reply{}
			return
		}
		defer s.reverse.drop(p, l)
		if p.network == "tcp" && asked == 0 {
			answer <- reply{true, binary.BigEndian.AppendUint32(nil, uint32(p.port))}
		} else {
			answer <- reply{ok: true}
		}
		s.arrivals(ctx, l, p.opens)
	})
	return answer
}

// cancel ends the listening at a place.
func (s *server) cancel(r *ssh.Request) bool {
	p, ok := placeOf(r)
	if !ok {
		return false
	}
	l := s.reverse.take(p)
	if l == nil {
		return false
	}
	return l.Close() == nil
}

// arrivals opens a channel to the client for each connection of a listener, until that has ended.
func (s *server) arrivals(ctx context.Context, l Listener, opens func(origin string, port uint16) (string, []byte)) {
	for {
		c, origin, port, err := l.Accept(ctx)
		if err != nil {
			return
		}
		if !s.slots.TryAcquire(1) {
			_ = c.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.slots.Release(1)
			ch, requests, err := s.conn.OpenChannel(opens(origin, port))
			if err != nil { // the client does not want it, or has gone
				_ = c.Close()
				return
			}
			splice(ctx, ch, requests, c)
		})
	}
}
