package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"
)

// memory is a journal that can be full.
type memory struct {
	mu     sync.Mutex
	events []Event
	full   bool
}

func (m *memory) Append(_ context.Context, e Event) (Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return Record{}, errors.New("no space left on device")
	}
	m.events = append(m.events, e)
	return Record{}, nil
}

// told is how many events the records stand for.
func (m *memory) told(t *testing.T) (n int) {
	t.Helper()
	for _, e := range m.events {
		k := 1
		if s := e.Fields["repeated"]; s != "" {
			var err error
			if k, err = strconv.Atoi(s); err != nil {
				t.Fatal(err)
			}
		}
		n += k
	}
	return n
}

func newRepeats() (*Repeats, *memory, *time.Time) {
	now := time.Unix(1_900_000_000, 0)
	m := &memory{}
	return &Repeats{Journal: m, Every: time.Minute, Keys: 4, Now: func() time.Time { return now }}, m, &now
}

// The first is written at once, and then how many there were, once a minute.
func TestRepeats(t *testing.T) {
	r, m, now := newRepeats()
	event := func(key string, i int) {
		t.Helper()
		if err := r.Append(t.Context(), key, Event{Type: "x", Envoy: key, Detail: fmt.Sprint(i), Fields: map[string]string{"a": "b"}}); err != nil {
			t.Fatal(err)
		}
	}
	flush := func(want int) {
		t.Helper()
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(m.events) != want {
			t.Fatalf("%d records, want %d: %+v", len(m.events), want, m.events)
		}
	}
	for i := range 100 {
		event("one", i)
		*now = now.Add(100 * time.Millisecond)
	}
	event("two", 0)
	flush(2)
	*now = now.Add(time.Minute)
	flush(3)
	if e := m.events[2]; e.Fields["repeated"] != "99" || e.Fields["a"] != "b" || e.Detail != "99" || e.Envoy != "one" || e.Fields["since"] != "2030-03-17T17:46:40Z" {
		t.Errorf("%+v", e)
	}
	// It goes on: once a minute, without a first one.
	for i := range 100 {
		event("one", i)
	}
	flush(3)
	*now = now.Add(time.Minute)
	flush(4)
	// When nothing happened for a minute, the next is a first one.
	*now = now.Add(time.Minute)
	flush(4)
	event("one", 0)
	flush(5)
	if len(r.by) != 1 {
		t.Errorf("%d keys are remembered", len(r.by))
	}
	// A clock that was set back does not keep a count for ever.
	event("one", 1)
	*now = now.Add(-time.Hour)
	flush(6)
	if got := m.told(t); got != 100+1+100+1+1 {
		t.Errorf("the records tell of %d events", got)
	}
}

// However many keys there are, the memory and the records are bounded, and the count is whole.
func TestRepeatsAreBounded(t *testing.T) {
	r, m, now := newRepeats()
	const keys = 1000
	for i := range keys {
		for range 3 {
			if err := r.Append(t.Context(), fmt.Sprint(i), Event{Type: "x"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(r.by) > r.Keys+1 || len(m.events) > r.Keys+1 {
		t.Errorf("%d keys, %d records", len(r.by), len(m.events))
	}
	*now = now.Add(time.Minute)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.told(t); got != 3*keys || len(m.events) > 2*(r.Keys+1) {
		t.Errorf("%d events in %d records", got, len(m.events))
	}
	*now = now.Add(time.Minute)
	if err := r.Flush(t.Context()); err != nil || len(r.by) != 0 {
		t.Errorf("%d keys are left, %v", len(r.by), err)
	}
}

// What could not be written is told later; the end tells all.
func TestRepeatsOnAFullDisk(t *testing.T) {
	r, m, now := newRepeats()
	m.full = true
	for i := range 10 {
		if err := r.Append(t.Context(), "one", Event{Type: "x"}); (err != nil) != (i == 0) {
			t.Fatal(i, err)
		}
	}
	*now = now.Add(time.Minute)
	if err := r.Flush(t.Context()); err == nil {
		t.Error("a full disk is no error")
	}
	m.full = false
	if err := r.Append(t.Context(), "one", Event{Type: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.told(t); got != 11 || len(m.events) != 1 {
		t.Errorf("%d events in %d records", got, len(m.events))
	}
}

// Many at once: none is lost.
func TestRepeatsAtOnce(t *testing.T) {
	r, m, _ := newRepeats()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				if err := r.Append(t.Context(), fmt.Sprint(i%3), Event{Type: "x"}); err != nil {
					t.Error(err)
				}
				if err := r.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.told(t); got != 1600 || len(m.events) != 6 {
		t.Errorf("%d events in %d records", got, len(m.events))
	}
}
