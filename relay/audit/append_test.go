package audit

import (
	"context"
	"testing"
)

// Records are counted with their time, also those that nobody waits for; checkpoints and probes are not.
func TestTook(t *testing.T) {
	l := open(t, config(t.TempDir()))
	defer shut(t, l)
	fill(t, l, 3)
	if err := l.AppendSoon(context.Background(), event(3))(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := l.Healthy(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(context.Background(), Event{}); err == nil {
		t.Error("an event without a type was written")
	}
	if took := l.Took(); took.Count != 4 || took.Seconds <= 0 {
		t.Errorf("%+v", took)
	}
	if n, err := l.Bytes(); err != nil || n < 4096 {
		t.Errorf("%d bytes, %v", n, err)
	}
}
