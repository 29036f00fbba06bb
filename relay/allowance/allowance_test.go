package allowance

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errOver = errors.New("over")

func why() error { return errOver }

func within(t *testing.T, limit time.Duration) (context.Context, *Limit) {
	ctx, l := New(t.Context(), limit, why)
	t.Cleanup(l.Stop)
	return ctx, l
}

// alive says whether ctx has not ended once d has passed.
func alive(t *testing.T, ctx context.Context, d time.Duration) bool {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errOver) {
		t.Errorf("it ended with %v", context.Cause(ctx))
	}
	return ctx.Err() == nil
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, _ := within(t, 10*time.Second)
		if !alive(t, ctx, 9*time.Second) || alive(t, ctx, 2*time.Second) {
			t.Error("it does not end after its time")
		}
	})
}

// What a person needs does not count, and what is left does afterwards.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, l := within(t, 10*time.Second)
		time.Sleep(6 * time.Second)
		first, second := l.Pause(), l.Pause()
		if !alive(t, ctx, time.Hour) {
			t.Error("it ends while it is paused")
		}
		first()
		first() // once more changes nothing
		if !alive(t, ctx, time.Hour) {
			t.Error("it ends while somebody has paused it")
		}
		second()
		if !alive(t, ctx, 3*time.Second) || alive(t, ctx, 2*time.Second) {
			t.Error("it does not go on with what was left")
		}
	})
}

// Each step has a time of its own.
func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, l := within(t, 10*time.Second)
		time.Sleep(9 * time.Second)
		l.Next(20*time.Second, why)
		resume := l.Pause()
		l.Next(5*time.Second, why)
		if !alive(t, ctx, time.Hour) {
			t.Error("Next ends a pause")
		}
		resume()
		if !alive(t, ctx, 4*time.Second) || alive(t, ctx, 2*time.Second) {
			t.Error("the next step does not have its time")
		}
		l.Next(time.Hour, why) // too late
		if alive(t, ctx, 0) {
			t.Error("it lives again")
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, l := New(t.Context(), time.Second, why)
		l.Stop()
		time.Sleep(time.Hour)
		if errors.Is(context.Cause(ctx), errOver) || ctx.Err() == nil {
			t.Errorf("it ended with %v", context.Cause(ctx))
		}
	})
}
