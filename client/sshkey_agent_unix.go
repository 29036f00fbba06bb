//go:build unix

package client

import (
	"context"
	"net"
	"os"
)

// SSHAgent is where the person's ssh-agent listens; empty: there is none.
func SSHAgent() string { return os.Getenv("SSH_AUTH_SOCK") }

func dialSSHAgent(ctx context.Context, at string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", at)
}
