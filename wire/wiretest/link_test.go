package wiretest_test

import (
	"testing"

	"scrier/wire"
	"scrier/wire/wiretest"
)

func TestLinks(t *testing.T) {
	wiretest.Links(t, func(t *testing.T) (wire.Link, wire.Link) {
		a, b := wiretest.Pair(wire.Peer{}, wire.Peer{})
		t.Cleanup(func() { _ = a.Close(wire.None, "") })
		return a, b
	})
}
