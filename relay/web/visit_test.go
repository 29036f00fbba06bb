package web

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// visit is a visit whose ends are counted.
type watchedVisit struct {
	atomic.Pointer[Visit]
	closed, left atomic.Int32
}

func newVisit(know bool) *watchedVisit {
	w := new(watchedVisit)
	w.Store(NewVisit(VisitConfig{
		Times: DefaultVisit(), Leave: func() { w.left.Add(1) }, Close: func() { w.closed.Add(1); w.Load().End() },
		Know: func(string) (func(), bool) { return func() {}, know }, MayAsk: func() (func(), bool) { return func() {}, true },
	}))
	return w
}

// asks makes a request, which is answered at once.
func (w *watchedVisit) asks(t *testing.T, stream int64) {
	t.Helper()
	end, ok := w.Load().begin(stream)
	if !ok {
		t.Fatal("a request was too much")
	}
	end()
}

// lives says whether the connection is open after d.
func (w *watchedVisit) lives(d time.Duration) bool {
	time.Sleep(d)
	synctest.Wait()
	return w.closed.Load() == 0
}

// A connection on which nothing gets whole ends, and gives its place back.
func TestVisitWithoutARequestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisit(true)
		if !v.lives(firstRequest - visitLook) {
			t.Error("it ended too early")
		}
		if v.lives(2*visitLook) || v.left.Load() != 1 {
			t.Errorf("it was closed %d times, its place given back %d times", v.closed.Load(), v.left.Load())
		}
	})
}

// A stranger who makes requests keeps a connection for some minutes, and not while it is idle.
func TestVisitOfAStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisit(true)
		begin := time.Now()
		for stream := int64(0); v.lives(10 * time.Second); stream += 4 {
			v.asks(t, stream)
			if time.Since(begin) > 2*strangerLife {
				t.Fatal("it lives for ever")
			}
		}
		if age := time.Since(begin); age < strangerLife {
			t.Errorf("it ended after %s", age)
		}
		idle := newVisit(true)
		idle.asks(t, 0)
		if !idle.lives(strangerIdle-visitLook) || idle.lives(2*visitLook) {
			t.Error("an idle one ended too early, or not at all")
		}
		busy := newVisit(true)
		end, _ := busy.Load().begin(0) // a viewer, say
		if !busy.lives(strangerLife + time.Second) {
			t.Error("one with a request under way was ended")
		}
		end()
		if busy.lives(rest + visitLook) {
			t.Error("it goes on when the request is over")
		}
		endless := newVisit(true)
		if _, ok := endless.Load().begin(0); !ok || endless.lives(2*strangerLife+visitLook) {
			t.Error("one that is never idle lives for ever")
		}
		waiting := newVisit(true)
		for range crowd {
			waiting.Load().begin(0)
		}
		if waiting.lives(headerWait + visitLook) {
			t.Error("one with too many requests under way lives on")
		}
	})
}

// Streams whose headers never come whole end a stranger's connection, although later ones are served.
func TestVisitWithHalfAHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisit(true)
		v.asks(t, 0)
		v.asks(t, 8) // and 4 is missing
		if !v.lives(visitLook) {
			t.Error("streams that come out of order were not waited for")
		}
		v.asks(t, 12)
		if v.lives(headerWait) {
			t.Error("it lives on")
		}
		ordered := newVisit(true)
		ordered.asks(t, 8)
		ordered.asks(t, 4)
		ordered.asks(t, 0)
		if !ordered.lives(strangerIdle - visitLook) {
			t.Error("a connection on which all came was ended")
		}
		ordered.Load().End()
	})
}

// Who has signed in counts elsewhere, and is left alone while they do something now and then.
func TestVisitOfAnOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisit(true)
		v.asks(t, 0)
		v.Load().Identified("ann")
		v.Load().Identified("ann")
		if v.left.Load() != 1 {
			t.Errorf("the stranger's place was given back %d times", v.left.Load())
		}
		for range 20 {
			if !v.lives(strangerIdle) {
				t.Fatal("it was ended")
			}
			v.asks(t, 0)
		}
		if v.lives(2 * h3Idle) {
			t.Error("an idle one is kept")
		}
		full := newVisit(false) // too many of hers
		full.asks(t, 0)
		full.Load().Identified("ann")
		if full.left.Load() != 0 || full.lives(2*strangerIdle) {
			t.Error("who has too many connections does not stay a stranger")
		}
	})
}

// A connection that asks without end is closed, whoever it is of.
func TestVisitThatAsksWithoutEnd(t *testing.T) {
	for _, known := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVisit(true)
			v.asks(t, 0)
			want := strangerBurst - 1
			if known {
				v.Load().Identified("ann")
				want = knownBurst
			}
			for range want {
				v.asks(t, 0)
			}
			if _, ok := v.Load().begin(0); ok || v.lives(0) {
				t.Errorf("it goes on, known %v", known)
			}
		})
	}
}
