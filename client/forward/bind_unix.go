//go:build unix

package forward

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// masking is held while the process's mask is another one.
var masking sync.Mutex

// bindSocket makes a socket that nobody else may connect to, as ssh does (StreamLocalBindMask). It is removed when the
// listener is closed.
func bindSocket(ctx context.Context, path string) (net.Listener, error) {
	masking.Lock()
	defer masking.Unlock()
	defer syscall.Umask(syscall.Umask(0o177))
	return new(net.ListenConfig).Listen(ctx, "unix", path)
}
