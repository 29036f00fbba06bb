package transfer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"scrier/wire"
)

// Patience is how long a machine may take for one answer: it may be writing to a slow disk.
const Patience = 5 * time.Minute

// namePacket is the type of an answer that lists names (SSH_FXP_NAME).
const namePacket = 104

// conn is a connection to an SFTP server, which it watches: see [conn.lost] and [conn.names].
type conn struct {
	raw      io.ReadWriteCloser
	in       *bufio.Reader
	patience time.Duration

	out []byte // a packet that is being put together; the SFTP client writes one at a time

	// What is being read: the client does that in one goroutine.
	head []byte // of a packet, up to its type
	left int    // of its body

	mu    sync.Mutex
	err   error     // the first that there was
	asked int       // packets without an answer
	since time.Time // the last answer, or the first packet without one
	named int64     // bytes of names, each answer at least nameCost
	full  func()    // called once named is above quota
	quota int64

	timer *time.Timer

	modes map[string]fs.FileMode // of what is being made, by path
}

// making has the requests that make path ask for a mode, until the function that it gives is called.
func (c *conn) making(path string, mode fs.FileMode) (made func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.modes == nil {
		c.modes = map[string]fs.FileMode{}
	}
	c.modes[path] = mode
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.modes, path)
	}
}

// The packets that make something, and the attribute that is a mode.
const (
	openPacket  = 3
	mkdirPacket = 14
	attrMode    = 4
)

// withMode adds the mode that [conn.making] was told to a packet that has no attributes: its last 4 bytes, their flags, are 0.
func (c *conn) withMode(packet []byte) []byte {
	const head = 4 + 1 + 4 // length, type, id
	if len(packet) < head+4+4 || packet[4] != openPacket && packet[4] != mkdirPacket {
		return packet
	}
	rest := packet[head+4:]
	n := binary.BigEndian.Uint32(packet[head:])
	if uint64(n)+4 > uint64(len(rest)) || binary.BigEndian.Uint32(packet[len(packet)-4:]) != 0 {
		return packet
	}
	c.mu.Lock()
	mode, ok := c.modes[string(rest[:n])]
	c.mu.Unlock()
	if !ok {
		return packet
	}
	packet = binary.BigEndian.AppendUint32(packet[:len(packet)-4], attrMode)
	packet = binary.BigEndian.AppendUint32(packet, uint32(mode.Perm()))
	binary.BigEndian.PutUint32(packet, uint32(len(packet)-4))
	return packet
}

// nameCost is what an answer counts at least, so that one that lists nothing counts too.
const nameCost = 1 << 10

func newConn(raw io.ReadWriteCloser, patience time.Duration) *conn {
	c := &conn{raw: raw, in: bufio.NewReaderSize(raw, 64<<10), patience: patience}
	c.timer = time.AfterFunc(patience, c.watch)
	return c
}

// watch ends the connection when an answer takes too long.
func (c *conn) watch() {
	c.mu.Lock()
	waits := time.Duration(0)
	if c.asked > 0 {
		waits = time.Since(c.since)
	}
	ended := c.err != nil
	c.mu.Unlock()
	switch {
	case ended:
	case waits >= c.patience:
		c.fail(fmt.Errorf("the machine has not answered for %s", wire.Period(c.patience)))
	default:
		c.timer.Reset(max(c.patience-waits, time.Millisecond))
	}
}

// fail keeps the first error and ends the connection.
func (c *conn) fail(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
	}
	c.mu.Unlock()
	if first {
		c.timer.Stop()
		_ = c.raw.Close() // what ended it is known
	}
}

// lost is why the connection has ended; nil: it has not.
func (c *conn) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection at once; whoever reads or writes ends with it.
func (c *conn) Close() error {
	c.fail(errClosed)
	return nil
}

var errClosed = errors.New("the connection was closed")

// Write puts the pieces of a packet together, so that each is sent as a whole.
func (c *conn) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	if len(c.out) < 4 || len(c.out) < 4+int(binary.BigEndian.Uint32(c.out)) {
		return len(p), nil
	}
	c.mu.Lock()
	if c.asked == 0 {
		c.since = time.Now()
	}
	c.asked++
	c.mu.Unlock()
	c.out = c.withMode(c.out)
	_, err := c.raw.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		c.fail(err)
		return 0, err
	}
	return len(p), nil
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.look(p[:n])
	if err != nil {
		c.fail(err)
	}
	return n, err
}

// look counts the answers in what was read.
func (c *conn) look(p []byte) {
	for len(p) > 0 {
		if c.left > 0 {
			n := min(c.left, len(p))
			c.left -= n
			p = p[n:]
			continue
		}
		n := min(5-len(c.head), len(p))
		c.head = append(c.head, p[:n]...)
		p = p[n:]
		if len(c.head) < 5 {
			return
		}
		length := int64(binary.BigEndian.Uint32(c.head))
		c.left = int(max(length-1, 0))
		c.answer(c.head[4], length)
		c.head = c.head[:0]
	}
}

func (c *conn) answer(kind byte, length int64) {
	c.mu.Lock()
	c.asked = max(c.asked-1, 0)
	c.since = time.Now()
	full := func() {}
	if kind == namePacket {
		c.named += max(length, nameCost)
		if c.full != nil && c.named > c.quota {
			full, c.full = c.full, nil
		}
	}
	c.mu.Unlock()
	full()
}

// names calls full when more than quota bytes of names have come from now on. It gives what says how many did.
func (c *conn) names(quota int64, full func()) (named func() int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named, c.quota, c.full = 0, quota, full
	return func() int64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.full = nil
		return c.named
	}
}
