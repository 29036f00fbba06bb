package builtin

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What comes is kept in order while nobody takes it, up to a bound, and then all of it is there, and the end.
func TestReadAhead(t *testing.T) {
	const most = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		a := readAhead(far, most)
		data := make([]byte, 3*most)
		_, _ = rand.Read(data)
		var sent atomic.Int64
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer near.Close()
			for at := 0; at < len(data); {
				n, err := near.Write(data[at:min(at+10_000, len(data))])
				if err != nil {
					t.Error(err)
					return
				}
				at += n
				sent.Store(int64(at))
			}
		}()
		synctest.Wait()
		if n := sent.Load(); n < aheadUsual-aheadChunk || n > aheadUsual+2*aheadChunk {
			t.Errorf("%d bytes at once", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := sent.Load(); n < most-aheadChunk || n > most+2*aheadChunk {
			t.Errorf("%d bytes when nobody reads", n)
		}
		got, err := io.ReadAll(a)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d of %d bytes, or others: %v", len(got), len(data), err)
		}
		<-over
		a.end()

		// Single bytes hold no more memory than others.
		near, far = net.Pipe()
		a = readAhead(far, most)
		for i := range aheadChunk {
			if _, err := near.Write([]byte{byte(i), byte(i >> 8)}[:1+i%2]); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		a.mu.Lock()
		held := 0
		for _, c := range a.chunks {
			held += cap(c)
		}
		if held > 2*a.size+aheadChunk {
			t.Errorf("%d bytes hold %d", a.size, held)
		}
		a.mu.Unlock()
		near.Close()
		got, err = io.ReadAll(a)
		for i := range aheadChunk {
			want := []byte{byte(i), byte(i >> 8)}[:1+i%2]
			if rest, ok := bytes.CutPrefix(got, want); ok {
				got = rest
				continue
			}
			t.Fatalf("another byte than %d", i)
		}
		if len(got) > 0 || err != nil {
			t.Errorf("%d bytes more: %v", len(got), err)
		}
		a.end()

		// It ends when its connection is closed, also while it waits for room.
		near, far = net.Pipe()
		a = readAhead(far, most)
		go func() { _, _ = near.Write(make([]byte, 2*most)) }()
		time.Sleep(time.Hour)
		far.Close()
		a.end()
		near.Close()
	})
}
