package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestTransport(t *testing.T) {
	for _, text := range []string{"auto", "quic", "tcp"} {
		var got Transport
		if err := got.UnmarshalText([]byte(text)); err != nil || got.String() != text {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if out, err := got.MarshalText(); err != nil || string(out) != text {
			t.Errorf("%s: %s, %v", text, out, err)
		}
	}
	for _, text := range []string{"", "QUIC", "udp", "tcp ", strings.Repeat("x", 1000)} {
		got := OnlyTCP
		err := got.UnmarshalText([]byte(text))
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != BadRequest || e.Advice == "" || len(e.Detail) > 200 || got != OnlyTCP {
			t.Errorf("%.20q: %v, %s", text, err, got)
		}
	}
	for _, c := range []struct {
		t         Transport
		quic, tcp bool
	}{{"", true, true}, {Auto, true, true}, {OnlyQUIC, true, false}, {OnlyTCP, false, true}} {
		if c.t.has(QUIC) != c.quic || c.t.has(TCP) != c.tcp {
			t.Errorf("%q", c.t)
		}
	}
}
