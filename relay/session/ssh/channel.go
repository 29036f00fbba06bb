package ssh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

const (
	// maxChannels bounds what a connection may hold: package ssh lets a server send 2 MiB on each channel before anybody
	// reads them. The server fills it to maxArrivals only: the operator has room for channels of their own.
	maxChannels = 1100
	maxArrivals = 1024

	// openTimeout is how long a server may take to open a channel, or to listen: it may have to connect to a slow host
	// first.
	openTimeout = time.Minute
)

// channel is what every channel has, whoever opened it.
type channel struct {
	ssh.Channel
	client *Client
	gone   chan struct{} // closed when the server has closed it, or the connection has ended
	leave  func()        // may be called more than once
}

// adopt makes a channel of one that has been entered. Whatever the server asks on it is refused behind handle.
func (c *Client) adopt(ch ssh.Channel, requests <-chan *ssh.Request, handle func(*ssh.Request)) *channel {
	a := &channel{Channel: ch, client: c, gone: make(chan struct{}), leave: sync.OnceFunc(c.leave)}
	serve := func() { // to the end: package ssh serves nobody while it cannot hand a request over
		for r := range requests {
			handle(r)
			if r.WantReply {
				_ = r.Reply(false, nil) // the peer may be gone
			}
		}
		c.exit()
		close(a.gone)
	}
	if !c.run(serve) {
		go serve() // it ends with the connection, which is closed
	}
	return a
}

// end has the server close the channel too, beside the caller: it may take its time.
func (a *channel) end() {
	a.client.run(func() { _ = a.Close() }) // one that is closed already needs none
}

// enter counts a channel that is to be opened: as a use of the connection, which must leave, and as one of its
// channels, which must exit.
func (c *Client) enter(ctx context.Context) error {
	return c.count(ctx, func() error {
		if c.channels >= maxChannels {
			return wire.Errorf(wire.Busy, "the SSH connection has %d channels already", maxChannels).Advise("close some of them, or open another session")
		}
		c.channels++
		return nil
	})
}

// exit takes a channel off the connection that the server has closed.
func (c *Client) exit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.channels--
}

// count adds a use of the connection if add agrees, when nobody has the connection for itself.
func (c *Client) count(ctx context.Context, add func() error) error {
	for {
		if c.transport.dropped() {
			<-c.ended // package ssh has forgotten its channels: a new one would wait for ever
		}
		c.mu.Lock()
		ahead := c.ahead
		err := c.Err()
		if err == nil && ahead == nil {
			if err = add(); err == nil {
				c.uses++
			}
		}
		c.mu.Unlock()
		if err != nil || ahead == nil {
			return err
		}
		select {
		case <-ahead:
		case <-ctx.Done():
			return wire.Cause(ctx, wire.Cancelled)
		}
	}
}

// quiet waits until nobody has the connection for itself.
func (c *Client) quiet() {
	c.mu.Lock()
	ahead := c.ahead
	c.mu.Unlock()
	if ahead != nil {
		<-ahead
	}
}

// open opens a channel, which must leave in the end. It waits for as long as ctx. An error that is an
// [ssh.OpenChannelError] is the server's refusal.
func (c *Client) open(ctx context.Context, kind string, data []byte, handle func(*ssh.Request)) (*channel, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	type answer struct {
		*channel
		err error
	}
	done := make(chan answer) // without a buffer: either it is taken, or nobody is there any more
	given := make(chan struct{})
	// A channel that is opened in the very moment in which the connection ends is told nothing: x/crypto/ssh has
	// dropped its channels by then, and OpenChannel waits for ever. That goroutine cannot be ended, and nobody waits for it.
	go c.guard(func() {
		ch, requests, err := c.conn.OpenChannel(kind, data)
		var a answer
		if err == nil {
			a.channel = c.adopt(ch, requests, handle)
		} else {
			c.exit()
			if _, refused := errors.AsType[*ssh.OpenChannelError](err); !refused {
				<-c.ended // nothing else ends a channel that is not open
				err = c.Err()
			}
			a.err = err
		}
		select {
		case done <- a:
		case <-given:
			if a.channel != nil {
				a.end()
			}
		}
	})
	var err error
	select {
	case a := <-done:
		if a.err == nil {
			return a.channel, nil
		}
		err = a.err
	case <-c.ended:
		err = c.Err()
	case <-ctx.Done():
		err = wire.Cause(ctx, wire.Cancelled)
	}
	close(given)
	c.leave()
	return nil, err
}

// refusal is what a server says when it opens no channel, for a person.
func refusal(e *ssh.OpenChannelError) string {
	return words(fmt.Errorf("%s: %s", e.Reason, e.Message))
}
