package wire_test

import (
	"slices"
	"testing"

	"scrier/wire"
)

// Whatever a peer says of its road has one of a few names.
func TestWhyName(t *testing.T) {
	var got []string
	for _, why := range []string{wire.WhySet, wire.WhyProxy, wire.WhyNoAnswer, wire.WhyLarge, "", "web1.example.com says so"} {
		got = append(got, wire.WhyName(why))
	}
	if !slices.Equal(got, wire.WhyNames()) || got[5] != wire.OtherWhy {
		t.Errorf("%q, and there are %q", got, wire.WhyNames())
	}
}
