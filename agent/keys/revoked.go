package keys

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"scrier/agent/keys/line"
	"scrier/agent/program"
)

const maxRevoked = 16 << 20

// revoked says whether the key is in the file that sshd's RevokedKeys names: a list of keys, or a
// KRL, which ssh-keygen reads. If the file cannot be read, sshd refuses all keys, and so do we.
func (k *Keys) revoked(ctx context.Context, d daemon, key ssh.PublicKey) bool {
	if d.revokedKeys == "" {
		return false
	}
	is, err := k.isRevoked(ctx, d.revokedKeys, key)
	if err != nil {
		k.cfg.Log.Warn("sshd's RevokedKeys cannot be read; no key is taken", "file", d.revokedKeys, "err", err)
	}
	return is || err != nil
}

func (k *Keys) isRevoked(ctx context.Context, list string, key ssh.PublicKey) (bool, error) {
	f, err := os.Open(list)
	if err != nil {
		return false, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxRevoked+1))
	if err != nil {
		return false, err
	}
	if len(content) > maxRevoked {
		return false, fmt.Errorf("longer than %d bytes", maxRevoked)
	}
	if !bytes.HasPrefix(content, []byte("SSHKRL\n\x00")) {
		asked, ok := line.NewKey(key)
		return !ok || bytes.Contains(content, []byte(asked.Text)), nil // anywhere in the list
	}
	keygen := findProgram("ssh-keygen", "/usr/bin", "/usr/local/bin")
	if keygen == "" || !filepath.IsAbs(list) {
		return false, fmt.Errorf("there is no ssh-keygen")
	}
	temp, err := os.CreateTemp(k.cfg.StateDir, ".key-*")
	if err != nil {
		return false, err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(ssh.MarshalAuthorizedKey(key))
	if e := temp.Close(); err == nil {
		err = e
	}
	if err != nil {
		return false, err
	}
	answer, err := program.Ask(ctx, maxDaemonOutput, keygen, "-Q", "-f", list, temp.Name())
	return answer.Status != 0, err
}
