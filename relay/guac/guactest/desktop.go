package guactest

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// desktop is one connection to a desktop server, seen by its owner and by who joined.
type desktop struct {
	id, protocol string
	users        map[*call]bool // guarded by the Server's mutex
	size         [2]string      // the same
	follows      bool           // its owner's screen
	once         sync.Once
	upstream     []net.Conn
	drive        *drive // nil: it has none
}

// end disconnects everybody, as guacd does when the desktop server is gone.
func (d *desktop) end(s *Server, status string) {
	d.once.Do(func() {
		var users []*call
		s.note(func() {
			for c := range d.users {
				users = append(users, c)
			}
		})
		for _, c := range users {
			if status != "" {
				c.say("error", "Aborted. See logs.", status)
			}
			c.say("disconnect")
			_ = c.c.Close()
		}
	})
}

// dial calls the desktop server, if the behaviour does.
func (c *call) dial() bool {
	times := 1
	switch c.behave {
	case NeverDials, NotFound, Unauthorized, WrongSecurity, UpstreamTimeout, HangsAfterReady:
		times = 0
	case DialsTwice:
		times = 2
	}
	addr := net.JoinHostPort(c.heard.Params["hostname"], c.heard.Params["port"])
	if c.heard.Params["hostname"] == "" {
		times = 0 // a test of the protocol alone
	}
	for range times {
		ctx, cancel := context.WithTimeout(c.s.ctx, 10*time.Second)
		up, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			if c.behave == DialsTwice {
				continue
			}
			c.say("error", "Aborted. See logs.", "519")
			c.listen() // guacd leaves the connection open
			c.leave()
			return false
		}
		c.desk.upstream = append(c.desk.upstream, up)
		c.s.note(func() { c.heard.Dialled++ })
	}
	if len(c.desk.upstream) == 0 {
		return true
	}
	up := c.desk.upstream[0]
	_ = up.SetDeadline(time.Now().Add(20 * time.Second))
	_, err := io.WriteString(up, c.s.greet)
	b := make([]byte, c.s.expect)
	n, readErr := io.ReadFull(up, b)
	_ = up.SetDeadline(time.Time{})
	c.s.note(func() { c.heard.Read = string(b[:n]) })
	if err != nil || readErr != nil {
		c.desk.end(c.s, "519")
		c.leave()
		return false
	}
	stop := context.AfterFunc(c.s.ctx, func() { _ = up.Close() })
	c.s.calls.Go(func() {
		defer stop()
		_, _ = io.Copy(io.Discard, up)
		switch c.behave {
		case Spins, Loses, CallsAndGoes:
		case Unavailable, Unavailable13:
			c.desk.end(c.s, "520")
		default:
			c.desk.end(c.s, "515")
		}
	})
	if c.behave == CallsAndGoes {
		_ = up.Close()
	}
	return true
}

// leave takes the caller off the desktop. The last one ends it.
func (c *call) leave() {
	last := false
	c.s.note(func() {
		delete(c.desk.users, c)
		if last = len(c.desk.users) == 0; last {
			delete(c.s.desktops, c.desk.id)
		}
	})
	if last {
		for _, up := range c.desk.upstream {
			_ = up.Close()
		}
	}
}
