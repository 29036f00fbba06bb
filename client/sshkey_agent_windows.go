package client

import (
	"context"
	"net"
	"os"
	"strings"

	"github.com/Microsoft/go-winio"
)

// sshAgentPipe is where the agent of Windows' own OpenSSH listens.
const sshAgentPipe = `\\.\pipe\openssh-ssh-agent`

// SSHAgent is where the person's ssh-agent listens: SSH_AUTH_SOCK, or the pipe of Windows' own, if it is there;
// empty: there is none.
func SSHAgent() string {
	if at := os.Getenv("SSH_AUTH_SOCK"); at != "" {
		return at
	}
	if _, err := os.Stat(sshAgentPipe); err != nil {
		return ""
	}
	return sshAgentPipe
}

// dialSSHAgent connects to a named pipe, or to a socket such as those of Git for Windows.
func dialSSHAgent(ctx context.Context, at string) (net.Conn, error) {
	if strings.HasPrefix(at, `\\`) {
		return winio.DialPipeContext(ctx, at)
	}
	return new(net.Dialer).DialContext(ctx, "unix", at)
}
