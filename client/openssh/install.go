package openssh

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"scrier/certs"
	"scrier/wire"
)

// maxConfig bounds ~/.ssh/config, in bytes: what is larger is something else.
const maxConfig = 8 << 20

// Write makes the files beside ~/.ssh/config, or replaces them.
func (c Config) Write() error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := c.writeKnownHosts(); err != nil {
		return err
	}
	return write(c.file(), c.Text())
}

// WriteKnownHosts makes the file of known hosts alone.
func (c Config) WriteKnownHosts() error {
	if err := c.Check(); err != nil {
		return err
	}
	return c.writeKnownHosts()
}

func (c Config) writeKnownHosts() error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return wire.Errorf(wire.BadConfig, "cannot make %s: %w", c.Dir, err)
	}
	for _, dir := range []string{filepath.Dir(c.Dir), c.Dir} { // ssh reads all that is there, for all hosts
		if err := certs.CheckTrusted(dir); err != nil {
			return err
		}
	}
	return write(c.knownHostsFile(), c.knownHosts())
}

// write replaces a file of ours, unless it is as it should be.
func write(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	if err := certs.WriteFile(path, []byte(text)); err != nil {
		return wire.Errorf(wire.BadConfig, "%w", certs.About(path, err))
	}
	return nil
}

// Install writes the files, and has the configuration at path, usually ~/.ssh/config, include them. It says whether it
// had to change that.
func (c Config) Install(path string) (changed bool, err error) {
	if err := c.Write(); err != nil {
		return false, err
	}
	return c.edit(path, func(old []byte) []byte {
		if c.included(old) {
			return old
		}
		return append([]byte(c.include()+"\n"), old...)
	})
}

// Remove deletes the files of c, and the line that includes them if there are no others.
func (c Config) Remove(path string) (changed bool, err error) {
	if err := c.Check(); err != nil {
		return false, err
	}
	if err := os.Remove(c.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, wire.Errorf(wire.BadConfig, "%w", err)
	}
	if others, err := filepath.Glob(filepath.Join(c.Dir, "*.conf")); err != nil || len(others) > 0 {
		return false, err
	}
	if err := os.Remove(c.knownHostsFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, wire.Errorf(wire.BadConfig, "%w", err)
	}
	return c.edit(path, c.without)
}

// include is the line that includes the files of all suffixes.
func (c Config) include() string { return "Include " + quoted(filepath.Join(c.Dir, "*.conf")) }

// isInclude says whether a line is the one of Install.
func (c Config) isInclude(line []byte) bool {
	return string(bytes.TrimRight(line, "\r\n")) == c.include()
}

// included says whether a configuration has the line where it counts for all hosts.
func (c Config) included(text []byte) bool {
	for line := range bytes.Lines(text) {
		if c.isInclude(line) {
			return true
		}
		word := strings.ToLower(strings.TrimLeft(string(line), " \t"))
		if strings.HasPrefix(word, "host ") || strings.HasPrefix(word, "host\t") || strings.HasPrefix(word, "host=") || strings.HasPrefix(word, "match") {
			return false
		}
	}
	return false
}

// without is a configuration without the line.
func (c Config) without(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for line := range bytes.Lines(text) {
		if !c.isInclude(line) {
			out = append(out, line...)
		}
	}
	return out
}

// edit changes ssh's configuration: as a whole or not at all. Where it is a symbolic link, what that leads to is changed.
// Mode and owner stay.
func (c Config) edit(path string, change func([]byte) []byte) (changed bool, err error) {
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return false, c.refuse(path, errors.New("it is a symbolic link that leads nowhere"))
		}
		text := change(nil)
		if len(text) == 0 {
			return false, nil
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return false, c.refuse(path, err)
		}
		if err := certs.WriteFile(path, text); err != nil {
			return false, c.refuse(path, certs.About(path, err))
		}
		return true, nil
	}
	if err != nil {
		return false, c.refuse(path, err)
	}
	info, err := os.Lstat(target)
	switch {
	case err != nil:
		return false, c.refuse(path, err)
	case !info.Mode().IsRegular():
		return false, c.refuse(path, errors.New("it is not a regular file"))
	case info.Size() > maxConfig:
		return false, c.refuse(path, fmt.Errorf("it has more than %d bytes", maxConfig))
	case info.Mode().Perm()&0o200 == 0: // an editor would ask
		return false, c.refuse(path, errors.New("it is read-only"))
	case linked(info):
		return false, c.refuse(path, errors.New("it has several names (hard links), which would no longer be the same file"))
	}
	old, err := os.ReadFile(target)
	if err != nil {
		return false, c.refuse(path, err)
	}
	text := change(old)
	if bytes.Equal(text, old) {
		return false, nil
	}
	if err := replace(target, info, old, text); err != nil {
		return false, c.refuse(path, certs.About(target, err))
	}
	return true, nil
}

// replace gives a file a new content.
func replace(path string, info fs.FileInfo, old, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := keepOwner(f, info); err != nil {
		return err
	}
	if err := f.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, old) {
		return errors.Join(errors.New("somebody else has changed it meanwhile"), err)
	}
	return os.Rename(f.Name(), path)
}

// refuse says that a configuration stays as it is.
func (c Config) refuse(path string, err error) error {
	return wire.Errorf(wire.BadConfig, "%s stays as it is: %w", path, err).
		Advise("change it yourself: `scrier ssh-config` goes on with the line `%s` at its top", c.include())
}
