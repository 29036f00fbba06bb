package forward

import (
	"context"
	"net"
)

// bindSocket makes a socket. Who may connect to it its folder says.
func bindSocket(ctx context.Context, path string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "unix", path)
}
