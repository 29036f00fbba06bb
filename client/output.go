package client

import (
	"sync"
)

// maxOutput is how much of a program's output is kept for who reads it, in bytes. Behind it flow control stops the program.
const maxOutput = 256 << 10

// output is what a program has written and nobody has read yet.
type output struct {
	taken func(n int) // hears how much was read; nil: nobody does

	mu      sync.Mutex
	changed *sync.Cond
	bytes   []byte
	dropped bool  // nobody reads any more
	err     error // behind bytes
}

func newOutput() *output {
	o := new(output)
	o.changed = sync.NewCond(&o.mu)
	return o
}

// put waits until there is room for b. It takes b as it is, so that there may be more than the most by one frame.
func (o *output) put(b []byte) {
	o.mu.Lock()
	for len(o.bytes) >= maxOutput && !o.dropped && o.err == nil {
		o.changed.Wait()
	}
	dropped := o.dropped || o.err != nil
	if !dropped {
		o.bytes = append(o.bytes, b...)
		o.changed.Broadcast()
	}
	o.mu.Unlock()
	if dropped && o.taken != nil {
		o.taken(len(b))
	}
}

func (o *output) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	o.mu.Lock()
	for len(o.bytes) == 0 && o.err == nil {
		o.changed.Wait()
	}
	n := copy(b, o.bytes)
	o.bytes = o.bytes[n:]
	o.changed.Broadcast()
	err := o.err
	o.mu.Unlock()
	if n == 0 {
		return 0, err
	}
	if o.taken != nil {
		o.taken(n)
	}
	return n, nil
}

// discard throws away what is there and what comes.
func (o *output) discard() {
	o.mu.Lock()
	n := len(o.bytes)
	o.bytes, o.dropped = nil, true
	o.changed.Broadcast()
	o.mu.Unlock()
	if n > 0 && o.taken != nil {
		o.taken(n)
	}
}

// end says what comes behind the bytes; the first word counts.
func (o *output) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	o.changed.Broadcast()
}
