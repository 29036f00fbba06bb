package wire_test

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// An ordinary Close: what was written arrives, and the peer's Write fails.
func TestNetConnCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := wiretest.Streams()
		var c net.Conn = &wire.NetConn{Stream: near}
		if _, err := c.Write([]byte("all of it")); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(far); err != nil || string(got) != "all of it" {
			t.Errorf("the peer read %q, %v", got, err)
		}
		if _, err := far.Write([]byte("x")); wire.CodeOf(err) != wire.None || err == nil {
			t.Errorf("the peer wrote: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a closed connection gives bytes")
		}
	})
}

// Close frees a Write that blocks, and what was cut off does not look like a whole.
func TestNetConnFreesAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := wiretest.Streams()
		c := &wire.NetConn{Stream: near}
		wrote := make(chan error)
		go func() {
			_, err := c.Write(make([]byte, 2*wiretest.Window))
			wrote <- err
		}()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; err == nil {
			t.Error("a write of what nobody reads succeeded")
		}
		if _, err := io.ReadAll(far); err == nil {
			t.Error("what was cut off ended in the ordinary way")
		}
	})
}

// End takes the place of the ordinary end.
func TestNetConnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := wiretest.Streams()
		c := &wire.NetConn{Stream: near, End: func(s wire.Stream) { wire.Finish(s, time.Second) }}
		go func() { _, _ = far.Write([]byte("on my way already")); _ = far.CloseWrite() }()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(far); err != nil || len(got) > 0 {
			t.Errorf("%q, %v", got, err)
		}
		if c.RemoteAddr().String() != "stream" {
			t.Errorf("address %s", c.RemoteAddr())
		}
	})
}
