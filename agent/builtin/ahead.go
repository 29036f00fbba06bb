package builtin

import (
	"net"
	"sync"
	"time"
)

const (
	aheadUsual = 256 << 10 // bytes that wait for who reads a connection, while they are taken
	aheadMost  = 64 << 20  // and while they are not: a packet of 32 KiB for each of two thousand channels
	aheadChunk = 32 << 10

	// aheadStuck is after how long who reads is believed to be stuck.
	aheadStuck = 100 * time.Millisecond
)

// An ahead is a connection that is read on although nobody takes what comes.
//
// The SSH library answers some messages, such as the end of a channel, where it reads, and reads no further until the
// answer is written. With the same library at the other end, as the relay has it, both could wait for each other to read for ever
// when much goes both ways. One end that reads on is enough for that not to happen.
type ahead struct {
	net.Conn
	done chan struct{} // closed when nothing more is read

	mu     sync.Mutex
	more   sync.Cond // something has come, or was taken, or the end
	chunks [][]byte
	size   int
	taken  time.Time
	err    error // after all chunks
	over   bool
	most   int // [aheadMost]
}

// readAhead begins to read, at most so many bytes ahead. The caller must close c and call end.
func readAhead(c net.Conn, most int) *ahead {
	a := &ahead{Conn: c, done: make(chan struct{}), taken: time.Now(), most: most}
	a.more.L = &a.mu
	go a.fill()
	return a
}

func (a *ahead) fill() {
	defer close(a.done)
	for {
		b := make([]byte, aheadChunk)
		n, err := a.Conn.Read(b)
		if !a.add(b[:n], err) {
			return
		}
	}
}

// add keeps what was read, and waits until there is room for more. It says whether to go on.
func (a *ahead) add(b []byte, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.size += len(b)
	// What comes in single bytes shares a chunk, or each of them would hold one.
	if last := len(a.chunks) - 1; last >= 0 && cap(a.chunks[last])-len(a.chunks[last]) >= len(b) {
		a.chunks[last] = append(a.chunks[last], b...)
	} else if len(b) > 0 {
		a.chunks = append(a.chunks, b)
	}
	a.err = err
	a.more.Broadcast()
	for a.err == nil && !a.over && a.size >= aheadUsual {
		if a.size >= a.most {
			a.more.Wait()
			continue
		}
		left := aheadStuck - time.Since(a.taken)
		if left <= 0 {
			break
		}
		timer := time.AfterFunc(left, a.more.Broadcast)
		a.more.Wait()
		timer.Stop()
	}
	return a.err == nil && !a.over
}

// Read takes what has come.
func (a *ahead) Read(p []byte) (n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.chunks) == 0 && a.err == nil {
		a.more.Wait()
	}
	if len(a.chunks) == 0 {
		return 0, a.err
	}
	n = copy(p, a.chunks[0])
	if a.chunks[0] = a.chunks[0][n:]; len(a.chunks[0]) == 0 {
		a.chunks[0] = nil
		a.chunks = a.chunks[1:]
	}
	a.size -= n
	a.taken = time.Now()
	a.more.Broadcast()
	return n, nil
}

// end waits until nothing is read any more.
func (a *ahead) end() {
	a.mu.Lock()
	a.over = true
	a.more.Broadcast()
	a.mu.Unlock()
	<-a.done
}
