package builtin

import (
	"context"

	"golang.org/x/crypto/ssh"

	"scrier/agent/builtin/worker"
	"scrier/wire"
)

// A listening is what a guest listens at, as it names it.
type listening struct {
	host string // or a socket's path
	port uint16 // 0 with a path
}

// A listener is what a connection listens at. Each connection that comes to it opens a channel to the guest.
type listener struct {
	kind   string // of the channels
	path   string // of an agent's socket
	at     listening
	told   chan struct{} // closed when the guest knows of it; nothing arrives before that
	worker *sockets
	number uint32 // of the worker's
}

func (l *listener) close() { l.worker.unlisten(l.number) }

// payload tells the guest what has arrived.
func (l *listener) payload(a arrival) []byte {
	switch l.kind {
	case "forwarded-tcpip":
		return ssh.Marshal(arrivedTCP{l.at.host, uint32(l.at.port), a.origin, uint32(a.port)})
	case "forwarded-streamlocal@openssh.com":
		return ssh.Marshal(arrivedUnix{Path: l.at.host})
	}
	return nil
}

// answer answers the connection's own requests, in order.
func (f *forwards) answer(ctx context.Context, requests <-chan *ssh.Request) {
	for r := range requests {
		l, ok, payload := f.do(ctx, r)
		if r.WantReply {
			_ = r.Reply(ok, payload) // fails only when the connection does, and then the loop ends too
		}
		if l != nil {
			close(l.told)
		}
	}
}

// do does what a request asks for. It refuses those that it does not know, such as keepalive@openssh.com, for which any answer
// will do.
func (f *forwards) do(ctx context.Context, r *ssh.Request) (l *listener, ok bool, payload []byte) {
	if !f.guest.may(wire.MayReverse) {
		return nil, false, nil
	}
	switch r.Type {
	case "tcpip-forward":
		q, ok := parse[listenTCP](r.Payload)
		host := loopback(q.Host)
		if !ok || host == "" || !f.guest.mayListen(q.Host, q.Port) {
			return nil, false, nil
		}
		l := f.listen(ctx, "forwarded-tcpip", listening{q.Host, uint16(q.Port)}, worker.Request{Do: worker.ListenTCP, Host: host, Port: uint16(q.Port)})
		if l != nil && q.Port == 0 {
			payload = ssh.Marshal(listenedTCP{uint32(l.at.port)})
		}
		return l, l != nil, payload
	case "streamlocal-forward@openssh.com":
		q, ok := parse[listenUnix](r.Payload)
		if !ok || len(q.Path) > wire.MaxTarget {
			return nil, false, nil
		}
		l := f.listen(ctx, "forwarded-streamlocal@openssh.com", listening{host: q.Path}, worker.Request{Do: worker.ListenUnix, Path: []byte(q.Path)})
		return l, l != nil, nil
	case "cancel-tcpip-forward":
		q, ok := parse[listenTCP](r.Payload)
		return nil, ok && q.Port > 0 && q.Port <= 65535 && f.unlisten(listening{q.Host, uint16(q.Port)}), nil
	case "cancel-streamlocal-forward@openssh.com":
		q, ok := parse[listenUnix](r.Payload)
		return nil, ok && f.unlisten(listening{host: q.Path}), nil
	}
	return nil, false, nil
}

// loopback is where is listened for a host: at the machine itself alone. Any address at all means both of loopback's, as for sshd
// (GatewayPorts no). It is empty for what is refused.
func loopback(host string) string {
	switch host {
	case "", "*", "0.0.0.0", "::":
		return "localhost"
	}
	if host = target(host); !Loopback(host, 0) {
		return ""
	}
	return host
}

// listen has the worker listen; nil: it does not, and that is logged.
func (f *forwards) listen(ctx context.Context, kind string, at listening, q worker.Request) *listener {
	f.mu.Lock()
	full := len(f.listeners) >= maxListeners
	f.mu.Unlock()
	if full {
		return nil
	}
	l := f.start(ctx, &listener{kind: kind, at: at, told: make(chan struct{})}, q)
	if l == nil {
		return nil
	}
	var old *listener
	f.mu.Lock()
	if l.worker == f.sockets {
		old, f.listeners[l.at] = f.listeners[l.at], l
	}
	f.mu.Unlock()
	if old != nil { // its socket was removed, so nobody can reach it
		old.close()
	}
	return l
}

// listenAgent listens for programs that want the guest's agent; nil: it does not. The caller closes it.
func (f *forwards) listenAgent(ctx context.Context) *listener {
	l := f.start(ctx, &listener{kind: "auth-agent@openssh.com", told: make(chan struct{})}, worker.Request{Do: worker.ListenAgent})
	if l != nil {
		close(l.told) // no program knows of it yet
	}
	return l
}

func (f *forwards) start(ctx context.Context, l *listener, q worker.Request) *listener {
	s, err := f.worker()
	if err != nil {
		return nil
	}
	a, err := s.ask(ctx, q, func(a arrival) { f.arrive(ctx, l, a) })
	if err != nil {
		f.server.log.Info("forward refused", "login", f.server.Login(), "channels", l.kind, "at", wire.Printable(l.at.host), "port", l.at.port, "err", err)
		return nil
	}
	l.worker, l.number, l.path = s, a.Number, string(a.Path)
	if l.at.port == 0 {
		l.at.port = a.Port
	}
	return l
}

func (f *forwards) unlisten(at listening) bool {
	f.mu.Lock()
	l := f.listeners[at]
	delete(f.listeners, at)
	f.mu.Unlock()
	if l == nil {
		return false
	}
	l.close()
	return true
}

// arrive opens a channel to the guest for what has come. It does not wait.
func (f *forwards) arrive(ctx context.Context, l *listener, a arrival) {
	leave, ok := f.enter(f.in)
	if !ok {
		a.Close()
		return
	}
	begun := f.begin(func() {
		defer leave()
		select {
		case <-l.told:
		case <-ctx.Done():
			a.Close()
			return
		}
		channel, requests, err := f.conn.OpenChannel(l.kind, l.payload(a))
		if err != nil {
			a.Close()
			return
		}
		carry(ctx, channel, requests, a.Conn)
	})
	if !begun {
		leave()
		a.Close()
	}
}
