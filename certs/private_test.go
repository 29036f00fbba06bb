package certs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"scrier/wire"
)

func TestPrivate(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("only root can give files away")
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		check func(string) error
		make  func(path string) error
		uid   int
		mode  fs.FileMode
		want  string // in the message; empty: it is fine
	}{
		"a key":                         {CheckPrivate, file, 0, 0o600, ""},
		"a key that nobody may write":   {CheckPrivate, file, 0, 0o400, ""},
		"a key for the group":           {CheckPrivate, file, 0, 0o640, "chmod 600"},
		"a key for all":                 {CheckPrivate, file, 0, 0o644, "chmod 600"},
		"a key that others write":       {CheckPrivate, file, 0, 0o602, "chmod 600"},
		"a key of another's":            {CheckPrivate, file, 65534, 0o600, "belongs to uid 65534"},
		"a configuration":               {CheckTrusted, file, 0, 0o644, ""},
		"a configuration for the group": {CheckTrusted, file, 0, 0o664, "chmod go-w"},
		"a configuration of another's":  {CheckTrusted, file, 65534, 0o644, "belongs to uid 65534"},
		"a directory":                   {CheckTrusted, folder, 0, 0o755, ""},
		"a directory for the group":     {CheckTrusted, folder, 0, 0o770, "chmod 700"},
		"a directory for all":           {CheckTrusted, folder, 0, 0o1777, "chmod 700"},
		"a directory of another's":      {CheckTrusted, folder, 65534, 0o700, "belongs to uid 65534"},
		"a FIFO":                        {CheckPrivate, fifo, 0, 0o600, "not a regular file"},
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(c.make(path), os.Chmod(path, c.mode), os.Chown(path, c.uid, -1)); err != nil {
			t.Fatal(err)
		}
		err := c.check(path)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, check := range []func(string) error{CheckPrivate, CheckTrusted} {
		if err := check(filepath.Join(dir, "nothing")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("nothing: %v", err)
		}
	}
}

func file(path string) error   { return os.WriteFile(path, nil, 0o600) }
func folder(path string) error { return os.Mkdir(path, 0o700) }
func fifo(path string) error   { return syscall.Mkfifo(path, 0o600) }

// A key that others may have read is not used, nor is half a CA completed.
func TestKeysArePrivate(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadOrMakeCA(dir, time.Now); err != nil {
		t.Fatal(err)
	}
	key, cert := filepath.Join(dir, "ca.key"), filepath.Join(dir, "ca.crt")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrMakeCA(dir, time.Now); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), "chmod 600 "+key) {
		t.Errorf("a key for all: %v", err)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{key, cert} {
		aside := filepath.Join(t.TempDir(), "aside")
		if err := os.Rename(gone, aside); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrMakeCA(dir, time.Now); wire.CodeOf(err) != wire.BadConfig || !strings.Contains(err.Error(), gone+" is missing") {
			t.Errorf("without %s: %v", gone, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("without %s: there is %v, %v", gone, left, err)
		}
		if err := os.Rename(aside, gone); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LoadOrMakeCA(dir, time.Now); err != nil {
		t.Error(err)
	}
}
