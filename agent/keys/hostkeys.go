package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"scrier/agent/account"
	"scrier/wire"
)

const (
	maxKeyFile   = 64 << 10
	scanTime     = 3 * time.Second
	scanKeepTime = time.Minute // newer sshd block an address that often connects and does not log in
)

// hostKeyCache keeps the host keys that were seen in handshakes with one address.
type hostKeyCache struct {
	mu     sync.Mutex
	addr   string
	keys   []ssh.PublicKey
	beyond time.Time
}

// HostKeys returns the host keys of the sshd at addr, an address on loopback: from the files
// that sshd itself names, or, when those cannot be read, by a handshake with addr for each
// type of key. The relay takes them from the agent, so it need not trust the key that it sees first.
func (k *Keys) HostKeys(ctx context.Context, addr string) ([]ssh.PublicKey, error) {
	if len(k.cfg.AuthorizedKeysFile) == 0 {
		d, err := k.daemonFor(ctx, account.Account{Login: "root", Home: "/"}, k.usual)
		if err == nil && len(d.hostKeys) > 0 {
			if keys, err := readHostKeys(d.hostKeys); err == nil {
				return keys, nil
			}
		}
	}
	return k.scanHostKeys(ctx, addr)
}

// readHostKeys takes the public half out of each private key. Where the private key cannot be read
// (it has a passphrase, or is in an ssh-agent), it reads the .pub file beside it.
func readHostKeys(files []string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	var errs []error
	for _, name := range files {
		key, err := readHostKey(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) }) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.Join(errs...)
	}
	return keys, nil
}

func readHostKey(name string) (ssh.PublicKey, error) {
	if text, err := readSmall(name); err == nil {
		if private, err := ssh.ParsePrivateKey(text); err == nil {
			return private.PublicKey(), nil
		}
	}
	text, err := readSmall(name + ".pub")
	if err != nil {
		return nil, fmt.Errorf("read host key: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, fmt.Errorf("read host key %s.pub: %w", name, err)
	}
	return key, nil
}

func readSmall(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s is no key file", name)
	}
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// scanHostKeys does what ssh-keyscan does: a handshake for each type of key, which is broken off when
// the key was shown.
func (k *Keys) scanHostKeys(ctx context.Context, addr string) ([]ssh.PublicKey, error) {
	where, err := netip.ParseAddrPort(addr)
	if err != nil || !where.Addr().IsLoopback() {
		return nil, wire.Errorf(wire.BadConfig, "%q is no address and port on loopback", wire.Printable(addr))
	}
	now := k.cfg.Now()
	k.scanned.mu.Lock()
	keys, fresh := k.scanned.keys, k.scanned.addr == addr && now.Before(k.scanned.beyond)
	k.scanned.mu.Unlock()
	if fresh {
		return slices.Clone(keys), nil
	}
	types := [][]string{
		{ssh.KeyAlgoED25519}, {ssh.KeyAlgoECDSA256}, {ssh.KeyAlgoECDSA384}, {ssh.KeyAlgoECDSA521},
		{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
	}
	found := make([]ssh.PublicKey, len(types))
	errs := make([]error, len(types))
	var group errgroup.Group
	group.SetLimit(1) // sshd may drop more at a time, by MaxStartups
	for i, algorithms := range types {
		group.Go(func() error {
			found[i], errs[i] = shakeHands(ctx, addr, algorithms)
			return nil
		})
	}
	_ = group.Wait()
	keys = slices.DeleteFunc(found, func(key ssh.PublicKey) bool { return key == nil })
	if len(keys) == 0 {
		return nil, noHostKeys(addr, errs)
	}
	k.scanned.mu.Lock()
	defer k.scanned.mu.Unlock()
	k.scanned.addr, k.scanned.keys, k.scanned.beyond = addr, keys, now.Add(scanKeepTime)
	return slices.Clone(keys), nil
}

// noHostKeys says why addr shows no host key. Most reasons hold for each type of key, and are told once.
func noHostKeys(addr string, errs []error) error {
	var dial *net.OpError
	if errors.As(errs[0], &dial) && dial.Op == "dial" {
		return &wire.Error{Code: wire.TargetRefused, Detail: "no SSH server answers at " + addr + ": " + dial.Err.Error(), Err: errs[0]}
	}
	var reasons []string
	for _, err := range errs {
		if reason := err.Error(); !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	return &wire.Error{Code: wire.TargetRefused, Detail: "the SSH server at " + addr + " shows no host key: " + strings.Join(reasons, "; "), Err: errors.Join(errs...)}
}

var errSeen = errors.New("host key seen")

func shakeHands(ctx context.Context, addr string, algorithms []string) (ssh.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	if err := conn.SetDeadline(end); err != nil {
		return nil, err
	}
	var key ssh.PublicKey
	_, _, _, err = ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User:              "scrier",
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			key = k
			return errSeen
		},
	})
	if key != nil {
		return key, nil
	}
	return nil, err
}
