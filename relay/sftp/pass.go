package sftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"scrier/wire"
)

// End is an SFTP client or server, or what carries its bytes. Close ends Reads and Writes that wait, and may be called more
// than once.
type End interface {
	io.ReadWriteCloser
	CloseWrite() error // no more from here; the other direction goes on
}

// Config is what a connection may do, and who hears of it.
type Config struct {
	Rights
	// File and Change take what is to be recorded, in the order in which it has happened, and return soon; written waits until
	// it is recorded, and nil says that it is. The client may know before that, by [maxUnwritten] records at most. An error
	// ends the connection. They are not called at the same time; nil takes nothing.
	File   func(File) (written func() error)
	Change func(Change) (written func() error)
	// Count is told of bytes as they come from the client and from the server; nil: nobody is.
	Count func(fromClient, fromServer int)
	// Names, if not 0, bounds the list of a folder for a client that holds it whole: a READDIR after so many names, or a
	// MiB of them for each thousand, is answered with the end.
	Names int
}

// bytesOfName is what one of [Config.Names] may take of a list, in bytes.
const bytesOfName = 1 << 10

// long says whether a folder's list has come to its bound.
func (c *Config) long(h *handle) bool {
	return c.Names > 0 && (h.names.Load() >= int64(c.Names) || h.listed.Load() >= int64(c.Names)*bytesOfName)
}

// maxUnwritten is how many records may be on their way to the disk: they share its time. With more the connection waits.
const maxUnwritten = 64

// unrecorded is why a connection ends of which something could not be recorded.
func unrecorded(err error) error {
	if _, coded := errors.AsType[*wire.Error](err); err == nil || coded {
		return err
	}
	return &wire.Error{Code: wire.AuditUnavailable, Err: err}
}

func (c *Config) count(fromClient, fromServer int) {
	if c.Count != nil && fromClient+fromServer > 0 {
		c.Count(fromClient, fromServer)
	}
}

// Summary is what a connection was.
type Summary struct {
	Sent, Received uint64 // bytes of files' content, to the machine and from it
	Files          uint64 // that were open
	Changes        uint64
	Refused        uint64 // requests, for want of a right
}

// lastWait is how long a server may be silent when nothing more is sent to it.
const lastWait = time.Minute

// errOver is the end in order: the server has ended behind the client, and all of it has gone there.
var errOver = errors.New("over")

// conn is a connection, as both directions know it.
type conn struct {
	config *Config
	rights Rights
	client End
	server End
	table  *table

	writing sync.Mutex // whole packets to the client
	greeted bool       // the client has got VERSION; under writing

	heldUp, heldDown int // see digest.room; each is its direction's

	recording sync.Mutex
	unwritten chan func() error // of maxUnwritten

	sent, received, files, changes, refused atomic.Uint64

	leaving sync.Mutex
	gone    bool        // the client has ended in order
	silence *time.Timer // set once nothing more goes to the server
}

// Pass joins a client and a server until either ends, or ctx, and returns when all that passed is recorded. The end of the
// client's stream in order lets the server answer what it was asked. It gives nil if the client ended in order, else a
// [wire.Error]: [wire.Protocol], [wire.ViewerLost], [wire.TargetRefused] if the server ended by itself or is none, the
// cause of ctx, or what Config's functions gave. Pass closes the server. It closes the client after an error; otherwise it has
// closed only the writing side. A panic in one of its goroutines becomes one of the caller.
func Pass(ctx context.Context, client, server End, config Config) (Summary, error) {
	c := &conn{config: &config, rights: config.Rights, client: client, server: server, table: newTable(), heldUp: maxHeld, heldDown: maxHeld, unwritten: make(chan func() error, maxUnwritten)}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	ended := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(ended)
		c.table.end()
		_ = server.Close() // it is of no use any more, however it takes that
		if context.Cause(ctx) != errOver {
			_ = client.Close()
		}
	})
	var faults [3]string
	var wg, ledger sync.WaitGroup
	run := func(wg *sync.WaitGroup, fault *string, f func() error) {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					*fault = fmt.Sprintf("%v, in a goroutine of Pass:\n%s", p, debug.Stack())
					end(&wire.Error{Code: wire.Internal})
				}
			}()
			if err := f(); err != nil {
				end(err)
			}
		})
	}
	var unrecorded error
	run(&ledger, &faults[2], func() error { return c.ledger(end, &unrecorded) })
	run(&wg, &faults[0], func() error { return c.up(end) })
	run(&wg, &faults[1], c.down)
	wg.Wait()
	c.stay()
	<-ended // down never gives nil
	c.finish()
	close(c.unwritten)
	ledger.Wait()
	for _, fault := range faults {
		if fault != "" {
			panic(fault)
		}
	}
	err := context.Cause(ctx)
	if err == errOver {
		err = nil
	} else {
		err = wire.Cause(ctx, wire.Cancelled)
	}
	err = cmp.Or(err, unrecorded)
	return Summary{Sent: c.sent.Load(), Received: c.received.Load(), Files: c.files.Load(), Changes: c.changes.Load(), Refused: c.refused.Load()}, err
}

// up carries what the client sends, and gives nil when that has ended in order.
func (c *conn) up(end context.CancelCauseFunc) error {
	u := &upward{conn: c, flow: flow{from: counted{c}, to: c.server, buf: make([]byte, window)}}
	err := u.carry()
	if deaf, ok := errors.AsType[*deafError](err); ok {
		c.await(end, serverEnded(deaf.error)) // what it has said before it ended says more
		return nil
	}
	if err != nil {
		return err
	}
	c.leave()
	c.await(end, wire.Errorf(wire.TargetRefused, "the machine's SFTP server did not end within %s", lastWait))
	_ = c.server.CloseWrite() // a server that has ended takes none, and down knows
	return nil
}

// counted reads from the client.
type counted struct{ *conn }

func (c counted) Read(b []byte) (int, error) {
	n, err := c.client.Read(b)
	c.config.count(n, 0)
	return n, err
}

// down carries what the server sends, and gives errOver when that has ended in order.
func (c *conn) down() error {
	d := &downward{conn: c, flow: flow{to: c.client, buf: make([]byte, window)}}
	d.from = d
	if err := d.carry(); err != nil {
		return err
	}
	if !c.left() {
		return serverEnded(io.EOF)
	}
	if err := c.client.CloseWrite(); err != nil {
		return &wire.Error{Code: wire.ViewerLost, Err: err}
	}
	return errOver
}

// file has a record made of a file, and change of a change.
func (c *conn) file(f File) {
	c.files.Add(1)
	if c.config.File != nil {
		c.record(func() func() error { return c.config.File(f) })
	}
}

func (c *conn) change(ch Change) {
	if ch.Refused == "" {
		c.changes.Add(1)
	}
	if c.config.Change != nil {
		c.record(func() func() error { return c.config.Change(ch) })
	}
}

func (c *conn) record(begin func() (written func() error)) {
	c.recording.Lock()
	defer c.recording.Unlock()
	if written := begin(); written != nil {
		c.unwritten <- written
	}
}

// ledger waits for what is recorded, and ends the connection if something is not.
func (c *conn) ledger(end context.CancelCauseFunc, first *error) error {
	for written := range c.unwritten {
		if err := unrecorded(written()); err != nil {
			*first = cmp.Or(*first, err)
			end(err)
		}
	}
	return nil
}

// reply sends answers of our own whose turn it is.
func (c *conn) reply() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.greeted {
		return nil // they go behind that
	}
	for _, p := range c.table.ready() {
		if _, err := c.client.Write(p); err != nil {
			return &wire.Error{Code: wire.ViewerLost, Err: err}
		}
	}
	return nil
}

// handle is a file or folder that the client wants to open.
func (c *conn) handle(path []byte) *handle {
	return &handle{path: bounded(path), up: digest{room: &c.heldUp}, down: digest{room: &c.heldDown}}
}

// leave is for when the client has ended in order.
func (c *conn) leave() {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	c.gone = true
}

// await bounds how long the server may be silent from now on.
func (c *conn) await(end context.CancelCauseFunc, why error) {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	c.silence = time.AfterFunc(lastWait, func() { end(why) })
}

// left says whether the client has ended in order.
func (c *conn) left() bool {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	return c.gone
}

// progress says that the server is not silent.
func (c *conn) progress() {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	if c.silence != nil {
		c.silence.Reset(lastWait)
	}
}

// stay ends what await began.
func (c *conn) stay() {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	if c.silence != nil {
		c.silence.Stop()
	}
}

// finish records what was not closed or not answered.
func (c *conn) finish() {
	handles, waiting := c.table.left()
	for _, r := range waiting {
		if r.change != nil {
			r.change.Status = Unanswered
			c.change(*r.change)
		}
	}
	for _, h := range handles {
		if !h.folder {
			h.fail(Unanswered)
			c.file(h.file())
		}
	}
}
