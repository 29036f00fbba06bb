package worker

import (
	"bytes"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"scrier/wire"
)

// TestWorkRefuses: the worker does not trust its requests either.
func TestWorkRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   []byte
		want wire.Code
	}{
		"nothing": {nil, wire.BadRequest},
		"junk":    {[]byte("junk"), wire.BadRequest},
		"long":    {make([]byte, maxRequest+1), wire.BadRequest},
		"as root": {func() []byte { b, _ := cbor.Marshal(Request{Task: Look, Files: []string{"/x"}}); return b }(), wire.Forbidden},
	} {
		var out bytes.Buffer
		if got := (Worker{}).work(bytes.NewReader(c.in), &out); got != int(c.want) || out.Len() != 0 {
			t.Errorf("%s: status %d, %d bytes", name, got, out.Len())
		}
	}
}
