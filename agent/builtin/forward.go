package builtin

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/builtin/worker"
	"scrier/wire"
)

const (
	// maxForwards bounds the forwarded connections of one SSH connection, in each direction: those that the guest
	// opens, and those that come to its listeners, where other users of the machine may flood it. Each costs a file
	// descriptor and two buffers, and the guest can make it hold the 2 MiB of SSH's window.
	maxForwards = 1024

	// maxListeners bounds what one SSH connection listens at.
	maxListeners = 64

	// drainTime is how long a target may take to read what was sent before the guest closed the channel.
	drainTime = 30 * time.Second
)

// forwards are those of one SSH connection. What connects and listens is a worker, which starts when it is first needed.
type forwards struct {
	server *Server
	guest  Guest
	conn   ssh.Conn

	out, in chan struct{} // a place for each forward that the guest opened, and for each that arrived
	work    sync.WaitGroup

	mu        sync.Mutex
	over      bool
	sockets   *sockets // the worker; nil: none yet
	listeners map[listening]*listener
}

func newForwards(s *Server, guest Guest, conn ssh.Conn) *forwards {
	return &forwards{
		server: s, guest: guest, conn: conn, out: make(chan struct{}, maxForwards), in: make(chan struct{}, maxForwards),
		listeners: make(map[listening]*listener),
	}
}

// begin does something that end waits for. It says whether it was not too late for that.
func (f *forwards) begin(do func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		f.work.Go(do)
	}
	return !f.over
}

// worker returns the worker, which is a new one if there was none or it has ended. What the old one listened at has ended with
// it.
func (f *forwards) worker() (*sockets, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return nil, errWorkerGone
	}
	if f.sockets != nil {
		select {
		case <-f.sockets.gone:
			f.work.Go(f.sockets.end) // once, also if no new one starts
			f.sockets = nil
			clear(f.listeners)
		default:
			return f.sockets, nil
		}
	}
	s, err := f.server.startSockets()
	if err != nil {
		f.server.log.Error("start worker", "login", f.server.Login(), "err", err)
		return nil, err
	}
	f.sockets = s
	f.work.Go(s.run)
	return s, nil
}

// end ends the worker and all forwards, and returns when nothing of them is left. The context that they had must have ended.
func (f *forwards) end() {
	f.mu.Lock()
	f.over = true
	s := f.sockets
	f.mu.Unlock()
	if s != nil {
		s.end()
	}
	f.work.Wait()
}

// enter takes a place of this connection's and of the server's, until leave is called.
func (f *forwards) enter(places chan struct{}) (leave func(), ok bool) {
	select {
	case places <- struct{}{}:
	default:
		return nil, false
	}
	select {
	case f.server.forwards <- struct{}{}:
	default:
		<-places
		return nil, false
	}
	return func() {
		<-f.server.forwards
		<-places
	}, true
}

// forwardPlaces is how many forwarded connections a server has at a time. Each needs a file descriptor, and half of what this process may have
// is for the others' shells and the link to the relay.
func forwardPlaces() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return maxForwards
	}
	return int(min(limit.Cur/2, 16*maxForwards))
}

// dial opens the channel that the guest asks for, to where it leads. It does not wait.
func (f *forwards) dial(ctx context.Context, nc ssh.NewChannel) {
	q, ok := f.target(nc)
	if !ok {
		_ = nc.Reject(ssh.Prohibited, "this target is not allowed")
		return
	}
	leave, ok := f.enter(f.out)
	if !ok {
		_ = nc.Reject(ssh.ResourceShortage, "too many forwards on this connection, or on this machine")
		return
	}
	begun := f.begin(func() {
		defer leave()
		c, err := f.connect(ctx, q)
		if err != nil {
			_ = nc.Reject(ssh.ConnectionFailed, err.Error())
			return
		}
		channel, requests, err := nc.Accept()
		if err != nil { // the connection is gone
			c.Close()
			return
		}
		carry(ctx, channel, requests, c)
	})
	if !begun { // the connection is gone
		leave()
	}
}

// target is where a channel shall lead, if it may.
func (f *forwards) target(nc ssh.NewChannel) (worker.Request, bool) {
	if nc.ChannelType() == "direct-tcpip" {
		d, ok := parse[dialTCP](nc.ExtraData())
		host, allowed := f.guest.mayConnect(d.Host, d.Port)
		return worker.Request{Do: worker.DialTCP, Host: host, Port: uint16(d.Port)}, ok && allowed
	}
	d, ok := parse[dialUnix](nc.ExtraData())
	return worker.Request{Do: worker.DialUnix, Path: []byte(d.Path)}, ok && f.guest.may(wire.MayForward) && !f.guest.NoSockets && len(d.Path) <= wire.MaxTarget
}

func (f *forwards) connect(ctx context.Context, q worker.Request) (net.Conn, error) {
	s, err := f.worker()
	if err != nil {
		return nil, err
	}
	a, err := s.ask(ctx, q, nil)
	if err == nil && a.conn == nil {
		err = errWorkerGone // it is not what was started
	}
	return a.conn, err
}

// carry copies both ways until both directions have ended, each by itself: the end of input is passed on, and the answer to
// it still comes.
func carry(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var asked, ways sync.WaitGroup
	asked.Go(func() {
		ssh.DiscardRequests(requests)
		// The guest has closed the channel: nothing goes back any more, but what it sent still arrives.
		_ = c.SetReadDeadline(time.Unix(1, 0)) // these fail only if c is closed
		_ = c.SetWriteDeadline(time.Now().Add(drainTime))
	})
	sent, broken := make(chan struct{}), make(chan struct{})
	ways.Go(func() {
		if _, err := io.Copy(c, channel); err != nil { // the target takes no more
			close(broken)
			_, _ = io.Copy(io.Discard, channel)
			return
		}
		_ = c.(interface{ CloseWrite() error }).CloseWrite() // a socket of TCP or of a file, and both can
		close(sent)
	})
	ways.Go(func() {
		if _, err := io.Copy(channel, c); err != nil {
			_ = channel.Close() // the target broke off, or the guest is gone
			return
		}
		_ = channel.CloseWrite()
		select {
		case <-broken:
			_ = channel.Close()
		case <-sent:
		}
	})
	ways.Wait()
	_ = channel.Close()
	c.Close()
	asked.Wait()
}
