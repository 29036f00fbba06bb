package guac

import (
	"context"
	"net"

	"scrier/wire"
)

// Probe asks the guacd at addr what it needs for a protocol, and goes away: its protocol version
// ("1.3.0") and the number of parameters. It is for `scrier doctor`.
func Probe(ctx context.Context, addr, protocol string) (version string, args int, err error) {
	ctx, cancel := context.WithTimeout(ctx, argsTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", 0, &wire.Error{Code: wire.GuacdUnavailable, Detail: "nobody listens at " + addr, Err: err}
	}
	defer func() { _ = c.Close() }()
	err = within(ctx, c, argsTimeout, func() error {
		v, asked, err := selectProtocol(c, NewReader(c), protocol)
		version, args = v.dotted(), len(asked)
		return err
	})
	if err != nil {
		return "", 0, explain(err, "guacd at "+addr+" does not know "+protocol+"; its support for that is perhaps not installed")
	}
	return version, args, nil
}
