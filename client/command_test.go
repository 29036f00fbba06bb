package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"scrier/wire"
	"scrier/wire/relaytest"
	"scrier/wire/wiretest"
)

// runCommand runs a command at a relay that a test plays, and gives how it ended.
func runCommand(t *testing.T, ctx context.Context, req CommandRequest, behave func(*wire.Framed, *wire.Connect)) (int, error) {
	t.Helper()
	near, far := wiretest.Pair(wire.Peer{}, wire.Peer{})
	r := &Relay{link: near, http: &http.Client{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		stream, err := far.Accept(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		f := wire.NewFramed(stream)
		m, err := f.Receive()
		if err != nil {
			t.Error(err)
			return
		}
		behave(f, m.(*wire.Connect))
	})
	req.Envoy = "web1"
	if req.Messages == nil {
		req.Messages = io.Discard
	}
	if req.Err == nil {
		req.Err = io.Discard
	}
	type end struct {
		status int
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		status, err := r.Command(ctx, req)
		ended <- end{status, err}
	}()
	var e end
	select {
	case e = <-ended:
	case <-time.After(2 * patience):
		t.Error("it does not end")
	}
	_ = near.Close(wire.None, "")
	wg.Wait()
	return e.status, e.err
}

func attach(t *testing.T, f *wire.Framed) {
	if err := f.Send(&wire.Attached{Session: wire.NewSessionID(), Envoy: "web1", Login: "ann", Kind: wire.KindSSH, Channel: true}); err != nil {
		t.Error(err)
	}
}

// The outputs come apart, input goes with its end, and the status is the program's.
func TestCommand(t *testing.T) {
	var out, errs, messages bytes.Buffer
	status, err := runCommand(t, t.Context(), CommandRequest{Command: "wc -c", In: strings.NewReader("input"), Out: &out, Err: &errs, Messages: &messages}, func(f *wire.Framed, c *wire.Connect) {
		if c.Channel == nil || string(c.Channel.Command) != "wc -c" || !c.Channel.Plain || c.Kind != wire.KindSSH {
			t.Errorf("asked for %+v", c)
		}
		attach(t, f)
		var in []byte
		for {
			m, err := f.Receive()
			if err != nil {
				t.Error(err)
				return
			}
			if d, ok := m.(*wire.Data); ok {
				in = append(in, d.Bytes...)
			}
			if _, ok := m.(*wire.EOF); ok {
				break
			}
		}
		_ = f.WriteData(wire.DataFrame(append(make([]byte, wire.DataHeader), in...), len(in)))
		_ = f.WriteData(wire.ErrorsFrame(append(make([]byte, wire.DataHeader), "oh"...), 2))
		_ = f.Send(&wire.Exit{Status: 3})
	})
	if status != 3 || err != nil || out.String() != "input" || errs.String() != "oh" || messages.Len() != 0 {
		t.Errorf("%d, %v, %q, %q, %q", status, err, &out, &errs, &messages)
	}
}

func TestCommandEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end    wire.Message
		status int
		code   wire.Code
	}{
		"signal":       {&wire.Exit{Signal: "TERM"}, 143, wire.None},
		"other signal": {&wire.Exit{Signal: "BUS@openssh.com"}, 135, wire.None},
		"odd signal":   {&wire.Exit{Signal: "RTMIN+3@openssh.com"}, wire.NoStatus, wire.None},
		"killed":       {&wire.Exit{Code: wire.Killed, Detail: "by bob"}, 0, wire.Killed},
		"broken":       {nil, 0, wire.RelayUnreachable},
		"nonsense":     {&wire.Ack{}, 0, wire.Protocol},
	} {
		status, err := runCommand(t, t.Context(), CommandRequest{Out: io.Discard}, func(f *wire.Framed, _ *wire.Connect) {
			attach(t, f)
			if c.end == nil {
				_ = f.CloseWrite()
			} else {
				_ = f.Send(c.end)
			}
		})
		if status != c.status || wire.CodeOf(err) != c.code {
			t.Errorf("%s: %d, %v", name, status, err)
		}
	}
}

// A relay that does not know of commands opens a shell: nothing is typed there.
func TestCommandAtAnOldRelay(t *testing.T) {
	_, err := runCommand(t, t.Context(), CommandRequest{Command: "rm x", In: strings.NewReader("input"), Out: io.Discard}, func(f *wire.Framed, _ *wire.Connect) {
		_ = f.Send(&wire.Attached{Session: wire.NewSessionID(), Kind: wire.KindSSH})
		if m, err := f.Receive(); err == nil {
			t.Errorf("it sends %+v", m)
		}
	})
	if wire.CodeOf(err) != wire.VersionMismatch {
		t.Errorf("%v", err)
	}
}

// When the reader of its output goes, the program is told and its end is waited for; a full disk is an error.
func TestCommandWithoutAReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	data := func(f *wire.Framed) {
		_ = f.WriteData(wire.DataFrame(make([]byte, wire.DataHeader+9), 9))
	}
	status, err := runCommand(t, t.Context(), CommandRequest{Out: w}, func(f *wire.Framed, _ *wire.Connect) {
		attach(t, f)
		data(f)
		data(f)
		for {
			m, err := f.Receive()
			if err != nil {
				t.Error(err)
				return
			}
			if _, ok := m.(*wire.Closed); ok {
				break
			}
		}
		data(f)
		_ = f.Send(&wire.Exit{Signal: "PIPE"})
	})
	if status != 141 || err != nil {
		t.Errorf("%d, %v", status, err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, err = runCommand(t, t.Context(), CommandRequest{Out: full}, func(f *wire.Framed, _ *wire.Connect) {
		attach(t, f)
		data(f)
		for {
			if _, err := f.Receive(); err != nil {
				return
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v", err)
	}
}

// gone is a pipe that nobody reads.
type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// clogged is a command whose relay takes no more of its input, and its relay.
func clogged(t *testing.T, c *command) (relay wire.Stream) {
	t.Helper()
	near, far := wiretest.Streams()
	if _, err := near.Write(make([]byte, wiretest.Window)); err != nil {
		t.Fatal(err)
	}
	c.Framed = wire.NewFramed(near)
	return far
}

// A program that takes no input cannot be told that nobody reads its output. It does not print for ever: it is hung up.
func TestCommandWithoutAReaderTakesNoInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &command{out: gone{}, err: io.Discard}
		far := clogged(t, c)
		var wg sync.WaitGroup
		wg.Go(func() {
			f := wire.NewFramed(far)
			for f.WriteData(wire.DataFrame(make([]byte, wire.DataHeader+9), 9)) == nil {
				time.Sleep(time.Second)
			}
		})
		begun := time.Now()
		if exit, err := c.receive(); err == nil || !c.untold.Load() || time.Since(begun) < closedWait {
			t.Errorf("%+v, %v behind %s", exit, err, time.Since(begun))
		}
		far.Reset(wire.None)
		wg.Wait()
	})
}

// The end of the input arrives, however long it had to wait.
func TestCommandEndOfInputWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c command
		far := clogged(t, &c)
		var wg sync.WaitGroup
		wg.Go(c.send)
		time.Sleep(time.Hour)
		if _, err := io.CopyN(io.Discard, far, wiretest.Window); err != nil {
			t.Fatal(err)
		}
		if m, err := wire.Expect[wire.EOF](far); err != nil {
			t.Errorf("%v, %v", m, err)
		}
		wg.Wait()
		far.Reset(wire.None)
	})
}

// At the end of its context the stream ends, also while input waits.
func TestCommandIsEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	defer writer.Close()
	_, err := runCommand(t, ctx, CommandRequest{In: reader, Out: io.Discard}, func(f *wire.Framed, _ *wire.Connect) {
		attach(t, f)
		cancel()
		if _, err := f.Receive(); err == nil {
			t.Error("it goes on")
		}
	})
	if wire.CodeOf(err) != wire.Cancelled {
		t.Errorf("%v", err)
	}
}

// Whatever a relay does, a command ends by itself, or when its person ends it.
func TestCommandAtEvilRelays(t *testing.T) {
	for _, b := range relaytest.Viewers() {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			if b.Code == wire.None {
				defer time.AfterFunc(time.Second, giveUp).Stop()
			}
			var messages syncBuffer
			_, err := runCommand(t, ctx, CommandRequest{Command: "true", Out: io.Discard, Messages: &messages}, func(f *wire.Framed, _ *wire.Connect) { _ = b.Behave(f) })
			if d := wire.DetailOf(err); wire.Printable(d) != d {
				t.Errorf("the detail is %q", d)
			}
			for line := range strings.Lines(messages.String()) {
				if text := strings.Trim(line, "\r\n"); wire.Printable(text) != text && len(text) < 4096 {
					t.Errorf("it says %q", text)
				}
			}
		})
	}
}
