package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
)

// spliceBuffer is large enough that a copy costs few calls and small enough that a thousand
// idle tunnels do not matter; buffers are pooled, as a tunnel is mostly idle in one direction.
const spliceBuffer = 32 << 10

var splicePool = sync.Pool{New: func() any { b := make([]byte, spliceBuffer); return &b }}

// Splice copies between a and b until both directions have ended, and returns how much went
// from a to b (sent) and from b to a (received). EOF on one side half-closes the other and the
// rest goes on; any other error, or the end of ctx, resets both with the error's code. Splice
// owns both streams and returns when its goroutines have. A panic in one of those becomes one of the
// caller, who may outlive it.
func Splice(ctx context.Context, a, b Stream) (sent, received int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		code := CodeOf(Cause(ctx, Cancelled))
		a.Reset(code)
		b.Reset(code)
	})
	defer stop()
	var wg sync.WaitGroup
	var faults [2]string
	one := func(dst, src Stream, n *int64, fault *string) {
		defer func() {
			if p := recover(); p != nil {
				*fault = fmt.Sprintf("%v, in a goroutine of Splice:\n%s", p, debug.Stack())
				cancel(&Error{Code: Internal})
			}
		}()
		var err error
		if *n, err = copyStream(dst, src); err != nil {
			cancel(err)
		}
	}
	wg.Go(func() { one(b, a, &sent, &faults[0]) })
	wg.Go(func() { one(a, b, &received, &faults[1]) })
	wg.Wait()
	for _, fault := range faults {
		if fault != "" {
			panic(fault)
		}
	}
	if err := context.Cause(ctx); err != nil {
		// Both were reset; wait for nothing more.
		return sent, received, err
	}
	return sent, received, nil
}

// copyStream copies until src ends and then half-closes dst.
func copyStream(dst, src Stream) (n int64, err error) {
	buf := splicePool.Get().(*[]byte)
	defer splicePool.Put(buf)
	for {
		r, rerr := src.Read(*buf)
		if r > 0 {
			w, werr := dst.Write((*buf)[:r])
			n += int64(w)
			if werr != nil {
				return n, werr
			}
		}
		if errors.Is(rerr, io.EOF) {
			return n, dst.CloseWrite()
		}
		if rerr != nil {
			return n, rerr
		}
	}
}
