package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"scrier/certs"
)

const (
	// agentListTime is what an ssh-agent may take to list its keys.
	agentListTime = 10 * time.Second

	// agentSignTime is what it may take to sign: a person may have to confirm it, or to touch
	// their security key.
	agentSignTime = 60 * time.Second
)

// An agentConn is a connection to an ssh-agent.
type agentConn struct {
	net.Conn
	client agent.ExtendedAgent
}

// close is Close for a connection that may be nil.
func (a *agentConn) close() {
	if a != nil {
		a.Conn.Close()
	}
}

// DialSSHAgent connects to an ssh-agent.
func DialSSHAgent(ctx context.Context, socket string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, agentListTime)
	defer cancel()
	return dialSSHAgent(ctx, socket)
}

// listAgent asks the agent at socket for its keys and leaves out those that may not be used. With
// an error, and where there is no agent, the connection is nil.
func listAgent(ctx context.Context, socket string) ([]ssh.PublicKey, *agentConn, error) {
	if socket == "" {
		return nil, nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, agentListTime)
	defer cancel()
	conn, err := dialSSHAgent(ctx, socket)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	a := &agentConn{conn, agent.NewClient(conn)}
	held, err := a.client.List()
	if !stop() || err != nil {
		conn.Close()
		if err == nil {
			err = context.Cause(ctx)
		}
		return nil, nil, err
	}
	var keys []ssh.PublicKey
	for _, k := range held {
		key, err := ssh.ParsePublicKey(k.Blob)
		if err == nil && certs.AcceptableKey(key) == nil && !holds(keys, key) && len(keys) < maxSSHKeys {
			keys = append(keys, key)
		}
	}
	return keys, a, nil
}

// An agentSigner signs with one key of an agent's.
type agentSigner struct {
	conn *agentConn
	key  ssh.PublicKey
}

func (s agentSigner) PublicKey() ssh.PublicKey { return s.key }

func (s agentSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(rand, data, s.key.Type())
}

func (s agentSigner) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	var flags agent.SignatureFlags
	switch algorithm {
	case s.key.Type():
	case ssh.KeyAlgoRSASHA256:
		flags = agent.SignatureFlagRsaSha256
	case ssh.KeyAlgoRSASHA512:
		flags = agent.SignatureFlagRsaSha512
	default:
		return nil, fmt.Errorf("ssh-agent cannot sign with %s", algorithm)
	}
	if err := s.conn.SetDeadline(time.Now().Add(agentSignTime)); err != nil {
		return nil, fmt.Errorf("ask ssh-agent: %w", err)
	}
	sig, err := s.conn.client.SignWithFlags(s.key, data, flags)
	if err != nil {
		return nil, fmt.Errorf("ask ssh-agent to sign: %w", err)
	}
	return sig, nil
}

func holds(keys []ssh.PublicKey, k ssh.PublicKey) bool {
	for _, h := range keys {
		if bytes.Equal(h.Marshal(), k.Marshal()) {
			return true
		}
	}
	return false
}
