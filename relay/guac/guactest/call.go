package guactest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"scrier/relay/guac"
)

// call is one connection to the server.
type call struct {
	s      *Server
	c      net.Conn
	r      *guac.Reader
	heard  *Connection
	behave Behaviour
	desk   *desktop
	screen [2]string // the viewer's width and height

	mu sync.Mutex // for writing: several goroutines do
}

func (s *Server) serve(c net.Conn) {
	call := &call{s: s, c: c, r: guac.NewReader(c), heard: &Connection{}, behave: s.behave}
	s.note(func() { s.heard = append(s.heard, call.heard) })
	defer s.note(func() { call.heard.Over = true })
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(s.ctx, func() { _ = c.Close() })
	defer stop()
	if call.handshake() {
		call.live()
	}
}

// next reads an instruction and takes note of it; nil is the end.
func (c *call) next() []string {
	i, err := c.r.Next()
	if err != nil {
		return nil
	}
	elements := []string{string(i.Opcode())}
	for n := range i.Len() {
		elements = append(elements, string(i.Arg(n)))
	}
	c.s.note(func() {
		if len(c.heard.Heard) == maxHeard {
			c.heard.Heard = c.heard.Heard[1:]
		}
		c.heard.Heard = append(c.heard.Heard, elements)
	})
	return elements
}

// say writes an instruction; false is the end.
func (c *call) say(opcode string, args ...string) bool {
	return c.write(guac.Append(nil, opcode, args...))
}

func (c *call) write(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.behave != Drips {
		_, err := c.c.Write(b)
		return err == nil
	}
	for n := range b {
		if _, err := c.c.Write(b[n : n+1]); err != nil {
			return false
		}
	}
	return true
}

// listen takes note of what comes until the connection ends.
func (c *call) listen() {
	for c.next() != nil {
	}
}

// handshake goes up to ready. False means that it came to nothing.
func (c *call) handshake() bool {
	first := c.next()
	if len(first) != 2 || first[0] != "select" {
		return false
	}
	protocol := first[1]
	c.s.note(func() { c.heard.Protocol = protocol })
	switch c.behave {
	case Silent:
		c.listen()
		return false
	case ClosesAfterSelect:
		return false
	case ErrorForArgs:
		c.say("error", "Aborted. See logs.", "512")
		c.listen()
		return false
	case ReadyFirst:
		c.say("ready", "$00000000-0000-4000-8000-000000000000")
		c.listen()
		return false
	}

	if strings.HasPrefix(protocol, "$") {
		c.s.note(func() { c.desk = c.s.desktops[protocol] })
		if c.desk == nil || c.behave == JoinRefused {
			return false // guacd only closes the connection
		}
		protocol = c.desk.protocol
	} else if protocol != "vnc" && protocol != "rdp" {
		c.listen() // guacd says nothing
		return false
	}
	asked := names(c.behave, protocol)
	if c.behave == ManyNames {
		for n := range 10000 {
			asked = append(asked, fmt.Sprintf("name-%d", n))
		}
	}
	c.s.note(func() { c.heard.Asked = asked })
	c.say("args", asked...)
	switch c.behave {
	case ArgsThenSilent:
		c.listen()
		return false
	case ClosesAfterArgs:
		return false
	}
	if !c.readConnect(asked) {
		return false
	}
	return c.ready(protocol)
}

// readConnect reads up to connect, in the order that guacd wants.
func (c *call) readConnect(asked []string) bool {
	order := []string{"size", "audio", "video", "image"}
	for _, opcode := range order {
		i := c.next()
		if i == nil || i[0] != opcode || opcode == "size" && len(i) < 3 {
			return false
		}
		if opcode == "size" {
			c.screen = [2]string{i[1], i[2]}
		}
	}
	for {
		i := c.next()
		switch {
		case i == nil:
			return false
		case i[0] == "connect":
			if len(i)-1 != len(asked) {
				return false // guacd: "Incorrect number of connection parameters"
			}
			params := map[string]string{}
			for n, name := range asked {
				if n > 0 || !strings.HasPrefix(name, "VERSION_") {
					params[name] = i[n+1]
				}
			}
			c.s.note(func() { c.heard.Connect, c.heard.Params = i[1:], params })
			return true
		case i[0] != "timezone" && i[0] != "name" || c.old(10):
			return false
		}
	}
}

// ready makes the desktop, or joins it, and says ready.
func (c *call) ready(protocol string) bool {
	switch c.behave {
	case ErrorBeforeReady:
		c.say("error", "Aborted. See logs.", "768")
		c.listen()
		return false
	case EmptyID:
		c.say("ready", "")
		c.listen()
		return false
	case EndlessNops:
		for c.say("nop") {
		}
		return false
	}
	owner := c.desk == nil
	c.s.note(func() {
		if owner {
			c.s.next++
			c.desk = &desktop{id: fmt.Sprintf("$%08d-0000-4000-8000-000000000000", c.s.next), protocol: protocol, users: map[*call]bool{}}
			c.desk.size, c.desk.follows = c.size(protocol)
			c.s.desktops[c.desk.id] = c.desk
		}
		c.desk.users[c] = true
		c.heard.ID = c.desk.id
	})
	if !c.say("ready", c.desk.id) {
		c.leave()
		return false
	}
	if !owner {
		return true
	}
	c.showDrive()
	return c.dial()
}

// old says whether this is guacd 1.0, or 1.3 and older.
func (c *call) old(version int) bool {
	switch c.behave {
	case Version10, Freezes10:
		return true
	case Version13, Unavailable13:
		return version >= 13
	}
	return false
}

// size is the desktop's, and whether it follows its owner's screen. An RDP server makes a desktop as large
// as that. A VNC server has one, which guacd from 1.6 on changes unless it is told not to.
func (c *call) size(protocol string) (size [2]string, follows bool) {
	resizes := protocol == "rdp" || !c.old(13) && c.heard.Params["disable-display-resize"] != "true"
	if !resizes || c.heard.Params["read-only"] == "true" {
		return [2]string{"1024", "768"}, false
	}
	return c.screen, true
}

// ticking says nop until the call is over.
func (c *call) ticking(done <-chan struct{}) {
	tick := time.NewTicker(c.s.ping)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if !c.say("nop") {
				return
			}
		}
	}
}
