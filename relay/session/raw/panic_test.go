package raw

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/session"
	"scrier/relay/session/sessiontest"
	"scrier/relay/store"
	"scrier/wire"
	"scrier/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faulty is a tunnel whose Read panics.
type faulty struct{ wire.Stream }

func (faulty) Read([]byte) (int, error) { panic("a fault") }

// H90: a panic in the tunnel's copying ends the session.
func TestPanicEndsTheTunnel(t *testing.T) {
	table, j := sessiontest.Table(t)
	s := sessiontest.Reserve(t, table)
	envoy, tunnel := wiretest.Streams()
	if err := s.Show(t.Context(), "", New(s, faulty{tunnel})); err != nil {
		t.Fatal(err)
	}
	near, far := wiretest.Streams()
	if err := s.Serve(t.Context(), wire.NewFramed(far), session.Viewer{OperatorID: "1"}, &wire.Attach{}); wire.CodeOf(err) != wire.Internal {
		t.Errorf("served with %v", err)
	}
	near.Reset(wire.None)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := table.Wait(ctx); err != nil {
		t.Fatal("the session does not end")
	}
	if row, err := table.Get(t.Context(), s.ID()); err != nil || row.State != store.Closed || row.Reason != "internal" {
		t.Errorf("closed as %+v, %v", row, err)
	}
	if n := len(j.Events()); n != 1 {
		t.Errorf("%d records", n)
	}
	if _, err := envoy.Read(make([]byte, 1)); err == nil {
		t.Error("the envoy's side is open")
	}
}
