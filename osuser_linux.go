//go:build !agentonly

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"scrier/agent/account"
	"scrier/wire"
)

// An osUser is a user of this host.
type osUser struct {
	login, home string
	uid         uint32
}

// findOSUser is nil if this host has no user of that name.
func findOSUser(ctx context.Context, name string) (*osUser, error) {
	a, ok, err := account.System().Login(ctx, name)
	if err != nil || !ok {
		return nil, err
	}
	return &osUser{a.Login, a.Home, a.UID}, nil
}

// key is the public key that the user has for SSH.
func (u *osUser) key() (string, error) {
	dir := filepath.Join(u.home, ".ssh")
	for _, name := range []string{"id_ed25519.pub", "id_rsa.pub"} {
		file, err := filepath.EvalSymlinks(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", wire.Errorf(wire.KeyUnusable, "read key: %w", err)
		}
		if err := u.alone(file); err != nil { // before it is read: who could change it could do so twice
			return "", err
		}
		return publicKey(file)
	}
	return "", wire.Errorf(wire.NoSSHPubkey, "neither id_ed25519.pub nor id_rsa.pub is in %s", dir).
		Advise("make one as %s with `ssh-keygen -t ed25519`; or create them as a viewer with --ssh-key-file, then `scrier operators update --username %s --role admin`", u.login, u.login)
}

// alone says whether nobody but the user, and root, can have put a file, which has no links in its path, where it is, by
// sshd's rules for authorized_keys: it makes an admin. Where a link has led out of the home, all folders count.
func (u *osUser) alone(file string) error {
	home, err := filepath.EvalSymlinks(u.home)
	if err != nil || !filepath.IsAbs(file) {
		return wire.Errorf(wire.KeyUnusable, "%s, the home of %s, is not there", u.home, u.login)
	}
	for path := file; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			return wire.Errorf(wire.KeyUnusable, "look at %s: %w", path, err)
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 && st.Uid != u.uid || info.Mode().Perm()&0o022 != 0 {
			return wire.Errorf(wire.KeyUnusable, "others than %s can write %s (mode %04o)", u.login, path, info.Mode().Perm()).
				Advise("it must belong to %s, or root, who alone may write it: `chmod go-w %s`", u.login, path)
		}
		if path == home || path == "/" {
			return nil
		}
	}
}
